//! Assignment: which arm a customer is in.
//!
//! A customer's point between 0 and 1 comes from SHA-256 over the salt, the segment and the customer's id; the arm is
//! the part of the unit interval that the point falls in: holdout first, then control, then the arms in the campaign
//! file's order. Nothing else matters: not the file's order, not the shard, not the day. As the segment is part of
//! the hash, each segment is randomised by itself. Holdout and control come first, so that other weights of the arms
//! move nobody into or out of them.
//!
//! The point, for anybody who wants to check an assignment:
//!
//! ```python
//! import hashlib
//! def point(salt, segment, customer):
//!     texts = [t.encode() for t in ("cpo/assign/1", salt, segment, customer)]
//!     data = b"".join(len(t).to_bytes(4, "big") + t for t in texts)
//!     return (int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 11) / 2**53
//! ```
//!
//! `point("spring", "Gold", "C-1")` is 0.0029167396583896776.

use crate::{
    agents::experimentation::point::Points,
    config::Campaign,
    domain::{
        experiment::{CONTROL, HOLDOUT},
        id::{ArmName, SegmentName},
    },
};

/// A part of the unit interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// `holdout`, `control` or the arm's name in the campaign file.
    pub name: ArmName,
    /// Absent for holdout and control.
    pub tone: Option<String>,
    pub share: f64,
}

#[derive(Debug, Clone)]
pub struct Assigner {
    points: Points,
    arms: Vec<Arm>,
    /// Where each arm's part of the unit interval ends.
    ends: Vec<f64>,
}

impl Assigner {
    pub fn new(campaign: &Campaign) -> Self {
        let arms = arms(campaign);
        let mut end = 0.0;
        let ends = arms.iter().map(|arm| {
            end += arm.share;
            end
        });
        let ends = ends.collect();
        Self { points: Points::new(&["cpo/assign/1", campaign.salt()]), arms, ends }
    }

    /// Holdout (where there is one), control, then the campaign's arms; their shares add up to 1.
    pub fn arms(&self) -> &[Arm] {
        &self.arms
    }

    /// The index in [`Self::arms`].
    pub fn assign(&self, segment: &SegmentName, customer: &str) -> usize {
        let point = self.points.at(&[segment.as_str(), customer]);
        // Rounding may leave the last end a hair below 1: the last arm has no end.
        self.ends.iter().position(|end| point < *end).unwrap_or(self.arms.len() - 1)
    }
}

fn arms(campaign: &Campaign) -> Vec<Arm> {
    let experiment = &campaign.experiment;
    let built_in = |name: &str| ArmName::new(name).expect("the names of the built-in arms are valid");
    let (holdout, control) = (experiment.holdout.get(), experiment.control.get());
    let mut arms = Vec::new();
    if holdout > 0.0 {
        arms.push(Arm { name: built_in(HOLDOUT), tone: None, share: holdout });
    }
    arms.push(Arm { name: built_in(CONTROL), tone: None, share: control });
    let total: f64 = experiment.arms.iter().map(|arm| arm.weight).sum();
    arms.extend(experiment.arms.iter().map(|arm| Arm {
        name: arm.name.clone(),
        tone: Some(arm.tone.clone()),
        share: (1.0 - holdout - control) * arm.weight / total,
    }));
    arms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{agents::experimentation::sample_campaign, stats::chi_square};

    fn segment(name: &str) -> SegmentName {
        SegmentName::new(name).unwrap()
    }

    fn ids() -> Vec<String> {
        (0..20_000).map(|index| format!("C-{index}")).collect()
    }

    #[test]
    fn the_point_is_the_one_that_the_python_lines_compute() {
        let assigner = Assigner::new(&sample_campaign(""));
        assert_eq!(assigner.points.at(&["Gold", "C-1"]), 0.0029167396583896776);
        assert_eq!(assigner.points.at(&["Größe \u{1F45F}", "ü"]), 0.7319956786183213);
    }

    #[test]
    fn holdout_control_and_arms_share_the_unit_interval() {
        let assigner = Assigner::new(&sample_campaign(""));
        let expected = [("holdout", 0.1), ("control", 0.3), ("friendly", 0.4), ("urgent", 0.2)];
        assert_eq!(assigner.arms().len(), expected.len());
        for (arm, (name, share)) in assigner.arms().iter().zip(expected) {
            assert!(arm.name.as_str() == name && (arm.share - share).abs() < 1e-12, "{arm:?}");
        }
        let none = Assigner::new(&{
            let mut campaign = sample_campaign("");
            campaign.experiment.holdout = crate::domain::share::Share::ZERO;
            campaign
        });
        assert_eq!(none.arms()[0].name.as_str(), "control");
    }

    #[test]
    fn every_segment_meets_its_shares_within_chance() {
        let assigner = Assigner::new(&sample_campaign(""));
        for name in ["Gold", "Silver", "Everybody else"] {
            let mut counts = vec![0; assigner.arms().len()];
            ids().iter().for_each(|id| counts[assigner.assign(&segment(name), id)] += 1);
            let cells: Vec<_> = counts.into_iter().zip(assigner.arms().iter().map(|arm| arm.share)).collect();
            let fit = chi_square::goodness_of_fit(&cells).unwrap();
            assert!(fit.p.value() > 0.001, "{name}: {cells:?}");
        }
    }

    #[test]
    fn segments_are_randomised_independently_of_one_another() {
        let assigner = Assigner::new(&sample_campaign(""));
        let mut cells = vec![(0, 0.0); 16];
        for id in ids() {
            let [a, b] = ["Gold", "Silver"].map(|name| assigner.assign(&segment(name), &id));
            cells[4 * a + b].0 += 1;
        }
        for (index, cell) in cells.iter_mut().enumerate() {
            cell.1 = assigner.arms()[index / 4].share * assigner.arms()[index % 4].share;
        }
        assert!(chi_square::goodness_of_fit(&cells).unwrap().p.value() > 0.001, "{cells:?}");
    }

    #[test]
    fn other_weights_move_only_the_customers_between_the_old_and_the_new_boundary() {
        let before = Assigner::new(&sample_campaign(""));
        let after = Assigner::new(&{
            let mut campaign = sample_campaign("");
            campaign.experiment.arms[0].weight = 1.0;
            campaign
        });
        let ids = ids();
        let moves = ids.iter().map(|id| (before.assign(&segment("Gold"), id), after.assign(&segment("Gold"), id)));
        let moved: Vec<_> = moves.filter(|(old, new)| old != new).collect();
        // friendly gives up 0.4 - 0.3 of everybody to urgent, and nobody else moves.
        assert!(moved.iter().all(|change| *change == (2, 3)));
        assert!((moved.len() as f64 / ids.len() as f64 - 0.1).abs() < 0.01, "{}", moved.len());
    }
}
