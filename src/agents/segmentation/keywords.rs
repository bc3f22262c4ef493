//! Words for retrieval out of names and descriptions.

use unicode_segmentation::UnicodeSegmentation as _;

/// Words too common to find a passage by. English only: other languages keep theirs, which costs precision alone.
#[rustfmt::skip]
const STOP_WORDS: &[&str] = &[
    "a", "about", "all", "an", "and", "are", "as", "at", "be", "been", "but", "by", "can", "customer", "customers",
    "do", "everybody", "everyone", "for", "from", "had", "has", "have", "high", "in", "into", "is", "it", "its",
    "low", "more", "most", "no", "not", "of", "on", "or", "other", "our", "out", "so", "some", "standard", "than",
    "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "very", "was", "we",
    "were", "which", "who", "whom", "whose", "will", "with", "you", "your",
];

/// Lower-case words of at least two letters, each once, in the order of their first use.
pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for text in texts {
        let text = text.to_lowercase().replace('_', " ");
        for word in text.unicode_words() {
            let is_useful = word.chars().filter(|c| c.is_alphabetic()).count() >= 2 && !STOP_WORDS.contains(&word);
            if is_useful && !words.iter().any(|known| known == word) {
                words.push(word.to_owned());
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_words_numbers_and_repetitions_are_left_out() {
        let words = of(["High-Value Recent", "Recent buyers of 3 or more garden_tools, and their Value", "Läufer"]);
        assert_eq!(words, ["value", "recent", "buyers", "garden", "tools", "läufer"]);
    }
}
