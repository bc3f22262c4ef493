//! k-means in its plain form: k-means++ seeding, Lloyd's iterations, the best of several starts.

use rand::{Rng, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const STARTS: usize = 10;
const MOST_ITERATIONS: usize = 300;
const SEED: u64 = 0x7365_676d;

/// Points in space, all of one dimension, one after the other.
#[derive(Debug, Clone)]
pub struct Points {
    dimensions: usize,
    coordinates: Vec<f64>,
}

#[derive(Debug, Clone)]
pub struct Clustering {
    pub centroids: Points,
    /// Per point, its nearest centroid.
    pub labels: Vec<usize>,
    /// The sum of the squared distances to them.
    pub inertia: f64,
}

impl Points {
    pub fn new(dimensions: usize, coordinates: Vec<f64>) -> Self {
        assert!(dimensions > 0 && coordinates.len().is_multiple_of(dimensions), "points are whole");
        Self { dimensions, coordinates }
    }

    pub fn len(&self) -> usize {
        self.coordinates.len() / self.dimensions
    }

    pub fn iter(&self) -> std::slice::ChunksExact<'_, f64> {
        self.coordinates.chunks_exact(self.dimensions)
    }

    pub fn get(&self, index: usize) -> &[f64] {
        &self.coordinates[index * self.dimensions..][..self.dimensions]
    }

    /// The first `count` points.
    pub fn first(&self, count: usize) -> Self {
        let end = count.min(self.len()) * self.dimensions;
        Self { dimensions: self.dimensions, coordinates: self.coordinates[..end].to_vec() }
    }

    /// Counting stops at `enough`.
    pub fn distinct(&self, enough: usize) -> usize {
        let mut seen: Vec<&[f64]> = Vec::new();
        for point in self.iter() {
            if seen.len() >= enough {
                break;
            }
            if !seen.contains(&point) {
                seen.push(point);
            }
        }
        seen.len()
    }

    /// The index of the nearest of these points and the squared distance to it; the first one of equals.
    pub fn nearest(&self, point: &[f64]) -> (usize, f64) {
        let mut best = (0, f64::INFINITY);
        for (index, candidate) in self.iter().enumerate() {
            let distance = squared_distance(candidate, point);
            if distance < best.1 {
                best = (index, distance);
            }
        }
        best
    }
}

pub fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    let mut sum = 0.0;
    for (a, b) in a.iter().zip(b) {
        sum += (a - b) * (a - b);
    }
    sum
}

/// The best of several starts. There must be at least `clusters` distinct points.
pub fn cluster(points: &Points, clusters: usize) -> Clustering {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut best = lloyd(points, seeds(points, clusters, &mut rng));
    for _ in 1..STARTS {
        let next = lloyd(points, seeds(points, clusters, &mut rng));
        if next.inertia < best.inertia {
            best = next;
        }
    }
    best
}

/// Greedy k-means++: of a few candidates drawn in proportion to their squared distance from the seeds so far, the one
/// that lowers the inertia most (Arthur & Vassilvitskii 2007, "k-means++: the advantages of careful seeding").
fn seeds(points: &Points, clusters: usize, rng: &mut impl Rng) -> Points {
    let candidates = 2 + (clusters as f64).ln() as usize;
    let first = points.get(rng.random_range(0..points.len()));
    let mut chosen = first.to_vec();
    let mut distances: Vec<f64> = points.iter().map(|point| squared_distance(point, first)).collect();
    for _ in 1..clusters {
        let total: f64 = distances.iter().sum();
        let mut best: Option<(f64, usize, Vec<f64>)> = None;
        for _ in 0..candidates {
            let candidate = weighted_draw(&distances, total * rng.random::<f64>());
            let seed = points.get(candidate);
            let closer: Vec<f64> =
                points.iter().zip(&distances).map(|(point, known)| known.min(squared_distance(point, seed))).collect();
            let inertia = closer.iter().sum();
            if best.as_ref().is_none_or(|(lowest, ..)| inertia < *lowest) {
                best = Some((inertia, candidate, closer));
            }
        }
        if let Some((_, candidate, closer)) = best {
            chosen.extend_from_slice(points.get(candidate));
            distances = closer;
        }
    }
    Points::new(points.dimensions, chosen)
}

