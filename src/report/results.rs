//! The results in words and charts. Whoever reads "no decision" must not take it for a failure.

use serde::Serialize;

use crate::{
    agents::experimentation::analysis::{
        ArmResult, Comparison, Decision, GroupResult, Interval, MetricKind, MetricSummary, Results,
    },
    report::{
        Error,
        charts::{self, Mark, Row},
        numbers,
    },
};

const NONE: &str = "\u{2013}";

#[derive(Debug, Serialize)]
pub struct ResultsView<'a> {
    simulated: bool,
    customers: String,
    /// `95%`
    confidence: String,
    control: &'a str,
    decided: bool,
    decision: String,
    why: String,
    /// The split between the arms is not the configured one.
    mismatch: bool,
    sample_ratio: String,
    metrics: Vec<Metric<'a>>,
    groups: Vec<Group<'a>>,
    warnings: &'a [String],
}

#[derive(Debug, Serialize)]
struct Metric<'a> {
    name: &'a str,
    primary: bool,
    kind: MetricKind,
    arms: Vec<ArmRow<'a>>,
    comparisons: Vec<ComparisonRow<'a>>,
    levels_chart: String,
    levels_label: String,
    effects_chart: String,
    effects_label: String,
    /// `lift` or `difference`
    effect: &'static str,
}

#[derive(Debug, Serialize)]
struct ArmRow<'a> {
    arm: &'a str,
    customers: String,
    total: String,
    level: String,
    interval: String,
}

#[derive(Debug, Serialize)]
struct ComparisonRow<'a> {
    metric: &'a str,
    arm: &'a str,
    control: &'a str,
    difference: String,
    difference_interval: String,
    lift: String,
    lift_interval: String,
    p: String,
    p_holm: String,
    words: String,
    adjusted: Option<String>,
}

/// Exploratory results of the customers with one value.
#[derive(Debug, Serialize)]
struct Group<'a> {
    column: &'a str,
    value: &'a str,
    rows: Vec<ComparisonRow<'a>>,
}

impl<'a> ResultsView<'a> {
    pub fn of(results: &'a Results) -> Result<Self, Error> {
        let mut names: Vec<&str> = Vec::new();
        for metric in results.arms.iter().flat_map(|arm| &arm.metrics) {
            if !names.contains(&metric.metric.as_str()) {
                names.push(&metric.metric);
            }
        }
        let rows = |comparisons: &'a [Comparison]| comparisons.iter().map(|c| ComparisonRow::of(c, results.alpha));
        let group = |group: &'a GroupResult| Group {
            column: &group.column,
            value: &group.value,
            rows: rows(&group.comparisons).collect(),
        };
        let (decision, why) = decision(results);
        Ok(Self {
            simulated: results.simulated,
            customers: numbers::count(results.customers),
            confidence: numbers::percent(1.0 - results.alpha),
            control: &results.control,
            decided: matches!(results.decision, Decision::Winner { .. }),
            decision,
            why: numbers::prose(why),
            mismatch: results.sample_ratio.mismatch,
            sample_ratio: numbers::p_equals(results.sample_ratio.p_value),
            metrics: names.into_iter().map(|name| Metric::of(results, name)).collect::<Result<_, _>>()?,
            groups: results.groups.iter().map(group).collect(),
            warnings: &results.warnings,
        })
    }
}

/// The decision as a short sentence, and why.
pub fn decision(results: &Results) -> (String, &str) {
    match &results.decision {
        Decision::Winner { arm, why } => (format!("\u{201c}{arm}\u{201d} beats {}", results.control), why),
        Decision::NoDecision { why } => ("No decision".to_owned(), why),
    }
}

impl<'a> Metric<'a> {
    fn of(results: &'a Results, name: &'a str) -> Result<Self, Error> {
        let summaries: Vec<(&ArmResult, &MetricSummary)> = results
            .arms
            .iter()
            .filter_map(|arm| Some((arm, arm.metrics.iter().find(|metric| metric.metric == name)?)))
            .collect();
        let kind = summaries.first().map_or(MetricKind::Mean, |(_, summary)| summary.kind);
        let comparisons: Vec<&Comparison> = results.comparisons.iter().filter(|c| c.metric == name).collect();
        let relative = comparisons.iter().all(|c| c.lift.is_some() && c.lift_interval.is_some());
        let levels: Vec<Row> = summaries.iter().map(|(arm, summary)| level(arm, summary, &results.control)).collect();
        let effects: Vec<Row> = comparisons.iter().map(|c| effect(c, relative, results.alpha)).collect();

        let described = |rows: &[Row]| {
            let rows = rows.iter().map(|row| format!("{}: {}", row.name, row.label));
            rows.collect::<Vec<_>>().join("; ")
        };
        let effect = if relative { "lift" } else { "difference" };
        let level_ticks = if kind == MetricKind::Rate { numbers::percent } else { numbers::tick };
        let effect_ticks = if relative { numbers::percent } else { level_ticks };
        Ok(Self {
            name,
            primary: name == results.primary_metric,
            kind,
            arms: summaries.iter().map(|(arm, summary)| ArmRow::of(arm, summary)).collect(),
            comparisons: comparisons.iter().map(|c| ComparisonRow::of(c, results.alpha)).collect(),
            levels_chart: charts::levels(&levels, level_ticks)?,
            levels_label: format!("{name} per arm. {}", described(&levels)),
            effects_chart: charts::effects(&effects, effect_ticks)?,
            effects_label: format!("{effect} in {name}. {}", described(&effects)),
            effect,
        })
    }
}

