//! The phrases that a message may hold without a source.

use std::collections::BTreeSet;

/// Approved phrases that assert nothing: greetings, openers, calls to action, sign-offs, required texts.
///
/// White space is compared as one blank; everything else exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PhraseBook(BTreeSet<String>);

impl PhraseBook {
    pub fn new(phrases: impl IntoIterator<Item = String>) -> Self {
        Self(phrases.into_iter().map(|phrase| normalise(&phrase)).filter(|phrase| !phrase.is_empty()).collect())
    }

    /// Whether `text` is one whole phrase.
    pub fn contains(&self, text: &str) -> bool {
        self.0.contains(&normalise(text))
    }

    pub fn phrases(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

fn normalise(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
