//! Design: who the segments are, what the test can find out, what the campaign may cost.

use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};

use super::{Job, Output, Trouble, cells, estimate, label::Labelled, personalize};
use crate::{
    agents::{
        experimentation::design::Design,
        segmentation::{RuleOverlap, Tally},
    },
    audit::Written,
    config::campaign::GenerationMode,
    domain::{
        estimate::StageEstimate,
        money::Usd,
        segment::{Segment, SegmentProfile},
        variant::Usage,
    },
    orchestration::{
        instance::{Allowances, Fact, Plan},
        layout,
        stage::Stage,
    },
};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Designed {
    /// Those with customers: a segment without any needs no messages.
    pub segments: Vec<Segment>,
    /// One for each of them.
    pub profiles: Vec<SegmentProfile>,
    pub overlaps: Vec<RuleOverlap>,
    /// By shard.
    pub labels: Vec<Written>,
    pub design: Written,
    /// By stage; empty in records of earlier versions.
    #[serde(default)]
    pub estimate: Vec<StageEstimate>,
}

/// How often a question to an index or a screen may be paid for. A call that broke off counts as charged: with room for
/// one alone, the first broken connection would be the end of the campaign, or of a message. A writer's allowance has
/// room for its repairs.
pub const ASKED: u32 = 3;

pub async fn perform(job: Job<'_>) -> Result<Output, Trouble> {
    let (context, records) = (job.context, job.records);
    let model = context.model(records).await?;
    let labelled = records.outputs::<Labelled>(Stage::Label.into());
    // In the order of the shards: last digits of means depend on it.
    let (tally, labels) = labelled
        .try_fold((Tally::default(), Vec::new()), |(mut tally, mut labels), labelled| async move {
            tally.merge(labelled.tally);
            labels.push(labelled.table);
            Ok((tally, labels))
        })
        .await?;
    let (segments, profiles): (Vec<Segment>, Vec<SegmentProfile>) = model
        .segments()
        .iter()
        .cloned()
        .zip(tally.profiles(model))
        .filter(|(_, profile)| profile.customers > 0)
        .unzip();
    let campaign = &context.start.campaign;
    let sizes: Vec<_> = profiles.iter().map(|profile| (profile.name.clone(), profile.customers)).collect();
    let design = Design::plan(campaign, &sizes);
    let providers = &job.providers()?;
    let index = context.index(job).await?;
    let (shielded, shielded_once) = match &providers.shields {
        Some(shields) => {
            let content = context.content(records).await?;
            (shields.most(content, campaign.content.passages), shields.most(content, usize::MAX))
        }
        None => (Usd::ZERO, Usd::ZERO),
    };
    let (personal, each) = match campaign.generation.mode {
        GenerationMode::Segment => (0, Usd::ZERO),
        GenerationMode::Customer => (count(labels.len())?, personalize::most(campaign, providers)),
    };
    let plan = Plan {
        queries: count(cells::queries(campaign, &segments).len())?,
        variants: count(cells::tasks(campaign, &segments).len())?,
        allowances: Allowances {
            retrieve: (index.most() + shielded).times(ASKED),
            generate: providers.writer.most(),
            screen: providers.screen.most().times(ASKED),
            personalize: each.times(context.start.shard_rows),
        },
        personal,
    };
    let design = job.folder().put_json(layout::blob(layout::DESIGN), &design).await?;
    let (index, read_on) = (index.as_ref(), context.prices_read_on);
    let estimate = estimate::stages(campaign, &profiles, &plan, providers, index, shielded_once, read_on);
    let designed = Designed { segments, profiles, overlaps: tally.overlaps(model), labels, design, estimate };
    Output::new(Some(Fact::Designed(plan)), Usage::default(), &designed)
}

fn count(items: usize) -> Result<u32, Trouble> {
    u32::try_from(items).map_err(|error| Trouble::Defect(error.into()))
}
