//! The method `kmeans`: groups of customers who are alike in their numbers, named by what sets them apart.

mod lloyd;
mod traits;

use std::collections::BTreeMap;

use arrow_array::{Array, Float64Array};
use serde::{Deserialize, Serialize};

use self::lloyd::Points;
use crate::config::campaign::Segmentation;
use crate::domain::{
    attribute::Attributes,
    customer::{Column, IdPrefix, Shard},
    problem::Problem,
    segment::{Labels, Segment},
};

/// Customers whom the clusters are fitted to: all, or this many with the smallest SHA-256 of their id, which is a
/// random choice that depends neither on the file's order nor on its shards.
const SAMPLE: usize = 20_000;

/// Of these, as many as the exact silhouette (quadratic in them) is computed for.
const SILHOUETTE_SAMPLE: usize = 2_000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fitter {
    features: Vec<String>,
    min_clusters: usize,
    max_clusters: usize,
}

/// Merging is exact in any order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SavedProfile", into = "SavedProfile")]
pub struct Profile {
    /// The features' values, `None` where missing; at most [`SAMPLE`].
    sample: BTreeMap<IdPrefix, Vec<Option<f64>>>,
    /// Features with a value below zero, of all customers.
    negative: Vec<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedProfile {
    /// Hexadecimal prefix of the id's SHA-256, and the features' values.
    sample: Vec<(String, Vec<Option<f64>>)>,
    negative: Vec<bool>,
}

/// Scaled features, and the centres of the clusters among them, the largest cluster first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clusters {
    features: Vec<Feature>,
    /// Features with only one value in the sample: they tell nobody apart.
    constant: Vec<String>,
    centroids: Vec<Vec<f64>>,
    /// Customers of the sample in each cluster.
    sizes: Vec<usize>,
    /// Mean silhouette for each number of clusters tried.
    silhouettes: BTreeMap<usize, f64>,
}

/// An attribute and how it is scaled: logarithm of one plus the value or not, then mean 0 and standard deviation 1
/// over the sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Feature {
    attribute: String,
    /// So unless there are negative values: most such numbers are skewed.
    logarithmic: bool,
    mean: f64,
    deviation: f64,
}

impl Fitter {
    pub fn new(segmentation: &Segmentation, attributes: &Attributes) -> Result<Self, Vec<Problem>> {
        let numeric = attributes.iter().filter(|attribute| attribute.kind.is_numeric());
        let features = if segmentation.features.is_empty() {
            numeric.map(|attribute| attribute.name.clone()).collect()
        } else {
            segmentation.features.clone()
        };
        let twice = (1..features.len()).filter(|index| features[..*index].contains(&features[*index]));
        let problems: Vec<_> = twice
            .map(|index| {
                Problem::new(format!("`{}` is named twice, and would count twice", features[index]), "name it once")
                    .at_field(format!("segmentation.features[{index}]"))
            })
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let Segmentation { min_clusters, max_clusters, .. } = *segmentation;
        Ok(Self { features, min_clusters, max_clusters })
    }

    /// Whether a plan can have made it.
    pub fn is_sound(&self) -> bool {
        (2..=self.max_clusters).contains(&self.min_clusters)
    }

    /// The profile of no customer.
    pub fn empty(&self) -> Profile {
        Profile { sample: BTreeMap::new(), negative: vec![false; self.features.len()] }
    }

    pub fn profile(&self, shard: &Shard) -> Profile {
        let columns: Vec<_> = self.features.iter().map(|attribute| numbers(shard, attribute)).collect();
        let mut sample = BTreeMap::new();
        for (row, id) in shard.customer_ids().iter().enumerate() {
            let prefix = IdPrefix::of(id.unwrap_or(""));
            let is_full = sample.len() >= SAMPLE;
            if is_full && sample.last_key_value().is_some_and(|(largest, _)| prefix > *largest) {
                continue;
            }
            let values = columns.iter().map(|column| column.and_then(|column| value(column, row)));
            sample.insert(prefix, values.collect());
            if is_full {
                sample.pop_last();
            }
        }
        let has_negative = |column: &Option<&Float64Array>| {
            column.is_some_and(|column| column.iter().flatten().any(|value| value < 0.0))
        };
        Profile { sample, negative: columns.iter().map(has_negative).collect() }
    }

