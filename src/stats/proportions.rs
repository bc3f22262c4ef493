//! Proportions: successes out of customers.

use super::{Interval, PValue, Undefined, normal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proportion {
    successes: u64,
    n: u64,
}

impl Proportion {
    /// `Undefined::Empty` for n = 0. More successes than customers cannot be made from 0/1 outcomes.
    pub fn new(successes: u64, n: u64) -> Result<Self, Undefined> {
        debug_assert!(successes <= n);
        if n == 0 { Err(Undefined::Empty) } else { Ok(Self { successes: successes.min(n), n }) }
    }

    pub fn successes(self) -> u64 {
        self.successes
    }

    pub fn n(self) -> u64 {
        self.n
    }

    pub fn rate(self) -> f64 {
        self.successes as f64 / self.n as f64
    }

    /// p(1 - p): of one customer's outcome.
    pub fn variance(self) -> f64 {
        let rate = self.rate();
        rate * (1.0 - rate)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ZTest {
    pub difference: f64,
    pub standard_error: f64,
    pub z: f64,
    pub p: PValue,
}

/// The two-proportion z-test with the pooled variance; no continuity correction. [`Undefined::NoVariance`] where
/// nobody or everybody in both arms succeeded.
pub fn pooled_z_test(a: Proportion, b: Proportion) -> Result<ZTest, Undefined> {
    let pooled = Proportion { successes: a.successes + b.successes, n: a.n + b.n };
    if pooled.successes == 0 || pooled.successes == pooled.n {
        return Err(Undefined::NoVariance);
    }
    let difference = b.rate() - a.rate();
    let standard_error = (pooled.variance() * (1.0 / a.n as f64 + 1.0 / b.n as f64)).sqrt();
    let z = difference / standard_error;
    Ok(ZTest { difference, standard_error, z, p: normal::two_sided_p(z) })
}

/// Wilson's score interval (JASA 22, 1927), inside 0 to 1 also for 0 or all successes.
pub fn wilson(proportion: Proportion, alpha: f64) -> Interval {
    let (p, n) = (proportion.rate(), proportion.n as f64);
    let z = normal::critical_value(alpha);
    let scale = 1.0 + z * z / n;
    let centre = (p + z * z / (2.0 * n)) / scale;
    let half_width = z / scale * (proportion.variance() / n + z * z / (4.0 * n * n)).sqrt();
    let interval = Interval::around(centre, half_width);
    // Exactly 0 and 1 where rounding leaves 1e-17.
    Interval {
        low: if proportion.successes == 0 { 0.0 } else { interval.low },
        high: if proportion.successes == proportion.n { 1.0 } else { interval.high },
    }
}

/// Newcombe's hybrid score interval of b - a without continuity correction: method 10 of Statistics in Medicine 17
/// (1998), 873-890. Defined for every pair of proportions.
pub fn newcombe(a: Proportion, b: Proportion, alpha: f64) -> Interval {
    let (score_a, score_b) = (wilson(a, alpha), wilson(b, alpha));
    let (pa, pb) = (a.rate(), b.rate());
    let difference = pb - pa;
    Interval {
        low: difference - (pb - score_b.low).hypot(score_a.high - pa),
        high: difference + (score_b.high - pb).hypot(pa - score_a.low),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::golden::{Golden, assert_close};

    fn pair(case: &Golden) -> Result<(Proportion, Proportion), Undefined> {
        Ok((Proportion::new(case.count("xa"), case.count("na"))?, Proportion::new(case.count("xb"), case.count("nb"))?))
    }

    #[test]
    fn the_pooled_test_agrees_with_the_golden_cases() {
        for case in Golden::family("prop_z_pooled") {
            let (a, b) = pair(&case).unwrap();
            let test = pooled_z_test(a, b).unwrap();
            case.assert("diff", test.difference);
            case.assert("se", test.standard_error);
            case.assert("z", test.z);
            // The one-sided cases check the statistic only: one-sided tests are not offered.
            if case.text("alternative") == "two-sided" {
                case.assert("p_value", test.p.value());
                case.assert("ln_p_value", test.p.ln());
            }
        }
    }

    #[test]
    fn score_intervals_agree_with_the_golden_cases() {
        for case in Golden::family("prop_ci_single") {
            let proportion = Proportion::new(case.count("x"), case.count("n")).unwrap();
            case.assert_interval("wilson", wilson(proportion, case.number("alpha")));
        }
        for case in Golden::family("prop_diff_ci") {
            let (a, b) = pair(&case).unwrap();
            case.assert_interval("newcombe", newcombe(a, b, case.number("alpha")));
        }
    }

    #[test]
    fn edges_are_numbers_or_reasons_as_in_the_golden_cases() {
        for case in Golden::family("edge_proportions") {
            let test = pair(&case).and_then(|(a, b)| pooled_z_test(a, b));
            case.assert_option("z_pooled", test.ok().map(|test| test.z));
            case.assert_option("p_pooled", test.ok().map(|test| test.p.value()));
            if let Ok(test) = test {
                case.assert("ln_p_pooled", test.p.ln());
            }
            match pair(&case) {
                Ok((a, b)) => case.assert_interval("newcombe", newcombe(a, b, case.number("alpha"))),
                Err(reason) => assert_eq!(reason, Undefined::Empty),
            }
        }
    }

    /// 24 of 62 opens against 19 of 62, once reported as a success.
    #[test]
    fn five_opens_more_of_62_say_nothing() {
        let (a, b) = (Proportion::new(19, 62).unwrap(), Proportion::new(24, 62).unwrap());
        let test = pooled_z_test(a, b).unwrap();
        assert_close(test.p.value(), 0.345, 2e-3, 0.0, "p");
        let interval = newcombe(a, b, 0.05);
        assert!(interval.low < 0.0 && interval.high > 0.0);
    }
}
