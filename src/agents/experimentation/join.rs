//! Outcome files of a campaign: `customer_id` and metrics, joined with who was assigned to what.

use std::{collections::HashMap, path::Path};

use crate::{
    Error,
    agents::experimentation::{
        accumulate::{Accumulator, Metric, Row},
        analysis::Results,
        design::Design,
        infer::{Plan, infer},
        outcomes::OutcomeFile,
        words,
    },
    domain::{
        customer::{CUSTOMER_ID, IdPrefix},
        experiment::{CONTROL, HOLDOUT},
        problem::Problem,
    },
};

/// Metrics of the customers that the outcomes file names: about 50 bytes per such customer and metric, whatever their
/// ids look like.
struct CustomerOutcomes {
    metrics: usize,
    rows: HashMap<IdPrefix, u32>,
    /// `metrics` numbers per row.
    values: Vec<f64>,
    simulated: bool,
}

/// One assigned customer; `arm` is `holdout`, `control` or an arm's name.
#[derive(Debug, Clone, Copy)]
pub struct Assigned<'a> {
    pub customer: &'a str,
    pub segment: &'a str,
    pub arm: &'a str,
}

impl CustomerOutcomes {
    /// Refuses a file that names a customer twice: which of the rows counts is for its owner to say.
    fn read(path: &Path, metrics: &[Metric]) -> Result<Self, Vec<Problem>> {
        let file = OutcomeFile::open(path).map_err(|problem| vec![problem])?;
        let columns = file.metrics(metrics)?;
        let id = file.column(CUSTOMER_ID).map_err(|problem| vec![problem])?;
        let mut outcomes = Self { metrics: metrics.len(), rows: HashMap::new(), values: Vec::new(), simulated: false };
        let mut values = Vec::new();
        let simulated = file.for_each(|row| {
            row.metrics(&columns, &mut values)?;
            let next = outcomes.rows.len() as u32;
            if outcomes.rows.insert(IdPrefix::of(row.text(id)?), next).is_some() {
                return Err(row.problem(
                    id,
                    "this customer has more than one row",
                    "add up the file to one row per customer",
                ));
            }
            outcomes.values.extend(&values);
            Ok(())
        })?;
        Ok(Self { simulated, ..outcomes })
    }

    fn of(&self, row: u32) -> &[f64] {
        let start = row as usize * self.metrics;
        &self.values[start..start + self.metrics]
    }
}

