//! CUPED: a covariate from before the experiment takes its share of the variance out of the outcome.
//!
//! Deng, Xu, Kohavi and Walker, WSDM 2013. Theta is the slope of outcome on covariate over the customers of both arms
//! taken as one sample; the adjusted outcome is y - theta (x - mean x), with which Welch's test is made.

use super::{Undefined, means, means::Sample, means::WelchTest, moments::CoMoments};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cuped {
    pub theta: f64,
    pub test: WelchTest,
    /// 1 - (adjusted / unadjusted standard error)^2. Slightly below 0 for a covariate that explains nothing.
    pub variance_reduction: f64,
}

/// [`Undefined::NoVariance`] where the covariate is the same for everybody, or explains the outcome entirely.
pub fn cuped(a: &CoMoments, b: &CoMoments, alpha: f64) -> Result<Cuped, Undefined> {
    let mut both = *a;
    both.merge(b);
    let covariance = both.covariance().ok_or(Undefined::TooFew)?;
    let variance = both.covariate.variance().filter(|variance| *variance > 0.0).ok_or(Undefined::NoVariance)?;
    let theta = covariance / variance;
    let centre = both.covariate.mean().ok_or(Undefined::Empty)?;
    let unadjusted = means::welch_test(&a.outcome.sample()?, &b.outcome.sample()?, alpha)?;
    let test = means::welch_test(&adjusted(a, theta, centre)?, &adjusted(b, theta, centre)?, alpha)?;
    let variance_reduction = 1.0 - (test.standard_error / unadjusted.standard_error).powi(2);
    Ok(Cuped { theta, test, variance_reduction })
}

fn adjusted(arm: &CoMoments, theta: f64, centre: f64) -> Result<Sample, Undefined> {
    let (outcome, covariate) = (arm.outcome.sample()?, arm.covariate.sample()?);
    let covariance = arm.covariance().ok_or(Undefined::TooFew)?;
    let variance = outcome.variance - 2.0 * theta * covariance + theta * theta * covariate.variance;
    Ok(Sample {
        n: outcome.n,
        mean: outcome.mean - theta * (covariate.mean - centre),
        // Rounding may leave a perfectly explained outcome just below 0.
        variance: variance.max(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::golden::Golden;

    fn arm(case: &Golden, arm: &str) -> CoMoments {
        let sum = |name: &str| case.number(&format!("{arm}.{name}"));
        CoMoments::from_sums(
            case.count(&format!("{arm}.n")),
            [sum("post_sum"), sum("post_sum_squares")],
            [sum("pre_sum"), sum("pre_sum_squares")],
            sum("post_pre_sum"),
        )
    }

    #[test]
    fn cuped_agrees_with_the_golden_cases() {
        for case in Golden::family("cuped") {
            let found = cuped(&arm(&case, "a"), &arm(&case, "b"), case.number("alpha")).unwrap();
            case.assert("theta", found.theta);
            case.assert("variance_reduction", found.variance_reduction);
            case.assert("absolute.diff", found.test.difference);
            case.assert("absolute.se", found.test.standard_error);
            case.assert("absolute.df", found.test.degrees_of_freedom);
            case.assert("absolute.p_value", found.test.p.value());
            case.assert("absolute.ln_p_value", found.test.p.ln());
            case.assert("absolute.ci_low", found.test.interval.low);
            case.assert("absolute.ci_high", found.test.interval.high);
        }
    }

    #[test]
    fn a_covariate_that_never_varies_is_no_covariate() {
        let mut arm = CoMoments::default();
        [1.0, 2.0, 4.0].into_iter().for_each(|outcome| arm.push(outcome, 7.0));
        assert_eq!(cuped(&arm, &arm, 0.05), Err(Undefined::NoVariance));
    }
}
