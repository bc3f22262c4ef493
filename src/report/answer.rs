//! The report in a paragraph: what a reader takes away who reads nothing else.

use serde::Serialize;

use crate::{
    agents::experimentation::design::{Design, Detectable},
    report::{
        Report,
        gallery::Counts,
        numbers::{count, counted, percent, prose},
        results,
    },
};

#[derive(Debug, Serialize)]
pub struct Sentence {
    text: String,
    /// Rests on invented outcomes.
    simulated: bool,
}

pub fn paragraph(report: &Report, variants: Counts) -> Vec<Sentence> {
    let mut sentences = vec![customers(report), groups(report), messages(variants), power(&report.design)];
    let simulated = report.is_simulated();
    let results = match &report.results {
        Some(results) => {
            let (decision, why) = results::decision(results);
            format!("{decision}: {why}")
        }
        None => "There are no results yet: no outcomes have been fed in.".to_owned(),
    };
    let mut sentences: Vec<Sentence> = sentences.drain(..).map(|text| Sentence { text, simulated: false }).collect();
    sentences.push(Sentence { text: prose(&results), simulated });
    sentences
}

fn customers(report: &Report) -> String {
    let funnel = &report.funnel;
    let dropped: Vec<String> = [
        (funnel.quarantined, "quarantined for bad data"),
        (funnel.suppressed(), "suppressed"),
        (funnel.duplicates, "dropped as duplicates"),
    ]
    .into_iter()
    .filter(|(customers, _)| *customers > 0)
    .map(|(customers, how)| format!("{} {how}", count(customers)))
    .collect();
    let dropped = if dropped.is_empty() { String::new() } else { format!(" ({})", dropped.join(", ")) };
    format!("{} read, {} may be contacted{dropped}.", counted(funnel.read, "customer"), count(funnel.contactable()))
}

fn groups(report: &Report) -> String {
    let funnel = &report.funnel;
    let mut text = format!(
        "They fall into {} and {} get a message",
        counted(report.segmentation.segments.len() as u64, "segment"),
        count(funnel.reached())
    );
    if funnel.holdout > 0 {
        text += &format!("; {} get none on purpose, as a holdout", count(funnel.holdout));
    }
    if funnel.held() > 0 {
        text += &format!("; {} are held back", count(funnel.held()));
    }
    if funnel.undelivered > 0 {
        text += &format!("; the delivery to {} was given up", count(funnel.undelivered));
    }
    text + "."
}

fn messages(counts: Counts) -> String {
    let mut text = format!("{} of {} message variants are approved", counts.approved, counts.total);
    if counts.blocked > 0 {
        text += &format!(", {} blocked", counts.blocked);
    }
    if counts.needs_review > 0 {
        text += &format!(", {} waiting for a reviewer", counts.needs_review);
    }
    text + "."
}

/// What the test can find out, or cannot.
pub fn power(design: &Design) -> String {
    let asked = percent(design.mde_relative);
    let metric = &design.primary_metric;
    if design.baseline.is_none() {
        return format!(
            "Whether the test can detect a lift of {asked} in {metric} is open: no expected rate was declared."
        );
    }
    let Some(weakest) = weakest(design) else {
        return format!("What the test can detect in {metric} was not computed.");
    };
    match weakest.mde_relative {
        Some(mde) if mde <= design.mde_relative => {
            format!("The test can detect the lift of {asked} in {metric} it was asked for.")
        }
        Some(mde) => format!(
            "The test cannot reliably detect the lift of {asked} in {metric} it was asked for, only lifts of {} or more.",
            percent(mde)
        ),
        None => format!("The test cannot detect any lift in {metric}, however large."),
    }
}

/// Whether the test is up to what it is asked; `None`: no expected rate was declared.
pub fn is_up_to_it(design: &Design) -> Option<bool> {
    design.baseline?;
    Some(weakest(design)?.mde_relative.is_some_and(|mde| mde <= design.mde_relative))
}

/// The arm whose smallest detectable lift is the largest.
fn weakest(design: &Design) -> Option<&Detectable> {
    let lift = |arm: &Detectable| arm.mde_relative.unwrap_or(f64::INFINITY);
    design.detectable.iter().max_by(|a, b| lift(a).total_cmp(&lift(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_weakest_arm_decides_what_the_test_can_detect() {
        let mut design = sample::report().design;
        design.mde_relative = 0.5;
        design.detectable[0].mde_relative = Some(0.2);
        design.detectable[1].mde_relative = Some(0.5);
        assert!(power(&design).contains("can detect the lift of 50\u{a0}%"));
        assert_eq!(is_up_to_it(&design), Some(true));
        design.detectable[1].mde_relative = Some(0.51);
        assert!(power(&design).contains("only lifts of 51\u{a0}% or more"));
        assert_eq!(is_up_to_it(&design), Some(false));
        design.detectable[0].mde_relative = None;
        assert!(power(&design).contains("cannot detect any lift"));
        design.baseline = None;
        assert!(power(&design).contains("is open"));
        assert_eq!(is_up_to_it(&design), None);
    }
}