/// `deliveries` shows every assigned customer of the campaign to its visitor, once each.
pub fn analyze_campaign(
    outcomes: &Path,
    metrics: &[Metric],
    design: &Design,
    deliveries: impl FnOnce(&mut dyn FnMut(&Assigned<'_>) -> Result<(), Error>) -> Result<(), Error>,
) -> Result<Results, Error> {
    let outcomes = CustomerOutcomes::read(outcomes, metrics)?;
    let mut join = Join::new(&outcomes);
    deliveries(&mut |assigned| Ok(join.add(assigned)?))?;
    Ok(join.results(design, metrics)?)
}

/// Gathers outcomes of assigned customers, shard after shard. Who is not in the outcomes file did nothing: 0 for every
/// metric. The results are by assignment, whatever was delivered.
struct Join<'a> {
    outcomes: &'a CustomerOutcomes,
    matched: Vec<bool>,
    nothing: Vec<f64>,
    gathered: Accumulator,
}

impl<'a> Join<'a> {
    fn new(outcomes: &'a CustomerOutcomes) -> Self {
        Self {
            outcomes,
            matched: vec![false; outcomes.rows.len()],
            nothing: vec![0.0; outcomes.metrics],
            gathered: Accumulator::new(outcomes.metrics),
        }
    }

    /// Every assigned customer once, in any order.
    fn add(&mut self, assigned: &Assigned<'_>) -> Result<(), Problem> {
        let row = self.outcomes.rows.get(&IdPrefix::of(assigned.customer));
        let values = row.map_or(self.nothing.as_slice(), |row| {
            self.matched[*row as usize] = true;
            self.outcomes.of(*row)
        });
        let row = Row { arm: assigned.arm, group: Some(assigned.segment), values, covariate: 0.0 };
        self.gathered.add(&row).map_err(|too_many| {
            Problem::new(
                format!("the campaign's results cannot be grouped: {too_many}"),
                "check that the campaign's folder is whole",
            )
        })
    }

    /// `metrics` as they were read; the first is the primary metric.
    fn results(self, design: &Design, metrics: &[Metric]) -> Result<Results, Problem> {
        let unmatched = self.matched.iter().filter(|matched| !**matched).count();
        let warnings = (unmatched > 0).then(|| {
            format!(
                "{} of {} rows of the outcomes file belong to nobody in this campaign and are left out.",
                words::count(unmatched as u64),
                words::count(self.matched.len() as u64)
            )
        });
        let shares: Vec<_> = design.arms.iter().map(|arm| (arm.name.to_string(), arm.share)).collect();
        let plan = Plan {
            alpha: design.alpha,
            control: CONTROL.to_owned(),
            holdout: shares.iter().any(|(arm, _)| arm == HOLDOUT).then(|| HOLDOUT.to_owned()),
            shares,
            metrics: metrics.to_vec(),
            covariate: None,
            by: Some("segment".to_owned()),
        };
        let warnings = warnings.into_iter().collect();
        infer(&self.gathered, &plan, self.outcomes.simulated, warnings).ok_or_else(|| {
            Problem::new(
                "no customer of this campaign is in an arm that can be compared",
                "analyse a campaign that has a control and assigned customers",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agents::experimentation::{assign::Assigner, sample_campaign, simulate},
        domain::id::SegmentName,
    };

    fn read(text: &str) -> Result<CustomerOutcomes, Vec<Problem>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        CustomerOutcomes::read(file.path(), &metrics())
    }

    fn metrics() -> Vec<Metric> {
        vec!["conversion:rate".parse().unwrap()]
    }

    fn design(customers: u64) -> Design {
        Design::plan(&sample_campaign(""), &[(SegmentName::new("Gold").unwrap(), customers)])
    }

    #[test]
    fn customers_without_a_row_did_nothing_and_rows_without_a_customer_are_counted() {
        let outcomes = read("customer_id,conversion\nC-1,1\nC-2,0\nstranger,1\n").unwrap();
        let mut join = Join::new(&outcomes);
        for (customer, arm) in [("C-1", "friendly"), ("C-2", "control"), ("C-3", "friendly"), ("C-4", "urgent")] {
            join.add(&Assigned { customer, segment: "Gold", arm }).unwrap();
        }
        let results = join.results(&design(4), &metrics()).unwrap();
        let rates: Vec<_> = results
            .arms
            .iter()
            .map(|arm| (arm.arm.as_str(), arm.customers, arm.metrics.first().map(|m| m.mean)))
            .collect();
        let expected =
            [("holdout", 0, None), ("control", 1, Some(0.0)), ("friendly", 2, Some(0.5)), ("urgent", 1, Some(0.0))];
        assert_eq!(rates, expected);
        assert!(results.warnings[0].starts_with("1 of 3 rows"), "{:?}", results.warnings);
        assert_eq!(results.groups[0].value, "Gold");
    }

    #[test]
    fn a_customer_named_twice_is_refused_with_the_line() {
        let problems = read("customer_id,conversion\nC-1,1\nC-2,0\nC-1,1\n").err().unwrap();
        assert_eq!((problems[0].line, problems[0].field.as_deref()), (Some(4), Some("customer_id")));
        assert!(read("id,conversion\nC-1,1\n").is_err());
    }

    #[test]
    fn invented_outcomes_come_back_marked_as_simulated() {
        let (assigner, segment) = (Assigner::new(&sample_campaign("")), SegmentName::new("Gold").unwrap());
        let design = design(5000);
        let ids: Vec<_> = (0..5000).map(|index| format!("C-{index}")).collect();
        let arm = |id: &str| assigner.arms()[assigner.assign(&segment, id)].name.as_str();
        let mut csv = simulate::Simulation::new(&design, Vec::new()).unwrap();
        ids.iter().for_each(|id| csv.add(id, arm(id)).unwrap());
        let outcomes = read(&String::from_utf8(csv.finish().unwrap()).unwrap()).unwrap();
        let mut join = Join::new(&outcomes);
        ids.iter().for_each(|id| join.add(&Assigned { customer: id, segment: "Gold", arm: arm(id) }).unwrap());
        let results = join.results(&design, &metrics()).unwrap();
        assert!(results.simulated && results.warnings.is_empty());
        assert!(serde_json::to_string(&results.decision).unwrap().contains("SIMULATED"));
        assert!(results.arms.iter().all(|arm| (0.01..0.12).contains(&arm.metrics[0].mean)), "{:?}", results.arms);
    }
}
