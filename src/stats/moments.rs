//! Counts, sums and squared deviations that can be gathered row by row and merged in any order.

use super::{Undefined, means::Sample};

/// Of one variable. The sum (not the mean) is kept, so that counts of successes stay exact.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    count: u64,
    sum: f64,
    /// Sum of squared deviations from the mean.
    m2: f64,
}

impl Moments {
    /// Youngs and Cramer, Technometrics 13 (1971).
    pub fn push(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        if self.count > 1 {
            let n = self.count as f64;
            let deviation = n * value - self.sum;
            self.m2 += deviation * deviation / (n * (n - 1.0));
        }
    }

    /// Chan, Golub and LeVeque, COMPSTAT 1982.
    pub fn merge(&mut self, other: &Self) {
        if let (Some(mean), Some(other_mean)) = (self.mean(), other.mean()) {
            let delta = other_mean - mean;
            self.m2 += delta * delta * harmonic(self.count, other.count);
        }
        self.m2 += other.m2;
        self.count += other.count;
        self.sum += other.sum;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn sum(&self) -> f64 {
        self.sum
    }

    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// With n - 1.
    pub fn variance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.m2 / (self.count - 1) as f64)
    }

    pub fn sample(&self) -> Result<Sample, Undefined> {
        let mean = self.mean().ok_or(Undefined::Empty)?;
        let variance = self.variance().ok_or(Undefined::TooFew)?;
        Ok(Sample { n: self.count, mean, variance })
    }
}

/// Of an outcome and a covariate.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CoMoments {
    pub outcome: Moments,
    pub covariate: Moments,
    /// Sum of products of the deviations from the two means.
    product: f64,
}

impl CoMoments {
    pub fn push(&mut self, outcome: f64, covariate: f64) {
        self.outcome.push(outcome);
        self.covariate.push(covariate);
        let n = self.outcome.count as f64;
        if n > 1.0 {
            self.product += (n * outcome - self.outcome.sum) * (n * covariate - self.covariate.sum) / (n * (n - 1.0));
        }
    }

    pub fn merge(&mut self, other: &Self) {
        let deltas = [(&self.outcome, &other.outcome), (&self.covariate, &other.covariate)]
            .map(|(mine, theirs)| mine.mean().zip(theirs.mean()).map(|(mine, theirs)| theirs - mine));
        if let [Some(outcome), Some(covariate)] = deltas {
            self.product += outcome * covariate * harmonic(self.outcome.count, other.outcome.count);
        }
        self.product += other.product;
        self.outcome.merge(&other.outcome);
        self.covariate.merge(&other.covariate);
    }

    /// From plain sums, which lose digits where means are large: for golden cases, whose sums are exact integers.
    #[cfg(test)]
    pub(super) fn from_sums(count: u64, outcome: [f64; 2], covariate: [f64; 2], products: f64) -> Self {
        let moments = |[sum, squares]: [f64; 2]| Moments { count, sum, m2: squares - sum * sum / count as f64 };
        let product = products - outcome[0] * covariate[0] / count as f64;
        Self { outcome: moments(outcome), covariate: moments(covariate), product }
    }

    /// With n - 1.
    pub fn covariance(&self) -> Option<f64> {
        (self.outcome.count > 1).then(|| self.product / (self.outcome.count - 1) as f64)
    }
}

fn harmonic(a: u64, b: u64) -> f64 {
    let (a, b) = (a as f64, b as f64);
    a * b / (a + b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gather(rows: &[(f64, f64)]) -> CoMoments {
        rows.iter().fold(CoMoments::default(), |mut all, (y, x)| {
            all.push(*y, *x);
            all
        })
    }

    proptest! {
        #[test]
        fn merging_parts_equals_gathering_the_whole(
            rows in prop::collection::vec((-1e6f64..1e6, 1e9f64..1.001e9), 0..60),
            cut in 0usize..60,
        ) {
            let cut = cut.min(rows.len());
            let mut merged = gather(&rows[..cut]);
            merged.merge(&gather(&rows[cut..]));
            let whole = gather(&rows);
            prop_assert_eq!(merged.outcome.count(), whole.outcome.count());
            let near = |a: Option<f64>, b: Option<f64>, scale: f64| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * scale,
                (a, b) => a == b,
            };
            prop_assert!(near(merged.outcome.variance(), whole.outcome.variance(), 1e12));
            prop_assert!(near(merged.covariate.variance(), whole.covariate.variance(), 1e12));
            prop_assert!(near(merged.covariance(), whole.covariance(), 1e12));
        }
    }

    #[test]
    fn a_large_offset_costs_no_digits() {
        let rows: Vec<_> = [4.0, 7.0, 13.0, 16.0].map(|v| (1e9 + v, 1e9 - v)).to_vec();
        let moments = gather(&rows);
        assert_eq!(moments.outcome.variance(), Some(30.0));
        assert_eq!(moments.covariance(), Some(-30.0));
    }
}
