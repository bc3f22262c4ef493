//! From accumulated outcomes to results.

use std::collections::BTreeMap;

use crate::{
    agents::experimentation::{
        accumulate::{Accumulator, ArmMoments, Metric},
        analysis::{Adjusted, ArmResult, Comparison, GroupResult, MetricKind, MetricSummary, Results, SampleRatio},
        decide::decide,
    },
    stats::{
        Undefined, chi_square, corrections, cuped, lift, means,
        moments::{CoMoments, Moments},
        proportions::{self, Proportion},
    },
};

/// Below this the split is not the configured one (Fabijan and others, KDD 2019, use 0.001 or less).
const SAMPLE_RATIO_ALPHA: f64 = 0.001;

/// What is compared with what.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub alpha: f64,
    pub control: String,
    /// The arm that gets nothing; control is compared with it.
    pub holdout: Option<String>,
    /// All arms with the shares of customers they should have, control among them; the results keep this order.
    pub shares: Vec<(String, f64)>,
    /// The first one is the primary metric.
    pub metrics: Vec<Metric>,
    pub covariate: Option<String>,
    /// What the groups are values of.
    pub by: Option<String>,
}

impl Plan {
    /// Treatment and control of each comparison.
    fn pairs(&self) -> Vec<(&str, &str)> {
        let holdout = self.holdout.as_deref();
        let names = self.shares.iter().map(|(arm, _)| arm.as_str());
        let arms = names.filter(|arm| *arm != self.control && Some(*arm) != holdout);
        arms.map(|arm| (arm, self.control.as_str()))
            .chain(holdout.map(|holdout| (self.control.as_str(), holdout)))
            .collect()
    }
}

/// `None` where no customer is in any arm of the plan. The plan names every arm that the outcomes hold.
pub fn infer(outcomes: &Accumulator, plan: &Plan, simulated: bool, mut warnings: Vec<String>) -> Option<Results> {
    let everybody = outcomes.arms();
    let arms = arm_results(&everybody, plan);
    let sample_ratio = sample_ratio(&arms)?;
    let mut comparisons = comparisons(&everybody, plan);
    correct(&mut comparisons, plan);
    let empty = arms.iter().filter(|arm| arm.customers == 0);
    warnings.extend(empty.map(|arm| format!("No customer is in arm `{}`: nothing can be said about it.", arm.arm)));
    let decision = decide(plan, &arms, &sample_ratio, &comparisons, simulated);
    let groups = outcomes.groups();
    let groups = groups.iter().filter_map(|(value, moments)| {
        let arms = arm_results(moments, plan);
        Some(GroupResult {
            column: plan.by.clone()?,
            value: (*value).to_owned(),
            sample_ratio: self::sample_ratio(&arms)?,
            arms,
            comparisons: self::comparisons(moments, plan),
        })
    });
    Some(Results {
        simulated,
        alpha: plan.alpha,
        primary_metric: plan.metrics.first()?.name.clone(),
        control: plan.control.clone(),
        customers: arms.iter().map(|arm| arm.customers).sum(),
        groups: groups.collect(),
        arms,
        sample_ratio,
        comparisons,
        decision,
        warnings,
    })
}

fn arm_results(moments: &BTreeMap<&str, &ArmMoments>, plan: &Plan) -> Vec<ArmResult> {
    let result = |(arm, share): &(String, f64)| {
        let found = moments.get(arm.as_str());
        let summaries = found.iter().flat_map(|found| plan.metrics.iter().zip(&found.metrics));
        ArmResult {
            arm: arm.clone(),
            share: *share,
            customers: found.map_or(0, |found| found.customers),
            metrics: summaries.filter_map(|(metric, found)| summary(metric, &found.outcome, plan.alpha)).collect(),
        }
    };
    plan.shares.iter().map(result).collect()
}

fn summary(metric: &Metric, moments: &Moments, alpha: f64) -> Option<MetricSummary> {
    let (interval, variance) = match metric.kind {
        MetricKind::Rate => {
            let proportion = proportion(moments).ok()?;
            (Some(proportions::wilson(proportion, alpha)), Some(proportion.variance()))
        }
        MetricKind::Mean => {
            let sample = moments.sample().ok();
            (sample.map(|sample| means::mean_interval(&sample, alpha)), moments.variance())
        }
    };
    let (total, mean) = (moments.sum(), moments.mean()?);
    Some(MetricSummary { metric: metric.name.clone(), kind: metric.kind, total, mean, interval, variance })
}

fn sample_ratio(arms: &[ArmResult]) -> Option<SampleRatio> {
    let cells: Vec<_> = arms.iter().map(|arm| (arm.customers, arm.share)).collect();
    let fit = chi_square::goodness_of_fit(&cells).ok()?;
    Some(SampleRatio {
        statistic: fit.statistic,
        degrees_of_freedom: fit.degrees_of_freedom,
        p_value: fit.p.value(),
        ln_p_value: fit.p.ln(),
        mismatch: fit.p.value() < SAMPLE_RATIO_ALPHA,
    })
}

