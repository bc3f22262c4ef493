//! The method `rfm`: quintile scores of recency, frequency and monetary value, and the segments that marketing
//! commonly makes of them.

use std::array;

use arrow_array::{Array, Float64Array};
use serde::{Deserialize, Serialize};

use super::{
    keywords,
    quantiles::{Counts, Cuts, Search},
};
use crate::domain::{
    customer::{Column, Shard},
    id::SegmentName,
    segment::{Labels, Segment},
};

const ATTRIBUTES: [&str; 3] = ["recency_days", "frequency", "monetary"];

/// Name and what puts a customer there. All are segments of every model, also those that no customer is in today, so
/// that a later customer finds theirs.
const SEGMENTS: [(&str, &str); 11] = [
    ("Champions", "Bought very recently, buy often and spend the most."),
    ("Loyal", "Buy often and spend well, and were here not long ago."),
    ("Potential Loyalists", "Recent customers who have bought more than once."),
    ("New", "Bought very recently for the first time or in small amounts."),
    ("Promising", "Recent customers who have bought little so far."),
    ("Needing Attention", "Average in recency, frequency and spending, and about to drift away."),
    ("About to Sleep", "Not here for a while, and never bought much."),
    ("At Risk", "Used to buy well, and have not been back for long."),
    ("Cannot Lose Them", "Were among the best customers, and have not been back for long."),
    ("Hibernating", "Bought little, and long ago."),
    ("Not Enough History", "Recency, frequency or monetary value is not known."),
];
const NOT_ENOUGH_HISTORY: u16 = 10;

/// The segment by recency score (row, 1 to 5) and mean of the other two scores, halves up (column, 1 to 5).
#[rustfmt::skip]
const GRID: [[u16; 5]; 5] = [
    [9, 9, 7, 7, 8],
    [9, 9, 7, 7, 8],
    [6, 6, 5, 1, 1],
    [4, 2, 2, 1, 1],
    [3, 2, 2, 0, 0],
];

/// Between two passes over the customers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fitter([Search; 3]);

/// Of the customers who have all three values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Profile([Counts; 3]);

/// How customers are scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scoring {
    /// `None` where no customer had all three values: nobody can be scored.
    cuts: Option<AllCuts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllCuts {
    recency_days: Cuts,
    frequency: Cuts,
    monetary: Cuts,
}

impl Fitter {
    pub fn new() -> Self {
        Self(array::from_fn(|_| Search::new()))
    }

    pub fn profile(&self, shard: &Shard) -> Profile {
        let customers: Vec<[f64; 3]> = customers(shard).flatten().collect();
        self.count(&customers)
    }

    /// The profile of no customer.
    pub fn empty(&self) -> Profile {
        self.count(&[])
    }

    fn count(&self, customers: &[[f64; 3]]) -> Profile {
        Profile(array::from_fn(|attribute| self.0[attribute].count(customers.iter().map(|values| values[attribute]))))
    }

    /// Whether a fit can have got there.
    pub fn is_sound(&self) -> bool {
        self.0.iter().all(Search::is_sound)
    }

    /// The scoring as soon as every cut is known.
    pub fn advance(mut self, profile: &Profile) -> Result<Scoring, Self> {
        for (search, counts) in self.0.iter_mut().zip(&profile.0) {
            search.advance(counts);
        }
        if !self.0.iter().all(Search::is_done) {
            return Err(self);
        }
        let cuts = match [self.0[0].cuts(), self.0[1].cuts(), self.0[2].cuts()] {
            [Some(recency_days), Some(frequency), Some(monetary)] => {
                Some(AllCuts { recency_days, frequency, monetary })
            }
            _ => None,
        };
        Ok(Scoring { cuts })
    }
}

impl Profile {
    pub fn merge(self, other: Self) -> Self {
        let [a, b, c] = self.0;
        let [x, y, z] = other.0;
        Self([a.merge(x), b.merge(y), c.merge(z)])
    }
}

impl Scoring {
    pub fn segments() -> Vec<Segment> {
        let segment = |(name, description): &(&str, &str)| Segment {
            name: SegmentName::new(*name).expect("the table's names are segment names"),
            description: (*description).to_owned(),
            keywords: keywords::of([*name, *description]),
        };
        SEGMENTS.iter().map(segment).collect()
    }

    pub fn label(&self, shard: &Shard) -> Labels {
        let mut labels = Labels {
            segments: Vec::with_capacity(shard.len()),
            reason_of: Vec::with_capacity(shard.len()),
            reasons: vec!["recency, frequency or monetary value is not known".to_owned()],
        };
        for values in customers(shard) {
            let scored = values.zip(self.cuts.as_ref());
            let Some((values, cuts)) = scored else {
                labels.segments.push(NOT_ENOUGH_HISTORY);
                labels.reason_of.push(0);
                continue;
            };
            let scores = cuts.scores(values);
            let [r, f, m] = scores;
            labels.segments.push(GRID[r - 1][(f + m).div_ceil(2) - 1]);
            labels.reason_of.push(u32::try_from(labels.reasons.len()).expect("a shard has fewer than 2^32 customers"));
            labels.reasons.push(reason(values, scores));
        }
        labels
    }
}

