//! Label: every customer's segment, and why.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Job, Output, Trouble, compute,
    folder::{decode_shard, encode_table},
};
use crate::{
    agents::segmentation::{Tally, labels},
    audit::Written,
    domain::{
        customer::{Shard, ShardId},
        variant::Usage,
    },
    orchestration::layout,
    store::table,
};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labelled {
    pub tally: Tally,
    pub table: Written,
}

pub async fn perform(job: Job<'_>) -> Result<Output, Trouble> {
    let id = ShardId(job.item.index);
    let model = Arc::clone(job.context.model(job.records).await?);
    let shard = job.context.shard(job.records, id).await?;
    let (tally, table) = compute(move || {
        let shard = decode_shard(id, shard)?;
        let labels = model.label(&shard);
        let mut tally = Tally::default();
        tally.add(&model, &shard, &labels);
        Ok((tally, encode_table(&labels::to_table(&shard, &labels, model.segments())?)?))
    })
    .await?;
    let table = job.folder().put(layout::table(layout::LABELS, id), table).await?;
    Output::new(None, Usage::default(), &Labelled { tally, table })
}

/// A shard's customers with their segments, as indices of the model's.
pub async fn labelled(job: Job<'_>, id: ShardId) -> Result<(Shard, Vec<u16>), Trouble> {
    let (context, records) = (job.context, job.records);
    let model = Arc::clone(context.model(records).await?);
    let labels = context.designed(records).await?.labels.get(id.0 as usize);
    let labels = labels.ok_or_else(|| Trouble::Defect(format!("shard {id} was not labelled").into()))?;
    let folder = job.folder();
    let (shard, labels) = tokio::try_join!(context.shard(records, id), folder.get(labels))?;
    let read = move || Ok((decode_shard(id, shard)?, labels::segments_of(&table::decode(labels)?, model.segments())?));
    compute(read).await
}
