//! The closed world: what is neither a claim nor an approved phrase has no place in a message.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use crate::domain::{
    phrases::PhraseBook,
    variant::{Draft, Span},
    verdict::{Finding, Rule},
};

use super::{claimed, fields, span};

#[derive(Debug, Default)]
pub struct Coverage {
    pub findings: Vec<Finding>,
    /// Where approved phrases stand, white space at their ends left out.
    pub phrases: Vec<Span>,
}

/// Every part of subject and body between white space must belong to a claim or to an approved phrase, and claims
/// and phrases must be whole sentences or lines of the message, or end at a colon: half a sentence means what its
/// other half makes of it.
/// What the writer calls its parts is not asked.
pub fn check(draft: &Draft, phrases: &PhraseBook) -> Coverage {
    let longest = phrases.phrases().map(|phrase| parts(phrase).len()).max().unwrap_or(0);
    let mut coverage = Coverage::default();
    for (field, text) in fields(&draft.message) {
        let sentences = parts(text);
        let mut at = 0;
        let mut gaps = Vec::new();
        for (range, claim) in claimed(draft, field, text) {
            let trimmed = trimmed(text, range.clone());
            let starts = sentences.iter().any(|sentence| sentence.start == trimmed.start);
            let ends = sentences.iter().any(|sentence| sentence.end == trimmed.end);
            if !(starts && ends) {
                coverage.findings.push(Finding::on_claim(
                    Rule::Uncited,
                    claim,
                    "the claim is only a part of its sentence",
                ));
            }
            gaps.push(at..range.start.max(at));
            at = at.max(range.end);
        }
        gaps.push(at..text.len());
        for gap in gaps {
            let inside: Vec<_> = sentences
                .iter()
                .map(|sentence| sentence.start.max(gap.start)..sentence.end.min(gap.end))
                .filter(|part| part.start < part.end && !text[part.clone()].trim().is_empty())
                .collect();
            let is_whole = |part: &Range<usize>| sentences.contains(part);
            let (covered, uncovered) = cover(&inside, longest, |run| {
                inside[run.clone()].iter().all(is_whole)
                    && phrases.contains(&text[inside[run.start].start..inside[run.end - 1].end])
            });
            coverage.phrases.extend(
                covered.into_iter().map(|run| span(field, text, inside[run.start].start..inside[run.end - 1].end)),
            );
            for index in uncovered {
                let part = trimmed(text, inside[index].clone());
                coverage.findings.push(
                    Finding::blocking(
                        Rule::Uncited,
                        &text[part.clone()],
                        "these words cite no source and are no approved phrase",
                    )
                    .at(span(field, text, part)),
                );
            }
        }
    }
    coverage
}

/// The runs of sentences that are phrases, and the sentences that remain, chosen so that the fewest remain; of equal
/// choices the one with the longest first phrase.
fn cover(
    sentences: &[Range<usize>],
    longest: usize,
    is_phrase: impl Fn(Range<usize>) -> bool,
) -> (Vec<Range<usize>>, Vec<usize>) {
    let count = sentences.len();
    // Per position: how many sentences from here on remain uncovered, and where the phrase that starts here ends.
    let mut best: Vec<(usize, Option<usize>)> = vec![(0, None); count + 1];
    for start in (0..count).rev() {
        best[start] = (best[start + 1].0 + 1, None);
        for end in (start + 1..=count.min(start + longest)).rev() {
            if best[end].0 < best[start].0 && is_phrase(start..end) {
                best[start] = (best[end].0, Some(end));
            }
        }
    }
    let (mut covered, mut uncovered, mut at) = (Vec::new(), Vec::new(), 0);
    while at < count {
        match best[at].1 {
            Some(end) => {
                covered.push(at..end);
                at = end;
            }
            None => {
                uncovered.push(at);
                at += 1;
            }
        }
    }
    (covered, uncovered)
}

/// Sentences, and what stands before and after a colon in them: "Our offer:" may introduce a claim.
fn parts(text: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    for sentence in sentences(text) {
        let mut start = sentence.start;
        for (colon, _) in text[sentence.clone()].match_indices(':') {
            let end = sentence.start + colon + 1;
            if text[end..sentence.end].starts_with(char::is_whitespace) {
                parts.push(trimmed(text, start..end));
                start = end;
            }
        }
        parts.push(trimmed(text, start..sentence.end));
    }
    parts
}

/// The sentences of a text as byte ranges without the white space around them. A line break ends a sentence too.
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    text.split_sentence_bound_indices()
        .map(|(start, sentence)| trimmed(text, start..start + sentence.len()))
        .filter(|sentence| !sentence.is_empty())
        .collect()
}

pub fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..start + part.trim().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::variant::{Field, Message, Usage};

    fn uncovered(body: &str, phrases: &[&str]) -> Vec<String> {
        let message = Message { subject: None, body: body.to_owned() };
        let draft = Draft { message, claims: Vec::new(), usage: Usage::default() };
        let book = PhraseBook::new(phrases.iter().map(|phrase| (*phrase).to_owned()));
        check(&draft, &book).findings.into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn a_message_of_phrases_is_covered_whatever_their_order_and_length() {
        let phrases = ["Hi {{first_name}},", "A. B.", "B. C.", "A.", "Not for you? No harm.", "Best,\nus"];
        assert!(
            uncovered("Hi {{first_name}},\n\nA. B. C.\n\nNot for you?  No harm. A.\nBest,\nus", &phrases).is_empty()
        );
    }

    #[test]
    fn a_phrase_may_end_at_a_colon_but_not_within_half_a_sentence() {
        assert!(
            uncovered("Our offer: See it. Hi: you: there.", &["Our offer:", "See it.", "Hi: you: there."]).is_empty()
        );
        assert_eq!(uncovered("Our offer See it.", &["Our offer", "See it."]), ["Our offer See it."]);
    }

    #[test]
    fn words_between_phrases_are_found_with_their_place() {
        let phrases = ["Have a look.", "Order today."];
        assert_eq!(uncovered("Have a look. It is the best. Order today.", &phrases), ["It is the best."]);
        assert_eq!(uncovered("Have a look. ★ Order today.", &phrases).len(), 1);
        assert_eq!(uncovered("Never Have a look.", &phrases), ["Never Have a look."]);
        let message = Message { subject: None, body: "Été. Have a look. Wow.".to_owned() };
        let draft = Draft { message, claims: Vec::new(), usage: Usage::default() };
        let coverage = check(&draft, &PhraseBook::new(["Have a look.".to_owned()]));
        assert_eq!(coverage.phrases, [Span { field: Field::Body, start: 5, end: 17 }]);
        assert_eq!(coverage.findings[1].span, Some(Span { field: Field::Body, start: 18, end: 22 }));
    }
}
