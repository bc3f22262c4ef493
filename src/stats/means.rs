//! Means of independent samples.

use super::{Interval, PValue, Undefined, student};

/// What is left of a sample of at least two values; see [`super::moments::Moments::sample`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub n: u64,
    pub mean: f64,
    /// With n - 1.
    pub variance: f64,
}

impl Sample {
    /// Of the mean.
    pub(super) fn squared_error(&self) -> f64 {
        self.variance / self.n as f64
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WelchTest {
    pub difference: f64,
    pub standard_error: f64,
    pub degrees_of_freedom: f64,
    pub t: f64,
    pub p: PValue,
    pub interval: Interval,
}

/// Welch's t-test of b - a (Biometrika 34, 1947). [`Undefined::NoVariance`] where both variances are 0; one of
/// them may be.
pub fn welch_test(a: &Sample, b: &Sample, alpha: f64) -> Result<WelchTest, Undefined> {
    let (standard_error, degrees_of_freedom) =
        welch_satterthwaite([(a.squared_error(), a.n), (b.squared_error(), b.n)])?;
    let difference = b.mean - a.mean;
    let t = difference / standard_error;
    Ok(WelchTest {
        difference,
        standard_error,
        degrees_of_freedom,
        t,
        p: student::two_sided_p(t, degrees_of_freedom),
        interval: Interval::around(difference, student::critical_value(alpha, degrees_of_freedom) * standard_error),
    })
}

/// Student's interval of one mean; a single point where all values are the same.
pub fn mean_interval(sample: &Sample, alpha: f64) -> Interval {
    let freedom = (sample.n - 1) as f64;
    Interval::around(sample.mean, student::critical_value(alpha, freedom) * sample.squared_error().sqrt())
}

/// The standard error of a difference of independent estimates and its degrees of freedom, from each estimate's
/// squared error and sample size.
pub(super) fn welch_satterthwaite(estimates: [(f64, u64); 2]) -> Result<(f64, f64), Undefined> {
    let total: f64 = estimates.iter().map(|(squared_error, _)| squared_error).sum();
    if total <= 0.0 {
        return Err(Undefined::NoVariance);
    }
    let weight: f64 = estimates.iter().map(|(squared_error, n)| (squared_error / total).powi(2) / (n - 1) as f64).sum();
    Ok((total.sqrt(), 1.0 / weight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{golden::Golden, moments::Moments};

    fn check(case: &Golden, test: &WelchTest) {
        case.assert("diff", test.difference);
        case.assert("se", test.standard_error);
        case.assert("df", test.degrees_of_freedom);
        case.assert("t", test.t);
        case.assert("p_value", test.p.value());
        case.assert("ln_p_value", test.p.ln());
        case.assert("ci_low", test.interval.low);
        case.assert("ci_high", test.interval.high);
    }

    #[test]
    fn welchs_test_agrees_with_the_golden_cases() {
        for case in Golden::family("mean_welch_t").into_iter().filter(|case| case.text("alternative") == "two-sided") {
            check(&case, &welch_test(&case.sample("a"), &case.sample("b"), case.number("alpha")).unwrap());
        }
    }

    #[test]
    fn raw_values_and_their_moments_give_the_same_test() {
        for case in Golden::family("mean_welch_t_raw") {
            let [a, b] = ["a", "b"].map(|arm| {
                let mut moments = Moments::default();
                case.numbers(arm).into_iter().for_each(|value| moments.push(value));
                moments.sample().unwrap()
            });
            case.assert("mean_a", a.mean);
            case.assert("var_b", b.variance);
            check(&case, &welch_test(&a, &b, case.number("alpha")).unwrap());
        }
    }

    #[test]
    fn edges_are_numbers_or_reasons_as_in_the_golden_cases() {
        for case in Golden::family("edge_means") {
            if case.count("na") < 2 {
                let mut one = Moments::default();
                one.push(5.0);
                assert_eq!(one.sample(), Err(Undefined::TooFew));
                continue;
            }
            match welch_test(&case.sample("a"), &case.sample("b"), case.number("alpha")) {
                Ok(test) => check(&case, &test),
                Err(reason) => {
                    assert_eq!(reason, Undefined::NoVariance);
                    case.assert_option("p_value", None);
                }
            }
        }
    }
}
