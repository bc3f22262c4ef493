//! One variant as its recipient would see it, with its claims numbered and tied to their sources.

use std::{collections::BTreeSet, ops::Range};

use serde::Serialize;

use crate::{
    domain::{
        channel::Channel,
        id::SegmentName,
        variant::{Citation, Claim, Field, Slots, Variant, with_fallbacks},
        verdict::{Decision, Finding, Harm, Rule},
    },
    report::{
        message::{self, Piece},
        numbers,
        sources::Sources,
    },
};

#[derive(Debug, Serialize)]
pub struct Card<'a> {
    /// Position among the report's variants: the anchor's number.
    pub index: usize,
    pub id: &'a str,
    pub channel: Channel,
    pub channel_name: &'static str,
    pub locale: &'a str,
    /// From 1, within the cell; `None`: for one customer of it.
    pub candidate: Option<usize>,
    segment: Option<&'a str>,
    arm: &'a str,
    pub decision: Decision,
    /// The first approved variant of its cell is the one that is sent.
    pub in_use: bool,
    subject: Vec<Piece>,
    paragraphs: Vec<Vec<Piece>>,
    /// `142 of 306 characters`
    length: String,
    sources: Vec<Source<'a>>,
    findings: Vec<FindingView<'a>>,
    /// `hate 0, sexual 0, ...`; `None` where the screen gave no answer.
    severities: Option<String>,
    writer: &'a str,
}

#[derive(Debug, Serialize)]
struct Source<'a> {
    number: usize,
    /// Whether the claim's number stands in the message, so that it can be linked to.
    placed: bool,
    passage: &'a str,
    version: String,
    /// Anchor number of the document; `None`: the passage is not among the sources.
    document: Option<usize>,
    title: Option<&'a str>,
    /// The passage's words before, within and after the citation.
    before: String,
    quote: &'a str,
    after: String,
    /// The quoted words stand where the citation says, in the version that it names.
    verified: bool,
}

#[derive(Debug, Serialize)]
struct FindingView<'a> {
    rule: &'static str,
    blocks: bool,
    text: &'a str,
    passage: Option<&'a str>,
    why: &'a str,
}

impl<'a> Card<'a> {
    pub fn of(
        index: usize,
        variant: &'a Variant,
        candidate: Option<usize>,
        in_use: bool,
        slots: &Slots,
        sources: &'a Sources,
    ) -> Self {
        let claims = in_reading_order(&variant.claims);
        let lay_out = |field: Field| {
            let spans = claims.iter().zip(1..).filter(|(claim, _)| claim.span.field == field);
            let claims: Vec<_> = spans.map(|(claim, number)| (number, claim.span.start..claim.span.end)).collect();
            let faults = variant.verdict.findings.iter().filter_map(|finding| finding.span);
            let faults: Vec<_> = faults.filter(|span| span.field == field).map(|span| span.start..span.end).collect();
            message::lay_out(variant.message.field(field), slots, &claims, &faults)
        };
        let subject: Vec<Piece> = lay_out(Field::Subject).into_iter().flatten().collect();
        let paragraphs = lay_out(Field::Body);
        let pieces = subject.iter().chain(paragraphs.iter().flatten());
        let placed: BTreeSet<usize> = pieces.flat_map(|piece| &piece.ends).copied().collect();
        let length = with_fallbacks(&variant.message.body, slots).chars().count();
        let channel = variant.cell.channel;
        Self {
            index,
            id: variant.id.as_str(),
            channel,
            channel_name: channel_name(channel),
            locale: variant.cell.locale.as_str(),
            candidate,
            segment: variant.cell.segment.as_ref().map(SegmentName::as_str),
            arm: variant.cell.arm.as_str(),
            decision: variant.verdict.decision,
            in_use,
            subject,
            paragraphs,
            length: format!(
                "{} of {} characters",
                numbers::count(length as u64),
                numbers::count(channel.limits().body as u64)
            ),
            sources: claims
                .iter()
                .zip(1..)
                .map(|(claim, number)| Source::of(number, placed.contains(&number), &claim.citation, sources))
                .collect(),
            findings: variant.verdict.findings.iter().map(FindingView::of).collect(),
            severities: variant.verdict.severities.map(|severities| {
                let each = Harm::ALL.map(|harm| format!("{harm} {}", severities.of(harm).level()));
                each.join(", ")
            }),
            writer: &variant.writer,
        }
    }
}