    pub fn fit(&self, profile: &Profile) -> Clusters {
        let (features, constant) = self.features(profile);
        let customers = profile.sample.len();
        let mut clusters = Clusters {
            centroids: vec![vec![0.0; features.len()]],
            sizes: vec![customers],
            silhouettes: BTreeMap::new(),
            constant,
            features: features.iter().map(|(_, feature)| feature.clone()).collect(),
        };
        if features.is_empty() {
            return clusters;
        }
        let coordinates = profile
            .sample
            .values()
            .flat_map(|values| features.iter().map(|(index, feature)| feature.scaled(values[*index])))
            .collect();
        let points = Points::new(features.len(), coordinates);
        let most = points.distinct(self.max_clusters);
        let judged = points.first(SILHOUETTE_SAMPLE);
        let mut best: Option<(f64, lloyd::Clustering)> = None;
        for count in self.min_clusters.min(most)..=most {
            let clustering = lloyd::cluster(&points, count);
            let judged_labels = &clustering.labels[..judged.len()];
            let Some(silhouette) = lloyd::silhouette(&judged, judged_labels) else { continue };
            clusters.silhouettes.insert(count, silhouette);
            if best.as_ref().is_none_or(|(highest, _)| silhouette > *highest) {
                best = Some((silhouette, clustering));
            }
        }
        if let Some((_, clustering)) = best {
            let mut sizes = vec![0_usize; clustering.centroids.len()];
            clustering.labels.iter().for_each(|label| sizes[*label] += 1);
            let mut ordered: Vec<(usize, Vec<f64>)> =
                sizes.into_iter().zip(clustering.centroids.iter().map(<[f64]>::to_vec)).collect();
            ordered.sort_by(|(size, centroid), (other_size, other)| {
                other_size.cmp(size).then_with(|| centroid.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal))
            });
            (clusters.sizes, clusters.centroids) = ordered.into_iter().unzip();
        }
        clusters
    }

    /// The features to use, with their index among all, and those with one value only.
    fn features(&self, profile: &Profile) -> (Vec<(usize, Feature)>, Vec<String>) {
        let mut used = Vec::new();
        let mut constant = Vec::new();
        for (index, attribute) in self.features.iter().enumerate() {
            let logarithmic = !profile.negative[index];
            let transformed = |value: f64| if logarithmic { value.ln_1p() } else { value };
            let values: Vec<f64> =
                profile.sample.values().filter_map(|values| values[index]).map(transformed).collect();
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
            // Equal values can differ from their computed mean in the last digit.
            let differ = values.iter().any(|value| *value != values[0]);
            if differ && variance.is_normal() {
                let feature = Feature { attribute: attribute.clone(), logarithmic, mean, deviation: variance.sqrt() };
                used.push((index, feature));
            } else {
                constant.push(attribute.clone());
            }
        }
        (used, constant)
    }
}

impl Profile {
    pub fn merge(mut self, other: Self) -> Self {
        self.sample.extend(other.sample);
        while self.sample.len() > SAMPLE {
            self.sample.pop_last();
        }
        self.negative.iter_mut().zip(other.negative).for_each(|(any, other)| *any |= other);
        self
    }
}

impl From<Profile> for SavedProfile {
    fn from(profile: Profile) -> Self {
        let sample = profile.sample.into_iter().map(|(prefix, values)| (format!("{:032x}", prefix.0), values));
        Self { sample: sample.collect(), negative: profile.negative }
    }
}

impl TryFrom<SavedProfile> for Profile {
    type Error = &'static str;

    fn try_from(saved: SavedProfile) -> Result<Self, &'static str> {
        if saved.sample.len() > SAMPLE || saved.sample.iter().any(|(_, values)| values.len() != saved.negative.len()) {
            return Err("the sample is too large, or its customers do not have the same features");
        }
        let customer = |(prefix, values): (String, _)| Ok((IdPrefix(u128::from_str_radix(&prefix, 16)?), values));
        let sample: Result<_, std::num::ParseIntError> = saved.sample.into_iter().map(customer).collect();
        Ok(Self { sample: sample.map_err(|_| "a customer's prefix is not hexadecimal")?, negative: saved.negative })
    }
}