/// The first index at which the running sum of the weights exceeds `target`; never one of weight zero.
fn weighted_draw(weights: &[f64], target: f64) -> usize {
    let mut sum = 0.0;
    let mut last = 0;
    for (index, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        sum += weight;
        last = index;
        if sum > target {
            break;
        }
    }
    last
}

fn lloyd(points: &Points, mut centroids: Points) -> Clustering {
    let mut labels = vec![usize::MAX; points.len()];
    for _ in 0..MOST_ITERATIONS {
        let mut is_settled = true;
        let mut distances = Vec::with_capacity(points.len());
        for (point, label) in points.iter().zip(&mut labels) {
            let (nearest, distance) = centroids.nearest(point);
            is_settled &= *label == nearest;
            *label = nearest;
            distances.push(distance);
        }
        if is_settled {
            break;
        }
        fill_empty_clusters(&mut labels, &mut distances, centroids.len());
        centroids = means(points, &labels, centroids.len());
    }
    let inertia = points.iter().zip(&labels).map(|(point, label)| squared_distance(point, centroids.get(*label))).sum();
    Clustering { centroids, labels, inertia }
}

/// A cluster that lost all its points takes the one that is farthest from its centroid.
fn fill_empty_clusters(labels: &mut [usize], distances: &mut [f64], clusters: usize) {
    let mut sizes = vec![0_usize; clusters];
    labels.iter().for_each(|label| sizes[*label] += 1);
    for empty in (0..clusters).filter(|cluster| sizes[*cluster] == 0).collect::<Vec<_>>() {
        let movable = (0..labels.len()).filter(|point| sizes[labels[*point]] > 1);
        if let Some(farthest) = movable.max_by(|a, b| distances[*a].total_cmp(&distances[*b])) {
            sizes[labels[farthest]] -= 1;
            sizes[empty] += 1;
            labels[farthest] = empty;
            distances[farthest] = 0.0;
        }
    }
}

fn means(points: &Points, labels: &[usize], clusters: usize) -> Points {
    let mut sums = vec![0.0; clusters * points.dimensions];
    let mut sizes = vec![0.0_f64; clusters];
    for (point, label) in points.iter().zip(labels) {
        sizes[*label] += 1.0;
        for (sum, coordinate) in sums[label * points.dimensions..].iter_mut().zip(point) {
            *sum += coordinate;
        }
    }
    for (sums, size) in sums.chunks_exact_mut(points.dimensions).zip(sizes) {
        sums.iter_mut().for_each(|sum| *sum /= size.max(1.0));
    }
    Points::new(points.dimensions, sums)
}

/// The mean silhouette of all points (Rousseeuw 1987): 1 for compact clusters far apart, 0 for none. A point alone in
/// its cluster counts as 0. `None` for fewer than two clusters.
pub fn silhouette(points: &Points, labels: &[usize]) -> Option<f64> {
    let clusters = labels.iter().max()? + 1;
    let mut sizes = vec![0_usize; clusters];
    labels.iter().for_each(|label| sizes[*label] += 1);
    if sizes.iter().filter(|size| **size > 0).count() < 2 {
        return None;
    }
    // For each point, the sum of its distances to the points of each cluster; each pair is measured once.
    let mut distances = vec![0.0; points.len() * clusters];
    for (index, point) in points.iter().enumerate() {
        for (other_index, other) in points.iter().enumerate().take(index) {
            let distance = squared_distance(point, other).sqrt();
            distances[index * clusters + labels[other_index]] += distance;
            distances[other_index * clusters + labels[index]] += distance;
        }
    }
    let mut total = 0.0;
    for (distances, own) in distances.chunks_exact(clusters).zip(labels).filter(|(_, own)| sizes[**own] > 1) {
        let within = distances[*own] / (sizes[*own] - 1) as f64;
        let between = (0..clusters)
            .filter(|cluster| cluster != own && sizes[*cluster] > 0)
            .map(|cluster| distances[cluster] / sizes[cluster] as f64)
            .fold(f64::INFINITY, f64::min);
        let larger = within.max(between);
        if larger > 0.0 {
            total += (between - within) / larger;
        }
    }
    Some(total / points.len() as f64)
}
