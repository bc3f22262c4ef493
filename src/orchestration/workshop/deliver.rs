//! Deliver: every customer's arm, message and slot values.
//!
//! What is recalled after the release goes to nobody whose item has not begun. The first worker at an item writes down
//! what was recalled by then, and all who do the item go by that: two of them still write one table.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Job, Output, Trouble, compute, folder::encode_table, label, personalize::Personalized};
use crate::{
    agents::{
        experimentation::{deliver::Personal, deliveries::Tally},
        generation::messages,
    },
    audit::Written,
    domain::{customer::ShardId, id::DocumentId, variant::Usage},
    orchestration::{layout, recalls, stage::Stage},
    store::{self, Precondition},
};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivered {
    pub tally: Tally,
    pub table: Written,
}

/// What of a campaign's sources was recalled when an item of its delivery began.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "schema", deny_unknown_fields)]
enum Recalled {
    #[serde(rename = "recalled/1")]
    V1 { documents: BTreeSet<DocumentId> },
}

pub async fn perform(job: Job<'_>) -> Result<Output, Trouble> {
    let (context, records, id) = (job.context, job.records, ShardId(job.item.index));
    let mut personal = personal(job).await?;
    let recalled = recalled(job, &personal).await?;
    personal.messages.values_mut().for_each(|variant| recalls::block(variant, &recalled));
    let delivering = context.delivering(records, &recalled).await?;
    let (shard, segments) = label::labelled(job, id).await?;
    let (tally, table) = compute(move || {
        let (rows, tally) = delivering.deliver(&shard, &segments, &personal)?;
        Ok((tally, encode_table(&rows)?))
    })
    .await?;
    let table = job.folder().put(layout::table(layout::DELIVERIES, id), table).await?;
    Output::new(None, Usage::default(), &Delivered { tally, table })
}

/// What was written for the shard's customers alone.
async fn personal(job: Job<'_>) -> Result<Personal, Trouble> {
    let step = Stage::Personalize.into();
    if job.records.instance.stage(step).is_none() {
        return Ok(Personal::default());
    }
    let Ok(Personalized { messages, .. }) = job.records.result(step, job.item.index).await? else {
        return Ok(Personal { lack: Some("those of its part of the customers were given up"), ..Personal::default() });
    };
    let messages = messages::from_lines(&job.folder().get(&messages).await?)?;
    Ok(Personal {
        messages: messages.into_iter().map(|message| (message.customer_id, message.variant)).collect(),
        lack: Some("nothing is known of them that may be told"),
    })
}

async fn recalled(job: Job<'_>, personal: &Personal) -> Result<BTreeSet<DocumentId>, Trouble> {
    let (blobs, item) = (job.records.blobs, job.item);
    let released = job.context.released(job.records).await?;
    let mut documents = recalls::of(blobs).await?;
    documents.retain(|document| {
        let document = BTreeSet::from([document.clone()]);
        released.iter().chain(personal.messages.values()).any(|variant| recalls::cites(variant, &document))
    });
    let path = job.records.run.recalled(item.step, item.index, item.attempt);
    let bytes = serde_json::to_vec(&Recalled::V1 { documents: documents.clone() })?;
    match blobs.put(&path, bytes, Precondition::Absent).await {
        Ok(_) => Ok(documents),
        Err(store::Error::AlreadyExists { .. } | store::Error::Ambiguous { .. }) => {
            let Recalled::V1 { documents } = serde_json::from_slice(&blobs.get(&path).await?.bytes)?;
            Ok(documents)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_version_kept_is_still_read() {
        let json = include_str!("../../../tests/data/formats/recalled-1.json");
        let recalled: Recalled = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&recalled).unwrap(), json.trim_end());
    }
}
