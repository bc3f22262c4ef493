//! All variants, grouped by segment and arm, with a matrix to find one's way.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Serialize;

use crate::{
    domain::{
        channel::Channel,
        id::{ArmName, SegmentName},
        variant::Variant,
        verdict::Decision,
    },
    report::{
        PersonalMessages, Report,
        cards::{self, Card},
    },
};

#[derive(Debug, Serialize)]
pub struct Gallery<'a> {
    arms: Vec<&'a ArmName>,
    groups: Vec<Group<'a>>,
    /// Positions in `groups` of what is blocked or waits for a reviewer.
    attention: Vec<Attention<'a>>,
    checks: Vec<Check>,
    pub counts: Counts,
    personal: Option<Personal<'a>>,
}

/// What was written for single customers.
#[derive(Debug, Serialize)]
struct Personal<'a> {
    counts: Counts,
    unknown: u64,
    fields: &'a [String],
    /// The most frequent first.
    reasons: Vec<(&'a str, u64)>,
    examples: Vec<Card<'a>>,
}

impl<'a> Personal<'a> {
    fn of(personal: &'a PersonalMessages, report: &'a Report) -> Self {
        let counts = &personal.counts;
        let mut reasons: Vec<_> = counts.reasons.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        reasons.sort_by_key(|(_, count)| Reverse(*count));
        let card = |(index, variant): (usize, &'a Variant)| {
            Card::of(report.variants.len() + index, variant, None, false, &report.slots, &report.sources)
        };
        Self {
            counts: Counts {
                total: counts.written() as usize,
                approved: counts.approved as usize,
                blocked: counts.blocked as usize,
                needs_review: counts.needs_review as usize,
            },
            unknown: counts.unknown,
            fields: &personal.fields,
            reasons,
            examples: personal.examples.iter().enumerate().map(card).collect(),
        }
    }
}

/// The variants of one segment, or of everybody (the control message).
#[derive(Debug, Serialize)]
struct Group<'a> {
    segment: Option<&'a SegmentName>,
    /// One for each of the gallery's arms.
    cells: Vec<Cell<'a>>,
}

#[derive(Debug, Default, Serialize)]
struct Cell<'a> {
    /// The page starts with one cell unfolded, so that a reader sees what the others hold.
    open: bool,
    counts: Counts,
    cards: Vec<Card<'a>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub total: usize,
    pub approved: usize,
    pub blocked: usize,
    pub needs_review: usize,
}

#[derive(Debug, Serialize)]
struct Attention<'a> {
    index: usize,
    id: &'a str,
    decision: Decision,
    reasons: Vec<String>,
}

/// What one rule found over all variants.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    blocking: usize,
    review: usize,
}

impl Counts {
    fn add(&mut self, decision: Decision) {
        self.total += 1;
        match decision {
            Decision::Approved => self.approved += 1,
            Decision::Blocked => self.blocked += 1,
            Decision::NeedsReview => self.needs_review += 1,
        }
    }
}

impl<'a> Gallery<'a> {
    pub fn of(report: &'a Report) -> Self {
        let mut by_cell: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        let mut counts = Counts::default();
        for (index, variant) in report.variants.iter().enumerate() {
            let cell = &variant.cell;
            by_cell.entry((cell.segment.as_ref(), &cell.arm, cell.channel, &cell.locale)).or_default().push(index);
            counts.add(variant.verdict.decision);
        }

        let mut cells: BTreeMap<(Option<&SegmentName>, &ArmName), Cell<'a>> = BTreeMap::new();
        for ((segment, arm, _, _), variants) in by_cell {
            let cell = cells.entry((segment, arm)).or_default();
            let first_approved =
                variants.iter().find(|index| report.variants[**index].verdict.decision == Decision::Approved).copied();
            for (position, index) in variants.into_iter().enumerate() {
                let variant = &report.variants[index];
                cell.counts.add(variant.verdict.decision);
                let in_use = first_approved == Some(index);
                cell.cards.push(Card::of(index, variant, Some(position + 1), in_use, &report.slots, &report.sources));
            }
        }

        // Arms in the order of the design; any other that was written for comes after.
        let mut arms: Vec<&ArmName> = report.design.arms.iter().map(|arm| &arm.name).collect();
        for (_, arm) in cells.keys() {
            if !arms.contains(arm) {
                arms.push(arm);
            }
        }
        arms.retain(|arm| cells.keys().any(|(_, written)| written == arm));
        let mut segments: Vec<Option<&SegmentName>> =
            report.segmentation.segments.iter().map(|facts| Some(&facts.segment.name)).collect();
        for (segment, _) in cells.keys() {
            if !segments.contains(segment) {
                segments.push(*segment);
            }
        }
        let mut groups: Vec<Group<'a>> = segments
            .into_iter()
            .map(|segment| Group {
                segment,
                cells: arms.iter().map(|arm| cells.remove(&(segment, *arm)).unwrap_or_default()).collect(),
            })
            .filter(|group| group.cells.iter().any(|cell| cell.counts.total > 0))
            .collect();
        if let Some(first) =
            groups.first_mut().and_then(|group| group.cells.iter_mut().find(|cell| cell.counts.total > 0))
        {
            first.open = true;
        }
        let personal = report.personal.as_ref().map(|personal| Personal::of(personal, report));
        Self { arms, groups, attention: attention(report), checks: checks(report), counts, personal }
    }
}

