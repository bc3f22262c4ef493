//! Segmentation: puts every customer who may be contacted into one segment, and can say why.
//!
//! Three steps, each a function of a shard so that shards can be worked on anywhere: *profile* (what a fit needs to
//! know of a shard, mergeable in any order), *fit* (from the merged profiles to a [`Model`]) and *label*. A fit may
//! need several passes over the shards:
//!
//! ```text
//! let mut next = plan.start();
//! let model = loop {
//!     match next {
//!         Next::Pass(fitter) => {
//!             let profile = shards.map(|shard| fitter.profile(shard)).reduce(Profile::merge);
//!             next = fitter.advance(profile.unwrap_or_else(|| fitter.empty()));
//!         }
//!         Next::Model(model) => break model,
//!     }
//! };
//! ```
//!
//! Neither the order of the shards nor where one ends and the next begins changes the model or a label.

mod keywords;
mod kmeans;
pub mod labels;
mod quantiles;
mod rfm;
mod rules;
mod saved;
mod tally;
#[cfg(test)]
mod testing;

use serde::{Deserialize, Serialize};

pub use self::tally::{RuleOverlap, Tally};
use self::{kmeans::Clusters, rfm::Scoring, rules::Rules};
use crate::{
    config::campaign::{Segmentation, SegmentationMethod},
    domain::{
        attribute::Attributes,
        customer::Shard,
        problem::Problem,
        segment::{Labels, Segment},
    },
};

/// A segmentation that the campaign file asks for, checked.
#[derive(Debug, Clone)]
pub struct Plan(Start);

#[derive(Debug, Clone)]
enum Start {
    Rules(Rules),
    Rfm,
    Kmeans(kmeans::Fitter),
}

/// What is to be done next to get a model.
#[derive(Debug)]
pub enum Next {
    /// Profile every shard with it, merge, and [`Fitter::advance`].
    Pass(Fitter),
    Model(Model),
}

/// One pass over the customers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "saved::Fitter", into = "saved::Fitter")]
pub struct Fitter(Pass);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Pass {
    Rfm(rfm::Fitter),
    Kmeans(kmeans::Fitter),
}

/// What one pass learned of some shards. Its size is bounded, however many shards are merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "saved::Profile", into = "saved::Profile")]
pub struct Profile(Learned);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Learned {
    Rfm(rfm::Profile),
    Kmeans(kmeans::Profile),
}

/// How customers are put into segments: all that is needed to label one later, without the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "saved::Model", into = "saved::Model")]
pub struct Model {
    segments: Vec<Segment>,
    method: Method,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    Rules(Rules),
    Rfm(Scoring),
    Kmeans(Clusters),
}

impl Plan {
    /// Checks all that can be known without customers. A problem's field is a path into the campaign file.
    pub fn new(segmentation: &Segmentation, attributes: &Attributes) -> Result<Self, Vec<Problem>> {
        let start = match segmentation.method {
            SegmentationMethod::Rules => {
                Start::Rules(Rules::new(&segmentation.rules, segmentation.overlap, attributes)?)
            }
            SegmentationMethod::Rfm => Start::Rfm,
            SegmentationMethod::Kmeans => Start::Kmeans(kmeans::Fitter::new(segmentation, attributes)?),
        };
        Ok(Self(start))
    }

    pub fn start(self) -> Next {
        match self.0 {
            Start::Rules(rules) => Next::Model(Model::new(Method::Rules(rules))),
            Start::Rfm => Next::Pass(Fitter(Pass::Rfm(rfm::Fitter::new()))),
            Start::Kmeans(fitter) => Next::Pass(Fitter(Pass::Kmeans(fitter))),
        }
    }
}

impl Fitter {
    pub fn profile(&self, shard: &Shard) -> Profile {
        Profile(match &self.0 {
            Pass::Rfm(fitter) => Learned::Rfm(fitter.profile(shard)),
            Pass::Kmeans(fitter) => Learned::Kmeans(fitter.profile(shard)),
        })
    }

    /// The profile of no customer.
    pub fn empty(&self) -> Profile {
        Profile(match &self.0 {
            Pass::Rfm(fitter) => Learned::Rfm(fitter.empty()),
            Pass::Kmeans(fitter) => Learned::Kmeans(fitter.empty()),
        })
    }

