//! Outcome files that carry each customer's arm in a column: the analysis needs no campaign.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    Error,
    agents::experimentation::{
        accumulate::{Accumulator, Metric, Row, TooMany},
        analysis::Results,
        infer::{Plan, infer},
        outcomes::OutcomeFile,
    },
    domain::problem::Problem,
};

#[derive(Debug, Clone)]
pub struct AnalysisRequest {
    pub file: PathBuf,
    /// The column with the arm.
    pub arm: String,
    /// The control's value in it.
    pub control: String,
    /// At least one; the first is the primary metric.
    pub metrics: Vec<Metric>,
    pub covariate: Option<String>,
    /// Results for each value of this column too.
    pub by: Option<String>,
    /// Relative to one another. Empty: equal.
    pub shares: BTreeMap<String, f64>,
    pub alpha: f64,
}

/// Reads the file once; the memory taken does not depend on its length.
pub fn analyze_file(request: &AnalysisRequest) -> Result<Results, Error> {
    let mut file = OutcomeFile::new(&request.file);
    let arm = file.column(&request.arm);
    let metrics = file.metrics(&request.metrics);
    let covariate = request.covariate.as_ref().map(|name| file.column(name));
    let by = request.by.as_ref().map(|name| file.column(name));

    let mut outcomes = Accumulator::new(metrics.len());
    let mut values = Vec::with_capacity(metrics.len());
    let simulated = file.for_each(|row| {
        row.metrics(&metrics, &mut values)?;
        let covariate = covariate.map_or(Ok(0.0), |column| row.number(column))?;
        let group = by.map(|column| row.text(column)).transpose()?;
        let added = outcomes.add(&Row { arm: row.text(arm)?, group, values: &values, covariate });
        added.map_err(|too_many| {
            let column = match too_many {
                TooMany::Arms => arm,
                TooMany::Groups => by.unwrap_or(arm),
            };
            row.problem(column, &format!("{too_many} in this column"), "name a column with few different values")
        })
    })?;
    let plan = plan(request, &outcomes)?;
    infer(&outcomes, &plan, simulated, Vec::new()).ok_or_else(|| one_arm(request).into())
}

fn plan(request: &AnalysisRequest, outcomes: &Accumulator) -> Result<Plan, Vec<Problem>> {
    let arms = outcomes.arms();
    let at = |problem: Problem| problem.in_file(&request.file).at_field(&request.arm);
    let names = || arms.keys().take(10).map(|arm| format!("`{arm}`")).collect::<Vec<_>>().join(", ");
    if !arms.contains_key(request.control.as_str()) {
        return Err(vec![at(Problem::new(
            format!("no row has the control value `{}`", request.control),
            format!("name the control as the file does; the column holds {}", names()),
        ))]);
    }
    if arms.len() < 2 {
        return Err(vec![one_arm(request)]);
    }
    let unshared: Vec<_> = arms.keys().filter(|arm| !request.shares.contains_key(**arm)).collect();
    if !request.shares.is_empty() && !unshared.is_empty() {
        let unshared: Vec<_> = unshared.iter().take(10).map(|arm| format!("`{arm}`")).collect();
        return Err(vec![at(Problem::new(
            format!("no share is given for {}", unshared.join(", ")),
            "give a share for every arm, or for none if all are equal",
        ))]);
    }
    let total: f64 = request.shares.values().sum();
    let mut shares: Vec<(String, f64)> = if request.shares.is_empty() {
        arms.keys().map(|arm| ((*arm).to_owned(), 1.0 / arms.len() as f64)).collect()
    } else {
        request.shares.iter().map(|(arm, share)| (arm.clone(), share / total)).collect()
    };
    // Control first, the others by name.
    shares.sort_by_key(|(arm, _)| *arm != request.control);
    Ok(Plan {
        alpha: request.alpha,
        control: request.control.clone(),
        holdout: None,
        shares,
        metrics: request.metrics.clone(),
        covariate: request.covariate.clone(),
        by: request.by.clone(),
    })
}

