//! Relative lift of b over a.
//!
//! Intervals are made on the scale of ln(b/a) by the delta method and then turned back: they cannot fall below
//! -100 % and are not symmetric around the lift, as the ratio's distribution is not.

use super::{Interval, Undefined, means, means::Sample, normal, proportions::Proportion, student};

/// (b - a) / |a|: above 0 where b is greater, also for means below 0.
pub fn lift(mean_a: f64, mean_b: f64) -> Result<f64, Undefined> {
    if mean_a == 0.0 { Err(Undefined::ControlIsZero) } else { Ok((mean_b - mean_a) / mean_a.abs()) }
}

/// Katz and others, Biometrics 34 (1978), with the normal quantile. Needs a success in each arm.
pub fn interval_of_rates(a: Proportion, b: Proportion, alpha: f64) -> Result<Interval, Undefined> {
    if a.successes() == 0 || b.successes() == 0 {
        return Err(Undefined::NotPositive);
    }
    let part = |p: Proportion| 1.0 / p.successes() as f64 - 1.0 / p.n() as f64;
    Ok(on_log_scale(b.rate() / a.rate(), normal::critical_value(alpha) * (part(a) + part(b)).sqrt()))
}

/// The same for means, with Student's quantile and the degrees of freedom of the two relative variances.
pub fn interval_of_means(a: &Sample, b: &Sample, alpha: f64) -> Result<Interval, Undefined> {
    if a.mean <= 0.0 || b.mean <= 0.0 {
        return Err(Undefined::NotPositive);
    }
    let relative = |sample: &Sample| (sample.squared_error() / (sample.mean * sample.mean), sample.n);
    let (standard_error, degrees_of_freedom) = means::welch_satterthwaite([relative(a), relative(b)])?;
    Ok(on_log_scale(b.mean / a.mean, student::critical_value(alpha, degrees_of_freedom) * standard_error))
}

fn on_log_scale(ratio: f64, half_width: f64) -> Interval {
    let at = |offset: f64| (ratio.ln() + offset).exp_m1();
    Interval { low: at(-half_width), high: at(half_width) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::golden::Golden;

    fn pair(case: &Golden) -> Option<(Proportion, Proportion)> {
        let proportion = |x, n| Proportion::new(case.count(x), case.count(n)).ok();
        proportion("xa", "na").zip(proportion("xb", "nb"))
    }

    #[test]
    fn lifts_of_rates_agree_with_the_golden_cases() {
        for case in Golden::family("prop_lift_ci") {
            let (a, b) = pair(&case).unwrap();
            case.assert("lift", lift(a.rate(), b.rate()).unwrap());
            case.assert_interval("log_katz", interval_of_rates(a, b, case.number("alpha")).unwrap());
        }
        for case in Golden::family("edge_proportions") {
            let found = pair(&case).and_then(|(a, b)| lift(a.rate(), b.rate()).ok());
            case.assert_option("lift", found);
            if case.has("katz_lift_ci") {
                let (a, b) = pair(&case).unwrap();
                case.assert_interval("katz_lift_ci", interval_of_rates(a, b, case.number("alpha")).unwrap());
            }
        }
    }

    #[test]
    fn lifts_of_means_agree_with_the_golden_cases() {
        for case in Golden::family("lift_log_t") {
            let (a, b) = (case.sample("a"), case.sample("b"));
            case.assert("lift", lift(a.mean, b.mean).unwrap());
            let interval = interval_of_means(&a, &b, case.number("alpha")).unwrap();
            case.assert("ci_low", interval.low);
            case.assert("ci_high", interval.high);
        }
        for case in Golden::family("edge_means").into_iter().filter(|case| case.has("lift")) {
            case.assert_option("lift", lift(case.number("mean_a"), case.number("mean_b")).ok());
        }
    }
}
