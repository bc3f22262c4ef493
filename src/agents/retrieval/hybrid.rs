//! The embedded index with vectors: words and meaning, each in its own order, and one order of both.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use jiff::civil::Date;
use tokio::sync::OnceCell;

use super::{
    Hit, Query, Retriever,
    full_text::FullText,
    library::Library,
    vectors::{Embeddings, Vectors, passages},
};
use crate::{
    domain::{id::PassageId, money::Usd},
    providers::{Forecast, Meter, ProviderError},
};

/// How much a place counts falls with it as 1 / (60 + place): Cormack, Clarke and Büttcher, "Reciprocal rank fusion
/// outperforms Condorcet and individual rank learning methods", SIGIR 2009. Azure AI Search fuses with the same number.
const DAMPING: f64 = 60.0;

pub struct Hybrid {
    words: FullText,
    library: Arc<Library>,
    embeddings: Embeddings,
    vectors: OnceCell<Vectors>,
    /// Where a passage's vector is.
    positions: HashMap<PassageId, usize>,
    most: Usd,
}

impl Hybrid {
    /// Embeds nothing yet: that costs, and is done by the first who asks.
    pub fn new(library: Arc<Library>, date: Date, embeddings: Embeddings) -> Result<Self, ProviderError> {
        Ok(Self {
            words: FullText::new(&library, date)?,
            positions: passages(&library).enumerate().map(|(at, (_, passage))| (passage.id.clone(), at)).collect(),
            most: embeddings.most(&library),
            library,
            embeddings,
            vectors: OnceCell::new(),
        })
    }
}

#[async_trait]
impl Retriever for Hybrid {
    /// Whoever is first embeds the library too, and anybody may be.
    fn most(&self) -> Usd {
        self.most
    }

    fn forecast(&self) -> Forecast {
        self.embeddings.forecast(&self.library)
    }

    async fn retrieve(&self, query: &Query, meter: &Meter) -> Result<Vec<Hit>, ProviderError> {
        // All that may be returned, those with a word of the query before the others.
        let by_words = self.words.ranked(&Query { limit: usize::MAX, ..query.clone() })?;
        if by_words.is_empty() || query.limit == 0 {
            return Ok(Vec::new());
        }
        let vectors = self.vectors.get_or_try_init(|| self.embeddings.of_library(&self.library, meter)).await?;
        let asked = self.embeddings.of_question(&query.text, vectors.dimensions(), meter).await?;
        let all: Vec<&[f32]> = vectors.iter().collect();
        let near = |hit: &Hit| {
            let vector = self.positions.get(&hit.passage).and_then(|at| all.get(*at));
            Hit { passage: hit.passage.clone(), score: vector.map_or(0.0, |vector| cosine(vector, &asked)) }
        };
        let by_meaning = by_words.iter().map(near).collect();
        let with_words = by_words.into_iter().filter(|hit| hit.score > 0.0).collect();
        let mut hits = fused([with_words, by_meaning]);
        hits.truncate(query.limit);
        Ok(hits)
    }
}

/// One order of several. Equal scores share a place; who is not in a list gets nothing from it.
fn fused<const N: usize>(lists: [Vec<Hit>; N]) -> Vec<Hit> {
    let mut scores: HashMap<PassageId, f64> = HashMap::new();
    for mut list in lists {
        list.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut place = 0;
        let mut before = f64::NAN;
        for (index, hit) in list.into_iter().enumerate() {
            if hit.score != before {
                (place, before) = (index + 1, hit.score);
            }
            *scores.entry(hit.passage).or_default() += 1.0 / (DAMPING + place as f64);
        }
    }
    let mut hits: Vec<Hit> = scores.into_iter().map(|(passage, score)| Hit { passage, score }).collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.passage.cmp(&b.passage)));
    hits
}

/// 0 where one of them has no direction.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(scores: &[(&str, f64)]) -> Vec<Hit> {
        let hit = |(id, score): &(&str, f64)| Hit { passage: PassageId::new(*id).unwrap(), score: *score };
        scores.iter().map(hit).collect()
    }

    fn order(hits: &[Hit]) -> Vec<&str> {
        hits.iter().map(|hit| hit.passage.as_str()).collect()
    }

    #[test]
    fn places_count_not_scores_and_ties_are_in_the_order_of_ids() {
        let words = hits(&[("d#1", 900.0), ("c#1", 2.0), ("b#1", 1.0)]);
        let meaning = hits(&[("c#1", 0.9), ("d#1", 0.8), ("a#1", 0.1), ("b#1", 0.1)]);
        let fused = fused([words, meaning]);
        assert_eq!(order(&fused), ["c#1", "d#1", "b#1", "a#1"]);
        assert_eq!(fused[0].score, fused[1].score, "first and second in either order are worth the same");
        assert_eq!(fused[0].score, 1.0 / 61.0 + 1.0 / 62.0);
        assert_eq!(fused[2].score, 1.0 / 63.0 + 1.0 / 63.0, "equal scores share a place");
    }

    #[test]
    fn the_angle_counts_not_the_length_and_nothing_is_near_to_nothing() {
        assert!((cosine(&[3.0, 4.0], &[6.0, 8.0]) - 1.0).abs() < 1e-12);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 5.0]), 0.0);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 1.0]), 0.0);
    }
}
