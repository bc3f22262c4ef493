//! Where the sentences of a source begin and end: what writers may quote, and what the gate takes for one.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;

/// English abbreviations before a name or number: their dot ends no sentence, whatever Annex 29 makes of it.
const ABBREVIATIONS: [&str; 14] =
    ["mr", "mrs", "ms", "dr", "prof", "st", "mt", "no", "nos", "approx", "vs", "e.g", "i.e", "fig"];

/// The sentences as byte ranges without the white space around them, by Unicode Annex 29. A line break ends a
/// sentence too.
pub fn bounds(text: &str) -> Vec<Range<usize>> {
    let mut sentences = Vec::new();
    let (mut from, mut to) = (0, 0);
    for piece in text.split_sentence_bounds() {
        to += piece.len();
        let sentence = text[from..to].trim();
        if ends_in_abbreviation(sentence) && to < text.len() {
            continue;
        }
        if !sentence.is_empty() {
            let start = from + (text[from..to].len() - text[from..to].trim_start().len());
            sentences.push(start..start + sentence.len());
        }
        from = to;
    }
    sentences
}

/// Initials count: `J. Smith`.
fn ends_in_abbreviation(text: &str) -> bool {
    let last = text.strip_suffix('.').and_then(|text| text.split_whitespace().next_back()).unwrap_or_default();
    let mut letters = last.chars();
    let is_initial = letters.next().is_some_and(char::is_uppercase) && letters.next().is_none();
    is_initial || ABBREVIATIONS.contains(&last.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abbreviations_do_not_tear_a_sentence_apart() {
        let text = " The glaze was mixed by Dr. J. Ames in spring.  Pot no. 7 came first.\nThe end";
        let sentences: Vec<_> = bounds(text).into_iter().map(|range| &text[range]).collect();
        let expected = ["The glaze was mixed by Dr. J. Ames in spring.", "Pot no. 7 came first.", "The end"];
        assert_eq!(sentences, expected);
    }
}
