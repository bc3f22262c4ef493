//! What a work item gave: written once, and from then on the truth about it.
//!
//! Two workers may do the same item, and two answers of a language model differ: the first record that is stored
//! counts, and everything after it is made from what is stored. A table that an item writes counts only when a record
//! names it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{instance::Fact, names::Run, stage::Step};
use crate::{
    domain::{problem::Problem, variant::Usage},
    store::{self, Blobs, Precondition},
};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub schema: Schema,
    pub step: Step,
    pub index: u32,
    pub attempt: u32,
    pub at: Timestamp,
    pub usage: Usage,
    pub result: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    #[serde(rename = "record/1")]
    V1,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    Done {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fact: Option<Fact>,
        /// What the stage says; see [`workshop`](super::workshop).
        output: Box<RawValue>,
    },
    Failed(Tombstone),
}

/// An item that is given up, so that its stage can end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tombstone {
    pub reason: String,
    /// Where the campaign's owner can mend it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

impl Record {
    pub fn is_done(&self) -> bool {
        matches!(self.result, Outcome::Done { .. })
    }

    /// The output, or why there is none.
    pub fn output<T: DeserializeOwned>(&self) -> Result<Result<T, &Tombstone>, serde_json::Error> {
        match &self.result {
            Outcome::Done { output, .. } => serde_json::from_str(output.get()).map(Ok),
            Outcome::Failed(tombstone) => Ok(Err(tombstone)),
        }
    }
}

/// What is stored of an item: where any attempt so far was done, that one; else the newest that failed.
pub async fn read(
    blobs: &dyn Blobs,
    run: &Run,
    step: Step,
    index: u32,
    attempts: u32,
) -> Result<Option<Record>, store::Error> {
    let mut failed = None;
    for attempt in (1..=attempts).rev() {
        let path = run.item(step, index, attempt);
        match blobs.get(&path).await {
            Ok(blob) => {
                let record = parse(&path, &blob.bytes)?;
                if record.is_done() {
                    return Ok(Some(record));
                }
                failed = failed.or(Some(record));
            }
            Err(store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(failed)
}

/// Stores a record unless there is one of this attempt already; returns the one that is stored.
pub async fn write(blobs: &dyn Blobs, run: &Run, record: Record) -> Result<Record, store::Error> {
    let path = run.item(record.step, record.index, record.attempt);
    let bytes = serde_json::to_vec(&record).map_err(|error| malformed(&path, error))?;
    let mut put = blobs.put(&path, bytes.clone(), Precondition::Absent).await;
    if let Err(store::Error::Ambiguous { .. }) = put {
        // What it holds may have been paid for: it is not left to a second try of the whole item.
        put = blobs.put(&path, bytes, Precondition::Absent).await;
    }
    match put {
        Ok(_) => Ok(record),
        // It may be ours: an answer can be lost after the write was done.
        Err(store::Error::AlreadyExists { .. } | store::Error::Ambiguous { .. }) => {
            parse(&path, &blobs.get(&path).await?.bytes)
        }
        Err(error) => Err(error),
    }
}

fn parse(path: &store::BlobPath, bytes: &[u8]) -> Result<Record, store::Error> {
    serde_json::from_slice(bytes).map_err(|error| malformed(path, error))
}

fn malformed(path: &store::BlobPath, error: serde_json::Error) -> store::Error {
    store::Error::Permanent { what: path.to_string(), source: error.into() }
}
