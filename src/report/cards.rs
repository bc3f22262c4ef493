//! One variant as its recipient would see it, with its claims numbered and tied to their sources.

use std::{collections::BTreeSet, ops::Range, sync::LazyLock};

use regex::Regex;
use serde::Serialize;

use crate::{
    domain::{
        channel::Channel,
        variant::{Citation, Field, Slots, Span, Variant},
        verdict::{Decision, Finding, Harm, Rule},
    },
    report::{numbers, sources::Sources},
};

#[derive(Debug, Serialize)]
pub struct Card<'a> {
    /// Position among the report's variants: the anchor's number.
    pub index: usize,
    pub id: &'a str,
    pub channel: Channel,
    pub channel_name: &'static str,
    pub locale: &'a str,
    /// From 1, within the cell.
    pub candidate: usize,
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

/// A run of a message's text that looks the same throughout.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Piece {
    text: String,
    claim: bool,
    slot: bool,
    fault: bool,
    /// Numbers of the claims that end here.
    ends: Vec<usize>,
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
        candidate: usize,
        in_use: bool,
        slots: &Slots,
        sources: &'a Sources,
    ) -> Self {
        let mut placed = BTreeSet::new();
        let subject: Vec<Piece> = laid_out(variant, Field::Subject, slots, &mut placed).into_iter().flatten().collect();
        let paragraphs = laid_out(variant, Field::Body, slots, &mut placed);
        let channel = variant.cell.channel;
        let length = paragraphs.iter().flatten().map(|piece| piece.text.chars().count()).sum::<usize>()
            + 2 * paragraphs.len().saturating_sub(1);
        Self {
            index,
            id: variant.id.as_str(),
            channel,
            channel_name: channel_name(channel),
            locale: variant.cell.locale.as_str(),
            candidate,
            decision: variant.verdict.decision,
            in_use,
            subject,
            paragraphs,
            length: format!(
                "{} of {} characters",
                numbers::count(length as u64),
                numbers::count(channel.limits().body as u64)
            ),
            sources: variant
                .claims
                .iter()
                .enumerate()
                .map(|(claim, found)| Source::of(claim + 1, placed.contains(&(claim + 1)), &found.citation, sources))
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
            rule: rule_name(finding.rule),
            blocks: finding.blocks,
            text: &finding.text,
            passage: finding.passage.as_ref().map(|id| id.as_str()),
            why: &finding.why,
        }
    }
}

