//! The results in words and charts. Whoever reads "no decision" must not take it for a failure.

use serde::Serialize;

use crate::{
    agents::experimentation::analysis::{
        ArmResult, Comparison, Decision, Interval, MetricKind, MetricSummary, Results, SampleRatio,
    },
    report::{
        Error,
        charts::{self, Mark, Row},
        numbers,
    },
};

#[derive(Debug, Serialize)]
pub struct ResultsView<'a> {
    simulated: bool,
    customers: String,
    /// `95%`
    confidence: String,
    control: &'a str,
    decided: bool,
    decision: String,
    why: &'a str,
    sample_ratio: SampleRatioView,
    metrics: Vec<Metric<'a>>,
    groups: Vec<Group<'a>>,
    warnings: &'a [String],
}

#[derive(Debug, Serialize)]
struct SampleRatioView {
    mismatch: bool,
    p: String,
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
    arm: &'a str,
    difference: String,
    difference_interval: String,
    lift: String,
    lift_interval: String,
    p: String,
    p_holm: String,
    significant: bool,
    words: String,
    adjusted: Option<String>,
}

#[derive(Debug, Serialize)]
struct Group<'a> {
    column: &'a str,
    value: &'a str,
    rows: Vec<GroupRow<'a>>,
}

#[derive(Debug, Serialize)]
struct GroupRow<'a> {
    metric: &'a str,
    row: ComparisonRow<'a>,
}

impl<'a> ResultsView<'a> {
    pub fn of(results: &'a Results, primary_metric: &str) -> Result<Self, Error> {
        let mut names: Vec<&str> = Vec::new();
        for arm in &results.arms {
            for metric in &arm.metrics {
                if !names.contains(&metric.metric.as_str()) {
                    names.push(&metric.metric);
                }
            }
        }
        let (decision, why) = decision(results);
        Ok(Self {
            simulated: results.simulated,
            customers: numbers::count(results.customers),
            confidence: numbers::setting(1.0 - results.alpha),
            control: &results.control,
            decided: matches!(results.decision, Decision::Winner { .. }),
            decision,
            why,
            sample_ratio: SampleRatioView::of(&results.sample_ratio),
            metrics: names
                .into_iter()
                .map(|name| Metric::of(results, name, name == primary_metric))
                .collect::<Result<_, _>>()?,
            groups: results
                .groups
                .iter()
                .map(|group| Group {
                    column: &group.column,
                    value: &group.value,
                    rows: group
                        .comparisons
                        .iter()
                        .map(|c| GroupRow { metric: &c.metric, row: ComparisonRow::of(c, results.alpha) })
                        .collect(),
                })
                .collect(),
            warnings: &results.warnings,
        })
    }
}

/// The decision as a short sentence, and why.
pub fn decision(results: &Results) -> (String, &str) {
    match &results.decision {
        Decision::Winner { arm, why } => (format!("{arm} beats {}", results.control), why),
        Decision::NoDecision { why } => ("No decision".to_owned(), why),
    }
}

impl SampleRatioView {
    fn of(ratio: &SampleRatio) -> Self {
        Self { mismatch: ratio.mismatch, p: numbers::p_value(ratio.p_value) }
    }
}

impl<'a> Metric<'a> {
    fn of(results: &'a Results, name: &'a str, primary: bool) -> Result<Self, Error> {
        let summaries: Vec<(&ArmResult, &MetricSummary)> = results
            .arms
            .iter()
            .filter_map(|arm| Some((arm, arm.metrics.iter().find(|metric| metric.metric == name)?)))
            .collect();
        let kind = summaries.first().map_or(MetricKind::Mean, |(_, summary)| summary.kind);
        let format = formatter(kind);
        let comparisons: Vec<&Comparison> = results.comparisons.iter().filter(|c| c.metric == name).collect();

        let levels: Vec<Row> = summaries
            .iter()
            .map(|(arm, summary)| {
                let interval = summary.interval.unwrap_or(point(summary.mean));
                Row {
                    name: arm.arm.clone(),
                    label: format!("{} ({})", format(summary.mean), between(summary.interval, format)),
                    value: summary.mean,
                    low: interval.low,
                    high: interval.high,
                    mark: if arm.arm == results.control { Mark::Muted } else { Mark::Strong },
                }
            })
            .collect();

        let relative = comparisons.iter().all(|c| c.lift.is_some() && c.lift_interval.is_some());
        let effects: Vec<Row> = comparisons
            .iter()
            .map(|comparison| {
                let (value, known) = match comparison.lift {
                    Some(lift) if relative => (lift, comparison.lift_interval),
                    _ => (comparison.difference, comparison.difference_interval),
                };
                let interval = known.unwrap_or(point(value));
                let format = if relative { numbers::percent } else { format };
                Row {
                    name: format!("{} vs {}", comparison.arm, comparison.control),
                    label: format!("{} ({})", numbers::signed(value, format), signed_between(known, format)),
                    value,
                    low: interval.low,
                    high: interval.high,
                    mark: if is_significant(comparison, results.alpha) { Mark::Strong } else { Mark::Hollow },
                }
            })
            .collect();

        let described =
            |rows: &[Row]| rows.iter().map(|row| format!("{}: {}", row.name, row.label)).collect::<Vec<_>>();
        let effect = if relative { "lift" } else { "difference" };
        Ok(Self {
            name,
            primary,
            kind,
            arms: summaries.iter().map(|(arm, summary)| ArmRow::of(arm, summary)).collect(),
            comparisons: comparisons.iter().map(|c| ComparisonRow::of(c, results.alpha)).collect(),
            levels_chart: charts::levels(&levels, formatter(kind))?,
            levels_label: format!("{name} per arm. {}", described(&levels).join("; ")),
            effects_chart: charts::effects(&effects, if relative { numbers::percent } else { formatter(kind) })?,
            effects_label: format!("{effect} in {name}. {}", described(&effects).join("; ")),
            effect,
        })
    }
}

