//! What a model's tokens cost.

use crate::{domain::money::Usd, providers::openai::chat::Tokens};

/// Of one token each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Price {
    pub input: Usd,
    /// Input that the service still has from a question before.
    pub cached_input: Usd,
    pub output: Usd,
}

impl Price {
    pub fn cost(&self, tokens: Tokens) -> Usd {
        let times = |price: Usd, tokens: u64| price.times(u32::try_from(tokens).unwrap_or(u32::MAX));
        let cached = tokens.cached.min(tokens.input);
        let input = times(self.input, tokens.input - cached) + times(self.cached_input, cached);
        input + times(self.output, tokens.output)
    }
}
