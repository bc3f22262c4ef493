//! Who the customers of each segment are, counted shard by shard.

use std::collections::BTreeMap;

use arrow_array::Array as _;

use super::{Method, Model};
use crate::domain::{
    customer::{Column, Shard},
    id::SegmentName,
    segment::{Labels, SegmentProfile, Trait},
};

/// Counts are exact in any order; means are sums of `f64`, so merge in the order of shards for equal last digits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    customers: BTreeMap<u16, u64>,
    sums: BTreeMap<String, BTreeMap<u16, Sum>>,
    overlaps: BTreeMap<(u16, u16), u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    total: f64,
    known: u64,
}

/// Customers who match two rules with a condition.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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
                    sums[usize::from(*segment)].add(Sum { total: column.value(row), known: 1 });
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

impl Sum {
    fn add(&mut self, other: Self) {
        self.total += other.total;
        self.known += other.known;
    }

    /// `None` also where the sum is beyond an `f64`: JSON has no infinity, and what cannot be written cannot be read.
    fn mean(self) -> Option<f64> {
        (self.known > 0).then(|| self.total / self.known as f64).filter(|mean| mean.is_finite())
    }
}
