//! The chi-square goodness-of-fit test.

use std::f64::consts::SQRT_2;

use statrs::function::gamma::ln_gamma;

use super::{PValue, Undefined, normal};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GoodnessOfFit {
    pub statistic: f64,
    pub degrees_of_freedom: u32,
    pub p: PValue,
}

/// Pearson's test of counts against weights, which need not add up to 1. A cell of weight 0 is left out and does not
/// count as a degree of freedom. [`Undefined::Empty`] without any count, [`Undefined::TooFew`] with fewer than two
/// cells.
pub fn goodness_of_fit(cells: &[(u64, f64)]) -> Result<GoodnessOfFit, Undefined> {
    let cells: Vec<_> = cells.iter().filter(|(_, weight)| *weight > 0.0).collect();
    let total = cells.iter().map(|(count, _)| *count).sum::<u64>() as f64;
    let weights: f64 = cells.iter().map(|(_, weight)| weight).sum();
    if cells.len() < 2 {
        return Err(Undefined::TooFew);
    }
    if total == 0.0 {
        return Err(Undefined::Empty);
    }
    let statistic = cells
        .iter()
        .map(|(count, weight)| {
            let expected = total * weight / weights;
            (*count as f64 - expected).powi(2) / expected
        })
        .sum();
    let degrees_of_freedom = cells.len() as u32 - 1;
    Ok(GoodnessOfFit { statistic, degrees_of_freedom, p: upper_tail(statistic, degrees_of_freedom) })
}

/// P(X > x) from the finite sums for whole degrees of freedom, Abramowitz and Stegun 26.4.4 and 26.4.5. All terms
/// are positive, so that no digit is lost in either tail; they are added on the log scale.
fn upper_tail(x: f64, degrees_of_freedom: u32) -> PValue {
    if x <= 0.0 {
        return PValue::from_ln(0.0);
    }
    let half = 0.5 * x;
    let odd = degrees_of_freedom % 2 == 1;
    // e^-h h^s / Gamma(s + 1) for s = 0, 1, ... (even), or for s = 1/2, 3/2, ... after P(|Z| > sqrt x) (odd).
    let first = if odd { normal::two_sided_p(half.sqrt() * SQRT_2).ln() } else { f64::NEG_INFINITY };
    let shift = if odd { 0.5 } else { 0.0 };
    let terms = (0..degrees_of_freedom / 2).map(|index| {
        let s = f64::from(index) + shift;
        s * half.ln() - half - ln_gamma(s + 1.0)
    });
    let terms: Vec<f64> = std::iter::once(first).chain(terms).collect();
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    PValue::from_ln(largest + terms.iter().map(|term| (term - largest).exp()).sum::<f64>().ln())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::golden::{Golden, assert_close};

    #[test]
    fn sample_ratio_tests_agree_with_the_golden_cases() {
        for case in Golden::family("srm_chi2") {
            let counts = case.numbers("counts").into_iter().map(|count| count as u64);
            let cells: Vec<_> = counts.zip(case.numbers("weights")).collect();
            match goodness_of_fit(&cells) {
                Ok(test) => {
                    case.assert("statistic", test.statistic);
                    case.assert("dof", f64::from(test.degrees_of_freedom));
                    case.assert("p_value", test.p.value());
                    case.assert("ln_p_value", test.p.ln());
                }
                Err(reason) => {
                    assert_eq!(reason, Undefined::Empty);
                    case.assert_option("p_value", None);
                }
            }
        }
    }

    /// Upper tails for many degrees of freedom, by mpmath with 60 digits.
    #[test]
    fn tails_for_many_degrees_of_freedom_keep_their_digits() {
        for (x, degrees_of_freedom, ln_p) in MPMATH {
            assert_close(
                upper_tail(x, degrees_of_freedom).ln(),
                ln_p,
                1e-12,
                0.0,
                &format!("{x}, {degrees_of_freedom}"),
            );
        }
        assert_eq!(upper_tail(0.0, 3).value(), 1.0);
    }

    const MPMATH: [(f64, u32, f64); 7] = [
        (0.5, 1, -0.7350111298370844),
        (30.0, 1, -16.95731815812879),
        (2000.0, 3, -996.4248404973332),
        (12.0, 7, -2.2970119666691877),
        (80.0, 40, -8.643307032288446),
        (1500.0, 41, -661.7137659110621),
        (5000.0, 120, -2222.8912411739702),
    ];
}