    /// # Panics
    ///
    /// With a profile that another method's fitter made.
    pub fn advance(self, profile: Profile) -> Next {
        match (self.0, profile.0) {
            (Pass::Rfm(fitter), Learned::Rfm(profile)) => match fitter.advance(&profile) {
                Ok(scoring) => Next::Model(Model::new(Method::Rfm(scoring))),
                Err(fitter) => Next::Pass(Self(Pass::Rfm(fitter))),
            },
            (Pass::Kmeans(fitter), Learned::Kmeans(profile)) => {
                Next::Model(Model::new(Method::Kmeans(fitter.fit(&profile))))
            }
            _ => panic!("a pass ends with the profiles that its own fitter made"),
        }
    }
}

impl Profile {
    /// Associative and commutative, of profiles that one fitter made.
    ///
    /// # Panics
    ///
    /// With a profile that another method's fitter made.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self(match (self.0, other.0) {
            (Learned::Rfm(one), Learned::Rfm(other)) => Learned::Rfm(one.merge(other)),
            (Learned::Kmeans(one), Learned::Kmeans(other)) => Learned::Kmeans(one.merge(other)),
            _ => panic!("profiles of one pass come from one fitter"),
        })
    }
}

impl Model {
    fn new(method: Method) -> Self {
        let segments = method.segments();
        Self { segments, method }
    }

    /// The rules' in their order, the largest cluster first. A segment may turn out to have no customers.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Never fails: an attribute that the shard does not have is missing for everybody.
    pub fn label(&self, shard: &Shard) -> Labels {
        match &self.method {
            Method::Rules(rules) => rules.label(shard),
            Method::Rfm(scoring) => scoring.label(shard),
            Method::Kmeans(clusters) => clusters.label(shard, &self.segments),
        }
    }
}

