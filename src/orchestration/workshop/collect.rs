//! Collect: all variants as they were judged, and the passages that they rest on.

use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};

use super::{Job, Output, Trouble, screen};
use crate::{
    agents::retrieval::Retrieved,
    audit::Written,
    domain::{
        digest::Digest,
        variant::{Usage, Variant},
        verdict::Decision,
    },
    orchestration::{instance::Fact, layout, stage::Stage},
};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collected {
    pub variants: Vec<Variant>,
    pub passages: Written,
}

pub async fn perform(job: Job<'_>) -> Result<Output, Trouble> {
    let tasks = job.context.tasks(job.records).await?;
    let results: Vec<_> = job.records.results::<Variant>(Stage::Screen.into()).try_collect().await?;
    let mut variants = Vec::with_capacity(results.len());
    for ((index, task), result) in (0..).zip(tasks).zip(results) {
        variants.push(match result {
            Ok(variant) => variant,
            Err(tombstone) => screen::not_judged(job, index, task, tombstone.reason).await?,
        });
    }
    let retrieved: Vec<Retrieved> = job.records.outputs(Stage::Retrieve.into()).try_collect().await?;
    let passages = job.folder().put_json(layout::blob(layout::PASSAGES), &retrieved).await?;
    let fact = Fact::Collected {
        digest: digest(&variants)?,
        approved: count(&variants, Decision::Approved),
        blocked: count(&variants, Decision::Blocked),
        needs_review: count(&variants, Decision::NeedsReview),
    };
    Output::new(Some(fact), Usage::default(), &Collected { variants, passages })
}

/// Names what a person looks at and decides on.
pub fn digest(variants: &[Variant]) -> Result<Digest, Trouble> {
    Ok(Digest::of_json(&variants)?)
}

/// No stage has more items than an `u32` counts.
fn count(variants: &[Variant], decision: Decision) -> u32 {
    variants.iter().filter(|variant| variant.verdict.decision == decision).count() as u32
}