impl Feature {
    /// A missing value becomes the mean. A value below zero where the sample had none counts as zero.
    fn scaled(&self, value: Option<f64>) -> f64 {
        let Some(value) = value else { return 0.0 };
        let transformed = if self.logarithmic { value.max(0.0).ln_1p() } else { value };
        (transformed - self.mean) / self.deviation
    }

    fn unscaled(&self, scaled: f64) -> f64 {
        let transformed = self.mean + self.deviation * scaled;
        if self.logarithmic { transformed.exp_m1() } else { transformed }
    }
}

impl Clusters {
    pub fn segments(&self) -> Vec<Segment> {
        traits::segments(&self.features, &self.centroids)
    }

    /// `segments` are those of [`Clusters::segments`], as the model holds them.
    pub fn label(&self, shard: &Shard, segments: &[Segment]) -> Labels {
        let mut labels = Labels {
            segments: Vec::with_capacity(shard.len()),
            reason_of: Vec::with_capacity(shard.len()),
            reasons: Vec::new(),
        };
        if self.features.is_empty() {
            labels.segments = vec![0; shard.len()];
            labels.reason_of = vec![0; shard.len()];
            labels.reasons = vec!["no attribute tells the customers apart".to_owned()];
            return labels;
        }
        let centroids = Points::new(self.features.len(), self.centroids.concat());
        let columns: Vec<_> = self.features.iter().map(|feature| numbers(shard, &feature.attribute)).collect();
        // By cluster and missing features; equal reasons are written once.
        let mut known_reasons: BTreeMap<(usize, Vec<usize>), u32> = BTreeMap::new();
        let mut point = vec![0.0; self.features.len()];
        for row in 0..shard.len() {
            let mut missing = Vec::new();
            for (index, (feature, column)) in self.features.iter().zip(&columns).enumerate() {
                let value = column.and_then(|column| value(column, row));
                point[index] = feature.scaled(value);
                if value.is_none() {
                    missing.push(index);
                }
            }
            let (cluster, _) = centroids.nearest(&point);
            let key = (cluster, missing);
            let reason = match known_reasons.get(&key) {
                Some(reason) => *reason,
                None => {
                    let reason = u32::try_from(labels.reasons.len()).expect("a shard has fewer than 2^32 customers");
                    labels.reasons.push(self.reason(&segments[cluster], &key.1));
                    known_reasons.insert(key, reason);
                    reason
                }
            };
            labels.segments.push(u16::try_from(cluster).expect("there are at most 20 clusters"));
            labels.reason_of.push(reason);
        }
        labels
    }

    fn reason(&self, segment: &Segment, missing: &[usize]) -> String {
        let mut reason = format!("most like the group \"{}\"", segment.name);
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().map(|index| self.features[*index].attribute.as_str()).collect();
            reason.push_str(&format!("; {} not known, so the average was assumed", names.join(", ")));
        }
        reason
    }

    /// `None` for what no fit makes: centroids of other dimensions than the features, or none at all.
    pub fn len(&self) -> Option<usize> {
        let fits = self.centroids.iter().all(|centroid| centroid.len() == self.features.len());
        (fits && (1..=usize::from(u16::MAX)).contains(&self.centroids.len())).then_some(self.centroids.len())
    }
}

fn numbers<'a>(shard: &'a Shard, attribute: &str) -> Option<&'a Float64Array> {
    match shard.column(attribute) {
        Some(Column::Number(column)) => Some(column),
        _ => None,
    }
}