impl Method {
    fn segments(&self) -> Vec<Segment> {
        match self {
            Self::Rules(rules) => rules.segments(),
            Self::Rfm(_) => Scoring::segments(),
            Self::Kmeans(clusters) => clusters.segments(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, to_value};

    use super::testing::{attributes, cut, ids, numbers, reread, shard, texts};
    use super::*;

    fn segmentation(toml: &str) -> Segmentation {
        toml::from_str(toml).unwrap()
    }

    fn plans() -> [Plan; 3] {
        let attributes = attributes("recency_days: number, frequency: number, monetary: number, city: text");
        [
            "method = 'rules'\n[[rules]]\nname = 'A'\nwhen = 'monetary > 50.1 && city == \"Rome\"'\n[[rules]]\nname = 'B'",
            "method = 'rfm'",
            "method = 'kmeans'\nmax_clusters = 4",
        ]
        .map(|toml| Plan::new(&segmentation(toml), &attributes).unwrap())
    }

    fn fit(plan: Plan, shards: &[Shard]) -> Model {
        let mut next = plan.start();
        loop {
            match next {
                Next::Pass(fitter) => {
                    let profile = shards.iter().map(|shard| fitter.profile(shard)).reduce(Profile::merge);
                    let profile = profile.unwrap_or_else(|| fitter.empty());
                    next = fitter.advance(profile);
                }
                Next::Model(model) => return model,
            }
        }
    }

    /// The segment and reason of every customer.
    fn labelled(model: &Model, shards: &[Shard]) -> Vec<(u16, String)> {
        let of_shard = |shard: &Shard| {
            let labels = model.label(shard);
            assert_eq!(labels.segments.len(), shard.len());
            let reasons = labels.reason_of.iter().map(|reason| labels.reasons[*reason as usize].clone());
            labels.segments.iter().copied().zip(reasons.collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        shards.iter().flat_map(of_shard).collect()
    }

    fn customers() -> impl Strategy<Value = Shard> {
        let number = || prop::option::weighted(0.9, prop_oneof![0.0..100.0, (0..5).prop_map(f64::from)]);
        let city = prop::option::of(prop::sample::select(vec!["Rome", "Bari"]));
        prop::collection::vec((number(), number(), number(), city), 0..60).prop_map(|rows| {
            shard(
                &ids(rows.len()),
                [
                    ("recency_days", numbers(rows.iter().map(|row| row.0))),
                    ("frequency", numbers(rows.iter().map(|row| row.1))),
                    ("monetary", numbers(rows.iter().map(|row| row.2))),
                    ("city", texts(rows.iter().map(|row| row.3))),
                ],
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn shards_and_their_order_change_nothing(whole in customers(), sizes in prop::collection::vec(0..30_usize, 0..4)) {
            for plan in plans() {
                let mut shards = cut(&whole, &sizes);
                let model = fit(plan.clone(), std::slice::from_ref(&whole));
                prop_assert_eq!(labelled(&model, &shards), labelled(&model, std::slice::from_ref(&whole)));
                shards.reverse();
                let other = fit(plan, &shards);
                prop_assert_eq!(serde_json::to_string(&other).unwrap(), serde_json::to_string(&model).unwrap());
            }
        }

        #[test]
        fn a_model_read_back_is_the_same_model(whole in customers()) {
            for plan in plans() {
                let model = fit(plan, std::slice::from_ref(&whole));
                let json = serde_json::to_string_pretty(&model).unwrap();
                prop_assert!(json.contains("\"schema\": \"segments/1\""));
                let read: Model = serde_json::from_str(&json).unwrap();
                prop_assert_eq!(&read, &model);
                prop_assert_eq!(labelled(&read, std::slice::from_ref(&whole)), labelled(&model, std::slice::from_ref(&whole)));
            }
        }

        #[test]
        fn what_a_fit_leaves_between_its_steps_reads_back_as_it_was(
            whole in customers(), sizes in prop::collection::vec(0..30_usize, 0..4),
        ) {
            let shards = cut(&whole, &sizes);
            for plan in plans() {
                let model = fit(plan.clone(), &shards);
                let mut next = plan.start();
                while let Next::Pass(fitter) = next {
                    let read = reread(&fitter);
                    prop_assert_eq!(&read, &fitter);
                    prop_assert_eq!(reread(&fitter.empty()), fitter.empty());
                    let profiles: Vec<Profile> = shards.iter().map(|shard| fitter.profile(shard)).collect();
                    let reread_profiles: Vec<Profile> = profiles.iter().map(reread).collect();
                    prop_assert_eq!(&reread_profiles, &profiles);
                    let merged = profiles.into_iter().fold(fitter.empty(), Profile::merge);
                    let merged_after = reread_profiles.into_iter().fold(read.empty(), |a, b| reread(&a.merge(b)));
                    prop_assert_eq!(&merged_after, &merged);
                    next = read.advance(merged_after);
                }
                let Next::Model(after) = next else { unreachable!() };
                prop_assert_eq!(after, model);
            }
        }

        #[test]
        fn tallies_read_back_as_they_were_and_add_up_the_same(
            numbers_of in prop::collection::vec(prop::option::of(prop_oneof![
                prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO, Just(1e308), Just(-1e308)
            ]), 0..40),
            at in 0..40_usize,
        ) {
            let rules = "method = 'rules'\n[[rules]]\nname = 'A'\nwhen = 'age > 5'\n[[rules]]\nname = 'B'\nwhen = 'age < 9'\n[[rules]]\nname = 'C'";
            let model = fit(Plan::new(&segmentation(rules), &attributes("age: number")).unwrap(), &[]);
            let whole = shard(&ids(numbers_of.len()), [("age", numbers(numbers_of.iter().copied()))]);
            let mut one = Tally::default();
            let mut other = Tally::default();
            for (tally, part) in [&mut one, &mut other].into_iter().zip(cut(&whole, &[at.min(whole.len())])) {
                tally.add(&model, &part, &model.label(&part));
            }
            prop_assert_eq!(reread(&one), one.clone());
            let mut after = reread(&one);
            after.merge(reread(&other));
            one.merge(other);
            prop_assert_eq!(reread(&after), one);
        }

        #[test]
        fn a_tally_counts_every_customer_once(whole in customers(), sizes in prop::collection::vec(0..30_usize, 0..4)) {
            for plan in plans() {
                let model = fit(plan, std::slice::from_ref(&whole));
                let mut tally = Tally::default();
                for shard in cut(&whole, &sizes) {
                    let mut part = Tally::default();
                    part.add(&model, &shard, &model.label(&shard));
                    tally.merge(part);
                }
                let profiles = tally.profiles(&model);
                prop_assert_eq!(profiles.len(), model.segments().len());
                prop_assert_eq!(profiles.iter().map(|profile| profile.customers).sum::<u64>(), whole.len() as u64);
            }
        }
    }

    #[test]
    fn a_model_that_does_not_fit_together_is_refused() {
        let model = fit(plans()[2].clone(), &[]);
        let json = serde_json::to_value(&model).unwrap();
        let mut wrong = json.clone();
        wrong["method"]["kmeans"]["centroids"] = serde_json::json!([[1.0, 2.0]]);
        assert!(serde_json::from_value::<Model>(wrong).is_err());
        let mut wrong = json.clone();
        wrong["schema"] = "segments/2".into();
        assert!(serde_json::from_value::<Model>(wrong).is_err());
        assert!(serde_json::from_value::<Model>(json).is_ok());
    }

    #[test]
    fn what_no_fit_can_have_left_is_refused() {
        let customers = shard(
            &ids(3),
            ["recency_days", "frequency", "monetary"].map(|name| (name, numbers([Some(1.25), Some(1.26), Some(9.0)]))),
        );
        let pass = |plan: usize| match plans()[plan].clone().start() {
            Next::Pass(fitter) => fitter,
            Next::Model(_) => unreachable!("these methods need a pass"),
        };
        let with = |mut document: Value, path: &str, wrong: &str| {
            *document.pointer_mut(path).unwrap_or_else(|| panic!("there is no {path}")) = wrong.parse().unwrap();
            document
        };
        let (rfm, kmeans) = (pass(1), pass(2));
        for (document, path, wrong) in [
            (to_value(&rfm).unwrap(), "/schema", "\"segment-fitter/2\""),
            (to_value(&rfm).unwrap(), "/pass/rfm/0/pass", "4"),
            (to_value(&rfm).unwrap(), "/pass/rfm/0/values", "7"),
            (to_value(&rfm).unwrap(), "/pass/rfm/0/wanted", "[{\"found\": 18446744073709551615}]"),
            (to_value(&kmeans).unwrap(), "/pass/kmeans/min_clusters", "0"),
        ] {
            assert!(serde_json::from_value::<Fitter>(document.clone()).is_ok());
            let wrong = with(document, path, wrong);
            assert!(serde_json::from_value::<Fitter>(wrong).is_err(), "{path}");
        }
        for (document, path, wrong) in [
            (to_value(rfm.profile(&customers)).unwrap(), "/schema", "\"segment-profile/2\""),
            (to_value(rfm.profile(&customers)).unwrap(), "/learned/rfm/0/bits", "23"),
            (to_value(rfm.profile(&customers)).unwrap(), "/learned/rfm/0/buckets/0/0", "0"),
            (to_value(rfm.profile(&customers)).unwrap(), "/learned/rfm/0/buckets/0/1", "10.0"),
            (to_value(rfm.profile(&customers)).unwrap(), "/learned/rfm/0/buckets/0/2", "9223372036854775807"),
            (to_value(kmeans.profile(&customers)).unwrap(), "/learned/kmeans/sample/0/0", "\"ada@example.com\""),
            (to_value(kmeans.profile(&customers)).unwrap(), "/learned/kmeans/sample/0/1", "[1.0]"),
        ] {
            assert!(serde_json::from_value::<Profile>(document.clone()).is_ok());
            let wrong = with(document, path, wrong);
            assert!(serde_json::from_value::<Profile>(wrong).is_err(), "{path}");
        }
    }

    #[test]
    fn a_mean_that_no_number_can_hold_is_left_out() {
        let attributes = attributes("age: number, spend: number");
        let rules = "method = 'rules'\n[[rules]]\nname = 'Everyone'";
        let model = fit(Plan::new(&segmentation(rules), &attributes).unwrap(), &[]);
        let two = |value: f64| numbers([Some(value), Some(value)]);
        let customers = shard(&ids(2), [("age", two(40.0)), ("spend", two(1e308))]);
        let mut tally = Tally::default();
        tally.add(&model, &customers, &model.label(&customers));
        let json = serde_json::to_string(&tally.profiles(&model)).unwrap();
        let profiles: Vec<crate::domain::segment::SegmentProfile> = serde_json::from_str(&json).unwrap();
        assert_eq!(profiles[0].traits.iter().map(|t| t.attribute.as_str()).collect::<Vec<_>>(), ["age"]);
    }

    #[test]
    fn a_tally_knows_means_and_overlaps() {
        let attributes = attributes("age: number");
        let rules = "method = 'rules'\n[[rules]]\nname = 'Adults'\nwhen = 'age >= 18'\n[[rules]]\nname = 'Seniors'\nwhen = 'age > 65 || age < 5'\n[[rules]]\nname = 'Rest'";
        let model = fit(Plan::new(&segmentation(rules), &attributes).unwrap(), &[]);
        let customers = shard(&ids(5), [("age", numbers([Some(20.0), Some(70.0), Some(3.0), None, Some(7.0)]))]);
        let mut tally = Tally::default();
        tally.add(&model, &customers, &model.label(&customers));
        let profiles = tally.profiles(&model);
        let means: Vec<_> =
            profiles.iter().map(|p| (p.customers, p.traits[0].mean, p.traits[0].overall_mean)).collect();
        assert_eq!(means, [(2, 45.0, 25.0), (1, 3.0, 25.0), (2, 7.0, 25.0)]);
        let overlaps = tally.overlaps(&model);
        assert_eq!(overlaps.len(), 1);
        assert_eq!(
            (overlaps[0].winner.as_str(), overlaps[0].other.as_str(), overlaps[0].customers),
            ("Adults", "Seniors", 1)
        );
    }
}
