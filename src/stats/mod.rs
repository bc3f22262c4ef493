//! Statistics as pure functions: no I/O, no product types.
//!
//! `a` is the control, `b` the treatment; differences are b - a. What a formula does not define is an
//! [`Undefined`] with its reason, never NaN, 0 or 1. P-values are two-sided and kept as natural logarithms, because
//! a large test's p-value is smaller than the smallest `f64`.

pub mod chi_square;
pub mod corrections;
pub mod cuped;
#[cfg(test)]
mod golden;
pub mod lift;
pub mod means;
pub mod moments;
pub mod normal;
pub mod power;
pub mod proportions;
pub mod student;

use serde::{Deserialize, Serialize};

/// Why there is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undefined {
    #[error("there is no customer in one of the two arms")]
    Empty,
    #[error("a variance needs at least two customers in each arm")]
    TooFew,
    #[error("all values are the same, so there is no variance to test against")]
    NoVariance,
    #[error("control's mean is 0, so nothing can be relative to it")]
    ControlIsZero,
    #[error("a ratio on the log scale needs two means above 0")]
    NotPositive,
}

/// A probability, kept as its natural logarithm: finite or minus infinity, at most 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct PValue(f64);

impl PValue {
    /// Rounding may leave a logarithm a little above 0; it counts as 0.
    fn from_ln(ln: f64) -> Self {
        debug_assert!(!ln.is_nan());
        Self(ln.min(0.0))
    }

    pub fn ln(self) -> f64 {
        self.0
    }

    /// 0 where the probability is below the smallest `f64`.
    pub fn value(self) -> f64 {
        self.0.exp()
    }
}

/// An interval of confidence 1 - alpha.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    fn around(centre: f64, half_width: f64) -> Self {
        Self { low: centre - half_width, high: centre + half_width }
    }
}
