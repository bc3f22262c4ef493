//! What a run made, in numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::{
    instance::{Instance, Progress, Status},
    layout,
    names::Run,
    stage::Stage,
    workshop::{Closed, Records},
};
use crate::{
    Error,
    agents::{
        experimentation::{deliveries::Tally, design::Design, words},
        generation::messages,
    },
    domain::{experiment::HOLDOUT, variant::Variant, verdict::Decision},
    ingest::Ingested,
    store::Store,
};

/// The object that `cpo run --format json` prints.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub campaign: String,
    pub run: RunKind,
    pub customers: CustomerCounts,
    #[serde(serialize_with = "as_object")]
    pub segments: Vec<(String, u64)>,
    pub variants: VariantCounts,
    /// Where the campaign wrote to customers one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personal: Option<messages::Counts>,
    /// Customers to whom a message of the arm, or the control message in its place, goes out.
    #[serde(serialize_with = "as_object")]
    pub arms: Vec<(String, u64)>,
    pub cost_usd: f64,
    pub seconds: f64,
    pub report: PathBuf,
    pub stages: Vec<Timing>,
    pub warnings: Vec<String>,
    /// In words; only where outcomes were invented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulated_decision: Option<String>,
}

/// How long a stage took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timing {
    pub stage: Stage,
    pub seconds: f64,
}

/// How much of it the command has done that tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    Whole,
    /// An earlier one, which was interrupted, had done a part.
    Continued,
    /// Nothing: it was complete already.
    Earlier,
}

/// They add up: `read` is the sum of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerCounts {
    pub read: u64,
    pub quarantined: u64,
    pub suppressed: u64,
    pub duplicates: u64,
    pub holdout: u64,
    pub held: u64,
    pub assigned: u64,
    /// Of shards whose delivery was given up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub undelivered: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantCounts {
    pub generated: u64,
    pub approved: u64,
    pub blocked: u64,
    pub needs_review: u64,
}

impl CustomerCounts {
    pub fn of(ingested: &Ingested, deliveries: &Tally, undelivered: u64) -> Self {
        let total = deliveries.total();
        Self {
            read: ingested.read,
            quarantined: ingested.quarantined,
            suppressed: ingested.suppressed,
            duplicates: ingested.duplicates,
            holdout: total.holdout,
            held: total.held,
            assigned: total.assigned + total.fallback,
            undelivered,
        }
    }
}

impl VariantCounts {
    pub fn of(variants: &[Variant]) -> Self {
        let count = |decision| variants.iter().filter(|variant| variant.verdict.decision == decision).count() as u64;
        Self {
            generated: variants.len() as u64,
            approved: count(Decision::Approved),
            blocked: count(Decision::Blocked),
            needs_review: count(Decision::NeedsReview),
        }
    }
}

/// Of a finished instance, whoever finished it and whenever. The report's path is its name in the store.
pub async fn of(store: &Store, instance: &Instance) -> Result<Summary, Error> {
    let failed = |error: &str| Error::failed("the campaign's results cannot be told", error);
    let close = instance.stages.last().filter(|stage| stage.step.stage == Stage::Close);
    let Some(close) = close.filter(|_| instance.status == Status::Completed) else {
        return Err(failed("it is not finished"));
    };
    let run = Run { campaign: instance.campaign.clone(), generation: instance.generation };
    let records = Records { blobs: store.blobs.as_ref(), run: &run, instance };
    let closed: Closed = records.output(close.step, 0).await.map_err(|trouble| failed(&trouble.to_string()))?;
    let stages = timings(instance);
    Ok(Summary {
        campaign: instance.campaign.to_string(),
        run: RunKind::Earlier,
        customers: closed.customers,
        segments: closed.segments,
        variants: closed.variants,
        personal: closed.personal,
        arms: closed.arms,
        cost_usd: closed.cost_usd.dollars(),
        seconds: seconds(instance),
        report: run.file(&layout::blob(layout::REPORT_HTML)).as_str().into(),
        stages,
        warnings: closed.warnings,
        simulated_decision: None,
    })
}

/// From the first stage's opening to the last one's end, what it waited for people included.
fn seconds(instance: &Instance) -> f64 {
    let ends = instance.stages.iter().filter_map(|stage| match stage.state {
        Progress::Closed { at, .. } => Some(at),
        Progress::Open { .. } => None,
    });
    match (instance.stages.first(), ends.max()) {
        (Some(first), Some(end)) => end.duration_since(first.opened).as_secs_f64(),
        _ => 0.0,
    }
}

/// Of the stages that have ended, all passes of one together. A stage that ran beside the one before it is timed from
/// that one's end, so that together they are never longer than the run.
pub fn timings(instance: &Instance) -> Vec<Timing> {
    let mut timings: Vec<Timing> = Vec::new();
    let mut told = Timestamp::MIN;
    for state in &instance.stages {
        let Progress::Closed { at, .. } = state.state else { continue };
        let seconds = at.duration_since(state.opened.max(told)).as_secs_f64().max(0.0);
        told = told.max(at);
        let stage = state.step.stage;
        match timings.iter_mut().find(|timing| timing.stage == stage) {
            Some(timing) => timing.seconds += seconds,
            None => timings.push(Timing { stage, seconds }),
        }
    }
    timings
}

fn as_object<S: Serializer>(counts: &[(String, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().map(|(name, count)| (name, count)))
}

/// Holdout gets nothing, and is left out.
pub fn reached_per_arm(design: &Design, deliveries: &Tally) -> Vec<(String, u64)> {
    let reached = |arm: usize| {
        let of_arm = deliveries.cells.iter().filter(|((_, index), _)| usize::from(*index) == arm);
        of_arm.map(|(_, counts)| counts.assigned + counts.fallback).sum()
    };
    let arms = design.arms.iter().enumerate().filter(|(_, arm)| arm.name.as_str() != HOLDOUT);
    arms.map(|(index, arm)| (arm.name.to_string(), reached(index))).collect()
}

/// That customers get nothing, and the reason that most variants share.
pub fn held(customers: u64, variants: &[Variant]) -> Option<String> {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for variant in variants.iter().filter(|variant| variant.verdict.decision == Decision::Blocked) {
        let blocking = variant.verdict.findings.iter().filter(|finding| finding.blocks);
        for why in blocking.map(|finding| finding.why.as_str()).collect::<BTreeSet<_>>() {
            *reasons.entry(why).or_default() += 1;
        }
    }
    let reason = match reasons.into_iter().max_by_key(|(_, count)| *count) {
        Some((why, count)) => format!("most often (in {count} variants) because: {why}"),
        None => "they wait for a person's review".to_owned(),
    };
    (customers > 0).then(|| {
        format!(
            "{} customers are held, as no message for them is approved: {reason}. See the report.",
            words::count(customers)
        )
    })
}
