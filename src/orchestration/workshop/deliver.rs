//! Deliver: every customer's arm, message and slot values.
//!
//! What is recalled after the release goes to nobody whose item has not begun. The first worker at an item writes down
//! what was recalled by then, and all who do the item go by that: two of them still write one table.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Job, Output, Trouble, compute,
    folder::{decode_shard, encode_table},
};
use crate::{
    agents::{experimentation::deliveries::Tally, segmentation::labels},
    audit::Written,
    domain::{customer::ShardId, id::DocumentId, variant::Usage},
    orchestration::{layout, recalls},
    store::{self, Precondition, table},
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
    let recalled = recalled(job).await?;
    let (delivering, model) =
        (context.delivering(records, &recalled).await?, Arc::clone(context.model(records).await?));
    let labels = context.designed(records).await?.labels.get(id.0 as usize);
    let labels = labels.ok_or_else(|| Trouble::Defect(format!("shard {id} was not labelled").into()))?;
    let folder = job.folder();
    let (shard, labels) = tokio::try_join!(context.shard(records, id), folder.get(labels))?;
    let (tally, table) = compute(move || {
        let shard = decode_shard(id, shard)?;
        let segments = labels::segments_of(&table::decode(labels)?, model.segments())?;
        let (rows, tally) = delivering.deliver(&shard, &segments)?;
        Ok((tally, encode_table(&rows)?))
    })
    .await?;
    let table = folder.put(layout::table(layout::DELIVERIES, id), table).await?;
    Output::new(None, Usage::default(), &Delivered { tally, table })
}

async fn recalled(job: Job<'_>) -> Result<BTreeSet<DocumentId>, Trouble> {
    let (blobs, item) = (job.records.blobs, job.item);
    let released = job.context.released(job.records).await?;
    let mut documents = recalls::of(blobs).await?;
    documents.retain(|document| {
        let document = BTreeSet::from([document.clone()]);
        released.iter().any(|variant| recalls::cites(variant, &document))
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
