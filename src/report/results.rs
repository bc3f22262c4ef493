//! The results in words and charts. Whoever reads "no decision" must not take it for a failure.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

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
            confidence: numbers::short_percent(1.0 - results.alpha),
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
        Decision::Winner { arm, why } => (format!("\u{201c}{arm}\u{201d} beats {}", results.control), why),
        Decision::NoDecision { why } => ("No decision".to_owned(), why),
    }
}

impl SampleRatioView {
    fn of(ratio: &SampleRatio) -> Self {
        Self { mismatch: ratio.mismatch, p: numbers::p_equals(ratio.p_value) }
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
                let interval = level_interval(summary, arm.customers, results.alpha);
                Row {
                    name: arm.arm.clone(),
                    label: format!("{} ({})", format(summary.mean), between(interval, format)),
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
                let (value, interval) = match (comparison.lift, comparison.lift_interval) {
                    (Some(lift), Some(interval)) if relative => (lift, interval),
                    _ => (comparison.difference, comparison.difference_interval),
                };
                let format = if relative { numbers::percent } else { format };
                Row {
                    name: format!("{} vs {}", comparison.arm, comparison.control),
                    label: format!("{} ({})", numbers::signed(value, format), signed_between(interval, format)),
                    value,
                    low: interval.low,
                    high: interval.high,
                    mark: if comparison.p_holm < results.alpha { Mark::Strong } else { Mark::Hollow },
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
            arms: summaries.iter().map(|(arm, summary)| ArmRow::of(arm, summary, results.alpha)).collect(),
            comparisons: comparisons.iter().map(|c| ComparisonRow::of(c, results.alpha)).collect(),
            levels_chart: charts::levels(&levels, ticks(kind))?,
            levels_label: format!("{name} per arm. {}", described(&levels).join("; ")),
            effects_chart: charts::effects(&effects, if relative { numbers::short_percent } else { ticks(kind) })?,
            effects_label: format!("{effect} in {name}. {}", described(&effects).join("; ")),
            effect,
        })
    }
}

impl<'a> ArmRow<'a> {
    fn of(arm: &'a ArmResult, summary: &MetricSummary, alpha: f64) -> Self {
        let format = formatter(summary.kind);
        Self {
            arm: &arm.arm,
            customers: numbers::count(arm.customers),
            total: match summary.kind {
                MetricKind::Rate => numbers::count(summary.total.round() as u64),
                MetricKind::Mean => numbers::decimal(summary.total),
            },
            level: format(summary.mean),
            interval: between(level_interval(summary, arm.customers, alpha), format),
        }
    }
}

impl<'a> ComparisonRow<'a> {
    fn of(comparison: &'a Comparison, alpha: f64) -> Self {
        let format = match comparison.kind {
            MetricKind::Rate => percentage_points,
            MetricKind::Mean => numbers::decimal,
        };
        let significant = comparison.p_holm < alpha;
        Self {
            arm: &comparison.arm,
            difference: numbers::signed(comparison.difference, format),
            difference_interval: signed_between(comparison.difference_interval, format),
            lift: comparison.lift.map_or_else(|| "\u{2013}".to_owned(), |lift| numbers::signed(lift, numbers::percent)),
            lift_interval: comparison
                .lift_interval
                .map_or_else(|| "\u{2013}".to_owned(), |interval| signed_between(interval, numbers::percent)),
            p: numbers::p_value(comparison.p_value),
            p_holm: numbers::p_value(comparison.p_holm),
            significant,
            words: in_words(comparison, significant),
            adjusted: comparison.adjusted.as_ref().map(|adjusted| {
                format!(
                    "With the variance that {} explains taken out ({} of it): {} ({}), {}.",
                    adjusted.covariate,
                    numbers::percent(adjusted.variance_reduction),
                    numbers::signed(adjusted.difference, format),
                    signed_between(adjusted.difference_interval, format),
                    numbers::p_equals(adjusted.p_value),
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
        "Not significant: the difference may be chance.".to_owned()
    }
}

fn formatter(kind: MetricKind) -> fn(f64) -> String {
    match kind {
        MetricKind::Rate => numbers::percent,
        MetricKind::Mean => numbers::decimal,
    }
}

fn ticks(kind: MetricKind) -> fn(f64) -> String {
    match kind {
        MetricKind::Rate => numbers::short_percent,
        MetricKind::Mean => numbers::short_decimal,
    }
}

/// A difference of two rates is in percentage points: `0.57 pp`.
fn percentage_points(value: f64) -> String {
    numbers::percent(value).replace('%', " pp")
}

fn between(interval: Interval, format: fn(f64) -> String) -> String {
    format!("{} to {}", format(interval.low), format(interval.high))
}

fn signed_between(interval: Interval, format: fn(f64) -> String) -> String {
    format!("{} to {}", numbers::signed(interval.low, format), numbers::signed(interval.high, format))
}

/// The interval of one arm's level: Wilson's score interval (JASA 22, 1927) for a rate, Student's for a mean.
fn level_interval(summary: &MetricSummary, customers: u64, alpha: f64) -> Interval {
    let (mean, n, upper) = (summary.mean, customers as f64, 1.0 - alpha / 2.0);
    let (centre, half_width) = match summary.kind {
        MetricKind::Rate if customers > 0 => {
            let z = Normal::standard().inverse_cdf(upper);
            let scale = 1.0 + z * z / n;
            let spread = (mean * (1.0 - mean) / n + z * z / (4.0 * n * n)).sqrt();
            ((mean + z * z / (2.0 * n)) / scale, z / scale * spread)
        }
        MetricKind::Mean if customers > 1 => {
            let t = StudentsT::new(0.0, 1.0, n - 1.0).map_or(f64::NAN, |student| student.inverse_cdf(upper));
            (mean, t * (summary.variance / n).sqrt())
        }
        _ => (mean, 0.0),
    };
    Interval { low: centre - half_width, high: centre + half_width }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_intervals_equal_published_ones() {
        // Wilson for 81 of 263, Newcombe, Statistics in Medicine 17 (1998), 857-872, table I: 0.2553 to 0.3662.
        let rate = MetricSummary {
            metric: "m".to_owned(),
            kind: MetricKind::Rate,
            total: 81.0,
            mean: 81.0 / 263.0,
            variance: 0.0,
        };
        let interval = level_interval(&rate, 263, 0.05);
        assert!((interval.low - 0.2553).abs() < 5e-5 && (interval.high - 0.3662).abs() < 5e-5, "{interval:?}");
        // Student's t with 9 degrees of freedom: 2.262157.
        let mean = MetricSummary { kind: MetricKind::Mean, mean: 5.0, variance: 10.0, ..rate };
        let interval = level_interval(&mean, 10, 0.05);
        assert!((interval.high - 5.0 - 2.262_157).abs() < 1e-5, "{interval:?}");
    }
}
