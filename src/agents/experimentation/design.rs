//! `experiment/design.json`: what the test can and cannot find out, fixed before any message is written.

use serde::{Deserialize, Serialize};

use crate::domain::id::{ArmName, SegmentName};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Design {
    pub primary_metric: String,
    /// Salts the assignment hash; with it anybody can recompute every assignment.
    pub salt: String,
    pub alpha: f64,
    pub power: f64,
    pub mde_relative: f64,
    /// Expected control rate; `None`: not given, so power cannot be promised.
    pub baseline: Option<f64>,
    /// Comparisons with control over which alpha is shared (Bonferroni, as a planning bound for Holm).
    pub comparisons: usize,
    /// Eligible customers.
    pub customers: u64,
    /// Holdout, control and the arms, in this order; shares add up to 1.
    pub arms: Vec<PlannedArm>,
    /// Expected customers per segment, in the model's order.
    pub segments: Vec<PlannedSegment>,
    /// Per comparison arm, what the test can detect.
    pub detectable: Vec<Detectable>,
    /// In words, most important first; empty: the test can detect what it is asked to.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedArm {
    /// `holdout`, `control` or an arm's name.
    pub name: ArmName,
    pub tone: Option<String>,
    pub share: f64,
    /// `share` of the eligible customers, rounded.
    pub customers: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedSegment {
    pub name: SegmentName,
    pub customers: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detectable {
    pub arm: ArmName,
    /// Control rate it is computed for: the declared baseline, or one of a few typical ones.
    pub baseline: f64,
    /// The smallest relative lift found with the asked power; `None`: none up to a rate of 1.
    pub mde_relative: Option<f64>,
    /// Power to detect the lift asked for.
    pub power_at_mde: f64,
    /// Customers needed in each of the two arms for the lift asked for, at this arm's ratio to control.
    pub customers_needed_per_arm: u64,
}
