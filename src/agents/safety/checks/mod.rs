//! The checks of a draft, one a file: each takes what it needs and returns what it found, nothing if all is well.

use crate::domain::{
    id::PassageId,
    variant::{Claim, Draft, Field, Message, Span},
    verdict::{Finding, Rule},
};

pub mod banned;
pub mod coverage;
pub mod facts;
pub mod grounding;
pub mod harm;
pub mod lengths;
mod period;
pub mod required;
mod restriction;
pub mod slots;
pub mod structure;

impl Finding {
    pub(in crate::agents::safety) fn blocking(rule: Rule, text: impl Into<String>, why: impl Into<String>) -> Self {
        Self { rule, blocks: true, span: None, text: text.into(), passage: None, why: why.into() }
    }

    fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    fn citing(mut self, passage: &PassageId) -> Self {
        self.passage = Some(passage.clone());
        self
    }

    fn on_claim(rule: Rule, claim: &Claim, why: impl Into<String>) -> Self {
        Self::blocking(rule, &claim.text, why).at(claim.span).citing(&claim.citation.passage)
    }
}

/// The fields that a message has.
fn fields(message: &Message) -> impl Iterator<Item = (Field, &str)> {
    let subject = message.subject.as_deref().map(|subject| (Field::Subject, subject));
    subject.into_iter().chain([(Field::Body, message.body.as_str())])
}

/// The byte range of a character range; `None` if the text has no such characters.
fn byte_range(text: &str, start: usize, end: usize) -> Option<std::ops::Range<usize>> {
    let byte = |chars: usize| text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(chars);
    (start <= end).then(|| Some(byte(start)?..byte(end)?))?
}

/// The span of a byte range of a field.
fn span(field: Field, text: &str, bytes: std::ops::Range<usize>) -> Span {
    let start = text[..bytes.start].chars().count();
    Span { field, start, end: start + text[bytes].chars().count() }
}

/// The claims of one field as byte ranges, in their order. Claims that do not lie in it are left out: they cover
/// nothing.
fn claimed<'a>(draft: &'a Draft, field: Field, text: &str) -> Vec<(std::ops::Range<usize>, &'a Claim)> {
    let of_field = draft.claims.iter().filter(|claim| claim.span.field == field);
    let mut claims: Vec<_> =
        of_field.filter_map(|claim| Some((byte_range(text, claim.span.start, claim.span.end)?, claim))).collect();
    claims.sort_by_key(|(range, _)| range.start);
    claims
}

/// Each run of white space as one blank.
fn one_blank(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
