//! `experiment/design.json`: what the test can and cannot find out, fixed before any message is written.

use serde::{Deserialize, Serialize};

use crate::{
    agents::experimentation::{assign::Assigner, words},
    config::Campaign,
    domain::{
        experiment::{CONTROL, HOLDOUT},
        id::{ArmName, SegmentName},
    },
    stats::power::{self, Demand, Sizes},
};

/// Control rates to compute power for where the campaign file declares none.
const TYPICAL_BASELINES: [f64; 4] = [0.01, 0.02, 0.05, 0.10];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Design {
    /// Absent from the first ones.
    #[serde(default)]
    pub schema: Schema,
    pub primary_metric: String,
    /// Salts the assignment hash; with it anybody can recompute every assignment.
    pub salt: String,
    pub alpha: f64,
    pub power: f64,
    pub mde_relative: f64,
    /// Expected control rate; `None`: not given, so power cannot be promised.
    pub baseline: Option<f64>,
    /// Comparisons with control over which alpha is shared (Bonferroni, as a planning bound for Holm).
    pub comparisons: usize,
    /// Eligible customers.
    pub customers: u64,
    /// Holdout (where there is one), control and the arms, in this order; shares add up to 1.
    pub arms: Vec<PlannedArm>,
    /// Expected customers per segment, in the model's order.
    pub segments: Vec<PlannedSegment>,
    /// Per comparison arm and baseline, what the test can detect. Empty without a control.
    pub detectable: Vec<Detectable>,
    /// In words, most important first; empty: the test can detect what it is asked to.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    #[default]
    #[serde(rename = "design/1")]
    V1,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedArm {
    /// `holdout`, `control` or an arm's name.
    pub name: ArmName,
    pub tone: Option<String>,
    pub share: f64,
    /// `share` of the eligible customers, rounded.
    pub customers: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedSegment {
    pub name: SegmentName,
    pub customers: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detectable {
    pub arm: ArmName,
    /// Control rate it is computed for: the declared baseline, or one of a few typical ones.
    pub baseline: f64,
    /// The smallest relative lift found with the asked power; `None`: none up to a rate of 1.
    pub mde_relative: Option<f64>,
    /// Power to detect the lift asked for.
    pub power_at_mde: f64,
    /// Customers that this arm needs for the lift asked for, at its present ratio to control.
    pub customers_needed_per_arm: u64,
    /// Customers that control needs at the same ratio.
    pub control_customers_needed: u64,
}

impl Design {
    /// From the campaign and its eligible customers per segment.
    pub fn plan(campaign: &Campaign, segments: &[(SegmentName, u64)]) -> Self {
        let experiment = &campaign.experiment;
        let customers = segments.iter().map(|(_, customers)| customers).sum();
        let arms: Vec<_> = Assigner::new(campaign)
            .arms()
            .iter()
            .map(|arm| PlannedArm {
                name: arm.name.clone(),
                tone: arm.tone.clone(),
                share: arm.share,
                customers: (arm.share * customers as f64).round() as u64,
            })
            .collect();
        let mut design = Self {
            schema: Schema::V1,
            primary_metric: experiment.primary_metric.clone(),
            salt: campaign.salt().to_owned(),
            alpha: experiment.alpha.get(),
            power: experiment.power.get(),
            mde_relative: experiment.mde_relative,
            baseline: experiment.baseline.map(|baseline| baseline.get()),
            comparisons: experiment.arms.len(),
            customers,
            arms,
            segments: segments
                .iter()
                .map(|(name, customers)| PlannedSegment { name: name.clone(), customers: *customers })
                .collect(),
            detectable: Vec::new(),
            warnings: Vec::new(),
        };
        design.detectable = design.baselines().iter().flat_map(|baseline| design.detectable_at(*baseline)).collect();
        design.warnings = design.warn();
        design
    }

    fn baselines(&self) -> Vec<f64> {
        self.baseline.map_or_else(|| TYPICAL_BASELINES.to_vec(), |baseline| vec![baseline])
    }

    fn control(&self) -> Option<&PlannedArm> {
        self.arms.iter().find(|arm| arm.name.as_str() == CONTROL && arm.share > 0.0)
    }

    fn detectable_at(&self, baseline: f64) -> Vec<Detectable> {
        let Some(control) = self.control() else { return Vec::new() };
        let demand = Demand { alpha: self.alpha / self.comparisons as f64, power: self.power };
        // A lift beyond a rate of 1 cannot be; the nearest thing to it is a rate of 1.
        let asked = (baseline * (1.0 + self.mde_relative)).min(1.0);
        let compared = self.arms.iter().filter(|arm| ![CONTROL, HOLDOUT].contains(&arm.name.as_str()));
        let detectable = compared.map(|arm| {
            let sizes = Sizes { control: control.customers, treatment: arm.customers };
            let ratio = arm.share / control.share;
            let needed = power::control_customers(baseline, asked, ratio, demand);
            Detectable {
                arm: arm.name.clone(),
                baseline,
                mde_relative: power::detectable_rate(sizes, baseline, demand).map(|rate| rate / baseline - 1.0),
                power_at_mde: power::of_rates(sizes, baseline, asked, demand.alpha),
                customers_needed_per_arm: (needed * ratio).ceil() as u64,
                control_customers_needed: needed.ceil() as u64,
            }
        });
        detectable.collect()
    }

    fn warn(&self) -> Vec<String> {
        let Some(control) = self.control() else {
            return vec![
                "There is no control (experiment.control is 0): no message can be compared with anything.".to_owned(),
            ];
        };
        let mut warnings = Vec::new();
        for baseline in self.baselines() {
            // The comparison that needs most customers stands for the others of its baseline.
            let weakest = self
                .detectable
                .iter()
                .filter(|found| found.baseline == baseline && found.power_at_mde < self.power)
                .max_by_key(|found| found.control_customers_needed);
            warnings.extend(weakest.map(|weakest| self.too_weak(weakest, control)));
        }
        if self.baseline.is_none() {
            let rates: Vec<_> = TYPICAL_BASELINES.iter().map(|rate| words::percent(*rate)).collect();
            warnings.push(format!(
                "No baseline is declared (experiment.baseline, the rate of `{}` expected in control), so power is \
                 computed for rates of {} instead.",
                self.primary_metric,
                rates.join(", ")
            ));
        }
        warnings
    }

    fn too_weak(&self, found: &Detectable, control: &PlannedArm) -> String {
        let planned = self.arms.iter().find(|arm| arm.name == found.arm).map_or(0, |arm| arm.customers);
        let pair = |arm: u64, control: u64| {
            if arm == control {
                format!("{} customers in each arm", words::count(arm))
            } else {
                format!("{} customers in `{}` and {} in control", words::count(arm), found.arm, words::count(control))
            }
        };
        let aim = found.mde_relative.map_or_else(
            || "no lift at all can be found with so few".to_owned(),
            |lift| format!("or aims at lifts above {}", words::percent(lift)),
        );
        format!(
            "At a rate of {} in control: with {} this test finds a lift of {} with a probability of {}, not the {} \
             asked for; it needs {}, {aim}.",
            words::percent(found.baseline),
            pair(planned, control.customers),
            words::percent(self.mde_relative),
            words::percent((found.power_at_mde * 100.0).round() / 100.0),
            words::percent(self.power),
            pair(found.customers_needed_per_arm, found.control_customers_needed),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::agents::experimentation::sample_campaign;

    fn plan(experiment: &str, customers: u64) -> Design {
        let segments = [("Gold", customers / 4), ("Everybody else", customers - customers / 4)];
        let segments = segments.map(|(name, customers)| (SegmentName::new(name).unwrap(), customers));
        Design::plan(&sample_campaign(experiment), &segments)
    }

    proptest! {
        #[test]
        fn a_design_reads_back_as_it_was(
            customers in prop_oneof![0..20_u64, 0..3_000_000_000_u64],
            baseline in prop::option::of(prop_oneof![1e-9..1.0 - 1e-9, Just(1e-9), Just(1.0 - 1e-9)]),
            mde in prop_oneof![1e-4..1e3, Just(1e-4), Just(1e3)],
        ) {
            let baseline = baseline.map(|rate: f64| format!("baseline = {rate}\n")).unwrap_or_default();
            let design = plan(&format!("{baseline}mde_relative = {mde}"), customers);
            let json = serde_json::to_string(&design).unwrap();
            prop_assert_eq!(serde_json::from_str::<Design>(&json).unwrap(), design);
        }
    }

    #[test]
    fn a_test_that_is_too_small_says_so_with_what_it_would_need() {
        let design = plan("baseline = 0.05", 1000);
        let planned: Vec<_> = design.arms.iter().map(|arm| (arm.name.as_str(), arm.customers)).collect();
        assert_eq!(planned, [("holdout", 100), ("control", 300), ("friendly", 400), ("urgent", 200)]);
        assert_eq!(design.warnings.len(), 1);
        let warning = &design.warnings[0];
        assert!(warning.contains("200 customers in `urgent` and 300 in control"), "{warning}");
        assert!(warning.contains("a lift of 10 % with a probability of"), "{warning}");
        assert!(warning.contains("not the 80 % asked for"), "{warning}");
    }

    #[test]
    fn the_number_of_customers_it_asks_for_is_enough() {
        let small = plan("baseline = 0.05", 1000);
        let factor =
            small.detectable.iter().map(|found| found.control_customers_needed as f64 / 300.0).fold(0.0, f64::max);
        let large = plan("baseline = 0.05", (1000.0 * factor * 1.01) as u64);
        assert_eq!(large.warnings, [""; 0]);
        assert!(large.detectable.iter().all(|found| found.mde_relative.unwrap() <= 0.10));
    }

    #[test]
    fn without_a_baseline_several_are_shown_and_that_is_said() {
        let design = plan("", 1000);
        assert_eq!(design.detectable.len(), 8);
        assert!(design.warnings.last().unwrap().contains("experiment.baseline"));
    }

    #[test]
    fn no_customers_and_no_control_are_warnings_and_not_infinities() {
        let empty = plan("baseline = 0.05", 0);
        assert!(empty.detectable.iter().all(|found| found.mde_relative.is_none() && found.power_at_mde == 0.0));
        let json = serde_json::to_string(&empty).unwrap();
        assert_eq!(serde_json::from_str::<Design>(&json).unwrap(), empty);

        let mut campaign = sample_campaign("");
        campaign.experiment.control = crate::domain::share::Share::ZERO;
        let design = Design::plan(&campaign, &[]);
        assert!(design.detectable.is_empty() && design.warnings[0].contains("no control"));
    }
}