fn comparisons(moments: &BTreeMap<&str, &ArmMoments>, plan: &Plan) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for (index, metric) in plan.metrics.iter().enumerate() {
        for (arm, control) in plan.pairs() {
            let (Some(treated), Some(untreated)) = (moments.get(arm), moments.get(control)) else { continue };
            let (a, b) = (&untreated.metrics[index], &treated.metrics[index]);
            comparisons.extend(compare(metric, (control, a), (arm, b), plan));
        }
    }
    comparisons
}

/// `None` where an arm is empty.
fn compare(metric: &Metric, control: (&str, &CoMoments), arm: (&str, &CoMoments), plan: &Plan) -> Option<Comparison> {
    let ((control, a), (arm, b)) = (control, arm);
    let (control_mean, arm_mean) = (a.outcome.mean()?, b.outcome.mean()?);
    let lift = lift::lift(control_mean, arm_mean);
    let mut comparison = Comparison {
        metric: metric.name.clone(),
        kind: metric.kind,
        arm: arm.to_owned(),
        control: control.to_owned(),
        arm_mean,
        control_mean,
        arm_customers: b.outcome.count(),
        control_customers: a.outcome.count(),
        difference: arm_mean - control_mean,
        difference_interval: None,
        lift: lift.ok(),
        lift_interval: None,
        statistic: None,
        degrees_of_freedom: None,
        p_value: None,
        ln_p_value: None,
        p_holm: None,
        undefined: None,
        adjusted: plan.covariate.as_ref().and_then(|covariate| adjust(covariate, a, b, plan.alpha)),
    };
    let tested = match metric.kind {
        MetricKind::Rate => compare_rates(&mut comparison, &a.outcome, &b.outcome, plan.alpha),
        MetricKind::Mean => compare_means(&mut comparison, &a.outcome, &b.outcome, plan.alpha),
    };
    comparison.undefined = tested.err().or(lift.err()).map(|reason| reason.to_string());
    Some(comparison)
}

fn compare_rates(comparison: &mut Comparison, a: &Moments, b: &Moments, alpha: f64) -> Result<(), Undefined> {
    let (a, b) = (proportion(a)?, proportion(b)?);
    comparison.difference_interval = Some(proportions::newcombe(a, b, alpha));
    comparison.lift_interval = lift::interval_of_rates(a, b, alpha).ok();
    let test = proportions::pooled_z_test(a, b)?;
    comparison.statistic = Some(test.z);
    comparison.p_value = Some(test.p.value());
    comparison.ln_p_value = Some(test.p.ln());
    Ok(())
}

fn compare_means(comparison: &mut Comparison, a: &Moments, b: &Moments, alpha: f64) -> Result<(), Undefined> {
    let (a, b) = (a.sample()?, b.sample()?);
    comparison.lift_interval = lift::interval_of_means(&a, &b, alpha).ok();
    let test = means::welch_test(&a, &b, alpha)?;
    comparison.difference_interval = Some(test.interval);
    comparison.statistic = Some(test.t);
    comparison.degrees_of_freedom = Some(test.degrees_of_freedom);
    comparison.p_value = Some(test.p.value());
    comparison.ln_p_value = Some(test.p.ln());
    Ok(())
}

fn adjust(covariate: &str, a: &CoMoments, b: &CoMoments, alpha: f64) -> Option<Adjusted> {
    let adjusted = cuped::cuped(a, b, alpha).ok()?;
    Some(Adjusted {
        covariate: covariate.to_owned(),
        theta: adjusted.theta,
        difference: adjusted.test.difference,
        standard_error: adjusted.test.standard_error,
        difference_interval: adjusted.test.interval,
        statistic: adjusted.test.t,
        degrees_of_freedom: adjusted.test.degrees_of_freedom,
        p_value: adjusted.test.p.value(),
        ln_p_value: adjusted.test.p.ln(),
        variance_reduction: adjusted.variance_reduction,
    })
}

/// Sums of zeros and ones are exact.
fn proportion(moments: &Moments) -> Result<Proportion, Undefined> {
    Proportion::new(moments.sum() as u64, moments.count())
}

