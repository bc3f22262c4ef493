//! Profile and fit: from the customers to the model that puts them into segments, in as many passes as it takes.

use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};

use super::{Job, Output, Trouble, compute, context::Context, folder::decode_shard, records::Records};
use crate::{
    agents::segmentation::{Fitter, Next, Profile},
    audit::Written,
    domain::{customer::ShardId, variant::Usage},
    orchestration::{
        instance::Fact,
        layout,
        stage::{Stage, Step},
    },
};

/// What a pass led to: another one, or the model.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fitted {
    Pass(Fitter),
    Model(Written),
}

/// One shard.
pub async fn profile(job: Job<'_>) -> Result<Output, Trouble> {
    let id = ShardId(job.item.index);
    let fitter = fitter(job.context, job.records, job.item.step.pass).await?;
    let shard = job.context.shard(job.records, id).await?;
    let profile = compute(move || Ok(fitter.profile(&decode_shard(id, shard)?))).await?;
    Output::new(None, Usage::default(), &profile)
}

/// All shards' profiles, merged in their order: last digits of sums depend on it.
pub async fn perform(job: Job<'_>) -> Result<Output, Trouble> {
    let pass = job.item.step.pass;
    let fitter = fitter(job.context, job.records, pass).await?;
    let profiles = job.records.outputs::<Profile>(Step { stage: Stage::Profile, pass });
    let merged = profiles
        .try_fold(None, |merged: Option<Profile>, next| async {
            match merged {
                None => Ok(Some(next)),
                Some(merged) => compute(move || Ok(Some(merged.merge(next)))).await,
            }
        })
        .await?;
    let next = compute(move || {
        let profile = merged.unwrap_or_else(|| fitter.empty());
        Ok(fitter.advance(profile))
    })
    .await?;
    let (another_pass, fitted) = match next {
        Next::Pass(fitter) => (true, Fitted::Pass(fitter)),
        Next::Model(model) => (false, Fitted::Model(job.folder().put_json(layout::blob(layout::MODEL), &model).await?)),
    };
    Output::new(Some(Fact::Fitted { another_pass }), Usage::default(), &fitted)
}

/// What the pass looks for: made by ingest for the first, and by the fit before it for every other.
async fn fitter(context: &Context, records: Records<'_>, pass: u8) -> Result<Fitter, Trouble> {
    let fitter = if pass <= 1 {
        context.admitted(records).await?.fitter.clone()
    } else {
        match records.output(Step { stage: Stage::Fit, pass: pass - 1 }, 0).await? {
            Fitted::Pass(fitter) => Some(fitter),
            Fitted::Model(_) => None,
        }
    };
    fitter.ok_or_else(|| Trouble::Defect(format!("pass {pass} has nothing to look for").into()))
}

/// Where the model is: ingest's where no pass was needed, or the last fit's.
pub async fn model(context: &Context, records: Records<'_>) -> Result<Written, Trouble> {
    let last = records.instance.stages.iter().rev().find(|stage| stage.step.stage == Stage::Fit);
    let model = match last {
        None => context.admitted(records).await?.model.clone(),
        Some(last) => match records.output(last.step, 0).await? {
            Fitted::Pass(_) => None,
            Fitted::Model(model) => Some(model),
        },
    };
    model.ok_or_else(|| Trouble::Defect("there is no model of the segments yet".into()))
}
