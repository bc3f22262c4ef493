//! What is kept of outcomes: moments per arm, and per group and arm. Its size does not depend on the number of rows.

use std::{
    collections::{BTreeMap, HashMap},
    str::FromStr,
};

use crate::{agents::experimentation::analysis::MetricKind, stats::moments::CoMoments};

/// More values than this in an arm or group column mean that it is another kind of column.
pub const MAX_ARMS: usize = 50;
pub const MAX_GROUPS: usize = 1_000;

/// An outcome and how it is counted; `visit:rate` and `spend:mean` on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    pub name: String,
    pub kind: MetricKind,
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = |kind| match kind {
            "rate" => Some(MetricKind::Rate),
            "mean" => Some(MetricKind::Mean),
            _ => None,
        };
        match text.rsplit_once(':').map(|(name, suffix)| (name, kind(suffix))) {
            Some((name, Some(kind))) if !name.is_empty() => Ok(Self { name: name.to_owned(), kind }),
            _ => Err("write NAME:rate for a 0/1 column or NAME:mean for numbers, e.g. visit:rate".to_owned()),
        }
    }
}

/// One customer's outcomes.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    pub arm: &'a str,
    pub group: Option<&'a str>,
    /// In the order of the metrics, all finite; 0 or 1 for a rate.
    pub values: &'a [f64],
    /// 0 where there is no covariate.
    pub covariate: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    #[error("there are more than {MAX_ARMS} arms")]
    Arms,
    #[error("there are more than {MAX_GROUPS} groups")]
    Groups,
}

/// One arm's customers.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmMoments {
    pub customers: u64,
    /// One per metric.
    pub metrics: Vec<CoMoments>,
}

#[derive(Debug, Clone, Default)]
pub struct Accumulator {
    metrics: usize,
    everybody: Arms,
    /// The ids of `groups`, by value.
    ids: HashMap<String, usize>,
    groups: Vec<Arms>,
}

#[derive(Debug, Clone, Default)]
struct Arms {
    ids: HashMap<String, usize>,
    moments: Vec<ArmMoments>,
}

impl Accumulator {
    pub fn new(metrics: usize) -> Self {
        Self { metrics, ..Self::default() }
    }

    pub fn add(&mut self, row: &Row<'_>) -> Result<(), TooMany> {
        self.everybody.add(row, self.metrics)?;
        let Some(group) = row.group else { return Ok(()) };
        let id = match self.ids.get(group) {
            Some(id) => *id,
            None if self.groups.len() == MAX_GROUPS => return Err(TooMany::Groups),
            None => {
                self.groups.push(Arms::default());
                self.ids.insert(group.to_owned(), self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        self.groups[id].add(row, self.metrics)
    }

    /// By the arm's name.
    pub fn arms(&self) -> BTreeMap<&str, &ArmMoments> {
        self.everybody.sorted()
    }

    /// By the group's value, then the arm's name.
    pub fn groups(&self) -> BTreeMap<&str, BTreeMap<&str, &ArmMoments>> {
        self.ids.iter().map(|(group, id)| (group.as_str(), self.groups[*id].sorted())).collect()
    }
}

impl Arms {
    fn add(&mut self, row: &Row<'_>, metrics: usize) -> Result<(), TooMany> {
        let id = match self.ids.get(row.arm) {
            Some(id) => *id,
            None if self.moments.len() == MAX_ARMS => return Err(TooMany::Arms),
            None => {
                self.moments.push(ArmMoments { customers: 0, metrics: vec![CoMoments::default(); metrics] });
                self.ids.insert(row.arm.to_owned(), self.moments.len() - 1);
                self.moments.len() - 1
            }
        };
        let arm = &mut self.moments[id];
        arm.customers += 1;
        for (moments, value) in arm.metrics.iter_mut().zip(row.values) {
            moments.push(*value, row.covariate);
        }
        Ok(())
    }

    fn sorted(&self) -> BTreeMap<&str, &ArmMoments> {
        self.ids.iter().map(|(arm, id)| (arm.as_str(), &self.moments[*id])).collect()
    }
}
