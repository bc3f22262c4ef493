//! Every claim must say what its source says, and the source must be one that may be used.
//!
//! A claim is supported if it has the same words ([`Canonical`]) as whole sentences of the cited words, or as clauses
//! of one between semicolons, and what is left out around them does not take anything back. A subject may also be a
//! headline that was approved with the document, if the cited words hold it and the body tells its restrictions. Any other wording is not supported, right
//! or wrong: this check knows no paraphrases.

use std::ops::Range;

use jiff::civil::Date;

use crate::{
    agents::{
        retrieval::{Hit, library::Library},
        safety::{
            canonical::{Canonical, plain, without_stop},
            fact::Notation,
        },
        sentences,
    },
    domain::{
        content::{Category, Document, Passage},
        digest::Digest,
        variant::{Cell, Claim, Draft, Field},
        verdict::{Finding, Rule},
    },
};

use super::{
    byte_range, claimed,
    coverage::trimmed,
    fields, period,
    restriction::{self, narrows, refers_back, restricts},
};

/// What may be cited, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    pub content: &'a Library,
    pub allowed: &'a [Hit],
    pub date: Date,
    pub cell: &'a Cell,
    pub notation: Notation,
}

pub fn check(draft: &Draft, sources: &Sources<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let body: Vec<_> =
        claimed(draft, Field::Body, &draft.message.body).iter().flat_map(|(_, claim)| locate(claim, sources)).collect();
    for (field, text) in fields(&draft.message) {
        let claims = claimed(draft, field, text);
        let located: Vec<_> = claims.iter().map(|(_, claim)| locate(claim, sources)).collect();
        for (index, (_, claim)) in claims.iter().enumerate() {
            let place = match &located[index] {
                Ok(place) => place,
                Err(reasons) => {
                    findings.extend(reasons.iter().map(|(rule, why)| Finding::on_claim(*rule, claim, why)));
                    continue;
                }
            };
            // The claims next to this one with nothing between, where they have a place of their own.
            let place_at = |neighbour: Option<usize>| located.get(neighbour?)?.as_ref().ok();
            let touches =
                |a: usize, b: usize| text[claims[a].0.end.min(claims[b].0.start)..claims[b].0.start].trim().is_empty();
            let before = index.checked_sub(1).filter(|before| touches(*before, index));
            let after = (index + 1 < claims.len() && touches(index, index + 1)).then_some(index + 1);
            let surroundings = Surroundings {
                continues: place_at(before).is_some_and(|before| before.is_followed_by(place)),
                is_continued: place_at(after).is_some_and(|after| place.is_followed_by(after)),
                leaves_untold: place.later_restrictions().any(|passage| {
                    !body.iter().any(|told| told.document.id == place.document.id && told.passage == passage)
                }),
                is_in_body: field == Field::Subject && body.iter().any(|other| other.says_all_of(place)),
            };
            if let Some(why) = place.misleads(&surroundings, sources.notation) {
                findings.push(Finding::on_claim(Rule::NotSupported, claim, why));
            }
        }
    }
    findings
}

/// What the message says beside a claim.
struct Surroundings {
    /// The claim before is what stands before this one in the source.
    continues: bool,
    /// Likewise after.
    is_continued: bool,
    /// The body does not say what the same offer or policy takes back further on.
    leaves_untold: bool,
    /// The claim is a subject, and the body says its whole sentence.
    is_in_body: bool,
}

/// Where the words of a claim stand.
struct Place<'a> {
    document: &'a Document,
    /// Position of the passage in the document.
    passage: usize,
    text: &'a str,
    clauses: Vec<Clause>,
    /// The clauses that the claim is.
    is: Range<usize>,
    /// What the claim, being a headline, leaves out of its clause.
    left_out: Option<LeftOut<'a>>,
}

struct LeftOut<'a> {
    before: &'a str,
    after: &'a str,
}

/// A sentence, or a part of one between semicolons.
#[derive(Debug, Clone)]
struct Clause {
    bytes: Range<usize>,
    /// Number of its sentence in the passage.
    sentence: usize,
}