fn value(column: &Float64Array, row: usize) -> Option<f64> {
    column.is_valid(row).then(|| column.value(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::segmentation::testing::{ids, numbers, online_retail, shard, shared_data};

    fn fitter(features: &[&str], max_clusters: usize) -> Fitter {
        Fitter { features: features.iter().map(|name| (*name).to_owned()).collect(), min_clusters: 2, max_clusters }
    }

    #[test]
    fn real_customers_are_clustered_as_well_as_by_the_reference() {
        let Some((customers, _)) = online_retail() else { return };
        let Some(path) = shared_data("customers/online_retail_rfm_reference.json") else { return };
        let reference: serde_json::Value = serde_json::from_reader(std::fs::File::open(path).unwrap()).unwrap();
        // Four of them are enough to choose from, and keep the test short.
        let fitter = fitter(&["recency_days", "frequency", "monetary"], 4);
        let profile = fitter.profile(&customers);
        let (features, _) = fitter.features(&profile);
        let scaled = |values: &Vec<Option<f64>>| features.iter().map(|(i, f)| f.scaled(values[*i])).collect::<Vec<_>>();
        let points = Points::new(3, profile.sample.values().flat_map(scaled).collect());
        for (clusters, expected) in reference["kmeans"].as_object().unwrap() {
            let found = lloyd::cluster(&points, clusters.parse().unwrap());
            let inertia = expected["inertia"].as_f64().unwrap();
            assert!(found.inertia <= inertia * 1.001, "{clusters}: {} against {inertia}", found.inertia);
            let silhouette = lloyd::silhouette(&points, &found.labels).unwrap();
            let expected = expected["silhouette"].as_f64().unwrap();
            assert!((silhouette - expected).abs() <= 0.005, "{clusters}: {silhouette} against {expected}");
        }
        let clusters = fitter.fit(&profile);
        assert_eq!(clusters.sizes, [2_670, 1_668]);
        let names: Vec<_> = clusters.segments().into_iter().map(|segment| segment.name.to_string()).collect();
        assert_eq!(names, ["Low frequency, low monetary", "High frequency, high monetary"]);
    }

    #[test]
    fn a_missing_value_counts_as_the_average_and_the_reason_says_so() {
        let half = |low: f64, high: f64| (0..40).map(move |i| Some(if i < 30 { low } else { high } + f64::from(i % 3)));
        let customers = shard(&ids(40), [("orders", numbers(half(1.0, 50.0))), ("age", numbers(half(-20.0, 60.0)))]);
        let fitter = fitter(&["age", "orders", "absent"], 2);
        let clusters = fitter.fit(&fitter.profile(&customers));
        assert_eq!(clusters.sizes, [30, 10]);
        assert_eq!(clusters.constant, ["absent"]);
        assert_eq!(clusters.features.iter().map(|f| f.logarithmic).collect::<Vec<_>>(), [false, true]);
        let later =
            shard(&ids(2), [("orders", numbers([Some(60.0), Some(-3.0)])), ("age", numbers([None, Some(-20.0)]))]);
        let labels = clusters.label(&later, &clusters.segments());
        assert_eq!(labels.segments, [1, 0]);
        assert_eq!(
            labels.reasons[0],
            "most like the group \"Very high age, very high orders\"; age not known, so the average was assumed"
        );
    }

    #[test]
    fn customers_who_are_all_alike_are_one_segment() {
        for values in [vec![Some(7.0); 5], vec![None; 5], vec![Some(1e308), Some(-1e308), None, None, None], vec![]] {
            let customers = shard(&ids(values.len()), [("orders", numbers(values))]);
            let fitter = fitter(&["orders"], 8);
            let clusters = fitter.fit(&fitter.profile(&customers));
            assert_eq!(clusters.segments()[0].name.as_str(), "All customers");
            assert!(clusters.label(&customers, &clusters.segments()).segments.iter().all(|segment| *segment == 0));
            serde_json::from_str::<Clusters>(&serde_json::to_string(&clusters).unwrap()).unwrap();
        }
        let two = shard(&ids(2), [("orders", numbers([Some(1.0), Some(2.0)]))]);
        let fitter = fitter(&["orders"], 8);
        assert_eq!(fitter.fit(&fitter.profile(&two)).sizes, [1, 1]);
    }

    #[test]
    fn the_sample_is_the_same_whatever_the_order() {
        let count = SAMPLE + 500;
        let values = |from: usize, to: usize| numbers((from..to).map(|i| Some(i as f64)));
        let all = ids(count);
        let fitter = fitter(&["orders"], 2);
        let whole = fitter.profile(&shard(&all, [("orders", values(0, count))]));
        let one = fitter.profile(&shard(&all[..7_000], [("orders", values(0, 7_000))]));
        let two = fitter.profile(&shard(&all[7_000..], [("orders", values(7_000, count))]));
        assert_eq!(whole.sample.len(), SAMPLE);
        assert_eq!(one.clone().merge(two.clone()), whole);
        assert_eq!(two.merge(one), whole);
    }
}
