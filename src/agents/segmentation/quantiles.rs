//! Exact quintile boundaries of a column of any length, in bounded memory.
//!
//! Finite numbers keep their order as 64-bit integers. A pass counts the values per leading bits, within the
//! buckets that hold a wanted order statistic; after at most three passes such a bucket is a single number. Most
//! columns need fewer: a bucket with only one distinct value is settled at once.

use serde::{Deserialize, Serialize};

/// Leading bits told apart in each pass. A pass keeps at most 2^22 buckets for each wanted rank's bucket of the
/// pass before; real columns fill some thousands.
const PREFIX_BITS: [u32; 3] = [22, 43, 64];

const SHARES: [f64; 4] = [0.2, 0.4, 0.6, 0.8];

/// The values' 20th, 40th, 60th and 80th percentiles.
pub type Cuts = [f64; 4];

/// A search for the [`Cuts`] of one column, between two passes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    pass: usize,
    /// Known after the first pass.
    values: u64,
    /// The order statistics below and above each cut, in pairs; empty before the first pass.
    wanted: Vec<Statistic>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Statistic {
    Found(u64),
    /// The `rank`-th (from 0) of the values that start with `prefix`.
    Within {
        prefix: u64,
        rank: u64,
    },
}

/// How often values occur, by their leading bits; merging is exact in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SavedCounts", into = "SavedCounts")]
pub struct Counts {
    /// Leading bits that the values of a bucket share; 0 where nothing is left to be counted.
    bits: u32,
    /// In the order of their values.
    buckets: Vec<Bucket>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    count: u64,
    lowest: u64,
    highest: u64,
}

/// A shard can fill thousands of buckets, so they are written short.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedCounts {
    bits: u32,
    /// Count, lowest value, and how many `f64` further on the highest one is.
    buckets: Vec<(u64, f64, u64)>,
}

impl Search {
    pub fn new() -> Self {
        Self { pass: 0, values: 0, wanted: Vec::new() }
    }

    pub fn count(&self, values: impl Iterator<Item = f64>) -> Counts {
        if self.is_done() {
            return Counts::default();
        }
        let bits = PREFIX_BITS[self.pass];
        let mut images: Vec<u64> = values.map(ordered_image).filter(|image| self.is_wanted(*image)).collect();
        images.sort_unstable();
        let mut buckets: Vec<Bucket> = Vec::new();
        for image in images {
            match buckets.last_mut() {
                Some(last) if leading(last.lowest, bits) == leading(image, bits) => {
                    last.count += 1;
                    last.highest = image;
                }
                _ => buckets.push(Bucket { count: 1, lowest: image, highest: image }),
            }
        }
        Counts { bits, buckets }
    }

    fn is_wanted(&self, image: u64) -> bool {
        let Some(previous) = self.pass.checked_sub(1) else { return true };
        let start = leading(image, PREFIX_BITS[previous]);
        self.wanted.iter().any(|statistic| matches!(statistic, Statistic::Within { prefix, .. } if *prefix == start))
    }

    /// Takes in what all values together gave in this pass.
    pub fn advance(&mut self, counts: &Counts) {
        if self.is_done() {
            return;
        }
        if self.pass == 0 {
            self.values = counts.buckets.iter().map(|bucket| bucket.count).sum();
            if self.values > 0 {
                let below = |share: f64| (position(self.values, share).floor() as u64).min(self.values - 1);
                let pairs = SHARES.map(|share| [below(share), (below(share) + 1).min(self.values - 1)]);
                self.wanted =
                    pairs.as_flattened().iter().map(|rank| Statistic::Within { prefix: 0, rank: *rank }).collect();
            }
        }
        let known_bits = self.pass.checked_sub(1).map_or(0, |previous| PREFIX_BITS[previous]);
        for statistic in &mut self.wanted {
            let Statistic::Within { prefix, mut rank } = *statistic else { continue };
            for bucket in counts.buckets.iter().filter(|bucket| leading(bucket.lowest, known_bits) == prefix) {
                if rank < bucket.count {
                    *statistic = if bucket.lowest == bucket.highest {
                        Statistic::Found(bucket.lowest)
                    } else {
                        Statistic::Within { prefix: leading(bucket.lowest, counts.bits), rank }
                    };
                    break;
                }
                rank -= bucket.count;
            }
        }
        self.pass += 1;
    }

    pub fn is_done(&self) -> bool {
        self.pass > 0 && self.wanted.iter().all(|statistic| matches!(statistic, Statistic::Found(_)))
    }

    /// Whether a search can have got there.
    pub fn is_sound(&self) -> bool {
        let is_possible = |statistic: &Statistic| match statistic {
            Statistic::Found(image) => from_image(*image).is_finite(),
            Statistic::Within { rank, .. } => *rank < self.values && self.pass < PREFIX_BITS.len(),
        };
        let wanted = if self.values == 0 { 0 } else { 2 * SHARES.len() };
        self.wanted.len() == wanted
            && (self.pass > 0 || self.values == 0)
            && self.pass <= PREFIX_BITS.len()
            && self.wanted.iter().all(is_possible)
    }

