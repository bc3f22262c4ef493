//! Release: all variants as they go out, a person's decision and the recalls up to now included.

use serde::{Deserialize, Serialize};

use super::{
    Job, Output, Trouble,
    collect::{self, Collected},
};
use crate::{
    audit::Written,
    domain::{
        decision::Decision,
        variant::{Usage, Variant},
        verdict,
    },
    orchestration::{finished::Variants, layout, names, recalls, stage::Stage},
};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Released {
    pub variants: Written,
}

pub async fn perform(job: Job<'_>) -> Result<Output, Trouble> {
    let Collected { mut variants, .. } = job.records.output(Stage::Collect.into(), 0).await?;
    let waits = |variant: &Variant| variant.verdict.decision == verdict::Decision::NeedsReview;
    let decision = if variants.iter().any(waits) { Some(decision(job, &variants).await?) } else { None };
    if let Some(decision) = &decision {
        variants.iter_mut().for_each(|variant| decision.apply(variant));
    }
    let recalled = recalls::of(job.records.blobs).await?;
    variants.iter_mut().for_each(|variant| recalls::block(variant, &recalled));
    let variants = Variants::new(variants, decision);
    let variants = job.folder().put_json(layout::blob(layout::VARIANTS), &variants).await?;
    Output::new(None, Usage::default(), &Released { variants })
}

/// The newest on exactly these variants: the one that opened the gate, as none is taken after it.
async fn decision(job: Job<'_>, variants: &[Variant]) -> Result<Decision, Trouble> {
    let digest = collect::digest(variants)?;
    let approval = job.records.instance.approvals.iter().rev().find(|approval| approval.digest == digest);
    let approval = approval.ok_or_else(|| Trouble::Defect("variants wait for a review, and nobody decided".into()))?;
    let blob = job.records.blobs.get(&names::input(&job.records.run.campaign, approval.decision)).await?;
    let decision: Decision = serde_json::from_slice(&blob.bytes)?;
    if decision.digest != digest {
        return Err(Trouble::Defect("the decision is on other variants than its approval says".into()));
    }
    Ok(decision)
}
