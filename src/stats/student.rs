//! Student's t distribution, with any number of degrees of freedom above 0.

use std::f64::consts::PI;

use statrs::function::gamma::ln_gamma;

use super::{PValue, normal};

/// From here on t is turned into the z of the same p-value. Below, the continued fraction takes some tens of steps.
const NEARLY_NORMAL: f64 = 1e4;

/// P(|T| > |t|).
pub fn two_sided_p(t: f64, degrees_of_freedom: f64) -> PValue {
    debug_assert!(degrees_of_freedom > 0.0 && !t.is_nan());
    let (t, n) = (t.abs(), degrees_of_freedom);
    if n >= NEARLY_NORMAL {
        return normal::two_sided_p(equivalent_z(t, n));
    }
    // P(|T| > t) = I_x(n/2, 1/2) with x = n / (n + t^2), Abramowitz and Stegun 26.7.1 and 26.5.8. The fraction
    // converges fast on one side of x = (a + 1) / (a + b + 2); on the other the complement is computed.
    let (a, b) = (0.5 * n, 0.5);
    let x = n / (n + t * t);
    let one_minus_x = t * t / (n + t * t);
    let ln_front = -a * (t * t / n).ln_1p() + b * one_minus_x.ln() + ln_gamma_half_step(a) - 0.5 * PI.ln();
    let ln = if x < (a + 1.0) / (a + b + 2.0) {
        ln_front + (incomplete_beta_fraction(a, b, x) / a).ln()
    } else {
        (-ln_front.exp() * incomplete_beta_fraction(b, a, one_minus_x) / b).ln_1p()
    };
    PValue::from_ln(ln)
}

/// The t with P(|T| > t) = `alpha`.
pub fn critical_value(alpha: f64, degrees_of_freedom: f64) -> f64 {
    debug_assert!(alpha > 0.0 && alpha < 1.0);
    // Newton's method on ln p as a function of ln t: smooth for heavy tails as well as for light ones.
    let mut ln_t = normal::critical_value(alpha).ln();
    for _ in 0..100 {
        let t = ln_t.exp();
        let ln_p = two_sided_p(t, degrees_of_freedom).ln();
        let slope = -2.0 * (ln_density(t, degrees_of_freedom) + ln_t - ln_p).exp();
        let step = (ln_p - alpha.ln()) / slope;
        // A step of more than one unit would leave the region where the slope is known.
        ln_t -= step.clamp(-1.0, 1.0);
        if step.abs() < 1e-15 {
            break;
        }
    }
    ln_t.exp()
}

fn ln_density(t: f64, n: f64) -> f64 {
    ln_gamma_half_step(0.5 * n) - 0.5 * (n * PI).ln() - 0.5 * (n + 1.0) * (t * t / n).ln_1p()
}

/// The z with the same p-value: G. W. Hill, Algorithm 395, Communications of the ACM 13 (1970). The first term left
/// out is below 1e-15 of z from 10,000 degrees of freedom on, for any |t| up to some tens.
fn equivalent_z(t: f64, n: f64) -> f64 {
    let a = n - 0.5;
    let b = 48.0 * a * a;
    let w2 = a * (t * t / n).ln_1p();
    let w = w2.sqrt();
    let first = w * (w2 + 3.0) / b;
    let second = w * (((4.0 * w2 + 33.0) * w2 + 240.0) * w2 + 855.0) / (10.0 * b * (b + 0.8 * w2 * w2 + 100.0));
    w + first - second
}

/// ln(Gamma(z + 1/2) / Gamma(z)). For large z the difference of the two logarithms would lose most digits, so it is
/// taken from its asymptotic series (Tricomi and Erdelyi 1951).
fn ln_gamma_half_step(z: f64) -> f64 {
    if z < 20.0 {
        return ln_gamma(z + 0.5) - ln_gamma(z);
    }
    let r = 1.0 / (z * z);
    0.5 * z.ln() - (1.0 / 8.0 - (1.0 / 192.0 - (1.0 / 640.0 - (17.0 / 14_336.0 - 31.0 / 18_432.0 * r) * r) * r) * r) / z
}

/// The continued fraction of I_x(a, b), 26.5.8, by Lentz's method (Thompson and Barnett 1986).
fn incomplete_beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let bounded = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / bounded(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / bounded(1.0 + even * d);
        c = bounded(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / bounded(1.0 + odd * d);
        c = bounded(1.0 + odd / c);
        h *= d * c;
        if (d * c - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    h
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::golden::assert_close;

    /// ln P(|T| > t), by mpmath with 60 digits: (t, degrees of freedom, ln p).
    const MPMATH: [(f64, f64, f64); 13] = [
        (0.001, 1.0, -0.0006368222884383984),
        (2.5, 1.0, -1.417835047288049),
        (1000.0, 1.0, -7.359338317604781),
        (12.7, 3.5, -7.656733885691303),
        (1000.0, 5.0, -31.595383692797043),
        (0.5, 30.0, -0.476870343441014),
        (2.0, 250.75, -3.0666084119165915),
        (40.0, 999.0, -481.02304458131437),
        (1.5, 9999.0, -2.0125609529689195),
        (30.0, 9999.0, -434.47170517143445),
        (1.7, 10001.0, -2.4173001191025),
        (30.0, 10001.0, -434.4753223122931),
        (60.0, 399998.0, -1796.2641685059473),
    ];

    #[test]
    fn light_and_heavy_tails_agree_with_high_precision_arithmetic() {
        for (t, n, ln_p) in MPMATH {
            assert_close(two_sided_p(t, n).ln(), ln_p, 1e-11, 0.0, &format!("t = {t}, n = {n}"));
            assert_eq!(two_sided_p(t, n), two_sided_p(-t, n));
        }
        assert_eq!(two_sided_p(0.0, 7.0).value(), 1.0);
    }

    proptest! {
        #[test]
        fn critical_values_are_inverse_to_p_values(ln_n in 0.0f64..21.0, ln_alpha in -14.0f64..-0.01) {
            let (n, alpha) = (ln_n.exp(), ln_alpha.exp());
            let found = two_sided_p(critical_value(alpha, n), n).ln();
            prop_assert!((found - ln_alpha).abs() < 1e-11, "{found} instead of {ln_alpha} at n = {n}");
        }
    }
}
