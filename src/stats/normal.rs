//! The standard normal distribution.

use std::f64::consts::{PI, SQRT_2};

use statrs::function::erf::erfc_inv;

use super::PValue;

// `erf` and `erfc` come from `libm`: those of statrs 0.19 are right to 1e-10 only.

/// Where the upper tail is taken from its continued fraction instead of `erfc`, which underflows at 37.5.
const FAR_TAIL: f64 = 20.0;

/// P(|Z| > |z|).
pub fn two_sided_p(z: f64) -> PValue {
    let z = z.abs();
    let ln = if z < 1.0 {
        (-libm::erf(z / SQRT_2)).ln_1p()
    } else if z < FAR_TAIL {
        libm::erfc(z / SQRT_2).ln()
    } else {
        // Q(z) = phi(z) / (z + 1/(z + 2/(z + 3/...))), Abramowitz and Stegun 26.2.14. At z >= 20 ten terms give all
        // digits of an f64.
        let denominator = (1..=12).rev().fold(z, |tail, k| z + f64::from(k) / tail);
        (2.0f64).ln() - 0.5 * z * z - 0.5 * (2.0 * PI).ln() - denominator.ln()
    };
    PValue::from_ln(ln)
}

/// P(Z <= z).
pub fn cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / SQRT_2)
}

/// The z with P(Z <= z) = `probability`, which must lie between 0 and 1.
pub fn quantile(probability: f64) -> f64 {
    if probability < 0.5 { -critical_value(2.0 * probability) } else { critical_value(2.0 * (1.0 - probability)) }
}

/// The z with P(|Z| > z) = `alpha`, which must lie above 0 and not above 1.
pub fn critical_value(alpha: f64) -> f64 {
    debug_assert!(alpha > 0.0 && alpha <= 1.0);
    let z = SQRT_2 * erfc_inv(alpha);
    // One step of Newton's method on ln p doubles the starting value's ten digits.
    let p = two_sided_p(z);
    let slope = -2.0 * (-0.5 * z * z - 0.5 * (2.0 * PI).ln() - p.ln()).exp();
    z - (p.ln() - alpha.ln()) / slope
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::golden::assert_close;

    /// ln(2 Q(z)) to 20 digits, by mpmath with 60 digits.
    #[test]
    fn the_far_tail_has_all_its_digits() {
        for (z, ln_p) in MPMATH {
            assert_close(two_sided_p(z).ln(), ln_p, 1e-13, 0.0, &format!("z = {z}"));
            assert_eq!(two_sided_p(z), two_sided_p(-z));
        }
    }

    #[test]
    fn critical_values_are_inverse_to_p_values() {
        for alpha in [1e-12, 1e-6, 0.001, 0.05, 0.2, 0.5, 0.9] {
            assert_close(two_sided_p(critical_value(alpha)).value(), alpha, 1e-12, 0.0, "alpha");
            assert_close(cdf(quantile(alpha)), alpha, 1e-12, 0.0, "quantile");
        }
    }

    const MPMATH: [(f64, f64); 11] = [
        (1e-09, -7.978845611211753e-10),
        (0.3, -0.26895563760890534),
        (1.0, -1.1478744644493182),
        (1.96, -2.9958164711696935),
        (5.0, -14.37185121342878),
        (9.99, -52.43720656504607),
        (19.99, -203.02356053664846),
        (20.0, -203.22400819053732),
        (37.6, -710.7335014902163),
        (66.5, -2215.5482193018456),
        (1000.0, -500007.1335476316),
    ];
}
