//! Deliver: every customer's arm, message and slot values.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Job, Output, Trouble, compute,
    folder::{decode_shard, encode_table},
};
use crate::{
    agents::{experimentation::deliveries::Tally, segmentation::labels},
    audit::Written,
    domain::{customer::ShardId, variant::Usage},
    orchestration::layout,
    store::table,
};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivered {
    pub tally: Tally,
    pub table: Written,
}

pub async fn perform(job: Job<'_>) -> Result<Output, Trouble> {
    let (context, records, id) = (job.context, job.records, ShardId(job.item.index));
    let (delivering, model) =
        (Arc::clone(context.delivering(records).await?), Arc::clone(context.model(records).await?));
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
