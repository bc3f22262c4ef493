//! What a tracking server is told of a run: names, counts, rates, money and time. Nothing of any single customer.
//!
//! It is plain data, made anew from the run's files whenever it is sent, so that it says what they say.

use std::{collections::BTreeMap, fmt::Display};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    agents::{
        experimentation::{
            analysis::{Decision, Interval, Results},
            design::Design,
        },
        generation::messages::Counts,
    },
    config::Campaign,
    domain::{digest::Digest, variant::Variant, verdict},
};

/// A workspace of Azure Machine Learning takes no more of a run.
const MOST_PARAMS: usize = 200;

/// Servers cut or refuse what is longer: the oldest still in use at 500 characters.
const MOST_VALUE: usize = 500;
const MOST_KEY: usize = 200;

#[derive(Debug, Clone, PartialEq)]
pub struct Tracked {
    /// Runs of one campaign stand beside each other: it is the campaign's id.
    pub experiment: String,
    /// One run and no other, whoever tells of it and however often.
    pub identity: String,
    /// For people.
    pub name: String,
    pub began: Timestamp,
    pub ended: Timestamp,
    /// When what is told here became known.
    pub told: Timestamp,
    /// Fixed when the run was started; the most important first.
    pub params: Vec<(String, String)>,
    pub metrics: BTreeMap<String, f64>,
    pub tags: BTreeMap<String, String>,
    /// The run's files by name.
    pub artifacts: Vec<(String, Vec<u8>)>,
}

impl Tracked {
    pub fn param(&mut self, key: &str, value: impl Display) {
        if self.params.len() < MOST_PARAMS {
            self.params.push((self::key(key), cut(&value.to_string())));
        }
    }

    /// What is no number (an infinity, say) is left out.
    pub fn metric(&mut self, key: &str, value: f64) {
        if value.is_finite() {
            self.metrics.insert(self::key(key), value);
        }
    }

    pub fn tag(&mut self, key: &str, value: impl Display) {
        self.tags.insert(self::key(key), cut(&value.to_string()));
    }

    /// All of the frozen campaign file, flat: `experiment.alpha`, `experiment.arms.0.tone`. A list of plain values is one
    /// parameter.
    pub fn campaign(&mut self, campaign: &Campaign) -> serde_json::Result<()> {
        self.flat("", &serde_json::to_value(campaign)?);
        Ok(())
    }

