//! What tries at an item have spent before it gave anything, and what they got for it that is not to be paid for again.
//!
//! An append log per item and attempt, `spent/<step>/<item>.<attempt>`: a line tells of calls when they are over. So
//! whoever dies between two lines has lost the calls under way and nothing else.

use std::collections::HashSet;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{item::Item, names::Run, stage::Step};
use crate::{
    domain::{money::Usd, variant::Usage},
    store::{self, BlobPath, Blobs},
};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// An append that seemed to fail may have been done: the same line twice is one. Absent from the first ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost_usd: Usd,
    /// What it was spent on, as the stage writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<Box<RawValue>>,
}

impl Line {
    fn new(usage: Usage, kept: Option<Box<RawValue>>) -> Self {
        let Usage { requests, input_tokens, output_tokens, cost_usd } = usage;
        Self { id: Some(Uuid::new_v4()), requests, input_tokens, output_tokens, cost_usd, kept }
    }

    /// What was spent, with what it gave.
    pub fn keeping(usage: Usage, kept: &impl Serialize) -> Self {
        let kept = serde_json::value::to_raw_value(kept).expect("what a stage keeps is plain data");
        Self::new(usage, Some(kept))
    }

    pub fn usage(&self) -> Usage {
        let Self { requests, input_tokens, output_tokens, cost_usd, .. } = *self;
        Usage { requests, input_tokens, output_tokens, cost_usd }
    }
}

/// What tries at the item's attempt have spent, as far as they lived to tell.
pub async fn total(blobs: &dyn Blobs, item: &Item) -> Result<Usage, store::Error> {
    let lines = lines(blobs, &item.run().spent(item.step, item.index, item.attempt)).await?;
    Ok(lines.iter().fold(Usage::default(), |total, line| total.and(line.usage())))
}

/// Notes what a try has spent for nothing.
pub async fn note(blobs: &dyn Blobs, item: &Item, usage: Usage) -> Result<(), store::Error> {
    if usage == Usage::default() {
        return Ok(());
    }
    append(blobs, item, &[Line::new(usage, None)]).await
}

/// Notes what was spent and what it gave; the same lines again do no harm.
pub async fn keep(blobs: &dyn Blobs, item: &Item, lines: &[Line]) -> Result<(), store::Error> {
    if lines.is_empty() { Ok(()) } else { append(blobs, item, lines).await }
}

/// All that tries of these attempts (from 1 to `attempts`) have kept, the oldest first.
pub async fn kept<T: DeserializeOwned>(
    blobs: &dyn Blobs,
    run: &Run,
    step: Step,
    index: u32,
    attempts: u32,
) -> Result<Vec<T>, store::Error> {
    let mut all = Vec::new();
    for attempt in 1..=attempts {
        let path = run.spent(step, index, attempt);
        for kept in lines(blobs, &path).await?.into_iter().filter_map(|line| line.kept) {
            all.push(serde_json::from_str(kept.get()).map_err(|error| malformed(&path, error))?);
        }
    }
    Ok(all)
}

async fn append(blobs: &dyn Blobs, item: &Item, lines: &[Line]) -> Result<(), store::Error> {
    let mut bytes = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut bytes, line).expect("numbers and texts are plain data");
        bytes.push(b'\n');
    }
    blobs.append(&item.run().spent(item.step, item.index, item.attempt), bytes).await.map(drop)
}

async fn lines(blobs: &dyn Blobs, path: &BlobPath) -> Result<Vec<Line>, store::Error> {
    let bytes = match blobs.get(path).await {
        Ok(blob) => blob.bytes,
        Err(store::Error::NotFound { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines = lines.map(|line| serde_json::from_slice(line).map_err(|error| malformed(path, error)));
    let mut lines = lines.collect::<Result<Vec<Line>, _>>()?;
    let mut seen = HashSet::new();
    lines.retain(|line| line.id.is_none_or(|id| seen.insert(id)));
    Ok(lines)
}

fn malformed(path: &BlobPath, error: serde_json::Error) -> store::Error {
    store::Error::Permanent { what: path.to_string(), source: error.into() }
}
