//! `experiment/results.json`: what the outcomes say, and whether they say anything.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use crate::stats::Interval;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Results {
    /// True if any outcome was invented; then every number here is.
    pub simulated: bool,
    pub alpha: f64,
    /// What the decision rests on.
    pub primary_metric: String,
    /// The arm that the others are compared with.
    pub control: String,
    pub customers: u64,
    /// In the design's order; in a file without a design control first, then by name.
    pub arms: Vec<ArmResult>,
    pub sample_ratio: SampleRatio,
    /// Each metric, in the order asked for, of each arm against control. Where there is a holdout, control against
    /// holdout comes last: whether the sending itself has an effect.
    pub comparisons: Vec<Comparison>,
    /// Exploratory: the same within each value of the grouping column, never a basis for a decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupResult>,
    pub decision: Decision,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ArmResult {
    pub arm: String,
    /// The share of customers that should be here.
    pub share: f64,
    pub customers: u64,
    /// Empty without customers.
    pub metrics: Vec<MetricSummary>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// 0/1 per customer.
    Rate,
    /// A number per customer.
    Mean,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricSummary {
    pub metric: String,
    pub kind: MetricKind,
    /// Successes, or the sum of values.
    pub total: f64,
    pub mean: f64,
    /// Of the mean: Wilson's for rates, Student's for means.
    pub interval: Option<Interval>,
    /// Sample variance (n - 1); for rates p(1 - p).
    pub variance: Option<f64>,
}

/// Chi-square test of the counts against the configured shares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SampleRatio {
    pub statistic: f64,
    pub degrees_of_freedom: u32,
    pub p_value: f64,
    pub ln_p_value: f64,
    /// p < 0.001: the split is not the configured one, and no result can be trusted.
    pub mismatch: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    pub metric: String,
    pub kind: MetricKind,
    pub arm: String,
    pub control: String,
    pub arm_mean: f64,
    pub control_mean: f64,
    pub arm_customers: u64,
    pub control_customers: u64,
    /// arm - control.
    pub difference: f64,
    /// Newcombe's score interval for rates, Welch's for means.
    pub difference_interval: Option<Interval>,
    /// Relative to control's size; `None` where control's mean is 0.
    pub lift: Option<f64>,
    /// On the log scale (delta method); `None` unless both means are above 0.
    pub lift_interval: Option<Interval>,
    /// z (pooled) for rates, Welch's t for means. This and the next four are `None` where there is no test, for the
    /// reason in `undefined`.
    pub statistic: Option<f64>,
    /// `None` for z as well.
    pub degrees_of_freedom: Option<f64>,
    /// Two-sided.
    pub p_value: Option<f64>,
    /// Natural logarithm, exact where `p_value` underflows.
    pub ln_p_value: Option<f64>,
    /// Holm over all arms and metrics. `None` also for control against holdout and within groups, which belong to no
    /// decision.
    pub p_holm: Option<f64>,
    /// Why a value above is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undefined: Option<String>,
    /// With the covariate's variance taken out, where one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adjusted: Option<Adjusted>,
}

/// CUPED: Deng, Xu, Kohavi and Walker, WSDM 2013.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Adjusted {
    pub covariate: String,
    pub theta: f64,
    pub difference: f64,
    pub standard_error: f64,
    pub difference_interval: Interval,
    pub statistic: f64,
    pub degrees_of_freedom: f64,
    pub p_value: f64,
    pub ln_p_value: f64,
    pub variance_reduction: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GroupResult {
    pub column: String,
    pub value: String,
    pub sample_ratio: SampleRatio,
    pub arms: Vec<ArmResult>,
    pub comparisons: Vec<Comparison>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "verdict")]
#[schema(as = TestDecision)]
pub enum Decision {
    /// The arm beats control on the primary metric after correction.
    Winner {
        arm: String,
        why: String,
    },
    NoDecision {
        why: String,
    },
}

impl Decision {
    pub fn in_words(&self) -> String {
        match self {
            Self::Winner { arm, why } => format!("{arm} wins. {why}"),
            Self::NoDecision { why } => format!("No decision. {why}"),
        }
    }
}