impl<'a> ArmRow<'a> {
    fn of(arm: &'a ArmResult, summary: &MetricSummary) -> Self {
        let format = formatter(summary.kind);
        Self {
            arm: &arm.arm,
            customers: numbers::count(arm.customers),
            total: numbers::decimal(summary.total),
            level: format(summary.mean),
            interval: between(summary.interval, format),
        }
    }
}

impl<'a> ComparisonRow<'a> {
    fn of(comparison: &'a Comparison, alpha: f64) -> Self {
        let format = match comparison.kind {
            MetricKind::Rate => percentage_points,
            MetricKind::Mean => numbers::decimal,
        };
        let significant = is_significant(comparison, alpha);
        Self {
            arm: &comparison.arm,
            difference: numbers::signed(comparison.difference, format),
            difference_interval: signed_between(comparison.difference_interval, format),
            lift: comparison.lift.map_or_else(|| "\u{2013}".to_owned(), |lift| numbers::signed(lift, numbers::percent)),
            lift_interval: signed_between(comparison.lift_interval, numbers::percent),
            p: p_value(comparison.p_value),
            p_holm: p_value(comparison.p_holm),
            significant,
            words: in_words(comparison, significant),
            adjusted: comparison.adjusted.as_ref().map(|adjusted| {
                format!(
                    "With the variance that {} explains taken out ({} of it): {} ({}), {}.",
                    adjusted.covariate,
                    numbers::percent(adjusted.variance_reduction),
                    numbers::signed(adjusted.difference, format),
                    signed_between(Some(adjusted.difference_interval), format),
                    numbers::p_value(adjusted.p_value),
                )
            }),
        }
    }
}

fn in_words(comparison: &Comparison, significant: bool) -> String {
    let direction = if comparison.difference > 0.0 { "above" } else { "below" };
    if significant {
        format!("Significantly {direction} {}.", comparison.control)
    } else {
        format!("Not significant: may be chance, no difference from {} is shown.", comparison.control)
    }
}

fn formatter(kind: MetricKind) -> fn(f64) -> String {
    match kind {
        MetricKind::Rate => numbers::percent,
        MetricKind::Mean => numbers::decimal,
    }
}

/// A difference of two rates is in percentage points: `0.57 pp`.
fn percentage_points(value: f64) -> String {
    numbers::percent(value).replace('%', " pp")
}

const UNKNOWN: &str = "\u{2013}";

fn between(interval: Option<Interval>, format: fn(f64) -> String) -> String {
    interval.map_or_else(|| UNKNOWN.to_owned(), |known| format!("{} to {}", format(known.low), format(known.high)))
}

fn signed_between(interval: Option<Interval>, format: fn(f64) -> String) -> String {
    interval.map_or_else(
        || UNKNOWN.to_owned(),
        |known| format!("{} to {}", numbers::signed(known.low, format), numbers::signed(known.high, format)),
    )
}

fn p_value(p: Option<f64>) -> String {
    p.map_or_else(|| UNKNOWN.to_owned(), numbers::p_value)
}

/// Where an interval cannot be told, a chart shows the value alone.
fn point(value: f64) -> Interval {
    Interval { low: value, high: value }
}

fn is_significant(comparison: &Comparison, alpha: f64) -> bool {
    comparison.p_holm.is_some_and(|p| p < alpha)
}

#[cfg(test)]
mod tests {
    use super::*;

}