fn level(arm: &ArmResult, summary: &MetricSummary, control: &str) -> Row {
    let label = mean(summary.kind, summary.mean);
    Row {
        name: arm.arm.clone(),
        label: match summary.interval {
            Some(interval) => format!("{label} ({})", between(interval, |value| mean(summary.kind, value))),
            None => label,
        },
        value: summary.mean,
        interval: summary.interval,
        mark: if arm.arm == control { Mark::Muted } else { Mark::Strong },
    }
}

fn effect(comparison: &Comparison, relative: bool, alpha: f64) -> Row {
    let (value, interval) = match comparison.lift {
        Some(lift) if relative => (lift, comparison.lift_interval),
        _ => (comparison.difference, comparison.difference_interval),
    };
    let format =
        |value: f64| if relative { numbers::percent(value) } else { numbers::difference(comparison.kind, value) };
    let label = numbers::signed(value, format);
    Row {
        name: format!("{} vs {}", comparison.arm, comparison.control),
        label: match interval {
            Some(interval) => format!("{label} ({})", signed_between(interval, format)),
            None => label,
        },
        value,
        interval,
        mark: if is_significant(comparison, alpha) { Mark::Strong } else { Mark::Hollow },
    }
}

impl<'a> ArmRow<'a> {
    fn of(arm: &'a ArmResult, summary: &MetricSummary) -> Self {
        Self {
            arm: &arm.arm,
            customers: numbers::count(arm.customers),
            total: match summary.kind {
                MetricKind::Rate => numbers::count(summary.total.round() as u64),
                MetricKind::Mean => numbers::decimal(summary.total),
            },
            level: mean(summary.kind, summary.mean),
            interval: or_none(summary.interval, |interval| between(interval, |value| mean(summary.kind, value))),
        }
    }
}

impl<'a> ComparisonRow<'a> {
    fn of(comparison: &'a Comparison, alpha: f64) -> Self {
        let difference = |value| numbers::difference(comparison.kind, value);
        Self {
            metric: &comparison.metric,
            arm: &comparison.arm,
            control: &comparison.control,
            difference: numbers::signed(comparison.difference, difference),
            difference_interval: or_none(comparison.difference_interval, |found| signed_between(found, difference)),
            lift: or_none(comparison.lift, |lift| numbers::signed(lift, numbers::percent)),
            lift_interval: or_none(comparison.lift_interval, |found| signed_between(found, numbers::percent)),
            p: or_none(comparison.p_value, numbers::p_value),
            p_holm: or_none(comparison.p_holm, numbers::p_value),
            words: in_words(comparison, alpha),
            adjusted: comparison.adjusted.as_ref().map(|adjusted| {
                format!(
                    "With the variance that {} explains taken out ({} of it): {} ({}), {}.",
                    adjusted.covariate,
                    numbers::percent(adjusted.variance_reduction),
                    numbers::signed(adjusted.difference, difference),
                    signed_between(adjusted.difference_interval, difference),
                    numbers::p_equals(adjusted.p_value),
                )
            }),
        }
    }
}

fn is_significant(comparison: &Comparison, alpha: f64) -> bool {
    comparison.p_holm.is_some_and(|p| p < alpha)
}

fn in_words(comparison: &Comparison, alpha: f64) -> String {
    if let Some(reason) = &comparison.undefined {
        return format!("No test: {reason}.");
    }
    let direction = if comparison.difference > 0.0 { "above" } else { "below" };
    match comparison.p_holm {
        Some(p) if p < alpha => format!("Significantly {direction} {}.", comparison.control),
        Some(_) => "Not significant: the difference may be chance.".to_owned(),
        None => "For information: no decision rests on it.".to_owned(),
    }
}

fn mean(kind: MetricKind, value: f64) -> String {
    match kind {
        MetricKind::Rate => numbers::percent(value),
        MetricKind::Mean => numbers::decimal(value),
    }
}

fn or_none<T>(value: Option<T>, format: impl Fn(T) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), format)
}

fn between(interval: Interval, format: impl Fn(f64) -> String) -> String {
    format!("{} to {}", format(interval.low), format(interval.high))
}

fn signed_between(interval: Interval, format: impl Fn(f64) -> String) -> String {
    between(interval, |value| numbers::signed(value, &format))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn what_is_not_shown_to_differ_is_never_called_significant() {
        let results = sample::with_results(false).results.unwrap();
        let mut comparison = results.comparisons[0].clone();
        let words = |comparison: &Comparison| in_words(comparison, 0.05);
        comparison.p_holm = Some(0.049);
        assert_eq!(words(&comparison), "Significantly above control.");
        comparison.difference = -comparison.difference;
        assert_eq!(words(&comparison), "Significantly below control.");
        // Raw p-values stay below alpha: only the corrected one counts.
        comparison.p_value = Some(0.001);
        comparison.p_holm = Some(0.05);
        assert!(words(&comparison).starts_with("Not significant"));
        assert_eq!(effect(&comparison, true, 0.05).mark, Mark::Hollow);
        comparison.p_holm = None;
        assert!(words(&comparison).starts_with("For information"));
        comparison.undefined = Some("nobody converted".to_owned());
        assert_eq!(words(&comparison), "No test: nobody converted.");
    }
}
