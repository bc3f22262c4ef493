//! Results of an analysis as tables for the terminal.

use comfy_table::{CellAlignment, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};

use crate::agents::experimentation::{
    analysis::{Comparison, Decision, GroupResult, Interval, MetricKind, Results},
    words,
};

pub fn render(results: &Results) -> String {
    let confidence = words::percent(1.0 - results.alpha);
    let mut parts = vec![
        titled(results, "Arms", &arms(results, &confidence)),
        split(results),
        titled(results, &format!("Against `{}`", results.control), &comparisons(&results.comparisons, &confidence)),
    ];
    if let Some(covariate) = results.comparisons.iter().find_map(|comparison| comparison.adjusted.as_ref()) {
        let title = format!("Differences without what `{}` explains (CUPED)", covariate.covariate);
        parts.push(titled(results, &title, &adjusted(&results.comparisons, &confidence)));
    }
    for group in &results.groups {
        let title = format!("{} = {} (exploratory: no basis for a decision)", group.column, group.value);
        parts.push(titled(results, &title, &comparisons(&group.comparisons, &confidence)) + &warning(group));
    }
    parts.extend(results.warnings.iter().map(|warning| format!("warning: {warning}\n")));
    parts.push(match &results.decision {
        Decision::Winner { arm, why } => format!("Winner: {arm}\n{why}\n"),
        Decision::NoDecision { why } => format!("No winner\n{why}\n"),
    });
    parts.join("\n")
}

fn titled(results: &Results, title: &str, table: &Table) -> String {
    let mark = if results.simulated { "SIMULATED (invented outcomes) - " } else { "" };
    format!("{mark}{title}\n{}\n", table.trim_fmt())
}

/// The first `texts` columns hold words, the others numbers.
fn table(texts: usize, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none())).set_header(header.to_vec()).add_rows(rows);
    for column in table.column_iter_mut().skip(texts) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn arms(results: &Results, confidence: &str) -> Table {
    let header = ["arm", "metric", "customers", "share", "total", "mean", &format!("{confidence} interval")];
    let rows = results.arms.iter().flat_map(|arm| {
        arm.metrics.iter().map(|metric| {
            vec![
                arm.arm.clone(),
                metric.metric.clone(),
                words::count(arm.customers),
                words::percent(arm.share),
                match metric.kind {
                    MetricKind::Rate => words::count(metric.total as u64),
                    MetricKind::Mean => format!("{:.2}", metric.total),
                },
                metric.kind.mean(metric.mean),
                interval(metric.interval, |bound| metric.kind.mean(bound)),
            ]
        })
    });
    table(2, &header, rows)
}

fn comparisons(comparisons: &[Comparison], confidence: &str) -> Table {
    let header = [
        "arm",
        "against",
        "metric",
        "difference",
        &format!("{confidence} interval"),
        "lift",
        &format!("{confidence} interval"),
        "p",
        "p (Holm)",
    ];
    let rows = comparisons.iter().map(|comparison| {
        vec![
            comparison.arm.clone(),
            comparison.control.clone(),
            comparison.metric.clone(),
            comparison.kind.difference(comparison.difference),
            interval(comparison.difference_interval, |bound| comparison.kind.difference(bound)),
            optional(comparison.lift, words::signed_percent),
            interval(comparison.lift_interval, words::signed_percent),
            optional(comparison.p_value, words::p_value),
            optional(comparison.p_holm, words::p_value),
        ]
    });
    table(3, &header, rows)
}

fn adjusted(comparisons: &[Comparison], confidence: &str) -> Table {
    let header = ["arm", "against", "metric", "difference", &format!("{confidence} interval"), "p", "less variance"];
    let rows = comparisons.iter().filter_map(|comparison| {
        let adjusted = comparison.adjusted.as_ref()?;
        Some(vec![
            comparison.arm.clone(),
            comparison.control.clone(),
            comparison.metric.clone(),
            comparison.kind.difference(adjusted.difference),
            interval(Some(adjusted.difference_interval), |bound| comparison.kind.difference(bound)),
            words::p_value(adjusted.p_value),
            words::percent(adjusted.variance_reduction),
        ])
    });
    table(3, &header, rows)
}

fn split(results: &Results) -> String {
    let ratio = &results.sample_ratio;
    let verdict = if ratio.mismatch {
        "MISMATCH: the arms' sizes are not the configured ones, and no result can be trusted"
    } else {
        "as configured"
    };
    format!(
        "Split of {} customers: {verdict} (chi-square {:.3}, {} degrees of freedom, p = {})\n",
        words::count(results.customers),
        ratio.statistic,
        ratio.degrees_of_freedom,
        words::p_value(ratio.p_value)
    )
}

fn warning(group: &GroupResult) -> String {
    if !group.sample_ratio.mismatch {
        return String::new();
    }
    let p = words::p_value(group.sample_ratio.p_value);
    format!("warning: the split in this group is not the configured one (p = {p})\n")
}

fn optional(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

fn interval(interval: Option<Interval>, show: impl Fn(f64) -> String) -> String {
    interval.map_or_else(|| "-".to_owned(), |Interval { low, high }| format!("{} to {}", show(low), show(high)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::experimentation::{
        accumulate::{Accumulator, Row},
        infer::{Plan, infer},
    };

    fn results(simulated: bool) -> Results {
        let mut outcomes = Accumulator::new(1);
        for (arm, opened) in [("a", 19), ("b", 24)] {
            for customer in 0..62 {
                let values = [if customer < opened { 1.0 } else { 0.0 }];
                outcomes
                    .add(&Row { arm, group: Some("all"), values: &values, covariate: f64::from(customer) })
                    .unwrap();
            }
        }
        let plan = Plan {
            alpha: 0.05,
            control: "a".to_owned(),
            holdout: None,
            shares: vec![("a".to_owned(), 0.5), ("b".to_owned(), 0.5)],
            metrics: vec!["open:rate".parse().unwrap()],
            covariate: Some("order".to_owned()),
            by: Some("shop".to_owned()),
        };
        infer(&outcomes, &plan, simulated, vec!["look twice".to_owned()]).unwrap()
    }

    #[test]
    fn every_number_a_reader_needs_is_there() {
        let text = render(&results(false));
        for expected in [
            "30.6 %",
            "38.7 %",
            "-8.54 pp to 24.1 pp",
            "+26.3 %",
            "0.345",
            "as configured",
            "No winner",
            "look twice",
            "exploratory",
        ] {
            assert!(text.contains(expected), "`{expected}` is not in\n{text}");
        }
        assert!(!text.contains("SIMULATED"));
    }

    #[test]
    fn every_table_of_invented_numbers_says_so_in_its_title() {
        let text = render(&results(true));
        let tables = text.lines().filter(|line| line.starts_with("arm ") || line.starts_with(" arm ")).count();
        assert_eq!(tables, 4, "{text}");
        assert_eq!(text.matches("SIMULATED (invented outcomes) - ").count(), tables, "{text}");
    }
}