/// What waits for somebody first, then what is blocked.
fn attention(report: &Report) -> Vec<Attention<'_>> {
    let of = |decision| {
        let indexed = report.variants.iter().enumerate();
        indexed.filter(move |(_, variant)| variant.verdict.decision == decision).map(move |(index, variant)| {
            Attention {
                index,
                id: variant.id.as_str(),
                decision,
                reasons: variant.verdict.findings.iter().map(|f| f.rule.in_words().to_owned()).collect(),
            }
        })
    };
    of(Decision::NeedsReview).chain(of(Decision::Blocked)).collect()
}

fn checks(report: &Report) -> Vec<Check> {
    let findings = || report.variants.iter().flat_map(|variant| &variant.verdict.findings);
    cards::RULES
        .into_iter()
        .map(|rule| Check {
            name: rule.in_words(),
            blocking: findings().filter(|finding| finding.rule == rule && finding.blocks).count(),
            review: findings().filter(|finding| finding.rule == rule && !finding.blocks).count(),
        })
        .collect()
}

/// What retrieval gave one segment: a row per passage, a column per channel and locale.
#[derive(Debug, Serialize)]
pub struct Found<'a> {
    segment: Option<&'a SegmentName>,
    columns: Vec<String>,
    rows: Vec<FoundPassage<'a>>,
}

#[derive(Debug, Serialize)]
struct FoundPassage<'a> {
    passage: &'a str,
    document: Option<usize>,
    title: Option<&'a str>,
    /// Per column; `None`: not among that search's answers.
    scores: Vec<Option<f64>>,
    /// Variants for the segment that cite it.
    cited: usize,
}

impl<'a> Found<'a> {
    pub fn all(report: &'a Report) -> Vec<Self> {
        let segments = report.segmentation.segments.iter().map(|facts| Some(&facts.segment.name)).chain([None]);
        segments.map(|segment| Self::of(report, segment)).filter(|found| !found.rows.is_empty()).collect()
    }

    fn of(report: &'a Report, segment: Option<&'a SegmentName>) -> Self {
        let answers: Vec<_> = report.sources.retrieved.iter().filter(|a| a.segment.as_ref() == segment).collect();
        let mut rows: Vec<FoundPassage<'a>> = Vec::new();
        for (column, answer) in answers.iter().enumerate() {
            for hit in &answer.hits {
                let id = hit.passage.as_str();
                let row = rows.iter().position(|row| row.passage == id).unwrap_or_else(|| {
                    let found = report.sources.passage(&hit.passage);
                    rows.push(FoundPassage {
                        passage: id,
                        document: found.map(|(index, _, _)| index),
                        title: found.map(|(_, document, _)| document.title.as_str()),
                        scores: vec![None; answers.len()],
                        cited: citing(report, segment, id),
                    });
                    rows.len() - 1
                });
                rows[row].scores[column] = Some(hit.score);
            }
        }
        let one_locale = report.campaign.locales.len() == 1;
        let column = |channel: Channel, locale: &str| match one_locale {
            true => cards::channel_name(channel).to_owned(),
            false => format!("{}, {locale}", cards::channel_name(channel)),
        };
        let columns = answers.iter().map(|answer| column(answer.channel, answer.locale.as_str())).collect();
        Self { segment, columns, rows }
    }
}

fn citing(report: &Report, segment: Option<&SegmentName>, passage: &str) -> usize {
    let of_segment = report.variants.iter().filter(|variant| variant.cell.segment.as_ref() == segment);
    of_segment.filter(|v| v.claims.iter().any(|claim| claim.citation.passage.as_str() == passage)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_variant_has_one_card_and_the_matrix_counts_them_all() {
        let report = sample::report();
        let gallery = Gallery::of(&report);
        let cells: Vec<_> = gallery.groups.iter().flat_map(|group| &group.cells).collect();
        let mut shown: Vec<_> = cells.iter().flat_map(|cell| &cell.cards).map(|card| card.index).collect();
        shown.sort_unstable();
        assert_eq!(shown, (0..report.variants.len()).collect::<Vec<_>>());
        assert_eq!(cells.iter().map(|cell| cell.counts.total).sum::<usize>(), gallery.counts.total);
        assert_eq!(
            gallery.counts.total,
            gallery.counts.approved + gallery.counts.blocked + gallery.counts.needs_review
        );
    }

    #[test]
    fn the_variant_in_use_is_the_first_approved_one_of_its_cell() {
        let report = sample::report();
        let gallery = Gallery::of(&report);
        let cards = gallery.groups.iter().flat_map(|group| &group.cells).flat_map(|cell| &cell.cards);
        for card in cards.filter(|card| card.in_use) {
            assert_eq!(card.decision, Decision::Approved, "{}", card.id);
            let cell = &report.variants[card.index].cell;
            let earlier = report.variants[..card.index].iter().filter(|other| other.cell == *cell);
            assert!(earlier.into_iter().all(|other| other.verdict.decision != Decision::Approved));
        }
    }
}