impl AllCuts {
    /// 1 to 5, 5 is best.
    fn scores(&self, values: [f64; 3]) -> [usize; 3] {
        let score = |cuts: &Cuts, value: f64| 1 + cuts.iter().filter(|cut| **cut < value).count();
        let [recency_days, frequency, monetary] = values;
        [
            6 - score(&self.recency_days, recency_days),
            score(&self.frequency, frequency),
            score(&self.monetary, monetary),
        ]
    }
}

fn reason([recency, frequency, monetary]: [f64; 3], [r, f, m]: [usize; 3]) -> String {
    let days = if recency == 1.0 { "day" } else { "days" };
    let orders = if frequency == 1.0 { "order" } else { "orders" };
    format!(
        "recency {recency} {days} (score {r}), {frequency} {orders} (score {f}), monetary value {monetary} (score {m})"
    )
}

/// Recency, frequency and monetary value, where all are known.
fn customers(shard: &Shard) -> impl Iterator<Item = Option<[f64; 3]>> {
    let columns = ATTRIBUTES.map(|attribute| match shard.column(attribute) {
        Some(Column::Number(column)) => Some(column),
        _ => None,
    });
    let value = |column: Option<&Float64Array>, row| column.filter(|column| column.is_valid(row)).map(|c| c.value(row));
    (0..shard.len()).map(move |row| Some([value(columns[0], row)?, value(columns[1], row)?, value(columns[2], row)?]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::segmentation::testing::{cut, ids, numbers, online_retail, shard, shared_data};

    fn fit(shards: &[Shard]) -> Scoring {
        let mut fitter = Fitter::new();
        loop {
            let profile = shards.iter().map(|shard| fitter.profile(shard)).fold(fitter.empty(), Profile::merge);
            match fitter.advance(&profile) {
                Ok(scoring) => return scoring,
                Err(next) => fitter = next,
            }
        }
    }

    #[test]
    fn real_customers_get_the_reference_scores_and_edges() {
        let Some((shard, reference_scores)) = online_retail() else { return };
        let Some(path) = shared_data("customers/online_retail_rfm_reference.json") else { return };
        let reference: serde_json::Value = serde_json::from_reader(std::fs::File::open(path).unwrap()).unwrap();
        let cuts = fit(&cut(&shard, &[1, 1_000, 0, 2_500])).cuts.unwrap();
        for (name, cuts) in ATTRIBUTES.into_iter().zip([cuts.recency_days, cuts.frequency, cuts.monetary]) {
            let edges: Cuts = serde_json::from_value(reference["percentile_edges"][name].clone()).unwrap();
            assert_eq!(cuts, edges, "{name}");
        }
        let scores: Vec<_> = customers(&shard).flatten().map(|values| cuts.scores(values)).collect();
        assert_eq!(scores.len(), 4_338);
        assert_eq!(scores, reference_scores);
    }

    #[test]
    fn every_pair_of_scores_has_its_segment() {
        let customers = 5 * 5;
        let shard = shard(
            &ids(customers),
            [
                ("recency_days", numbers((0..customers).map(|i| Some((i % 5) as f64)))),
                ("frequency", numbers((0..customers).map(|i| Some((i / 5) as f64)))),
                ("monetary", numbers((0..customers).map(|i| Some((i / 5) as f64)))),
            ],
        );
        let labels = fit(std::slice::from_ref(&shard)).label(&shard);
        let name = |recency: usize, value: usize| SEGMENTS[usize::from(labels.segments[value * 5 + recency])].0;
        assert_eq!(name(0, 4), "Champions");
        assert_eq!(name(0, 0), "New");
        assert_eq!(name(1, 0), "Promising");
        assert_eq!(name(1, 2), "Potential Loyalists");
        assert_eq!(name(2, 2), "Needing Attention");
        assert_eq!(name(2, 4), "Loyal");
        assert_eq!(name(2, 0), "About to Sleep");
        assert_eq!(name(4, 4), "Cannot Lose Them");
        assert_eq!(name(3, 3), "At Risk");
        assert_eq!(name(4, 0), "Hibernating");
        assert_eq!(
            labels.reasons[labels.reason_of[5] as usize],
            "recency 0 days (score 5), 1 order (score 2), monetary value 1 (score 2)"
        );
        let used: std::collections::BTreeSet<_> = GRID.as_flattened().iter().collect();
        assert_eq!(used.len(), SEGMENTS.len() - 1);
    }

    #[test]
    fn who_lacks_a_value_is_set_apart_and_does_not_move_the_others() {
        let some = shard(
            &ids(3),
            [
                ("recency_days", numbers([Some(1.0), Some(2.0), Some(3.0)])),
                ("frequency", numbers([Some(3.0), None, Some(1.0)])),
                ("monetary", numbers([Some(3.0), Some(1e9), Some(1.0)])),
            ],
        );
        let scoring = fit(std::slice::from_ref(&some));
        assert_eq!(scoring.cuts.unwrap().monetary, [1.4, 1.8, 2.2, 2.6]);
        assert_eq!(scoring.label(&some).segments[1], NOT_ENOUGH_HISTORY);
        let nobody = fit(&[]);
        assert_eq!(nobody.label(&some).segments, [NOT_ENOUGH_HISTORY; 3]);
    }
}
