//! Approved phrases: the words of a message that assert nothing and need no source.

use std::collections::BTreeSet;

/// A closed list. White space is normalised on both sides; everything else must be equal, case included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PhraseBook(BTreeSet<String>);

impl PhraseBook {
    /// Slots stand in a phrase as they stand in a message: `Hello {{first_name}},`.
    pub fn new(phrases: impl IntoIterator<Item = String>) -> Self {
        Self(phrases.into_iter().map(|phrase| normalised(&phrase)).filter(|phrase| !phrase.is_empty()).collect())
    }

    /// Whether `text` is one whole phrase.
    pub fn contains(&self, text: &str) -> bool {
        self.0.contains(&normalised(text))
    }

    /// In byte order, white space normalised.
    pub fn phrases(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

fn normalised(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_phrase_is_approved_whatever_its_white_space() {
        let book = PhraseBook::new(["Hello {{first_name}},".to_owned(), "See you\nsoon.".to_owned(), " ".to_owned()]);
        assert!(book.contains(" Hello  {{first_name}},\n"));
        assert!(book.contains("See you soon."));
        for text in ["Hello", "hello {{first_name}},", "See you soon. See you soon.", "", " "] {
            assert!(!book.contains(text), "{text:?}");
        }
        assert_eq!(book.phrases().collect::<Vec<_>>(), ["Hello {{first_name}},", "See you soon."]);
    }
}
