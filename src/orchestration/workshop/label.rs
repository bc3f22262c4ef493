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
    domain::{customer::ShardId, variant::Usage},
    orchestration::layout,
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