    fn flat(&mut self, at: &str, value: &Value) {
        let below = |name: &dyn Display| if at.is_empty() { name.to_string() } else { format!("{at}.{name}") };
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| self.flat(&below(name), value)),
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                items.iter().enumerate().for_each(|(index, value)| self.flat(&below(&index), value));
            }
            Value::Array(items) if !items.is_empty() => {
                self.param(at, items.iter().map(plain).collect::<Vec<_>>().join(", "));
            }
            Value::Array(_) | Value::Null => {}
            value => self.param(at, plain(value)),
        }
    }

    pub fn design(&mut self, design: &Design) {
        for arm in &design.arms {
            self.param(&format!("design.{}.share", arm.name), arm.share);
        }
        self.param("design.salt", &design.salt);
        self.param("design.comparisons", design.comparisons);
    }

    /// How many were written, and what the gates made of them; all together and by arm.
    pub fn variants(&mut self, variants: &[Variant]) {
        let mut by_arm: BTreeMap<&str, Vec<&Variant>> = BTreeMap::new();
        for variant in variants {
            by_arm.entry(variant.cell.arm.as_str()).or_default().push(variant);
        }
        self.verdicts("variants", &variants.iter().collect::<Vec<_>>());
        for (arm, variants) in by_arm {
            self.verdicts(&format!("arm.{arm}.variants"), &variants);
        }
    }

    fn verdicts(&mut self, at: &str, variants: &[&Variant]) {
        use verdict::Decision::{Approved, Blocked, NeedsReview};
        let count = |decision| variants.iter().filter(|variant| variant.verdict.decision == decision).count() as f64;
        let (all, blocked) = (variants.len() as f64, count(Blocked));
        self.metric(&format!("{at}.generated"), all);
        self.metric(&format!("{at}.approved"), count(Approved));
        self.metric(&format!("{at}.blocked"), blocked);
        self.metric(&format!("{at}.needs_review"), count(NeedsReview));
        self.metric(&format!("{at}.blocked_share"), blocked / all);
    }

    /// Of the messages for single customers.
    pub fn personal(&mut self, counts: &Counts) {
        self.metric("personal.generated", counts.written() as f64);
        self.metric("personal.approved", counts.approved as f64);
        self.metric("personal.blocked", counts.blocked as f64);
        self.metric("personal.needs_review", counts.needs_review as f64);
        self.metric("personal.unknown", counts.unknown as f64);
    }

    /// What outcomes say, as far as they are known.
    pub fn results(&mut self, results: &Results) {
        self.tag("cpo_decision", results.decision.in_words());
        self.tag("cpo_simulated", results.simulated);
        let winner = match &results.decision {
            Decision::Winner { arm, .. } => arm,
            Decision::NoDecision { .. } => "none",
        };
        self.tag("cpo_winner", winner);
        self.metric("results.customers", results.customers as f64);
        self.metric("results.sample_ratio.p_value", results.sample_ratio.p_value);
        self.metric("results.sample_ratio.mismatch", f64::from(u8::from(results.sample_ratio.mismatch)));
        for arm in &results.arms {
            self.metric(&format!("results.{}.customers", arm.arm), arm.customers as f64);
            for summary in &arm.metrics {
                let at = format!("results.{}.{}", arm.arm, summary.metric);
                self.metric(&format!("{at}.total"), summary.total);
                self.metric(&format!("{at}.mean"), summary.mean);
                self.interval(&at, summary.interval);
            }
        }
        for comparison in &results.comparisons {
            let at = format!("results.{}_vs_{}.{}", comparison.arm, comparison.control, comparison.metric);
            self.metric(&format!("{at}.difference"), comparison.difference);
            self.interval(&format!("{at}.difference"), comparison.difference_interval);
            let others = [("lift", comparison.lift), ("p_value", comparison.p_value), ("p_holm", comparison.p_holm)];
            for (name, value) in others {
                if let Some(value) = value {
                    self.metric(&format!("{at}.{name}"), value);
                }
            }
            self.interval(&format!("{at}.lift"), comparison.lift_interval);
        }
    }

    fn interval(&mut self, at: &str, interval: Option<Interval>) {
        if let Some(Interval { low, high }) = interval {
            self.metric(&format!("{at}.low"), low);
            self.metric(&format!("{at}.high"), high);
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn cut(text: &str) -> String {
    text.chars().take(MOST_VALUE).collect()
}

/// In the letters that all servers take. Two keys stay two: one that is changed by it has its digest at its end.
fn key(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.len() <= MOST_KEY && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let replaced: String = text.chars().map(|c| if is_plain(c) { c } else { '_' }).take(MOST_KEY - 13).collect();
    format!("{replaced}-{}", Digest::of(text).short())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{agents::experimentation::sample_campaign, config::campaign::TrackerName};

    fn empty() -> Tracked {
        let time = Timestamp::UNIX_EPOCH;
        Tracked {
            experiment: "spring".to_owned(),
            identity: "spring/1".to_owned(),
            name: "spring 1".to_owned(),
            began: time,
            ended: time,
            told: time,
            params: Vec::new(),
            metrics: BTreeMap::new(),
            tags: BTreeMap::new(),
            artifacts: Vec::new(),
        }
    }

    #[test]
    fn the_frozen_campaign_is_told_flat_and_whole() {
        let mut tracked = empty();
        let mut campaign = sample_campaign("mde_relative = 0.2");
        // Who is tracked has named whom to.
        campaign.providers.tracking = TrackerName::Mlflow;
        tracked.campaign(&campaign).unwrap();
        let params: BTreeMap<_, _> = tracked.params.into_iter().collect();
        for (key, value) in [
            ("campaign.id", "spring"),
            ("campaign.channels", "email"),
            ("segmentation.rules.0.name", "Everyone"),
            ("experiment.mde_relative", "0.2"),
            ("experiment.arms.1.tone", "urgent"),
            ("generation.seed", "0"),
            ("providers.generation", "embedded"),
        ] {
            assert_eq!(params.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert!(!params.contains_key("campaign.date") && params.values().all(|value| value != "null"));
    }

    #[test]
    fn names_that_servers_refuse_are_changed_and_stay_apart() {
        let names = ["visits", "visits?", "visits!", &"v".repeat(250), &"v".repeat(251), "Käufe"];
        let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
        assert_eq!(keys[0], "visits");
        for (position, key) in keys.iter().enumerate() {
            assert!(key.len() <= MOST_KEY && key.is_ascii() && !key.contains(['?', '!']), "{key}");
            assert!(!keys[..position].contains(key), "{key}");
        }
    }

    #[test]
    fn a_campaign_with_many_rules_does_not_ask_for_more_than_a_workspace_takes() {
        let mut tracked = empty();
        for number in 0..300 {
            tracked.param(&format!("p{number}"), "x".repeat(600));
        }
        tracked.metric("rate", f64::NAN);
        assert_eq!(tracked.params.len(), MOST_PARAMS);
        assert!(tracked.params.iter().all(|(_, value)| value.len() == MOST_VALUE));
        assert!(tracked.metrics.is_empty());
    }
}
