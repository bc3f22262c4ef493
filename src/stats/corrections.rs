//! Corrections for testing several hypotheses at once.

/// Holm's step-down adjusted p-values (Scandinavian Journal of Statistics 6, 1979), in the order given: the chance of
/// any false rejection stays below alpha whatever the tests' dependence.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, index) in order.into_iter().enumerate() {
        let left = (p_values.len() - rank) as f64;
        largest = largest.max((left * p_values[index]).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::golden::Golden;

    #[test]
    fn holm_agrees_with_the_golden_cases() {
        for case in Golden::family("multiple_testing") {
            case.assert_all("adjusted.holm", &holm(&case.numbers("p_values")));
        }
    }
}