fn in_reading_order(claims: &[Claim]) -> Vec<&Claim> {
    let mut claims: Vec<&Claim> = claims.iter().collect();
    claims.sort_by_key(|claim| (claim.span.field == Field::Body, claim.span.start, claim.span.end));
    claims
}

impl<'a> Source<'a> {
    fn of(number: usize, placed: bool, citation: &'a Citation, sources: &'a Sources) -> Self {
        let found = sources.passage(&citation.passage);
        let text: Vec<char> = found.map(|(_, _, passage)| passage.text.chars().collect()).unwrap_or_default();
        let quoted = text.get(citation.start..citation.end);
        let verified = quoted.is_some_and(|quoted| quoted.iter().copied().eq(citation.quote.chars()))
            && found.is_some_and(|(_, _, passage)| passage.version == citation.version);
        let around = |range: Range<usize>| if verified { text[range].iter().collect() } else { String::new() };
        Self {
            number,
            placed,
            passage: citation.passage.as_str(),
            version: citation.version.short(),
            document: found.map(|(index, _, _)| index),
            title: found.map(|(_, document, _)| document.title.as_str()),
            before: around(0..citation.start),
            quote: &citation.quote,
            after: around(citation.end..text.len()),
            verified,
        }
    }
}

impl<'a> FindingView<'a> {
    fn of(finding: &'a Finding) -> Self {
        Self {
            rule: finding.rule.in_words(),
            blocks: finding.blocks,
            text: &finding.text,
            passage: finding.passage.as_ref().map(|id| id.as_str()),
            why: &finding.why,
        }
    }
}

pub fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Email => "E-mail",
        Channel::Sms => "SMS",
        Channel::Push => "Push notification",
        Channel::InApp => "In-app card",
    }
}

/// Every check, in the order of the list of checks.
pub const RULES: [Rule; 16] = [
    Rule::Uncited,
    Rule::SourceNotUsable,
    Rule::QuoteMismatch,
    Rule::NotSupported,
    Rule::FactMismatch,
    Rule::ProductMismatch,
    Rule::UnresolvedSlot,
    Rule::TooLong,
    Rule::EmptyText,
    Rule::BannedPhrase,
    Rule::MissingRequiredText,
    Rule::Harm,
    Rule::PromptAttack,
    Rule::CheckFailed,
    Rule::Declined,
    Rule::Recalled,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn claims_are_numbered_as_they_are_read_and_an_impossible_one_is_listed_without_a_place() {
        let report = sample::report();
        let mut variant = report.variants[0].clone();
        variant.claims[0].span.start = 9_000;
        variant.claims[0].span.end = 9_001;
        variant.claims.reverse();
        let card = Card::of(0, &variant, Some(1), true, &report.slots, &report.sources);
        let numbers: Vec<usize> =
            card.subject.iter().chain(card.paragraphs.iter().flatten()).flat_map(|piece| piece.ends.clone()).collect();
        let listed: Vec<_> = card.sources.iter().map(|source| (source.number, source.placed)).collect();
        let count = variant.claims.len();
        assert_eq!(numbers, (1..count + 1).filter(|n| listed[n - 1].1).collect::<Vec<_>>());
        assert_eq!(listed.iter().filter(|(_, placed)| !placed).count(), 1);
        assert_eq!(listed.len(), count);
    }

    #[test]
    fn only_words_that_stand_in_the_cited_version_are_shown_as_verified() {
        let report = sample::report();
        let citation = report.variants[0].claims[0].citation.clone();
        let shown = Source::of(1, true, &citation, &report.sources);
        assert!(shown.verified);
        assert_eq!(shown.quote, citation.quote);

        let mut other_version = citation.clone();
        other_version.version = crate::domain::digest::Digest::of("older words");
        assert!(!Source::of(1, true, &other_version, &report.sources).verified);

        let mut elsewhere = citation;
        elsewhere.start += 1;
        elsewhere.end += 1;
        assert!(!Source::of(1, true, &elsewhere, &report.sources).verified);
    }
}
