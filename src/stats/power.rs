//! Power of two-sided tests of b against a, by the normal approximation.
//!
//! For rates: Fleiss, Statistical Methods for Rates and Proportions (3rd ed., 2003), 4.4 without continuity
//! correction: the variance is pooled under the null hypothesis, as in [`super::proportions::pooled_z_test`].

use super::normal;

/// What a test is to find: alpha two-sided, the power asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    pub alpha: f64,
    pub power: f64,
}

/// Two arms' sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub control: u64,
    pub treatment: u64,
}

/// The chance of a significant result, in either direction. 0 with an empty arm.
pub fn of_rates(sizes: Sizes, control_rate: f64, treatment_rate: f64, alpha: f64) -> f64 {
    let [right, wrong] = tails(sizes, control_rate, treatment_rate, alpha);
    right + wrong
}

/// Customers that control needs when the treatment arm has `ratio` times as many. Not rounded.
pub fn control_customers(control_rate: f64, treatment_rate: f64, ratio: f64, demand: Demand) -> f64 {
    let (z_alpha, z_power) = quantiles(demand);
    let pooled = (control_rate + ratio * treatment_rate) / (1.0 + ratio);
    let null = (variance(pooled) * (1.0 + 1.0 / ratio)).sqrt();
    let alternative = (variance(control_rate) + variance(treatment_rate) / ratio).sqrt();
    ((z_alpha * null + z_power * alternative) / (treatment_rate - control_rate)).powi(2)
}

/// The smallest rate above `control_rate` that is found to be above it with the power asked for; `None`: not even a
/// rate of 1.
pub fn detectable_rate(sizes: Sizes, control_rate: f64, demand: Demand) -> Option<f64> {
    let is_found = |rate: f64| tails(sizes, control_rate, rate, demand.alpha)[0] >= demand.power;
    if !is_found(1.0) {
        return None;
    }
    // Bisection: the power rises with the rate, and halving 60 times leaves no digit of the difference open.
    let (mut missed, mut found) = (control_rate, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (missed + found);
        if is_found(middle) {
            found = middle;
        } else {
            missed = middle;
        }
    }
    Some(found)
}

/// As [`control_customers`], for a difference of means and the variances of single values.
pub fn control_customers_for_means(
    difference: f64,
    control_variance: f64,
    treatment_variance: f64,
    ratio: f64,
    demand: Demand,
) -> f64 {
    let (z_alpha, z_power) = quantiles(demand);
    ((z_alpha + z_power) / difference).powi(2) * (control_variance + treatment_variance / ratio)
}

fn quantiles(demand: Demand) -> (f64, f64) {
    (normal::critical_value(demand.alpha), normal::quantile(demand.power))
}

fn variance(rate: f64) -> f64 {
    rate * (1.0 - rate)
}

/// The chances of a significant result in the treatment's direction and in the other.
fn tails(sizes: Sizes, control_rate: f64, treatment_rate: f64, alpha: f64) -> [f64; 2] {
    if sizes.control == 0 || sizes.treatment == 0 {
        return [0.0; 2];
    }
    let (control, treatment) = (sizes.control as f64, sizes.treatment as f64);
    let pooled = (control * control_rate + treatment * treatment_rate) / (control + treatment);
    let null = (variance(pooled) * (1.0 / control + 1.0 / treatment)).sqrt();
    let alternative = (variance(control_rate) / control + variance(treatment_rate) / treatment).sqrt();
    let difference = (treatment_rate - control_rate).abs();
    [difference, -difference].map(|difference| {
        let margin = difference - normal::critical_value(alpha) * null;
        match (alternative > 0.0, margin > 0.0) {
            (true, _) => normal::cdf(margin / alternative),
            (false, true) => 1.0,
            (false, false) => 0.0,
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::golden::Golden;

    #[test]
    fn sample_sizes_agree_with_the_golden_cases() {
        for case in Golden::family("power_prop_sample_size") {
            let demand = Demand { alpha: case.number("alpha"), power: case.number("power") };
            let ratio = case.number("ratio_treatment_to_control");
            let n = control_customers(case.number("p_control"), case.number("p_treatment"), ratio, demand);
            case.assert("n_control_pooled_null", n);
        }
        for case in Golden::family("power_mean") {
            let demand = Demand { alpha: case.number("alpha"), power: case.number("power") };
            let (variance, ratio) = (case.number("sd").powi(2), case.number("ratio_treatment_to_control"));
            let n = control_customers_for_means(case.number("delta"), variance, variance, ratio, demand);
            case.assert("n_control_normal", n);
        }
    }

    #[test]
    fn power_and_detectable_effects_agree_with_the_golden_cases() {
        for case in Golden::family("power_prop_power_mde") {
            let sizes = Sizes { control: case.count("n_control"), treatment: case.count("n_treatment") };
            let (control, alpha) = (case.number("p_control"), case.number("alpha"));
            let power = of_rates(sizes, control, case.number("p_treatment"), alpha);
            case.assert("power_pooled_null", power);
            let demand = Demand { alpha, power: case.number("mde_power") };
            case.assert("mde_abs_pooled_null", detectable_rate(sizes, control, demand).unwrap() - control);
        }
    }

    proptest! {
        #[test]
        fn the_needed_number_of_customers_has_just_the_power_asked_for(
            control in 0.005f64..0.5, relative in 0.05f64..0.9, ratio in 0.2f64..5.0, power in 0.5f64..0.95,
        ) {
            let (treatment, alpha) = (control * (1.0 + relative), 0.05);
            let n = control_customers(control, treatment, ratio, Demand { alpha, power });
            let at = |n: f64| of_rates(Sizes { control: n as u64, treatment: (n * ratio) as u64 }, control, treatment, alpha);
            prop_assert!(at(n * 1.02 + 10.0) >= power && at((n * 0.98 - 10.0).max(1.0)) <= power);
        }
    }

    #[test]
    fn an_effect_that_no_rate_reaches_is_not_detectable() {
        let few = Sizes { control: 3, treatment: 3 };
        assert_eq!(detectable_rate(few, 0.4, Demand { alpha: 0.01, power: 0.9 }), None);
        assert_eq!(of_rates(Sizes { control: 0, treatment: 10 }, 0.1, 0.2, 0.05), 0.0);
    }
}