type Reasons = Vec<(Rule, String)>;

fn locate<'a>(claim: &Claim, sources: &Sources<'a>) -> Result<Place<'a>, Reasons> {
    let citation = &claim.citation;
    let Some((document, passage)) = sources.content.passage(&citation.passage) else {
        return Err(vec![(Rule::SourceNotUsable, "there is no such passage".to_owned())]);
    };
    let unusable = why_unusable(claim, document, passage, sources);
    if !unusable.is_empty() {
        return Err(unusable.into_iter().map(|why| (Rule::SourceNotUsable, why)).collect());
    }
    let quote = byte_range(&passage.text, citation.start, citation.end)
        .filter(|range| !range.is_empty() && passage.text[range.clone()] == citation.quote)
        .ok_or_else(|| vec![(Rule::QuoteMismatch, "the passage does not hold this quote at its span".to_owned())])?;
    let not_supported = |why: &str| vec![(Rule::NotSupported, why.to_owned())];
    let clauses = clauses(&passage.text);
    let said = Canonical::new(&claim.text, sources.notation);
    if said.is_empty() {
        return Err(not_supported("the claim has no words"));
    }
    if claim.text.trim_end().ends_with([',', ';', ':']) {
        return Err(not_supported("the claim runs on into what follows it"));
    }
    if restriction::has_note_mark(&claim.text) {
        return Err(not_supported("the claim bears the mark of a note that is not part of it"));
    }
    let text = passage.text.as_str();
    let whole = runs_within(&clauses, text, &quote)
        .find(|run| Canonical::new(&text[bytes(&clauses, run)], sources.notation) == said)
        .map(|run| (run, None));
    let headlines = match claim.span.field {
        Field::Subject => document.headlines.as_slice(),
        Field::Body => &[],
    };
    let is_headline = || headlines.iter().any(|headline| Canonical::new(headline, sources.notation) == said);
    let excerpt = || {
        let found = is_headline().then(|| excerpt(&clauses, text, &quote, claim, sources.notation))?;
        found.map(|(is, left_out)| (is, Some(left_out)))
    };
    let (is, left_out) =
        whole.or_else(excerpt).ok_or_else(|| not_supported("the cited words do not hold this as whole sentences"))?;
    let position = document.passages.iter().position(|other| other.id == passage.id);
    let position = position.ok_or_else(|| not_supported("the passage is not in its document"))?;
    Ok(Place { document, passage: position, text, clauses, is, left_out })
}

fn why_unusable(claim: &Claim, document: &Document, passage: &Passage, sources: &Sources<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    if !document.is_usable_on(sources.date) {
        reasons.push(format!("the document is not approved and valid on {}", sources.date));
    }
    if !sources.allowed.iter().any(|hit| hit.passage == passage.id) {
        reasons.push("the passage is not among those retrieved for this cell".to_owned());
    }
    if claim.citation.version != passage.version || Digest::of(&passage.text) != passage.version {
        reasons.push("the passage has been changed since it was read".to_owned());
    }
    if !document.is_for(sources.cell.segment.as_ref()) {
        reasons.push("the document or its offer is not for everybody in this cell".to_owned());
    }
    if !document.is_in(sources.cell.channel, &sources.cell.locale) {
        reasons.push("the document is for other channels or locales".to_owned());
    }
    if sources.notation == Notation::English
        && let Some(end) = period::ended(&plain(&claim.text), sources.date, document.approved_on)
    {
        reasons.push(format!("it speaks of a time that ended on {end}"));
    }
    reasons
}

fn clauses(text: &str) -> Vec<Clause> {
    let of_sentence = |(sentence, range): (usize, Range<usize>)| {
        pieces(text, range, |c| c == ';').into_iter().map(move |bytes| Clause { bytes, sentence })
    };
    sentences::bounds(text).into_iter().enumerate().flat_map(of_sentence).collect()
}

