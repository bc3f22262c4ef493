//! Clusters described by what sets them apart from everybody else.

use super::Feature;
use crate::{
    agents::segmentation::keywords,
    domain::{id::SegmentName, segment::Segment},
};

/// In standard deviations from the overall mean: nothing below is worth a name, twice as much as a whole one is
/// "very".
const NOTABLE: f64 = 0.25;
const VERY: f64 = 1.5;

/// One for each centroid, in their order; names are unique.
pub fn segments(features: &[Feature], centroids: &[Vec<f64>]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::with_capacity(centroids.len());
    for centroid in centroids {
        let traits = traits(centroid);
        let base = name(features, &traits, centroids.len());
        let mut candidates = std::iter::once(base.clone()).chain((2..).map(|number| format!("{base} {number}")));
        let name = candidates
            .find(|name| segments.iter().all(|segment| segment.name.as_str() != name))
            .and_then(|name| SegmentName::new(name).ok())
            .expect("attribute names are short and printable, and numbers do not end");
        let keywords = keywords::of([name.as_str()]);
        segments.push(Segment { description: description(features, centroid, &traits), keywords, name });
    }
    segments
}

/// The features to speak of, the most telling first.
fn traits(centroid: &[f64]) -> Vec<(usize, f64)> {
    let mut traits: Vec<(usize, f64)> =
        centroid.iter().copied().enumerate().filter(|(_, scaled)| scaled.abs() >= NOTABLE).collect();
    traits.sort_by(|(_, a), (_, b)| b.abs().total_cmp(&a.abs()));
    traits
}

fn degree(scaled: f64) -> &'static str {
    match (scaled > 0.0, scaled.abs() >= VERY) {
        (true, true) => "very high",
        (true, false) => "high",
        (false, true) => "very low",
        (false, false) => "low",
    }
}

/// By the one or two strongest traits; the second one must be at least half as strong as the first.
fn name(features: &[Feature], traits: &[(usize, f64)], clusters: usize) -> String {
    let [first, rest @ ..] = traits else {
        return if clusters == 1 { "All customers".to_owned() } else { "Average".to_owned() };
    };
    let phrase = |(index, scaled): &(usize, f64)| format!("{} {}", degree(*scaled), features[*index].attribute);
    let mut name = phrase(first);
    if let Some(second) = rest.first().filter(|second| second.1.abs() * 2.0 >= first.1.abs()) {
        let both = format!("{name}, {}", phrase(second));
        // Room for a number; `SegmentName` ends at 80.
        if both.len() <= 76 {
            name = both;
        }
    }
    name[..1].to_uppercase() + &name[1..]
}

fn description(features: &[Feature], centroid: &[f64], traits: &[(usize, f64)]) -> String {
    if traits.is_empty() {
        return "Customers close to the average in every attribute.".to_owned();
    }
    let phrases: Vec<_> = traits
        .iter()
        .map(|(index, scaled)| {
            let feature = &features[*index];
            format!(
                "{} {} (typically {}, everybody {})",
                degree(*scaled),
                feature.attribute,
                rounded(feature.unscaled(centroid[*index])),
                rounded(feature.unscaled(0.0))
            )
        })
        .collect();
    format!("Customers with {}.", phrases.join(", "))
}

/// To three digits or whole numbers, as people write such figures.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
