//! Who the customers of each segment are, counted shard by shard.

use std::collections::BTreeMap;

use arrow_array::Array as _;
use serde::{Deserialize, Serialize};

use super::{Method, Model};
use crate::domain::{
    customer::{Column, Shard},
    id::SegmentName,
    segment::{Labels, SegmentProfile, Trait},
};

/// Counts are exact in any order; means are sums of `f64`, so merge in the order of shards for equal last digits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Tally {
    customers: BTreeMap<u16, u64>,
    sums: BTreeMap<String, BTreeMap<u16, Sum>>,
    overlaps: BTreeMap<(u16, u16), u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sum {
    /// `None` once it was beyond an `f64`, and so for good.
    total: Option<f64>,
    known: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "schema", deny_unknown_fields)]
enum Saved {
    #[serde(rename = "segment-tally/1")]
    V1 { customers: Vec<(u16, u64)>, sums: BTreeMap<String, Vec<(u16, Sum)>>, overlaps: Vec<((u16, u16), u64)> },
}

/// Customers who match two rules with a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleOverlap {
    /// Stands before the other rule, and so has these customers (unless a third rule stands before both).
    pub winner: SegmentName,
    pub other: SegmentName,
    pub customers: u64,
}

impl Tally {
    pub fn add(&mut self, model: &Model, shard: &Shard, labels: &Labels) {
        for segment in &labels.segments {
            *self.customers.entry(*segment).or_default() += 1;
        }
        for field in shard.rows.schema_ref().fields() {
            let Some(Column::Number(column)) = shard.column(field.name()) else { continue };
            let mut sums = vec![Sum::default(); model.segments().len()];
            for (row, segment) in labels.segments.iter().enumerate() {
                if column.is_valid(row) {
                    sums[usize::from(*segment)].add(Sum { total: Some(column.value(row)), known: 1 });
                }
            }
            let attribute = self.sums.entry(field.name().clone()).or_default();
            for (segment, sum) in (0..).zip(sums) {
                attribute.entry(segment).or_default().add(sum);
            }
        }
        if let Method::Rules(rules) = &model.method {
            rules.count_overlaps(shard, &mut self.overlaps);
        }
    }

    pub fn merge(&mut self, other: Self) {
        for (segment, customers) in other.customers {
            *self.customers.entry(segment).or_default() += customers;
        }
        for (attribute, sums) in other.sums {
            let own = self.sums.entry(attribute).or_default();
            for (segment, sum) in sums {
                own.entry(segment).or_default().add(sum);
            }
        }
        for (pair, customers) in other.overlaps {
            *self.overlaps.entry(pair).or_default() += customers;
        }
    }

    /// One for each segment of the model, in its order; a segment can have no customers. An attribute that no
    /// customer of the segment has is left out of its traits.
    pub fn profiles(&self, model: &Model) -> Vec<SegmentProfile> {
        let overall: BTreeMap<&String, Sum> = self
            .sums
            .iter()
            .map(|(attribute, sums)| {
                let mut all = Sum::default();
                sums.values().for_each(|sum| all.add(*sum));
                (attribute, all)
            })
            .collect();
        let profile = |(index, segment): (u16, &crate::domain::segment::Segment)| SegmentProfile {
            name: segment.name.clone(),
            customers: self.customers.get(&index).copied().unwrap_or(0),
            traits: self
                .sums
                .iter()
                .filter_map(|(attribute, sums)| {
                    Some(Trait {
                        attribute: attribute.clone(),
                        mean: sums.get(&index)?.mean()?,
                        overall_mean: overall[attribute].mean()?,
                    })
                })
                .collect(),
        };
        (0..).zip(model.segments()).map(profile).collect()
    }

    /// Pairs of rules that both match some customer, in the order of the rules; empty for the other methods.
    pub fn overlaps(&self, model: &Model) -> Vec<RuleOverlap> {
        let name = |index: u16| model.segments()[usize::from(index)].name.clone();
        self.overlaps
            .iter()
            .map(|((winner, other), customers)| RuleOverlap {
                winner: name(*winner),
                other: name(*other),
                customers: *customers,
            })
            .collect()
    }
}

impl Default for Sum {
    fn default() -> Self {
        Self { total: Some(0.0), known: 0 }
    }
}

impl Sum {
    fn add(&mut self, other: Self) {
        let total = self.total.zip(other.total).map(|(one, other)| one + other);
        self.total = total.filter(|total| total.is_finite());
        self.known += other.known;
    }

    /// `None` also where the sum is beyond an `f64`.
    fn mean(self) -> Option<f64> {
        (self.known > 0).then_some(self.total? / self.known as f64)
    }
}

impl From<Tally> for Saved {
    fn from(tally: Tally) -> Self {
        Self::V1 {
            customers: tally.customers.into_iter().collect(),
            sums: tally.sums.into_iter().map(|(name, sums)| (name, sums.into_iter().collect())).collect(),
            overlaps: tally.overlaps.into_iter().collect(),
        }
    }
}

impl From<Saved> for Tally {
    fn from(Saved::V1 { customers, sums, overlaps }: Saved) -> Self {
        Self {
            customers: customers.into_iter().collect(),
            sums: sums.into_iter().map(|(name, sums)| (name, sums.into_iter().collect())).collect(),
            overlaps: overlaps.into_iter().collect(),
        }
    }
}