/// The parts of a range that separators end, without the white space around them.
fn pieces(text: &str, range: Range<usize>, is_separator: impl Fn(char) -> bool) -> Vec<Range<usize>> {
    let mut start = range.start;
    let parts = text[range].split_inclusive(is_separator).map(|part| {
        start += part.len();
        trimmed(text, start - part.len()..start)
    });
    parts.filter(|part| !part.is_empty()).collect()
}

fn bytes(clauses: &[Clause], run: &Range<usize>) -> Range<usize> {
    clauses[run.start].bytes.start..clauses[run.end - 1].bytes.end
}

/// The runs of whole clauses that lie in the quote; a final stop may be left out of it.
fn runs_within<'a>(
    clauses: &'a [Clause],
    text: &'a str,
    quote: &Range<usize>,
) -> impl Iterator<Item = Range<usize>> + 'a {
    let quote = quote.clone();
    let fits = move |run: &Range<usize>| {
        let bytes = bytes(clauses, run);
        quote.start <= bytes.start && bytes.start + without_stop(&text[bytes.clone()]).len() <= quote.end
    };
    (0..clauses.len()).flat_map(move |start| (start + 1..=clauses.len()).map(move |end| start..end)).filter(fits)
}

/// The clause that holds the words of the claim in a row, and what else stands in it.
fn excerpt<'a>(
    clauses: &[Clause],
    text: &'a str,
    quote: &Range<usize>,
    claim: &Claim,
    notation: Notation,
) -> Option<(Range<usize>, LeftOut<'a>)> {
    let said = Canonical::new(&claim.text, notation);
    let length = claim.text.split_whitespace().count().max(1);
    clauses.iter().enumerate().find_map(|(index, clause)| {
        let words = pieces(text, clause.bytes.clone(), char::is_whitespace);
        words.windows(length).find_map(|run| {
            let (start, end) = (run[0].start, run[length - 1].end);
            let end = start + without_stop(&text[start..end]).len();
            let is_it = quote.start <= start && end <= quote.end && Canonical::new(&text[start..end], notation) == said;
            let left_out = LeftOut { before: &text[clause.bytes.start..start], after: &text[end..clause.bytes.end] };
            is_it.then_some((index..index + 1, left_out))
        })
    })
}

