//! What the run cost beside what was expected.

use serde::Serialize;

use super::{Cost, numbers};
use crate::domain::{
    estimate::{self, StageEstimate},
    money::Usd,
    variant::Usage,
};

#[derive(Serialize)]
pub struct Row<'a> {
    stage: &'a str,
    provider: &'a str,
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    /// Of the whole stage, beside its first provider.
    expected: String,
    cost: String,
}

/// Every provider that was asked, then the stages of which a cost was expected and nobody was.
pub fn rows(cost: &Cost) -> Vec<Row<'_>> {
    let row = |stage, provider, usage: Usage, expected: Option<Usd>| Row {
        stage,
        provider,
        requests: usage.requests,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        expected: expected.map(|expected| expected.to_string()).unwrap_or_default(),
        cost: usage.cost_usd.to_string(),
    };
    let mut rows: Vec<Row<'_>> = Vec::new();
    for spent in &cost.stages {
        let is_first = rows.iter().all(|row| row.stage != spent.stage);
        let of_stage = cost.estimate.iter().find(|expected| expected.stage == spent.stage);
        let expected = of_stage.filter(|_| is_first).map(|expected| expected.expected_usd);
        rows.push(row(&spent.stage, &spent.provider, spent.usage, expected));
    }
    for expected in cost.estimate.iter().filter(|expected| expected.expected_usd > Usd::ZERO) {
        if rows.iter().all(|row| row.stage != expected.stage) {
            rows.push(row(&expected.stage, &expected.provider, Usage::default(), Some(expected.expected_usd)));
        }
    }
    rows
}

/// In a line or two; `None` where nothing could cost anything.
pub fn compared(cost: &Cost) -> Option<String> {
    let (expected, most) = (estimate::expected(&cost.estimate), estimate::most(&cost.estimate));
    if most == Usd::ZERO && expected == Usd::ZERO {
        return None;
    }
    let spent = cost.total().cost_usd;
    let before = format!("Before the run {expected} was expected, and {most} at most.");
    let ratio = spent.dollars() / expected.dollars();
    if (0.9..=1.1).contains(&ratio) {
        return Some(format!("{before} It cost what was expected."));
    }
    let difference =
        |stage: &&StageEstimate| (of(cost, &stage.stage).cost_usd.dollars() - stage.expected_usd.dollars()).abs();
    let stage = cost.estimate.iter().max_by(|a, b| difference(a).total_cmp(&difference(b)))?;
    let usage = of(cost, &stage.stage);
    let direction = if spent > expected { "more" } else { "less" };
    let asked = numbers::counted(usage.requests, "request");
    let questions = numbers::counted(stage.questions.into(), "question");
    let tokens = match (usage.requests, usage.input_tokens) {
        (0, _) | (_, 0) => String::new(),
        (requests, input) => {
            let (input, output) = (input.div_ceil(requests), usage.output_tokens.div_ceil(requests));
            format!(" of {} tokens in and {} out on average", numbers::count(input), numbers::count(output))
        }
    };
    Some(format!("{before} It cost {direction}, most of all in {}: {asked} for {questions}{tokens}.", stage.stage))
}

fn of(cost: &Cost, stage: &str) -> Usage {
    cost.stages.iter().filter(|spent| spent.stage == stage).fold(Usage::default(), |all, spent| all.and(spent.usage))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::StageCost;

    fn usd(dollars: f64) -> Usd {
        Usd::from_dollars(dollars).unwrap()
    }

    fn cost(expected: f64, spent: f64) -> Cost {
        let stage = |stage: &str, questions, expected_usd, most_usd| StageEstimate {
            stage: stage.to_owned(),
            provider: "gpt-4o-mini".to_owned(),
            questions,
            expected_usd,
            most_usd,
            assumes: Vec::new(),
        };
        let usage = Usage { requests: 40, input_tokens: 80_000, output_tokens: 10_001, cost_usd: usd(spent) };
        Cost {
            stages: vec![StageCost { stage: "generate".to_owned(), provider: "gpt-4o-mini".to_owned(), usage }],
            max_usd: None,
            estimate: vec![
                stage("generate", 32, usd(expected), usd(10.0 * expected)),
                stage("screen", 32, usd(expected / 100.0), usd(expected / 50.0)),
            ],
        }
    }

    #[test]
    fn a_difference_is_explained_by_the_stage_that_makes_most_of_it() {
        let more = compared(&cost(0.02, 0.04)).unwrap();
        assert!(
            more.starts_with(
                "Before the run $0.02 was expected, and $0.20 at most. It cost more, most of all in generate: "
            ),
            "{more}"
        );
        assert!(more.ends_with("40 requests for 32 questions of 2,000 tokens in and 251 out on average."), "{more}");
        assert!(compared(&cost(0.02, 0.01)).unwrap().contains("It cost less, most of all in generate"));
        assert!(compared(&cost(0.02, 0.0202)).unwrap().ends_with("It cost what was expected."));
    }

    #[test]
    fn a_run_that_nobody_charges_for_is_not_compared_and_an_unasked_stage_is_told() {
        assert_eq!(compared(&cost(0.0, 0.0)), None);
        let cost = cost(0.02, 0.04);
        let rows = rows(&cost);
        let told: Vec<_> = rows.iter().map(|row| (row.stage, row.requests, row.expected.as_str())).collect();
        assert_eq!(told, [("generate", 40, "$0.02"), ("screen", 0, "$0.000200")]);
    }
}