fn correct(comparisons: &mut [Comparison], plan: &Plan) {
    let family: Vec<&mut Comparison> = comparisons
        .iter_mut()
        .filter(|comparison| comparison.control == plan.control && comparison.p_value.is_some())
        .collect();
    let p_values: Vec<f64> = family.iter().filter_map(|comparison| comparison.p_value).collect();
    for (comparison, corrected) in family.into_iter().zip(corrections::holm(&p_values)) {
        comparison.p_holm = Some(corrected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::experimentation::{accumulate::Row, analysis::Decision};

    fn plan(shares: &[(&str, f64)], holdout: Option<&str>) -> Plan {
        Plan {
            alpha: 0.05,
            control: "control".to_owned(),
            holdout: holdout.map(str::to_owned),
            shares: shares.iter().map(|(arm, share)| ((*arm).to_owned(), *share)).collect(),
            metrics: vec!["open:rate".parse().unwrap()],
            covariate: None,
            by: None,
        }
    }

    /// (arm, opened, customers)
    fn outcomes(arms: &[(&str, u64, u64)]) -> Accumulator {
        let mut outcomes = Accumulator::new(1);
        for (arm, opened, customers) in arms {
            for customer in 0..*customers {
                let opened = if customer < *opened { 1.0 } else { 0.0 };
                outcomes.add(&Row { arm, group: None, values: &[opened], covariate: 0.0 }).unwrap();
            }
        }
        outcomes
    }

    fn why(decision: &Decision) -> &str {
        match decision {
            Decision::Winner { why, .. } | Decision::NoDecision { why } => why,
        }
    }

    const HALVES: [(&str, f64); 2] = [("control", 0.5), ("b", 0.5)];

    #[test]
    fn a_difference_that_chance_explains_has_no_winner_and_says_what_it_would_take() {
        let outcomes = outcomes(&[("control", 19, 62), ("b", 24, 62)]);
        let results = infer(&outcomes, &plan(&HALVES, None), false, vec![]).unwrap();
        let p = results.comparisons[0].p_value.unwrap();
        assert!((p - 0.345).abs() < 0.002, "{p}");
        assert!(matches!(results.decision, Decision::NoDecision { .. }));
        // landscape: about 546 customers per arm would have been needed.
        assert!(why(&results.decision).contains("546 customers in each arm"), "{}", why(&results.decision));
    }

    #[test]
    fn a_clear_difference_in_favour_has_a_winner_and_one_against_has_not() {
        let better = outcomes(&[("control", 100, 1000), ("b", 200, 1000)]);
        let results = infer(&better, &plan(&HALVES, None), false, vec![]).unwrap();
        assert!(matches!(&results.decision, Decision::Winner { arm, .. } if arm == "b"));
        let worse = outcomes(&[("control", 200, 1000), ("b", 100, 1000)]);
        let results = infer(&worse, &plan(&HALVES, None), false, vec![]).unwrap();
        assert!(matches!(results.decision, Decision::NoDecision { .. }));
        assert!(why(&results.decision).contains("worse"), "{}", why(&results.decision));
    }

    #[test]
    fn a_broken_split_forbids_every_winner() {
        let lost = outcomes(&[("control", 100, 1000), ("b", 160, 800)]);
        let results = infer(&lost, &plan(&HALVES, None), false, vec![]).unwrap();
        assert!(results.sample_ratio.mismatch && results.comparisons[0].p_holm.unwrap() < 0.001);
        assert!(matches!(results.decision, Decision::NoDecision { .. }));
    }

    #[test]
    fn the_holdout_tells_whether_sending_works_and_takes_no_part_in_the_correction() {
        let shares = [("holdout", 0.2), ("control", 0.4), ("b", 0.4)];
        let counts = outcomes(&[("holdout", 20, 1000), ("control", 100, 2000), ("b", 130, 2000)]);
        let results = infer(&counts, &plan(&shares, Some("holdout")), false, vec![]).unwrap();
        let pairs: Vec<_> = results.comparisons.iter().map(|c| (c.arm.as_str(), c.control.as_str())).collect();
        assert_eq!(pairs, [("b", "control"), ("control", "holdout")]);
        assert_eq!(results.comparisons[0].p_holm, results.comparisons[0].p_value);
        assert!(results.comparisons[1].p_value.is_some() && results.comparisons[1].p_holm.is_none());
    }

    #[test]
    fn what_is_undefined_has_a_reason_and_survives_json() {
        let nobody = outcomes(&[("control", 0, 40), ("b", 0, 40)]);
        let results = infer(&nobody, &plan(&HALVES, None), false, vec![]).unwrap();
        let comparison = &results.comparisons[0];
        assert_eq!((comparison.p_value, comparison.lift, comparison.p_holm), (None, None, None));
        assert!(comparison.undefined.is_some() && comparison.difference_interval.is_some());
        let json = serde_json::to_string(&results).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&json).unwrap(), results);

        assert_eq!(infer(&outcomes(&[]), &plan(&HALVES, None), false, vec![]), None);
        let one_sided = infer(&outcomes(&[("control", 3, 40)]), &plan(&HALVES, None), false, vec![]).unwrap();
        assert!(one_sided.comparisons.is_empty() && one_sided.warnings[0].contains("`b`"));
    }
}