    /// Linear interpolation between order statistics: type 7 of Hyndman & Fan (1996), "Sample quantiles in
    /// statistical packages", with the rounding of numpy. `None` for a column without values and before the end.
    pub fn cuts(&self) -> Option<Cuts> {
        let found: Vec<f64> = self
            .wanted
            .iter()
            .filter_map(|statistic| match statistic {
                Statistic::Found(image) => Some(from_image(*image)),
                Statistic::Within { .. } => None,
            })
            .collect();
        let (pairs, []) = found.as_chunks::<2>() else { return None };
        let pairs: &[[f64; 2]; 4] = pairs.try_into().ok()?;
        Some(std::array::from_fn(|cut| {
            let [below, above] = pairs[cut];
            let fraction = position(self.values, SHARES[cut]).fract();
            let gap = above - below;
            if fraction < 0.5 { below + gap * fraction } else { above - gap * (1.0 - fraction) }
        }))
    }
}

impl Counts {
    /// Of the same pass.
    pub fn merge(self, other: Self) -> Self {
        let bits = self.bits;
        let mut merged: Vec<Bucket> = Vec::with_capacity(self.buckets.len().max(other.buckets.len()));
        let (mut left, mut right) = (self.buckets.into_iter().peekable(), other.buckets.into_iter().peekable());
        loop {
            let next = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if a.lowest <= b.lowest => left.next(),
                (_, Some(_)) => right.next(),
                (_, None) => left.next(),
            };
            let Some(bucket) = next else { return Self { bits, buckets: merged } };
            match merged.last_mut() {
                Some(last) if leading(last.lowest, bits) == leading(bucket.lowest, bits) => {
                    last.count += bucket.count;
                    last.lowest = last.lowest.min(bucket.lowest);
                    last.highest = last.highest.max(bucket.highest);
                }
                _ => merged.push(bucket),
            }
        }
    }
}

impl From<Counts> for SavedCounts {
    fn from(counts: Counts) -> Self {
        let saved = |bucket: &Bucket| (bucket.count, from_image(bucket.lowest), bucket.highest - bucket.lowest);
        Self { bits: counts.bits, buckets: counts.buckets.iter().map(saved).collect() }
    }
}

impl TryFrom<SavedCounts> for Counts {
    type Error = &'static str;

    fn try_from(saved: SavedCounts) -> Result<Self, &'static str> {
        let bits = saved.bits;
        let bucket = |(count, value, further): (u64, f64, u64)| {
            let lowest = ordered_image(value);
            let highest = lowest.checked_add(further)?;
            let is_one = leading(lowest, bits) == leading(highest, bits) && from_image(highest).is_finite();
            (is_one && count > u64::from(further > 0)).then_some(Bucket { count, lowest, highest })
        };
        let buckets: Option<Vec<Bucket>> = saved.buckets.into_iter().map(bucket).collect();
        let buckets = buckets.ok_or("a bucket's values do not belong together")?;
        if !buckets.is_empty() && !PREFIX_BITS.contains(&bits) {
            return Err("no pass tells values apart by so many bits");
        }
        if !buckets.is_sorted_by(|a, b| leading(a.highest, bits) < leading(b.lowest, bits)) {
            return Err("the buckets are not in order");
        }
        Ok(Self { bits, buckets })
    }
}

/// Zero-based, between two ranks.
fn position(values: u64, share: f64) -> f64 {
    (values - 1) as f64 * share
}

fn leading(image: u64, bits: u32) -> u64 {
    image.checked_shr(64 - bits).unwrap_or(0)
}

const SIGN: u64 = 1 << 63;

/// Compares as the number does; both zeros have one image.
fn ordered_image(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

fn from_image(image: u64) -> f64 {
    f64::from_bits(if image & SIGN == 0 { !image } else { image & !SIGN })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// (cuts, passes)
    fn cuts_of(shards: &[Vec<f64>]) -> (Option<Cuts>, usize) {
        let mut search = Search::new();
        while !search.is_done() {
            let counts = shards.iter().map(|shard| search.count(shard.iter().copied()));
            search.advance(&counts.fold(search.count(std::iter::empty()), Counts::merge));
        }
        (search.cuts(), search.pass)
    }

    fn sorted_cuts(mut values: Vec<f64>) -> Option<Cuts> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        Some(SHARES.map(|share| {
            let at = last as f64 * share;
            let (below, above) = (values[at as usize], values[(at as usize + 1).min(last)]);
            if at.fract() < 0.5 {
                below + (above - below) * at.fract()
            } else {
                above - (above - below) * (1.0 - at.fract())
            }
        }))
    }

    proptest! {
        #[test]
        fn cuts_equal_those_of_the_sorted_column_however_it_is_cut(
            shards in prop::collection::vec(prop::collection::vec(
                prop_oneof![-1e9..1e9, Just(0.0), Just(-0.0), Just(1.5), 1.0..1.000_000_1], 0..40), 0..6),
        ) {
            let all: Vec<f64> = shards.concat().into_iter().map(|value| value + 0.0).collect();
            let (cuts, passes) = cuts_of(&shards);
            prop_assert_eq!(cuts, sorted_cuts(all));
            prop_assert!(passes <= 3);
            let mut reversed = shards;
            reversed.reverse();
            prop_assert_eq!(cuts_of(&reversed).0, cuts);
        }
    }

    #[test]
    fn small_whole_numbers_need_one_pass_and_cents_two() {
        let days = (0..1_000).map(|i| f64::from(i % 365)).collect();
        assert_eq!(cuts_of(&[days]).1, 1);
        let cents = (0..10_000).map(|i| f64::from(i * 7 % 9_973) / 100.0).collect();
        assert_eq!(cuts_of(&[cents]).1, 2);
    }
}