fn one_arm(request: &AnalysisRequest) -> Problem {
    Problem::new("all customers are in one arm: there is nothing to compare", "give outcomes of at least two arms")
        .in_file(&request.file)
        .at_field(&request.arm)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "arm,shop,before,buy,spend\n\
        b,north,3,1,30\na,north,2,0,0\nb,south,4,1,10\na,south,1,0,0\nb,north,1,0,0\na,north,6,1,5\n";

    fn request(text: &str, metrics: &[&str]) -> (tempfile::NamedTempFile, AnalysisRequest) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let request = AnalysisRequest {
            file: file.path().to_owned(),
            arm: "arm".to_owned(),
            control: "a".to_owned(),
            metrics: metrics.iter().map(|metric| metric.parse().unwrap()).collect(),
            covariate: Some("before".to_owned()),
            by: Some("shop".to_owned()),
            shares: BTreeMap::new(),
            alpha: 0.05,
        };
        (file, request)
    }

    fn problem(change: impl FnOnce(&mut AnalysisRequest)) -> Problem {
        let (_file, mut request) = request(FILE, &["buy:rate"]);
        change(&mut request);
        let Err(Error::Input(mut problems)) = analyze_file(&request) else { panic!("it is analysed") };
        problems.remove(0)
    }

    #[test]
    fn every_metric_of_every_arm_is_compared_overall_and_by_group() {
        let (_file, request) = request(FILE, &["buy:rate", "spend:mean"]);
        let results = analyze_file(&request).unwrap();
        assert_eq!(results.customers, 6);
        assert_eq!(results.arms[1].metrics[1].total, 40.0);
        let found: Vec<_> = results.comparisons.iter().map(|c| (c.metric.as_str(), c.arm.as_str())).collect();
        assert_eq!(found, [("buy", "b"), ("spend", "b")]);
        assert!(results.comparisons.iter().all(|comparison| comparison.adjusted.is_some()));
        let groups: Vec<_> =
            results.groups.iter().map(|group| (group.value.as_str(), group.arms[0].customers)).collect();
        assert_eq!(groups, [("north", 2), ("south", 1)]);
        assert!(results.groups.iter().flat_map(|group| &group.comparisons).all(|c| c.p_holm.is_none()));
    }

    #[test]
    fn the_order_of_rows_does_not_change_counts_or_names() {
        let mut lines: Vec<_> = FILE.lines().collect();
        lines[1..].reverse();
        let (_file, forwards) = request(FILE, &["buy:rate"]);
        let (_other, backwards) = request(&lines.join("\n"), &["buy:rate"]);
        let shape = |results: Results| {
            results.comparisons.iter().map(|c| (c.arm.clone(), c.arm_customers, c.p_value)).collect::<Vec<_>>()
        };
        assert_eq!(shape(analyze_file(&forwards).unwrap()), shape(analyze_file(&backwards).unwrap()));
    }

    #[test]
    fn given_shares_are_what_the_split_is_tested_against() {
        let (_file, mut request) = request(FILE, &["buy:rate"]);
        request.shares = [("a", 3.0), ("b", 1.0)].map(|(arm, share)| (arm.to_owned(), share)).into();
        let results = analyze_file(&request).unwrap();
        assert_eq!(results.arms[0].share, 0.75);
        assert_eq!(results.sample_ratio.statistic, 2.0);
    }

    #[test]
    fn requests_that_do_not_fit_the_file_are_answered_with_what_would() {
        assert!(problem(|request| request.control = "none".to_owned()).remedy.contains("`a`, `b`"));
        assert!(problem(|request| request.by = Some("city".to_owned())).remedy.contains("`shop`"));
        let shares = [("a".to_owned(), 1.0)];
        assert!(problem(|request| request.shares = shares.into()).message.contains("`b`"));
        let many: String = (0..60).map(|arm| format!("a{arm},x,1,0,0\n")).collect();
        let found = problem(|request| std::fs::write(&request.file, format!("{FILE}{many}")).unwrap());
        assert_eq!(found.field.as_deref(), Some("arm"));
        let many: String = (0..2000).map(|shop| format!("a,s{shop},1,0,0\n")).collect();
        let found = problem(|request| std::fs::write(&request.file, format!("{FILE}{many}")).unwrap());
        assert_eq!((found.field.as_deref(), found.line), (Some("shop"), Some(1006)));
    }
}