impl Place<'_> {
    fn is_followed_by(&self, next: &Place<'_>) -> bool {
        self.document.id == next.document.id
            && if self.passage == next.passage {
                self.is.end == next.is.start
            } else {
                self.passage + 1 == next.passage && self.is.end == self.clauses.len() && next.is.start == 0
            }
    }

    /// Whether the whole sentence that `other` is taken from is part of this claim.
    fn says_all_of(&self, other: &Place<'_>) -> bool {
        self.left_out.is_none()
            && self.document.id == other.document.id
            && self.passage == other.passage
            && self.is.start <= other.is.start
            && other.is.end <= self.is.end
    }

    /// Why the claim, true to the letter, may not say what its source says: because of what stands around it there.
    fn misleads(&self, surroundings: &Surroundings, notation: Notation) -> Option<&'static str> {
        let Surroundings { continues, is_continued, leaves_untold, is_in_body } = *surroundings;
        let words = |index: usize| plain(&self.text[self.clauses[index].bytes.clone()]);
        let (first, last) = (self.is.start, self.is.end - 1);
        let is_part = self.is != (0..self.clauses.len()) || self.left_out.is_some();
        // What follows knows English words only; elsewhere only whole passages are beyond doubt.
        if notation != Notation::English {
            return is_part.then_some("only whole passages can be judged in this language");
        }
        let in_same_sentence = |index: usize, edge: usize| self.clauses[index].sentence == self.clauses[edge].sentence;
        if leaves_untold {
            return Some("the document takes something back in another passage, which the body does not tell");
        }
        if let Some(LeftOut { before, after }) = &self.left_out {
            // There it is judged with all that stands around it.
            if is_in_body {
                return None;
            }
            if restriction::conditions(&plain(before)) || narrows(&plain(after)) {
                return Some("the headline leaves out a restriction that the body does not tell in full");
            }
        }
        let is_cut_off = (first > 0 && !continues) || (last + 1 < self.clauses.len() && !is_continued);
        if matches!(self.document.category, Category::Offer | Category::Policy) && is_cut_off && !is_in_body {
            return Some("passages of offers and policies may only be quoted whole");
        }
        let opening = words(first);
        if refers_back(&opening) && !continues {
            return Some("what the claim refers back to is missing before it");
        }
        if restriction::is_fragment(&opening) && opening.split_whitespace().count() < 4 && !continues {
            return Some("the claim restricts what is missing before it");
        }
        if self.heading().is_some_and(|heading| restriction::is_heading(&plain(heading))) {
            return Some("the heading above it narrows the claim down");
        }
        if let Some(previous) = first.checked_sub(1).filter(|_| !continues) {
            let text = words(previous);
            if in_same_sentence(previous, first) {
                if narrows(&text) {
                    return Some("the other half of the sentence narrows the claim down");
                }
            } else if text.ends_with(':') || restriction::is_fragment(&text) {
                return Some("the words before it narrow the claim down");
            }
        } else if first == 0 && !continues && self.has_lead_in() {
            return Some("the passage completes a sentence that begins before it");
        }
        if is_continued {
            return None;
        }
        let is_cut = last + 1 < self.clauses.len() && in_same_sentence(last + 1, last);
        if is_cut && narrows(&words(last + 1)) {
            return Some("the other half of the sentence narrows the claim down");
        }
        let next = match self.clauses.get(last + 1) {
            Some(_) => words(last + 1),
            None => self.document.passages.get(self.passage + 1).map(|next| plain(&next.text)).unwrap_or_default(),
        };
        let next = sentences::bounds(&next).first().map_or("", |first| &next[first.clone()]);
        if !is_cut && (restriction::takes_back(next) || (refers_back(next) && restricts(next))) {
            return Some("the next sentence of the source narrows the claim down");
        }
        None
    }

    /// The passages after this one in which an offer or a policy takes back something that it said before.
    fn later_restrictions(&self) -> impl Iterator<Item = usize> {
        let states_conditions = matches!(self.document.category, Category::Offer | Category::Policy);
        let passages =
            self.document.passages.iter().enumerate().skip(self.passage + 1).filter(move |_| states_conditions);
        let takes_back = |text: &str| sentences::bounds(text).into_iter().any(|s| restriction::excludes(&text[s]));
        passages.filter(move |(_, passage)| takes_back(&plain(&passage.text))).map(|(index, _)| index)
    }

    /// The text between the passage's section and the one before it. The document's own title is none: it is above
    /// every passage.
    fn heading(&self) -> Option<&str> {
        let passages = &self.document.passages[..=self.passage];
        let gaps = passages.iter().enumerate().rev().filter_map(|(index, passage)| {
            let end = index.checked_sub(1).map_or(0, |before| passages[before].end);
            let gap = &self.document.text[byte_range(&self.document.text, end, passage.start)?];
            let gap = if index == 0 { gap.trim_start().split_once("\n\n").map_or("", |(_, rest)| rest) } else { gap };
            Some(gap.trim()).filter(|gap| !gap.is_empty())
        });
        gaps.into_iter().next()
    }

    /// Whether a line ending in a colon stands above the passage in its section: it may be an item of the list that
    /// the line introduces.
    fn has_lead_in(&self) -> bool {
        let passages = &self.document.passages[..=self.passage];
        let is_below_heading = |index: usize| {
            let end = index.checked_sub(1).map_or(0, |before| passages[before].end);
            let gap = byte_range(&self.document.text, end, passages[index].start);
            gap.is_some_and(|gap| !self.document.text[gap].trim().is_empty())
        };
        let first = (0..passages.len()).rev().find(|index| is_below_heading(*index)).unwrap_or(0);
        passages[first..].iter().any(|passage| passage.text.trim_end().ends_with(':'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agents::safety::fixture,
        domain::{
            channel::Channel,
            id::{ArmName, Locale, PassageId},
            variant::{Citation, Message, Span, Usage},
        },
    };

    fn cell() -> Cell {
        Cell {
            segment: None,
            arm: ArmName::new("control").unwrap(),
            channel: Channel::Email,
            locale: Locale::new("en").unwrap(),
        }
    }

    /// The rules that a message of these claims breaks, each claim citing (passage index, quote).
    fn rules(passages: &[&str], claims: &[(&str, usize, &str)]) -> Vec<Rule> {
        rules_of(&fixture::document("kettle", passages), claims)
    }

    fn rules_of(document: &Document, claims: &[(&str, usize, &str)]) -> Vec<Rule> {
        let allowed: Vec<_> = document.passages.iter().map(|p| Hit { passage: p.id.clone(), score: 1.0 }).collect();
        let mut body = String::new();
        let cite = |&(text, passage, quote): &(&str, usize, &str)| {
            let start = body.chars().count();
            body.push_str(text);
            let span = Span { field: Field::Body, start, end: start + text.chars().count() };
            body.push(' ');
            let source = &document.passages[passage];
            let at = source.text[..source.text.find(quote).unwrap()].chars().count();
            let citation = Citation {
                passage: source.id.clone(),
                version: source.version,
                start: at,
                end: at + quote.chars().count(),
                quote: quote.to_owned(),
            };
            Claim { span, text: text.to_owned(), citation }
        };
        let claims = claims.iter().map(cite).collect();
        let draft = Draft { message: Message { subject: None, body }, claims, usage: Usage::default() };
        let library = Library::new(vec![document.clone()]);
        let sources = Sources {
            content: &library,
            allowed: &allowed,
            date: fixture::DATE,
            cell: &cell(),
            notation: Notation::English,
        };
        check(&draft, &sources).into_iter().map(|finding| finding.rule).collect()
    }

    fn is_supported(passage: &str, claim: &str, quote: &str) -> bool {
        rules(&[passage], &[(claim, 0, quote)]).is_empty()
    }

    #[test]
    fn whole_sentences_and_clauses_are_supported_with_or_without_their_stop() {
        let passage = "The jug is steel. Delivery is free; the box is recycled. The lid locks with a click.";
        for claim in [
            passage,
            "The jug is steel.",
            "The jug is steel",
            "Delivery is free; the box is recycled.",
            "Delivery is free.",
            "The box is recycled",
            "The jug is steel. Delivery is free; the box is recycled.",
        ] {
            assert!(is_supported(passage, claim, passage), "{claim}");
        }
        assert!(is_supported(passage, "The jug is steel", "The jug is steel"));
        assert!(is_supported(passage, "The jug is steel.", "The jug is steel"));
    }

    #[test]
    fn a_cut_that_drops_a_restriction_is_not_supported() {
        for (passage, claim) in [
            ("Free delivery over $50.", "Free delivery"),
            ("Delivery is free if you order twice.", "Delivery is free"),
            ("Members of the club get 15% off.", "get 15% off."),
            ("Delivery is not free.", "free."),
            ("Delivery is free; orders must exceed $50.", "Delivery is free."),
            ("Delivery is free; members of the club only.", "Delivery is free."),
            ("For members of the club; delivery is free.", "Delivery is free."),
            ("Delivery is free. This applies to orders over $50.", "Delivery is free."),
            ("Delivery is free. Only in May.", "Delivery is free."),
            ("Members only. Delivery is free.", "Delivery is free."),
            ("For members:\nDelivery is free.", "Delivery is free."),
            ("Delivery is free. Members only.", "Delivery is free."),
            ("Delivery is free. Orders under $50 are excluded.", "Delivery is free."),
            ("Delivery is free. Sale items are not included.", "Delivery is free."),
            ("Delivery is free\non orders over $50 of one customer in a month", "Delivery is free"),
            ("The jug is blue. Members only.", "Members only."),
            ("Never drink what Dr. Ames drinks all day.", "Ames drinks all day."),
            ("Delivery is free*.", "Delivery is free*."),
            ("Delivery is free[^1].", "Delivery is free[^1]."),
            ("The jug is blue. Which costs nothing.", "Which costs nothing."),
            ("The mug is blue. It is safe in the oven.", "It is safe in the oven."),
        ] {
            assert!(
                !is_supported(passage, claim, claim.trim_end_matches('.').trim_start_matches("D")),
                "{claim} < {passage}"
            );
            assert!(!is_supported(passage, claim, passage), "{claim} < {passage}");
        }
    }

    #[test]
    fn a_claim_that_runs_on_is_not_supported() {
        for claim in ["The jug is steel:", "The jug is steel,", "The jug is steel; "] {
            assert!(!is_supported("The jug is steel.", claim, "The jug is steel"), "{claim}");
        }
    }

    #[test]
    fn what_refers_back_may_follow_what_it_refers_to_and_nothing_else() {
        let passages = ["The mug is blue. It is safe in the oven.", "It stacks."];
        let (mug, oven, stacks) = ("The mug is blue.", "It is safe in the oven.", "It stacks.");
        assert_eq!(rules(&passages, &[(mug, 0, mug), (oven, 0, oven), (stacks, 1, stacks)]), []);
        assert_eq!(rules(&passages, &[(mug, 0, mug), (stacks, 1, stacks)]), [Rule::NotSupported]);
        assert_eq!(rules(&passages, &[(oven, 0, oven), (mug, 0, mug)]), [Rule::NotSupported]);
    }

    #[test]
    fn a_restriction_that_follows_must_follow_in_the_message_too() {
        let passage = "Delivery is free. This applies to orders over $50.";
        let (first, second) = passage.split_at(18);
        assert_eq!(rules(&[passage], &[(first.trim(), 0, first.trim()), (second, 0, second)]), []);
        let passages = [first.trim(), second.trim()];
        assert_eq!(rules(&passages, &[(passages[0], 0, passages[0])]), [Rule::NotSupported]);
        assert_eq!(rules(&passages, &[(passages[0], 0, passages[0]), (passages[1], 1, passages[1])]), []);
    }

    #[test]
    fn an_item_is_not_supported_without_the_line_that_introduces_its_list() {
        let passages = ["The warranty does not cover:", "Broken glass", "Normal wear"];
        assert_eq!(rules(&passages, &[("Normal wear", 2, "Normal wear")]), [Rule::NotSupported]);
        let set = ["The set does not hold:", "A jug.", "A lid."];
        for (index, item) in set.iter().enumerate().skip(1) {
            assert_eq!(rules(&set, &[(*item, index, *item)]), [Rule::NotSupported], "{item}");
        }
    }

    #[test]
    fn a_heading_may_restrict_what_stands_below_it_up_to_the_next_one() {
        let (first, second) = ("Delivery is free.", "The box is recycled.");
        for (heading, restricts) in
            [("For members", true), ("Excluded", true), ("Members only", true), ("Good news", false)]
        {
            let mut document = fixture::document("delivery", &[first, second]);
            document.text = format!("Delivery\n\n{heading}\n\n{first}\n\n{second}");
            let shift = "Delivery\n\n".len() + heading.len() + 2;
            for passage in &mut document.passages {
                (passage.start, passage.end) = (passage.start + shift, passage.end + shift);
            }
            for (index, words) in [first, second].into_iter().enumerate() {
                assert_eq!(!rules_of(&document, &[(words, index, words)]).is_empty(), restricts, "{heading}: {words}");
            }
        }
    }

    #[test]
    fn offers_and_policies_are_quoted_whole() {
        let mut document = fixture::document("offer", &["The mug is blue. The jug is red."]);
        document.validity.until = Some(fixture::DATE);
        let (mug, jug) = ("The mug is blue.", "The jug is red.");
        for category in [Category::Offer, Category::Policy] {
            document.category = category;
            assert_eq!(rules_of(&document, &[(mug, 0, mug)]), [Rule::NotSupported]);
            assert_eq!(rules_of(&document, &[(jug, 0, jug)]), [Rule::NotSupported]);
            assert_eq!(rules_of(&document, &[(mug, 0, mug), (jug, 0, jug)]), []);
        }
    }

    #[test]
    fn what_an_offer_takes_back_further_on_must_be_told_too() {
        let (all, mug, end) = ("The shop is 15% off.", "The mug is blue.", "Not valid for the jug.");
        let mut document = fixture::document("offer", &[all, mug, end]);
        document.validity.until = Some(fixture::DATE);
        document.category = Category::Offer;
        assert_eq!(rules_of(&document, &[(all, 0, all)]), [Rule::NotSupported]);
        assert_eq!(rules_of(&document, &[(all, 0, all), (mug, 1, mug)]), [Rule::NotSupported, Rule::NotSupported]);
        assert_eq!(rules_of(&document, &[(all, 0, all), (mug, 1, mug), (end, 2, end)]), []);
    }

    #[test]
    fn an_approved_headline_is_supported_as_a_subject_if_no_restriction_of_it_remains_untold() {
        for (headline, passage, supported) in [
            ("15% off the bread dome", "The code DOME15 takes 15% off the bread dome, the dish and the pan.", true),
            ("15% off the bread dome", "The code DOME15 takes 15% off the bread dome for new customers.", false),
            ("15% off the bread dome", "Members get 15% off the bread dome.", false),
            ("15% off the bread dome", "The code takes 15% off the bread dome; it ends on 3 May 2027.", false),
            ("Free delivery", "Free delivery over $50.", false),
            ("20% off the bread dome", "The code DOME15 takes 15% off the bread dome.", false),
        ] {
            let mut document = fixture::document("offer", &[passage]);
            let source = &document.passages[0];
            let claim = |field: Field, text: &str| Claim {
                span: Span { field, start: 0, end: text.chars().count() },
                text: text.to_owned(),
                citation: Citation {
                    passage: source.id.clone(),
                    version: source.version,
                    start: 0,
                    end: passage.chars().count(),
                    quote: passage.to_owned(),
                },
            };
            let message = Message { subject: Some(headline.to_owned()), body: passage.to_owned() };
            let claims = vec![claim(Field::Subject, headline)];
            let mut draft = Draft { message, claims, usage: Usage::default() };
            let in_body = claim(Field::Body, passage);
            let allowed = [Hit { passage: source.id.clone(), score: 1.0 }];
            for is_approved in [true, false] {
                document.headlines = if is_approved { vec![headline.to_owned()] } else { Vec::new() };
                let library = Library::new(vec![document.clone()]);
                let sources = Sources {
                    content: &library,
                    allowed: &allowed,
                    date: fixture::DATE,
                    cell: &cell(),
                    notation: Notation::English,
                };
                draft.claims.truncate(1);
                assert_eq!(check(&draft, &sources).is_empty(), supported && is_approved, "{headline} < {passage}");
                draft.claims.push(in_body.clone());
                let is_true = headline != "20% off the bread dome";
                assert_eq!(check(&draft, &sources).is_empty(), is_true && is_approved, "{headline} < {passage}");
            }
        }
    }

    #[test]
    fn a_citation_of_nothing_is_not_usable() {
        let claim = |passage: &str| Claim {
            span: Span { field: Field::Body, start: 0, end: 1 },
            text: "x".to_owned(),
            citation: Citation {
                passage: PassageId::new(passage).unwrap(),
                version: Digest::of("x"),
                start: 0,
                end: usize::MAX,
                quote: "x".to_owned(),
            },
        };
        let message = Message { subject: None, body: "x".to_owned() };
        let draft = Draft { message, claims: vec![claim("nowhere#p1")], usage: Usage::default() };
        let library = Library::new(Vec::new());
        let sources = Sources {
            content: &library,
            allowed: &[],
            date: fixture::DATE,
            cell: &cell(),
            notation: Notation::English,
        };
        assert_eq!(check(&draft, &sources)[0].rule, Rule::SourceNotUsable);
    }
}
