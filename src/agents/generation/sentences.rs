//! Sentences that can be quoted.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;

use crate::agents::sentences;

/// A sentence of a passage; `start` and `end` count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sentence<'a> {
    pub text: &'a str,
    pub start: usize,
    pub end: usize,
}

/// English words that, at the start of a sentence, refer back to the one before it.
const REFERS_BACK: [&str; 28] = [
    "it",
    "its",
    "it's",
    "they",
    "their",
    "theirs",
    "them",
    "this",
    "that",
    "these",
    "those",
    "he",
    "his",
    "she",
    "her",
    "hers",
    "both",
    "such",
    "so",
    "but",
    "and",
    "or",
    "then",
    "therefore",
    "however",
    "otherwise",
    "instead",
    "also",
];

/// The passage's sentences in order.
fn split(passage: &str) -> Vec<Sentence<'_>> {
    let (mut counted, mut chars) = (0, 0);
    let sentence = |range: Range<usize>| {
        chars += passage[counted..range.start].chars().count();
        let text = &passage[range.clone()];
        let start = chars;
        chars += text.chars().count();
        counted = range.end;
        Sentence { text, start, end: chars }
    };
    sentences::bounds(passage).into_iter().map(sentence).collect()
}

/// At most `max` sentences in a row that make sense by themselves, the earliest there are.
pub(super) fn extract(passage: &str, max: usize) -> Option<Vec<Sentence<'_>>> {
    let sentences = split(passage);
    let first = sentences.iter().position(|sentence| stands_alone(sentence.text))?;
    let run: Vec<_> = sentences[first..].iter().take(max).take_while(|s| is_statement(s.text)).copied().collect();
    (!run.is_empty()).then_some(run)
}

/// The whole passage, where it makes sense by itself: what states conditions is never cut short.
pub(super) fn whole(passage: &str) -> Option<Vec<Sentence<'_>>> {
    let sentences = split(passage);
    let first = sentences.first()?;
    (stands_alone(first.text) && sentences.iter().all(|sentence| is_statement(sentence.text))).then_some(sentences)
}

fn stands_alone(sentence: &str) -> bool {
    let first = sentence.unicode_words().next().unwrap_or_default().to_lowercase().replace('\u{2019}', "'");
    is_statement(sentence) && !REFERS_BACK.contains(&first.as_str())
}

/// Not a question, nor what announces something that a quote would leave behind; and no braces, which a message
/// would take for a slot.
fn is_statement(sentence: &str) -> bool {
    !sentence.ends_with(['?', ':', ',', ';']) && !sentence.contains(['{', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sentences: Option<Vec<Sentence<'_>>>) -> Vec<&str> {
        sentences.into_iter().flatten().map(|sentence| sentence.text).collect()
    }

    #[test]
    fn a_quote_never_opens_with_a_sentence_that_refers_to_an_earlier_one() {
        assert_eq!(texts(extract("It holds tea. The pot holds soup. It is blue.", 1)), ["The pot holds soup."]);
        assert_eq!(
            texts(extract("The pot holds soup. It is very blue. It costs little.", 2)),
            ["The pot holds soup.", "It is very blue."]
        );
        assert_eq!(extract("This is good news. They said so.", 3), None);
        assert_eq!(whole("It is very blue. The pot holds soup."), None);
    }

    #[test]
    fn questions_announcements_and_braces_are_not_quoted() {
        assert_eq!(texts(extract("How do I wash it? The pot is washed by hand.", 2)), ["The pot is washed by hand."]);
        assert_eq!(extract("The pot comes in these colours:", 2), None);
        assert_eq!(extract("The pot is for {{first_name}} alone.", 2), None);
        assert_eq!(whole("The pot comes in blue. Which do you like?"), None);
    }

    #[test]
    fn positions_count_characters() {
        let passage = "Caf\u{e9}s like the pot. Na\u{ef}ve guests like it too.";
        let chars: Vec<char> = passage.chars().collect();
        for sentence in whole(passage).unwrap() {
            assert_eq!(chars[sentence.start..sentence.end].iter().collect::<String>(), sentence.text);
        }
    }
}
