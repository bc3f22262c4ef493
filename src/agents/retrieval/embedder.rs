//! Texts as vectors, by a model behind a service.

use std::{fmt, sync::Arc};

use crate::{
    domain::{digest::Digest, money::Usd, variant::Usage},
    providers::{
        Meter, ProviderError,
        openai::OpenAi,
        prices::{Price, Tokens},
    },
};

/// Of a longer text, as much is embedded. No token of a byte-pair encoding is shorter than a byte, so it is less than the
/// 8,191 tokens that the models read.
const MOST_TEXT: usize = 8_000;

/// What a call may hold: fewer texts, and fewer tokens, than any service takes.
const MOST_TEXTS: usize = 256;
const MOST_BYTES: usize = 200_000;

/// What a model may put around a text.
const FRAME: usize = 8;

#[derive(Clone)]
pub struct Embedder {
    client: Arc<OpenAi>,
    model: String,
    price: Price,
}

impl fmt::Debug for Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedder").field("model", &self.model).finish_non_exhaustive()
    }
}

impl Embedder {
    pub fn new(client: Arc<OpenAi>, model: String, price: Price) -> Self {
        Self { client, model, price }
    }

    pub fn model(&self) -> &str {
        &self.model
    }

    /// Names the vectors of a content: another version of it has others, and so it has by another model.
    pub fn version(&self, content: Digest) -> Digest {
        Digest::of(format!("{content}\n{}\n{}", self.client.name(), self.model))
    }

    /// What texts of so many bytes cost at most.
    pub fn most(&self, texts: impl IntoIterator<Item = usize>) -> Usd {
        self.cost(texts.into_iter().map(most_tokens).sum())
    }

    /// A vector for each text, all of one length. Each call is reserved and settled with the meter.
    pub async fn embed(&self, texts: &[&str], meter: &Meter) -> Result<Vec<Vec<f32>>, ProviderError> {
        let texts: Vec<&str> = texts.iter().map(|text| head(text)).collect();
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in batches(&texts) {
            vectors.extend(self.call(batch, meter).await?);
        }
        Ok(vectors)
    }

    async fn call(&self, texts: &[&str], meter: &Meter) -> Result<Vec<Vec<f32>>, ProviderError> {
        let most: u64 = texts.iter().map(|text| most_tokens(text.len())).sum();
        let reserved = meter.reserve(self.client.name(), self.cost(most))?;
        match self.client.embed(&self.model, texts, None).await {
            Ok(embedded) => {
                // A service that does not count is taken to have read all that it could.
                let input_tokens = embedded.tokens.map_or(most, u64::from);
                let cost_usd = self.cost(input_tokens);
                reserved.settle(Usage { requests: 1, input_tokens, cost_usd, ..Usage::default() });
                Ok(embedded.vectors)
            }
            Err(fault) => {
                if !fault.may_have_cost {
                    reserved.settle(Usage::default());
                }
                Err(fault.into())
            }
        }
    }

    fn cost(&self, tokens: u64) -> Usd {
        self.price.cost(Tokens { input: tokens, ..Tokens::default() })
    }
}

fn most_tokens(bytes: usize) -> u64 {
    (bytes.min(MOST_TEXT) + FRAME) as u64
}

fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_TEXT)]
}

/// Neighbours stay neighbours.
fn batches<'a>(mut texts: &'a [&'a str]) -> impl Iterator<Item = &'a [&'a str]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |text: &&&str| {
            bytes += text.len();
            bytes <= MOST_BYTES
        };
        let count = texts.iter().take(MOST_TEXTS).take_while(fits).count();
        let (batch, rest) = texts.split_at(count);
        texts = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_text_once_in_order_and_no_more_than_a_call_may() {
        let long = "x".repeat(MOST_TEXT);
        let texts: Vec<&str> = (0..1_000).map(|n| if n % 3 == 0 { long.as_str() } else { "short" }).collect();
        let made: Vec<&[&str]> = batches(&texts).collect();
        assert_eq!(made.concat(), texts);
        let bytes = |batch: &&[&str]| batch.iter().map(|text| text.len()).sum::<usize>();
        assert!(made.iter().all(|batch| batch.len() <= MOST_TEXTS && bytes(batch) <= MOST_BYTES));
        assert_eq!(batches(&[]).count(), 0);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let text = "é".repeat(MOST_TEXT);
        assert_eq!(head(&text).chars().count(), MOST_TEXT / 2);
        assert_eq!(head("as it is"), "as it is");
    }
}
