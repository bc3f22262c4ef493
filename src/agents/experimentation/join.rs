//! Outcome files of a campaign: `customer_id` and metrics, joined with who was assigned to what.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

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

/// One assigned customer; `arm` is `holdout`, `control` or an arm's name.
#[derive(Debug, Clone, Copy)]
pub struct Assigned<'a> {
    pub customer: &'a str,
    pub segment: &'a str,
    pub arm: &'a str,
}

/// Metrics of the customers that outcome files name: about 50 bytes per such customer and metric, whatever their ids
/// look like.
struct CustomerOutcomes {
    metrics: usize,
    rows: HashMap<IdPrefix, u32>,
    /// `metrics` numbers per row.
    values: Vec<f64>,
    /// Which of the files a row is from.
    files: Vec<u32>,
    simulated: bool,
}

impl CustomerOutcomes {
    /// Of a customer in several files the last of them counts. A file that names a customer twice is refused: which of
    /// the rows counts is for its owner to say.
    fn read(paths: &[impl AsRef<Path>], metrics: &[Metric]) -> Result<Self, Error> {
        let mut outcomes = Self {
            metrics: metrics.len(),
            rows: HashMap::new(),
            values: Vec::new(),
            files: Vec::new(),
            simulated: false,
        };
        for (number, path) in (0..).zip(paths) {
            outcomes.add(number, path.as_ref(), metrics)?;
        }
        Ok(outcomes)
    }

    fn add(&mut self, number: u32, path: &Path, metrics: &[Metric]) -> Result<(), Error> {
        let mut file = OutcomeFile::new(path);
        let id = file.column(CUSTOMER_ID);
        let columns = file.metrics(metrics);
        let mut values = Vec::new();
        self.simulated |= file.for_each(|row| {
            row.metrics(&columns, &mut values)?;
            let next = self.files.len() as u32;
            let known = *self.rows.entry(IdPrefix::of(row.text(id)?)).or_insert(next);
            if known == next {
                self.values.extend(&values);
                self.files.push(number);
                return Ok(());
            }
            if std::mem::replace(&mut self.files[known as usize], number) == number {
                return Err(row.problem(
                    id,
                    "this customer has more than one row",
                    "add up the file to one row per customer",
                ));
            }
            let start = known as usize * self.metrics;
            self.values[start..start + self.metrics].copy_from_slice(&values);
            Ok(())
        })?;
        Ok(())
    }

    fn of(&self, row: u32) -> &[f64] {
        let start = row as usize * self.metrics;
        &self.values[start..start + self.metrics]
    }
}

/// Gathers outcomes of assigned customers, shard after shard. Who is in no outcomes file did nothing: 0 for every
/// metric. The results are by assignment, whatever was delivered.
pub struct Join {
    outcomes: CustomerOutcomes,
    /// The file that was read last.
    last: PathBuf,
    matched: Vec<bool>,
    nothing: Vec<f64>,
    gathered: Accumulator,
}

impl Join {
    /// Files in the order in which they came: of a customer in several of them the last one counts.
    pub fn read(paths: &[impl AsRef<Path>], metrics: &[Metric]) -> Result<Self, Error> {
        Ok(Self {
            last: paths.last().map_or_else(PathBuf::new, |path| path.as_ref().to_owned()),
            ..Self::new(CustomerOutcomes::read(paths, metrics)?)
        })
    }

    fn new(outcomes: CustomerOutcomes) -> Self {
        Self {
            last: PathBuf::new(),
            matched: vec![false; outcomes.files.len()],
            nothing: vec![0.0; outcomes.metrics],
            gathered: Accumulator::new(outcomes.metrics),
            outcomes,
        }
    }

    /// Every assigned customer once, in any order.
    pub fn add(&mut self, assigned: &Assigned<'_>) -> Result<(), Problem> {
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

    /// After all customers were added. `metrics` as they were read; the first is the primary metric.
    pub fn results(self, design: &Design, metrics: &[Metric]) -> Result<Results, Problem> {
        let last = self.outcomes.files.iter().max();
        if !self.matched.iter().zip(&self.outcomes.files).any(|(matched, file)| *matched && Some(file) == last) {
            // Everybody in it would count as having done nothing.
            let problem = Problem::new(
                "none of the customers in it belongs to this campaign",
                "name the campaign's own outcomes, with ids as in its customer file",
            );
            return Err(problem.in_file(self.last).at_field(CUSTOMER_ID));
        }
        let unmatched = self.matched.iter().filter(|matched| !**matched).count();
        let warnings = (unmatched > 0).then(|| {
            format!(
                "{} of {} rows of the outcomes belong to nobody in this campaign and are left out.",
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
        CustomerOutcomes::read(&[file.path()], &metrics()).map_err(|error| match error {
            Error::Input(problems) => problems,
            error => panic!("{error}"),
        })
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
        let mut join = Join::new(outcomes);
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
        let mut join = Join::new(outcomes);
        ids.iter().for_each(|id| join.add(&Assigned { customer: id, segment: "Gold", arm: arm(id) }).unwrap());
        let results = join.results(&design, &metrics()).unwrap();
        assert!(results.simulated && results.warnings.is_empty());
        assert!(serde_json::to_string(&results.decision).unwrap().contains("SIMULATED"));
        assert!(results.arms.iter().all(|arm| (0.01..0.12).contains(&arm.metrics[0].mean)), "{:?}", results.arms);
    }
}
