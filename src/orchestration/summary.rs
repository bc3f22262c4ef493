//! What a run made, in numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::{Serialize, Serializer};

use super::progress::Timing;
use crate::{
    agents::experimentation::{deliveries::Tally, design::Design, words},
    domain::{experiment::HOLDOUT, variant::Variant, verdict::Decision},
    ingest::Ingested,
};

/// The object that `cpo run --format json` prints.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub campaign: String,
    pub customers: CustomerCounts,
    #[serde(serialize_with = "as_object")]
    pub segments: Vec<(String, u64)>,
    pub variants: VariantCounts,
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

/// They add up: `read` is the sum of the others.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CustomerCounts {
    pub read: u64,
    pub quarantined: u64,
    pub suppressed: u64,
    pub duplicates: u64,
    pub holdout: u64,
    pub held: u64,
    pub assigned: u64,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct VariantCounts {
    pub generated: u64,
    pub approved: u64,
    pub blocked: u64,
    pub needs_review: u64,
}

impl CustomerCounts {
    pub fn of(ingested: &Ingested, deliveries: &Tally) -> Self {
        let total = deliveries.total();
        Self {
            read: ingested.read,
            quarantined: ingested.quarantined,
            suppressed: ingested.suppressed,
            duplicates: ingested.duplicates,
            holdout: total.holdout,
            held: total.held,
            assigned: total.assigned + total.fallback,
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