/// The paragraphs of a field as pieces. The numbers of claims that got a place are added to `placed`.
///
/// Spans come from writers that nobody trusts: they may overlap, cut a slot in two or lie outside of the text.
fn laid_out(variant: &Variant, field: Field, slots: &Slots, placed: &mut BTreeSet<usize>) -> Vec<Vec<Piece>> {
    static SLOT: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\{\{\s*([a-z][a-z0-9_]*)\s*\}\}").expect("the pattern is a valid one"));
    static GAP: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\n[ \t\r]*\n\s*").expect("the pattern is a valid one"));

    let text = variant.message.field(field);
    let chars: Vec<char> = text.chars().collect();
    let in_chars = |range: Range<usize>| text[..range.start].chars().count()..text[..range.end].chars().count();
    let filled: Vec<(Range<usize>, &str)> = SLOT
        .captures_iter(text)
        .filter_map(|found| {
            let (whole, [name]) = found.extract();
            let start = found.get(0)?.start();
            Some((in_chars(start..start + whole.len()), slots.get(name)?.fallback.as_str()))
        })
        .collect();
    let gaps: Vec<Range<usize>> = GAP.find_iter(text).map(|gap| in_chars(gap.range())).collect();
    let in_field = |span: &Span| (span.field == field).then_some(span.start..span.end);
    let claims: Vec<(usize, Range<usize>)> = variant
        .claims
        .iter()
        .enumerate()
        .filter_map(|(index, claim)| Some((index + 1, in_field(&claim.span)?)))
        .collect();
    let faults: Vec<Range<usize>> =
        variant.verdict.findings.iter().filter_map(|finding| in_field(finding.span.as_ref()?)).collect();

    let ranges =
        claims.iter().map(|(_, range)| range).chain(&faults).chain(&gaps).chain(filled.iter().map(|(range, _)| range));
    let mut cuts: BTreeSet<usize> = ranges.flat_map(|range| [range.start, range.end]).collect();
    cuts.extend([0, chars.len()]);
    cuts.retain(|cut| *cut <= chars.len() && !filled.iter().any(|(slot, _)| slot.start < *cut && *cut < slot.end));

    let mut paragraphs = vec![Vec::new()];
    // Per claim, where its last piece is.
    let mut ends: Vec<Option<(usize, usize)>> = vec![None; claims.len()];
    let cuts: Vec<usize> = cuts.into_iter().collect();
    for pair in cuts.windows(2) {
        let range = pair[0]..pair[1];
        let overlaps = |other: &Range<usize>| other.start < range.end && range.start < other.end;
        if gaps.iter().any(overlaps) {
            if gaps.iter().any(|gap| gap.end == range.end) {
                paragraphs.push(Vec::new());
            }
            continue;
        }
        let slot = filled.iter().find(|(slot, _)| *slot == range);
        let piece = Piece {
            text: slot.map_or_else(|| chars[range.clone()].iter().collect(), |(_, fallback)| (*fallback).to_owned()),
            claim: claims.iter().any(|(_, claim)| overlaps(claim)),
            slot: slot.is_some(),
            fault: faults.iter().any(overlaps),
            ends: Vec::new(),
        };
        let paragraph = paragraphs.len() - 1;
        for (end, (_, claim)) in ends.iter_mut().zip(&claims) {
            if overlaps(claim) {
                *end = Some((paragraph, paragraphs[paragraph].len()));
            }
        }
        paragraphs[paragraph].push(piece);
    }
    for (end, (number, _)) in ends.into_iter().zip(&claims) {
        if let Some((paragraph, piece)) = end {
            paragraphs[paragraph][piece].ends.push(*number);
            placed.insert(*number);
        }
    }
    paragraphs.retain(|pieces| !pieces.is_empty());
    paragraphs
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
pub const RULES: [Rule; 13] = [
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
    Rule::CheckFailed,
];

pub fn rule_name(rule: Rule) -> &'static str {
    match rule {
        Rule::Uncited => "Claim without a source",
        Rule::SourceNotUsable => "Source may not be used",
        Rule::QuoteMismatch => "Quoted words are not in the source",
        Rule::NotSupported => "Source does not say this",
        Rule::FactMismatch => "Number, date or code differs from the source",
        Rule::ProductMismatch => "Product name differs from the source",
        Rule::UnresolvedSlot => "Placeholder left open",
        Rule::TooLong => "Too long for the channel",
        Rule::EmptyText => "Empty text",
        Rule::BannedPhrase => "Banned phrase",
        Rule::MissingRequiredText => "Required text is missing",
        Rule::Harm => "Harmful content",
        Rule::CheckFailed => "A check could not be made",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::variant::Message, report::sample};

    fn variant(body: &str, claims: &[(usize, usize)]) -> Variant {
        let mut variant = sample::report().variants.swap_remove(0);
        let template = variant.claims[0].clone();
        variant.message = Message { subject: None, body: body.to_owned() };
        variant.verdict.findings.clear();
        variant.claims = claims
            .iter()
            .map(|&(start, end)| {
                let mut claim = template.clone();
                claim.span = Span { field: Field::Body, start, end };
                claim
            })
            .collect();
        variant
    }

    fn lay_out(body: &str, claims: &[(usize, usize)]) -> (Vec<Vec<Piece>>, BTreeSet<usize>) {
        let mut placed = BTreeSet::new();
        let paragraphs = laid_out(&variant(body, claims), Field::Body, &sample::report().slots, &mut placed);
        (paragraphs, placed)
    }

    fn text(paragraphs: &[Vec<Piece>]) -> String {
        let paragraphs = paragraphs.iter().map(|pieces| pieces.iter().map(|piece| piece.text.as_str()).collect());
        paragraphs.collect::<Vec<String>>().join("|")
    }

    #[test]
    fn slots_are_filled_and_paragraphs_kept_whatever_the_claims_cut() {
        let body = "Hello {{first_name}}, naïve café.\n\nSecond {{ first_name }}.\n \nThird {{unknown}}.";
        let whole = "Hello there, naïve café.|Second there.|Third {{unknown}}.";
        assert_eq!(text(&lay_out(body, &[]).0), whole);
        let length = body.chars().count();
        for start in 0..=length {
            for end in [start, start + 1, start + 7, length, length + 5] {
                let (paragraphs, placed) = lay_out(body, &[(start, end), (end, start), (3, 40)]);
                assert_eq!(text(&paragraphs), whole, "{start}..{end}");
                assert!(placed.contains(&3));
            }
        }
    }

    #[test]
    fn a_claim_is_underlined_and_numbered_once_at_its_end_and_an_impossible_one_has_no_number() {
        let (paragraphs, placed) = lay_out("One {{first_name}} two. Three.", &[(0, 23), (90, 95)]);
        let numbered: Vec<_> = paragraphs[0].iter().map(|p| (p.text.as_str(), p.claim, p.ends.as_slice())).collect();
        assert_eq!(
            numbered,
            [("One ", true, &[][..]), ("there", true, &[]), (" two.", true, &[1]), (" Three.", false, &[])]
        );
        assert_eq!(placed, BTreeSet::from([1]));
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
