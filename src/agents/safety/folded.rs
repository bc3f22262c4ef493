//! Text reduced to what a reader sees, for finding words that somebody may have tried to hide.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use unicode_security::{MixedScript, confusable_detection::skeleton};
use unicode_segmentation::UnicodeSegmentation;

/// Lower case, without accents, invisible characters, width and font variants; letters of other scripts that look
/// like Latin ones become those (Unicode TS #39 skeletons); blanks and hyphens in a row become one blank.
///
/// Both sides of a comparison must be folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    text: String,
    /// Per byte of `text`, the character of the original that it comes from.
    origin: Vec<usize>,
}

static INVISIBLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\p{Default_Ignorable_Code_Point}|\p{Cf}").expect("the pattern is a constant"));

fn is_invisible(c: char) -> bool {
    !c.is_ascii() && INVISIBLE.is_match(c.encode_utf8(&mut [0; 4]))
}

impl Folded {
    pub fn new(original: &str) -> Self {
        let mut folded = Self { text: String::with_capacity(original.len()), origin: Vec::new() };
        for (index, c) in original.chars().enumerate() {
            if c.is_ascii() {
                folded.push(c.to_ascii_lowercase(), index);
            } else if !is_invisible(c) {
                std::iter::once(c).nfkd().flat_map(char::to_lowercase).for_each(|c| folded.push_plain(c, index));
            }
        }
        folded
    }

    fn push_plain(&mut self, c: char, index: usize) {
        if c.is_ascii() {
            self.push(c, index);
        } else if !is_combining_mark(c) {
            for c in skeleton(c.encode_utf8(&mut [0; 4])).filter(|c| !is_combining_mark(*c)) {
                c.to_lowercase().for_each(|c| self.push(c, index));
            }
        }
    }

    fn push(&mut self, c: char, index: usize) {
        let c = match c {
            '\u{2018}' | '\u{2019}' => '\'',
            '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' => ' ',
            c if c.is_whitespace() => ' ',
            c => c,
        };
        if c != ' ' || !self.text.ends_with(' ') {
            self.text.push(c);
            self.origin.resize(self.text.len(), index);
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The character range of the original (end exclusive) of every place where `phrase` stands as whole words.
    pub fn find_words<'a>(&'a self, phrase: &'a Self) -> impl Iterator<Item = (usize, usize)> + 'a {
        let needle = phrase.text.trim();
        self.text
            .match_indices(needle)
            .filter(move |(at, _)| !needle.is_empty() && is_whole(&self.text, *at, at + needle.len()))
            .map(move |(at, _)| (self.origin[at], self.origin[at + needle.len() - 1] + 1))
    }
}

/// Whether the byte range neither starts nor ends within a word.
pub fn is_whole(text: &str, start: usize, end: usize) -> bool {
    let touches = |inside: Option<char>, outside: Option<char>| {
        inside.is_some_and(char::is_alphanumeric) && outside.is_some_and(char::is_alphanumeric)
    };
    !touches(text[start..].chars().next(), text[..start].chars().next_back())
        && !touches(text[..end].chars().next_back(), text[end..].chars().next())
}

/// The words whose letters come from scripts that no language writes together: the mark of a disguise.
pub fn mixed_script_words(text: &str) -> impl Iterator<Item = &str> {
    text.unicode_words().filter(|word| !word.is_ascii() && !word.is_single_script())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(text: &str, phrase: &str) -> bool {
        Folded::new(text).find_words(&Folded::new(phrase)).next().is_some()
    }

    #[test]
    fn a_phrase_is_found_in_every_disguise_and_only_as_whole_words() {
        for text in [
            "risk-free",
            "RISK FREE!",
            "a risk \n\t free trial",
            "ri\u{200b}sk\u{ad} free",
            "rísk fréé",
            "ｒｉｓｋ　ｆｒｅｅ",
            "𝐫𝐢𝐬𝐤 𝒇𝒓𝒆𝒆",
            "r\u{456}sk fr\u{435}e",
            "RI\u{405}K\u{2011}FREE",
        ] {
            assert!(finds(text, "risk-free"), "{text:?}");
        }
        for text in ["brisk freeze", "risk freely", "risky free", "risk. Free"] {
            assert!(!finds(text, "risk-free"), "{text:?}");
        }
    }

    #[test]
    fn a_hit_is_given_in_characters_of_the_original() {
        let (text, phrase) = (Folded::new("Été: a ri\u{200b}sk  free"), Folded::new("risk free"));
        assert_eq!(text.find_words(&phrase).collect::<Vec<_>>(), [(7, 18)]);
    }

    #[test]
    fn words_of_one_language_are_not_mixed() {
        assert_eq!(mixed_script_words("Nguyễn 李雷 さくら子 Ελένη Ольга naïve 30 µm").count(), 0);
        assert_eq!(mixed_script_words("p\u{430}ypal and g\u{3bf}ld").count(), 2);
    }
}
