//! Texts as one call takes them.

use unicode_segmentation::UnicodeSegmentation as _;

/// Code points that a text may have; likewise all documents of one call together.
const MOST: usize = 10_000;

/// Documents of one call.
const MOST_DOCUMENTS: usize = 5;

/// Code points that a part shares with the next, at least. An item of a blocklist has up to 128 and is found only where
/// it stands whole; what a model takes offence at needs its sentence, often the one before too. 500 hold four times the
/// longest item, and two to four sentences.
const OVERLAP: usize = 500;

/// A part ends at a boundary that lies within so many code points of the most it may have. As many again, a part may begin
/// earlier than the overlap asks, to begin with a word.
const LOOK_BACK: usize = 1_000;

/// A text, or a part of one, that one call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a>(&'a str);

impl<'a> Part<'a> {
    /// The text in its order, cut at the ends of paragraphs, else of sentences, else of words, else anywhere. Never none:
    /// also an empty text must be screened by somebody.
    pub fn all(text: &'a str) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((most, _)) = rest.char_indices().nth(MOST) {
            let part = &rest[..boundary(&rest[..most])];
            parts.push(Self(part));
            let next = back(part, OVERLAP);
            let is_between_words = |(at, c): (usize, char)| c.is_whitespace().then_some(at + c.len_utf8());
            let word = part[..next].char_indices().rev().take(LOOK_BACK).find_map(is_between_words);
            rest = &rest[word.unwrap_or(next)..];
        }
        parts.push(Self(rest));
        parts
    }

    pub(super) fn word(word: &'static str) -> Self {
        Self(word)
    }

    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// Where to cut a text so that little is torn.
fn boundary(text: &str) -> usize {
    let from = back(text, LOOK_BACK);
    let tail = &text[from..];
    let inner = |at: usize| (at > 0).then_some(from + at);
    let paragraph = || inner(tail.rfind("\n\n").map_or(0, |at| at + 2));
    // The last sentence or word may go on beyond the text, so the cut is before it.
    let sentence = || inner(tail.split_sentence_bound_indices().last()?.0);
    let word = || inner(tail.split_word_bound_indices().next_back()?.0);
    paragraph().or_else(sentence).or_else(word).unwrap_or(text.len())
}

/// The place that lies so many code points before the text's end.
fn back(text: &str, code_points: usize) -> usize {
    text.char_indices().rev().nth(code_points - 1).map_or(0, |(at, _)| at)
}

/// The documents of one call, each a text or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle<'a> {
    /// With the position of the text.
    documents: Vec<(usize, Part<'a>)>,
}

impl<'a> Bundle<'a> {
    /// All texts, in as few calls as their order allows. Blank ones are left out: there is nothing in them.
    pub fn all(texts: &[&'a str]) -> Vec<Self> {
        let mut bundles: Vec<Self> = Vec::new();
        let mut room = 0;
        let parts = texts.iter().enumerate().filter(|(_, text)| !text.trim().is_empty());
        for (position, part) in
            parts.flat_map(|(position, text)| Part::all(text).into_iter().map(move |p| (position, p)))
        {
            let length = part.0.chars().count();
            match bundles.last_mut() {
                Some(last) if last.documents.len() < MOST_DOCUMENTS && length <= room => {
                    last.documents.push((position, part));
                    room -= length;
                }
                _ => {
                    bundles.push(Self { documents: vec![(position, part)] });
                    room = MOST - length;
                }
            }
        }
        bundles
    }

    pub fn texts(&self) -> impl Iterator<Item = &'a str> {
        self.documents.iter().map(|(_, part)| part.0)
    }

    /// Of the documents' texts among all.
    pub fn positions(&self) -> impl ExactSizeIterator<Item = usize> {
        self.documents.iter().map(|(position, _)| *position)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Long texts out of few words, so that all kinds of boundaries occur, and none at all.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            8 => Just("Words and more words, "),
            2 => Just("ends here. "),
            1 => Just("\n\n"),
            1 => Just("日本語の文章です。"),
            1 => Just("🙂\u{301}x"),
            1 => Just("an-unbroken-thing-without-a-blank-in-it-".repeat(40).leak() as &'static str),
        ];
        prop::collection::vec(piece, 0..900).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn parts_lose_nothing_and_hold_every_phrase_as_long_as_the_overlap_whole(text in text(), at in any::<prop::sample::Index>()) {
            let parts = Part::all(&text);
            let mut end = 0;
            for part in &parts {
                let start = part.0.as_ptr() as usize - text.as_ptr() as usize;
                prop_assert!(start <= end && part.0.chars().count() <= MOST);
                prop_assert!(start == 0 || text[start..end].chars().count() >= OVERLAP);
                prop_assert!(start + part.0.len() > end || text.is_empty());
                end = start + part.0.len();
            }
            prop_assert_eq!(end, text.len());
            let chars: Vec<char> = text.chars().collect();
            if chars.len() > OVERLAP {
                let at = at.index(chars.len() - OVERLAP);
                let phrase: String = chars[at..at + OVERLAP].iter().collect();
                prop_assert!(parts.iter().any(|part| part.0.contains(&phrase)));
            }
            // Not many more than there must be.
            prop_assert!(parts.len() <= 1 + chars.len() / (MOST - 2 * LOOK_BACK - OVERLAP));
        }

        #[test]
        fn bundles_hold_every_text_that_says_something_and_no_call_has_too_much(texts in prop::collection::vec(text(), 0..8)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let bundles = Bundle::all(&texts);
            for bundle in &bundles {
                prop_assert!((1..=MOST_DOCUMENTS).contains(&bundle.documents.len()));
                prop_assert!(bundle.texts().map(|text| text.chars().count()).sum::<usize>() <= MOST);
            }
            let bundled = bundles.iter().flat_map(|bundle| bundle.documents.iter().copied());
            let whole = texts.iter().enumerate().filter(|(_, text)| !text.trim().is_empty());
            let expected = whole.flat_map(|(position, text)| Part::all(text).into_iter().map(move |part| (position, part)));
            prop_assert!(bundled.eq(expected));
        }
    }

    #[test]
    fn a_cut_is_at_the_end_of_a_paragraph_else_of_a_sentence_else_of_a_word() {
        let filler = "word ".repeat(1_900);
        for (tail, end) in [
            ("One. Two.\n\nThree. Four more words ", "\n\n"),
            ("One. Two. Three more words ", "Two. "),
            ("no sentence ends here ", " "),
        ] {
            let text = format!("{filler}{tail}{}", "and on and ".repeat(200));
            let parts = Part::all(&text);
            assert!(parts[0].0.ends_with(end), "{tail:?}: {:?}", &parts[0].0[back(parts[0].0, 40)..]);
            assert!(parts[1].0.starts_with("word"), "{tail:?}");
        }
        let unbroken = "x".repeat(10_001);
        assert_eq!(Part::all(&unbroken).iter().map(|part| part.0.len()).collect::<Vec<_>>(), [10_000, 501]);
        assert_eq!(Part::all("").len(), 1);
    }
}
