//! The decision, and why, in words a marketer can act on.

use crate::{
    agents::experimentation::{
        analysis::{ArmResult, Comparison, Decision, Interval, MetricKind, SampleRatio},
        infer::Plan,
        words,
    },
    stats::power::{self, Demand},
};

/// For the number of customers that a test would have needed.
const USUAL_POWER: f64 = 0.8;

/// An arm wins if the split is as configured, and its primary metric is above control's with a Holm-corrected p-value
/// below alpha. Of several the one with the highest mean is named.
pub fn decide(
    plan: &Plan,
    arms: &[ArmResult],
    sample_ratio: &SampleRatio,
    comparisons: &[Comparison],
    simulated: bool,
) -> Decision {
    let decision = unmarked(plan, arms, sample_ratio, comparisons);
    if !simulated {
        return decision;
    }
    let mark = |why: String| format!("SIMULATED, the outcomes are invented: {why}");
    match decision {
        Decision::Winner { arm, why } => Decision::Winner { arm, why: mark(why) },
        Decision::NoDecision { why } => Decision::NoDecision { why: mark(why) },
    }
}

fn unmarked(plan: &Plan, arms: &[ArmResult], sample_ratio: &SampleRatio, comparisons: &[Comparison]) -> Decision {
    if sample_ratio.mismatch {
        return Decision::NoDecision {
            why: format!(
                "The arms' sizes differ from the configured shares by more than chance explains (p = {}). Find out \
                 what loses or adds customers in some arms before you trust any number here.",
                words::p_value(sample_ratio.p_value)
            ),
        };
    }
    let family: Vec<_> = comparisons.iter().filter(|comparison| comparison.control == plan.control).collect();
    let mut primary: Vec<_> =
        family.iter().copied().filter(|c| Some(&c.metric) == plan.metrics.first().map(|m| &m.name)).collect();
    primary.sort_by(|a, b| b.arm_mean.total_cmp(&a.arm_mean));
    let tests = family.iter().filter(|comparison| comparison.p_holm.is_some()).count();
    let is_shown = |comparison: &&Comparison| comparison.p_holm.is_some_and(|p| p < plan.alpha);
    let (shown, open): (Vec<_>, Vec<_>) = primary.iter().copied().partition(is_shown);
    let (better, worse): (Vec<_>, Vec<_>) = shown.into_iter().partition(|comparison| comparison.difference > 0.0);
    let mut why = Vec::new();
    if let Some(best) = better.first() {
        why.push(format!("`{}` beats `{}`: {}.", best.arm, best.control, evidence(best, plan, tests)));
        if better.len() > 1 {
            why.push(format!(
                "{} too; these arms have not been tested against one another.",
                beat(&better[1..], "beats", "beat", &plan.control)
            ));
        }
    } else if let Some(closest) = open.first() {
        why.push(match closest.p_holm {
            None => format!(
                "`{}` cannot be tested against `{}` on {}: {}.",
                closest.arm,
                closest.control,
                closest.metric,
                closest.undefined.as_deref().unwrap_or("the test is undefined")
            ),
            Some(_) => format!(
                "No arm is shown to beat `{}`. The nearest is `{}`: {}.",
                closest.control,
                closest.arm,
                evidence(closest, plan, tests)
            ),
        });
        why.extend(needed(closest, plan, arms, tests));
    } else if worse.is_empty() {
        why.push(format!("There is no arm to compare with `{}`.", plan.control));
    } else {
        why.push(format!("No arm beats `{}`.", plan.control));
    }
    if !worse.is_empty() {
        let worst = worse[0];
        why.push(format!(
            "{}: {}.",
            beat(&worse, "is worse than", "are worse than", &plan.control),
            evidence(worst, plan, tests)
        ));
    }
    let why = why.join(" ");
    match better.first() {
        Some(best) => Decision::Winner { arm: best.arm.clone(), why },
        None => Decision::NoDecision { why },
    }
}

fn beat(arms: &[&Comparison], one: &str, several: &str, control: &str) -> String {
    let names: Vec<_> = arms.iter().map(|comparison| format!("`{}`", comparison.arm)).collect();
    format!("{} {} `{control}`", names.join(", "), if names.len() == 1 { one } else { several })
}

/// `visit 18.3 % against 10.6 %, a lift of +72.1 % (95 % interval +64 % to +80.6 %), p = ...`
fn evidence(comparison: &Comparison, plan: &Plan, tests: usize) -> String {
    let kind = comparison.kind;
    let confidence = words::percent(1.0 - plan.alpha);
    let effect = match (comparison.lift, comparison.lift_interval, comparison.difference_interval) {
        (Some(lift), Some(Interval { low, high }), _) => format!(
            ", a lift of {} ({confidence} interval {} to {})",
            words::signed_percent(lift),
            words::signed_percent(low),
            words::signed_percent(high)
        ),
        (_, None, Some(Interval { low, high })) => {
            format!(
                ", a difference between {} and {} ({confidence} interval)",
                kind.difference(low),
                kind.difference(high)
            )
        }
        _ => String::new(),
    };
    let p = comparison.p_holm.map_or_else(String::new, |p| {
        let corrected = if tests > 1 { format!(" after Holm's correction for {tests} tests") } else { String::new() };
        format!(", p = {}{corrected}", words::p_value(p))
    });
    format!(
        "{} {} against {}{effect}{p}",
        comparison.metric,
        kind.mean(comparison.arm_mean),
        kind.mean(comparison.control_mean)
    )
}

/// What it would take to find a difference as large as the one seen.
fn needed(comparison: &Comparison, plan: &Plan, arms: &[ArmResult], tests: usize) -> Option<String> {
    if comparison.difference <= 0.0 || comparison.p_value.is_none() {
        return None;
    }
    let ratio = comparison.arm_customers as f64 / comparison.control_customers as f64;
    let demand = Demand { alpha: plan.alpha / tests.max(1) as f64, power: USUAL_POWER };
    let control = match comparison.kind {
        MetricKind::Rate => power::control_customers(comparison.control_mean, comparison.arm_mean, ratio, demand),
        MetricKind::Mean => {
            let variance = |name: &str| {
                let arm = arms.iter().find(|arm| arm.arm == name)?;
                arm.metrics.iter().find(|summary| summary.metric == comparison.metric)?.variance
            };
            let (control, arm) = (variance(&comparison.control)?, variance(&comparison.arm)?);
            power::control_customers_for_means(comparison.difference, control, arm, ratio, demand)
        }
    };
    let (control, arm) = (control.ceil() as u64, (control * ratio).ceil() as u64);
    let customers = if arm == control {
        format!("{} customers in each arm", words::count(control))
    } else {
        format!(
            "{} customers in `{}` and {} in `{}`",
            words::count(arm),
            comparison.arm,
            words::count(control),
            comparison.control
        )
    };
    Some(format!(
        "If the true difference is as large as this one, a test with {customers} finds it with a probability of {}; \
         this one had {} and {}.",
        words::percent(USUAL_POWER),
        words::count(comparison.arm_customers),
        words::count(comparison.control_customers),
    ))
}
