//! A message's text cut into pieces that each look the same throughout.

use std::{collections::BTreeSet, ops::Range, sync::LazyLock};

use regex::Regex;
use serde::Serialize;

use crate::domain::variant::{Slots, slot_marks};

static GAP: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\n[ \t\r]*\n\s*").expect("the pattern is a valid one"));

#[derive(Debug, PartialEq, Serialize)]
pub struct Piece {
    pub text: String,
    claim: bool,
    slot: bool,
    fault: bool,
    /// Numbers of the claims whose last piece this is.
    pub ends: Vec<usize>,
}

/// The paragraphs of a text as pieces. Ranges are in characters; `claims` come with their numbers.
///
/// Ranges come from writers that nobody trusts: they may overlap, cut a slot in two or lie outside of the text. The
/// text is whole in any case, and a claim without a single character of it has no piece that bears its number.
pub fn lay_out(
    text: &str,
    slots: &Slots,
    claims: &[(usize, Range<usize>)],
    faults: &[Range<usize>],
) -> Vec<Vec<Piece>> {
    let chars: Vec<char> = text.chars().collect();
    let in_chars = |range: Range<usize>| text[..range.start].chars().count()..text[..range.end].chars().count();
    let known: Vec<(Range<usize>, &str)> = slot_marks(text)
        .filter_map(|(range, name)| Some((in_chars(range), slots.get(name)?.fallback.as_str())))
        .collect();
    let gaps: Vec<Range<usize>> = GAP.find_iter(text).map(|gap| in_chars(gap.range())).collect();

    let slot_ranges = known.iter().map(|(range, _)| range);
    let ranges = claims.iter().map(|(_, range)| range).chain(faults).chain(&gaps).chain(slot_ranges);
    let mut cuts: BTreeSet<usize> = ranges.flat_map(|range| [range.start, range.end]).collect();
    cuts.extend([0, chars.len()]);
    cuts.retain(|cut| *cut <= chars.len() && !known.iter().any(|(slot, _)| slot.start < *cut && *cut < slot.end));
    let cuts: Vec<usize> = cuts.into_iter().collect();

    let mut paragraphs = vec![Vec::new()];
    // Per claim, where its last piece so far is.
    let mut ends: Vec<Option<(usize, usize)>> = vec![None; claims.len()];
    for cut in cuts.windows(2) {
        let range = cut[0]..cut[1];
        let overlaps = |other: &Range<usize>| other.start < range.end && range.start < other.end;
        if gaps.iter().any(overlaps) {
            if gaps.iter().any(|gap| gap.end == range.end) {
                paragraphs.push(Vec::new());
            }
            continue;
        }
        let at = (paragraphs.len() - 1, paragraphs[paragraphs.len() - 1].len());
        for (end, (_, claim)) in ends.iter_mut().zip(claims) {
            if overlaps(claim) {
                *end = Some(at);
            }
        }
        let slot = known.iter().find(|(slot, _)| *slot == range);
        paragraphs[at.0].push(Piece {
            text: slot.map_or_else(|| chars[range.clone()].iter().collect(), |(_, fallback)| (*fallback).to_owned()),
            claim: claims.iter().any(|(_, claim)| overlaps(claim)),
            slot: slot.is_some(),
            fault: faults.iter().any(overlaps),
            ends: Vec::new(),
        });
    }
    for (end, (number, _)) in ends.into_iter().zip(claims) {
        if let Some((paragraph, piece)) = end {
            paragraphs[paragraph][piece].ends.push(*number);
        }
    }
    paragraphs.retain(|pieces| !pieces.is_empty());
    paragraphs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::sample;

    fn text(paragraphs: &[Vec<Piece>]) -> String {
        let paragraphs = paragraphs.iter().map(|pieces| pieces.iter().map(|piece| piece.text.as_str()).collect());
        paragraphs.collect::<Vec<String>>().join("|")
    }

    proptest! {
        #[test]
        fn no_claim_or_fault_changes_the_text_and_each_claim_on_it_is_numbered_once(
            ranges in prop::collection::vec((0..90_usize, 0..90_usize), 0..6),
        ) {
            let body = "Hello {{first_name}}, na\u{ef}ve caf\u{e9}.\n\nSecond {{ first_name }}.\n \nThird {{unknown}}.";
            let ranges: Vec<_> = ranges.into_iter().map(|(a, b)| a.min(b)..a.max(b)).collect();
            let claims: Vec<_> = (1..).zip(ranges.iter().cloned()).collect();
            let paragraphs = lay_out(body, &sample::report().slots, &claims, &ranges);
            prop_assert_eq!(text(&paragraphs), "Hello there, na\u{ef}ve caf\u{e9}.|Second {{ first_name }}.|Third {{unknown}}.");
            let mut ends: Vec<usize> = paragraphs.iter().flatten().flat_map(|piece| piece.ends.clone()).collect();
            let numbered = ends.len();
            ends.sort_unstable();
            ends.dedup();
            prop_assert_eq!(ends.len(), numbered);
            for (number, range) in claims {
                // Two characters at least: one of them is not in the gap of two.
                if range.len() > 3 && range.start + 3 < body.chars().count() {
                    prop_assert!(ends.contains(&number));
                }
            }
        }
    }

    #[test]
    fn a_claim_is_underlined_throughout_and_numbered_at_its_end() {
        let claims = [(1, 0..23), (2, 90..95)];
        let paragraphs = lay_out("One {{first_name}} two. Three.", &sample::report().slots, &claims, &[]);
        let pieces: Vec<_> = paragraphs[0].iter().map(|p| (p.text.as_str(), p.claim, p.ends.as_slice())).collect();
        let expected: [(&str, bool, &[usize]); 4] =
            [("One ", true, &[]), ("there", true, &[]), (" two.", true, &[1]), (" Three.", false, &[])];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn an_empty_text_has_no_paragraph() {
        assert!(lay_out("", &Slots::new(), &[(1, 0..0)], &[]).is_empty());
    }
}
