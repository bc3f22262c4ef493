//! The embedded writer: builds messages from approved sentences, word for word, and a closed list of phrases.
//!
//! It cannot assert anything of its own: what is not a quote comes from [`super::phrases`]. Its choices follow from
//! the SHA-256 of campaign, cell and seed, so the same brief always gives the same draft.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use async_trait::async_trait;
use serde_json::Value;

use super::{
    Brief, Writer,
    fields::Fields,
    layout::{Layout, Paragraph, Place, Quote},
    phrases::{Tone, is_banned, spoken},
    sentences::{self, Sentence},
};
use crate::{
    domain::{
        channel::Channel,
        content::{Category, Document, Passage},
        digest::Digest,
        variant::{Claim, Draft, Field, Message, Usage, longest_filled},
    },
    providers::{ErrorKind, Meter, ProviderError},
};

#[derive(Debug, Clone, Copy, Default)]
pub struct Composer;

#[async_trait]
impl Writer for Composer {
    fn name(&self) -> &str {
        "composer/1"
    }

    async fn write(&self, brief: &Brief<'_>, _: &Meter) -> Result<Draft, ProviderError> {
        compose(brief)
    }
}

fn failed(message: String) -> ProviderError {
    ProviderError { provider: "composer", kind: ErrorKind::Rejected, message }
}

fn compose(brief: &Brief<'_>) -> Result<Draft, ProviderError> {
    let cell = brief.cell;
    let tone = Tone::find(&cell.locale, brief.tone)
        .ok_or_else(|| failed(format!("there are no phrases in the tone `{}` for `{}`", brief.tone, cell.locale)))?;
    let shelf = shelf(brief);
    if shelf.is_empty() {
        return Err(failed("there is no approved content to write from".to_owned()));
    }
    let mut layout = Layout::new(cell.channel, brief.slots);
    if let Some(text) = brief.brand.required.get(&cell.channel)
        && !layout.place(Place::Required, Paragraph::phrase(text.clone()))
    {
        return Err(failed(format!("the text required for `{}` alone is too long for a message", cell.channel)));
    }
    let mut quoted = Vec::new();
    place_facts(brief, tone, &shelf, 1, &mut quoted, &mut layout);
    if quoted.is_empty() {
        return Err(failed("no approved passage holds a sentence that stands alone and fits".to_owned()));
    }
    // Where there is little room, a greeting and a call to action are worth more than a second fact.
    place_phrases(brief, tone, &mut layout);
    place_facts(brief, tone, &shelf, max_blocks(cell.channel), &mut quoted, &mut layout);
    let (body, mut claims) = layout.render();
    let subject = match cell.channel.limits().subject {
        None => None,
        Some(limit) => {
            let (subject, claim) = subject(brief, tone, &quoted, &claims, limit)
                .ok_or_else(|| failed(format!("no subject fits into {limit} characters")))?;
            claims.splice(0..0, claim);
            Some(subject)
        }
    };
    Ok(Draft { message: Message { subject, body }, claims, usage: Usage::default() })
}

/// A document with what retrieval gave of it, in the document's order: its author says first what comes first.
struct Volume<'a> {
    document: &'a Document,
    passages: Vec<&'a Passage>,
}

/// What was written for this segment comes first; then what shares most words with the customer, where the message is
/// for one; then what fits the segment best.
fn shelf<'a>(brief: &Brief<'a>) -> Vec<Volume<'a>> {
    let mut shelf: Vec<Volume<'a>> = Vec::new();
    for source in brief.sources.iter().filter(|source| source.document.is_usable_on(brief.date)) {
        match shelf.iter_mut().find(|volume| volume.document.id == source.document.id) {
            Some(volume) => volume.passages.push(source.passage),
            None => shelf.push(Volume { document: source.document, passages: vec![source.passage] }),
        }
    }
    for volume in &mut shelf {
        volume.passages.sort_by_key(|passage| passage.start);
    }
    let is_general = |document: &Document| {
        document.audience.is_empty() && document.offer.as_ref().is_none_or(|offer| offer.eligible.is_empty())
    };
    let words = brief.customer.map(words_of).unwrap_or_default();
    shelf.sort_by_cached_key(|volume| (is_general(volume.document), Reverse(volume.shared_with(&words))));
    shelf
}

/// Of all its texts.
fn words_of(customer: &Fields) -> BTreeSet<String> {
    customer.values().filter_map(Value::as_str).flat_map(words).collect()
}

/// In lower case, without those that say nothing.
fn words(text: &str) -> impl Iterator<Item = String> {
    const SHORTEST: usize = 3;
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() >= SHORTEST);
    words.map(str::to_lowercase)
}

impl Volume<'_> {
    /// How many of the words it has in its title, products, keywords or passages.
    fn shared_with(&self, wanted: &BTreeSet<String>) -> usize {
        if wanted.is_empty() {
            return 0;
        }
        let document = self.document;
        let texts = [document.title.as_str()].into_iter().chain(document.products.iter().map(String::as_str));
        let texts = texts.chain(document.keywords.iter().map(String::as_str));
        let texts = texts.chain(self.passages.iter().map(|passage| passage.text.as_str()));
        let own: BTreeSet<String> = texts.flat_map(words).collect();
        wanted.intersection(&own).count()
    }
}

/// How many blocks of quotes a message has room for in its reader's attention.
fn max_blocks(channel: Channel) -> usize {
    match channel {
        Channel::Email => 4,
        Channel::Sms | Channel::InApp => 2,
        Channel::Push => 1,
    }
}

/// Adds blocks until there are `max`; `quoted` holds their documents from top to bottom. Each category of the tone's
/// plan has a block, and where that gives too few, whatever fits the segment best may speak.
fn place_facts<'a>(
    brief: &Brief<'_>,
    tone: &Tone,
    shelf: &[Volume<'a>],
    max: usize,
    quoted: &mut Vec<&'a Document>,
    layout: &mut Layout<'a>,
) {
    let (plan, least) = if brief.cell.channel == Channel::Email { (&tone.letter, 2) } else { (&tone.note, 1) };
    for category in plan {
        if quoted.len() < max && quoted.iter().all(|document| document.category != *category) {
            let volumes: Vec<_> = shelf.iter().filter(|volume| volume.document.category == *category).collect();
            quoted.extend(place_block(brief, tone, &volumes, quoted.len(), layout));
        }
    }
    while quoted.len() < least.min(max) {
        let is_new = |volume: &&Volume<'_>| quoted.iter().all(|document| document.id != volume.document.id);
        let volumes: Vec<_> = shelf.iter().filter(is_new).collect();
        let Some(document) = place_block(brief, tone, &volumes, quoted.len(), layout) else { break };
        quoted.push(document);
    }
}

/// Quotes one of `volumes` as block number `block`: the best that fits for the first candidate, the next for the
/// second. Every document has its turn before any is quoted from another passage.
fn place_block<'a>(
    brief: &Brief<'_>,
    tone: &Tone,
    volumes: &[&Volume<'a>],
    block: usize,
    layout: &mut Layout<'a>,
) -> Option<&'a Document> {
    let deepest = volumes.iter().map(|volume| volume.passages.len()).max().unwrap_or(0);
    let passages = (0..deepest)
        .flat_map(|rank| volumes.iter().filter_map(move |volume| Some((volume.document, *volume.passages.get(rank)?))));
    let fitting: Vec<_> = passages
        .filter_map(|(document, passage)| {
            let phrase = transition(brief, tone, document.category, block);
            let paragraph = extracts(document, passage, tone.sentences)
                .into_iter()
                .filter(|sentences| !sentences.iter().any(|sentence| is_banned(sentence.text, brief.brand)))
                .map(|sentences| Paragraph {
                    phrase: phrase.clone(),
                    quotes: sentences.into_iter().map(|sentence| Quote { passage, sentence }).collect(),
                })
                .find(|paragraph| layout.place(Place::Facts(block), paragraph.clone()))?;
            Some((document, paragraph))
        })
        .collect();
    let (document, paragraph) = fitting.get(brief.candidate.checked_rem(fitting.len())?)?;
    layout.place(Place::Facts(block), paragraph.clone()).then_some(*document)
}

/// What may be quoted of a passage, the longest first. The conditions of offers and policies are never cut off, and
/// an offer with a code is quoted from where its code stands.
fn extracts<'a>(document: &Document, passage: &'a Passage, max: usize) -> Vec<Vec<Sentence<'a>>> {
    match document.category {
        Category::Offer | Category::Policy => {
            let code = document.offer.as_ref().and_then(|offer| offer.code.as_deref());
            let has_code = code.is_none_or(|code| passage.text.contains(code));
            sentences::whole(&passage.text).filter(|_| has_code).into_iter().collect()
        }
        _ => (1..=max).rev().filter_map(|count| sentences::extract(&passage.text, count)).collect(),
    }
}

/// E-mail only: shorter messages have no room for it, and the first block needs none.
fn transition(brief: &Brief<'_>, tone: &Tone, category: Category, block: usize) -> Option<String> {
    if brief.cell.channel != Channel::Email || block == 0 {
        return None;
    }
    choices(brief, "transition", tone.transitions.get(&category)?).into_iter().next()
}

/// The most important first; each where it fits.
fn place_phrases(brief: &Brief<'_>, tone: &Tone, layout: &mut Layout<'_>) {
    let parts: &[(Place, &Vec<String>)] = match brief.cell.channel {
        Channel::Email => &[
            (Place::Closing, &tone.closings),
            (Place::Call, &tone.calls),
            (Place::Greeting, &tone.greetings),
            (Place::Opener, &tone.openers),
        ],
        Channel::Sms => &[(Place::Greeting, &tone.introductions), (Place::Call, &tone.calls)],
        Channel::InApp => &[(Place::Call, &tone.calls)],
        Channel::Push => &[],
    };
    for (place, phrases) in parts {
        let _placed = choices(brief, &format!("{place:?}"), phrases)
            .into_iter()
            .any(|phrase| layout.place(*place, Paragraph::phrase(phrase)));
    }
}

/// An approved headline of a quoted document that stands word for word in a sentence which the body tells in full,
/// and cites the same passage; else a phrase.
fn subject(
    brief: &Brief<'_>,
    tone: &Tone,
    quoted: &[&Document],
    body: &[Claim],
    limit: usize,
) -> Option<(String, Option<Claim>)> {
    let is_told = |quote: &Quote<'_>| {
        body.iter().map(|claim| &claim.citation).any(|told| {
            told.passage == quote.passage.id && told.start <= quote.sentence.start && quote.sentence.end <= told.end
        })
    };
    for document in quoted {
        let passages = || brief.sources.iter().filter(|s| s.document.id == document.id).map(|s| s.passage);
        for headline in rotated(&document.headlines, turn(brief, "headline", document.headlines.len())) {
            if headline.chars().count() > limit || is_banned(headline, brief.brand) || headline.contains(['{', '}']) {
                continue;
            }
            if let Some(quote) = passages().filter_map(|passage| find(passage, headline)).find(is_told) {
                return Some((headline.clone(), Some(quote.claim(Field::Subject, 0))));
            }
        }
    }
    let fits = |subject: &String| longest_filled(subject, brief.slots) <= limit;
    choices(brief, "subject", &tone.subjects).into_iter().find(fits).map(|subject| (subject, None))
}

/// Where `words` stand in the passage as whole words.
fn find<'a>(passage: &'a Passage, words: &str) -> Option<Quote<'a>> {
    let (at, _) = passage.text.match_indices(words).find(|(at, _)| {
        let ends_word = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        ends_word(passage.text[..*at].chars().next_back()) && ends_word(passage.text[at + words.len()..].chars().next())
    })?;
    let start = passage.text[..at].chars().count();
    let text = &passage.text[at..at + words.len()];
    Some(Quote { passage, sentence: Sentence { text, start, end: start + text.chars().count() } })
}

/// The phrases that can be spoken, in the order in which to try them: the more of them is filled in for this brand
/// and customer, the earlier.
fn choices(brief: &Brief<'_>, purpose: &str, phrases: &[String]) -> Vec<String> {
    let mut by_places: BTreeMap<Reverse<usize>, Vec<String>> = BTreeMap::new();
    for phrase in phrases {
        if let Some(spoken) = spoken(phrase, brief.brand, brief.slots) {
            let places = phrase.matches("{{").count() + phrase.matches("{brand}").count();
            by_places.entry(Reverse(places)).or_default().push(spoken);
        }
    }
    let in_turn = |phrases: &Vec<String>| -> Vec<String> {
        rotated(phrases, turn(brief, purpose, phrases.len())).cloned().collect()
    };
    by_places.values().flat_map(in_turn).collect()
}

/// Which of `count` things this candidate starts with: drawn by campaign, cell and seed, and the next one for each
/// further candidate.
fn turn(brief: &Brief<'_>, purpose: &str, count: usize) -> usize {
    let cell = brief.cell.variant_id(0);
    let digest = Digest::of(format!("{}\n{cell}\n{}\n{purpose}", brief.campaign_name, brief.seed));
    let drawn = digest.as_bytes()[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (drawn % count.max(1) as u64) as usize + brief.candidate
}

fn rotated<T>(items: &[T], by: usize) -> impl Iterator<Item = &T> {
    let (first, rest) = items.split_at(by.checked_rem(items.len()).unwrap_or(0));
    rest.iter().chain(first)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;
    use crate::{
        agents::{
            generation::{
                Source,
                phrases::{NEUTRAL, check_tones, phrase_book},
            },
            retrieval::{Query, Retriever as _, full_text::FullText, library::Library},
        },
        config::campaign::Campaign,
        domain::{
            id::{ArmName, Locale},
            phrases::PhraseBook,
            segment::Segment,
            variant::Cell,
        },
    };

    const TONES: [&str; 7] = ["friendly", "informative", "premium", "playful", "concise", "timely", "neutral"];

    fn free() -> Meter {
        Meter::new(crate::domain::money::Usd::ZERO)
    }

    /// The sample campaign, with one arm per tone and all channels.
    struct Sample {
        campaign: Campaign,
        content: Library,
        index: FullText,
    }

    impl Sample {
        fn load() -> Self {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
            let mut campaign = Campaign::read(&folder.join("campaign.toml")).unwrap();
            let arm = campaign.experiment.arms[0].clone();
            campaign.experiment.arms = TONES
                .map(|tone| {
                    let name = if tone == NEUTRAL { "control" } else { tone };
                    crate::config::campaign::ArmSpec {
                        name: ArmName::new(name).unwrap(),
                        tone: tone.to_owned(),
                        ..arm.clone()
                    }
                })
                .into();
            let library = Library::load(&folder.join(&campaign.content.path)).unwrap();
            let index = FullText::new(&library, campaign.campaign.date.unwrap()).unwrap();
            Self { campaign, content: library, index }
        }

        fn segments(&self) -> Vec<Option<Segment>> {
            let rules = self.campaign.segmentation.rules.iter().map(|rule| {
                let description = rule.description.clone().unwrap_or_default();
                Some(Segment { name: rule.name.clone(), keywords: vec![description.clone()], description })
            });
            rules.chain([None]).collect()
        }

        fn cell(&self, segment: Option<&Segment>, tone: &str, channel: Channel) -> Cell {
            let arm = self.campaign.experiment.arms.iter().find(|arm| arm.tone == tone).unwrap();
            Cell {
                segment: segment.map(|segment| segment.name.clone()),
                arm: arm.name.clone(),
                channel,
                locale: Locale::new("en").unwrap(),
            }
        }

        async fn sources(&self, segment: Option<&Segment>, cell: &Cell) -> Vec<Source<'_>> {
            let words = segment.map(|segment| format!("{} {}", segment.name, segment.keywords.join(" ")));
            let query = Query {
                text: format!("{} {}", self.campaign.campaign.name, words.unwrap_or_default()),
                audience: cell.segment.clone(),
                channel: cell.channel,
                locale: cell.locale.clone(),
                limit: self.campaign.content.passages,
            };
            let source = |hit: crate::agents::retrieval::Hit| {
                let (document, passage) = self.content.passage(&hit.passage).unwrap();
                Source { document, passage }
            };
            self.index.retrieve(&query, &free()).await.unwrap().into_iter().map(source).collect()
        }

        fn brief<'a>(
            &'a self,
            cell: &'a Cell,
            segment: Option<&'a Segment>,
            tone: &'a str,
            sources: &'a [Source<'a>],
            (candidate, seed): (usize, u64),
        ) -> Brief<'a> {
            Brief {
                cell,
                segment,
                customer: None,
                tone,
                campaign_name: &self.campaign.campaign.name,
                date: self.campaign.campaign.date.unwrap(),
                sources,
                brand: &self.campaign.generation.brand,
                slots: &self.campaign.generation.slots,
                candidate,
                seed,
                review: &|_| Vec::new(),
            }
        }
    }

    fn slice(text: &str, start: usize, end: usize) -> String {
        text.chars().skip(start).take(end - start).collect()
    }

    /// The words that no claim covers, each stretch by itself.
    fn gaps(draft: &Draft, field: Field) -> Vec<String> {
        let text = draft.message.field(field);
        let mut gaps = Vec::new();
        let mut from = 0;
        for claim in draft.claims.iter().filter(|claim| claim.span.field == field) {
            gaps.push(slice(text, from, claim.span.start));
            from = claim.span.end;
        }
        gaps.push(slice(text, from, text.chars().count()));
        gaps.iter()
            .flat_map(|gap| gap.lines())
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn check(draft: &Draft, brief: &Brief<'_>, sample: &Sample, book: &PhraseBook) {
        let Message { subject, body } = &draft.message;
        let limits = brief.cell.channel.limits();
        assert_eq!(subject.is_some(), limits.subject.is_some());
        assert!(longest_filled(body, brief.slots) <= limits.body, "{body}");
        assert!(subject.as_ref().is_none_or(|subject| longest_filled(subject, brief.slots) <= limits.subject.unwrap()));
        if let Some(required) = brief.brand.required.get(&brief.cell.channel) {
            assert!(body.contains(required.as_str()));
        }
        assert!(draft.claims.iter().any(|claim| claim.span.field == Field::Body));
        for claim in &draft.claims {
            let (document, passage) = sample.content.passage(&claim.citation.passage).unwrap();
            assert!(document.is_usable_on(brief.date));
            assert!(brief.sources.iter().any(|source| source.passage.id == passage.id));
            assert_eq!(claim.citation.version, passage.version);
            assert_eq!(claim.citation.quote, slice(&passage.text, claim.citation.start, claim.citation.end));
            assert_eq!(claim.text, slice(draft.message.field(claim.span.field), claim.span.start, claim.span.end));
            assert_eq!(claim.text, claim.citation.quote);
        }
        for phrase in [Field::Subject, Field::Body].into_iter().flat_map(|field| gaps(draft, field)) {
            assert!(book.contains(&phrase), "`{phrase}` is neither a claim nor an approved phrase");
        }
        // A code is worth nothing without the day it ends on.
        for source in brief.sources {
            if let Some(offer) = &source.document.offer
                && offer.code.as_ref().is_some_and(|code| body.contains(code))
            {
                let end = offer.end.strftime("%B %-d, %Y").to_string();
                assert!(body.contains(&end), "{body}");
            }
        }
    }

    #[tokio::test]
    async fn every_word_of_every_message_of_the_sample_is_quoted_or_approved_and_fits() {
        let sample = Sample::load();
        assert_eq!(check_tones(&sample.campaign), []);
        let book = phrase_book(&sample.campaign);
        for segment in sample.segments() {
            let segment = segment.as_ref();
            for tone in TONES {
                for channel in Channel::ALL {
                    let cell = sample.cell(segment, tone, channel);
                    let sources = sample.sources(segment, &cell).await;
                    let mut messages = Vec::new();
                    for candidate in 0..3 {
                        let brief = sample.brief(&cell, segment, tone, &sources, (candidate, 7));
                        let draft = Composer.write(&brief, &free()).await.unwrap();
                        check(&draft, &brief, &sample, &book);
                        assert_eq!(draft, Composer.write(&brief, &free()).await.unwrap());
                        messages.push(draft.message);
                    }
                    assert_ne!(messages[0], messages[1], "the candidates of {cell:?} differ");
                }
            }
        }
    }

    #[tokio::test]
    async fn another_seed_says_it_in_another_way() {
        let sample = Sample::load();
        let cell = sample.cell(None, "friendly", Channel::Email);
        let sources = sample.sources(None, &cell).await;
        let mut bodies = BTreeSet::new();
        for seed in 0..8 {
            let brief = sample.brief(&cell, None, "friendly", &sources, (0, seed));
            bodies.insert(Composer.write(&brief, &free()).await.unwrap().message.body);
        }
        assert!(bodies.len() >= 6, "{}", bodies.len());
    }

    #[tokio::test]
    async fn without_a_usable_source_there_is_an_error_and_no_message() {
        let sample = Sample::load();
        let cell = sample.cell(None, "friendly", Channel::Sms);
        let sources = sample.sources(None, &cell).await;
        let none = Composer.write(&sample.brief(&cell, None, "friendly", &[], (0, 7)), &free()).await;
        assert!(none.unwrap_err().message.contains("no approved content"));
        let too_early = jiff::civil::date(2020, 1, 1);
        let brief = Brief { date: too_early, ..sample.brief(&cell, None, "friendly", &sources, (0, 7)) };
        assert!(Composer.write(&brief, &free()).await.is_err());
    }

    #[tokio::test]
    async fn a_brand_that_bans_a_phrase_or_has_no_name_or_slots_is_respected() {
        let mut sample = Sample::load();
        sample.campaign.generation.slots.clear();
        sample.campaign.generation.brand.name.clear();
        sample.campaign.generation.brand.banned = vec!["STONEWARE".into(), "warm wishes".into()];
        let book = phrase_book(&sample.campaign);
        for tone in TONES {
            for channel in Channel::ALL {
                let cell = sample.cell(None, tone, channel);
                let sources = sample.sources(None, &cell).await;
                let brief = sample.brief(&cell, None, tone, &sources, (0, 7));
                let draft = Composer.write(&brief, &free()).await.unwrap();
                check(&draft, &brief, &sample, &book);
                let text =
                    [Field::Subject, Field::Body].map(|field| draft.message.field(field)).join("\n").to_lowercase();
                assert!(["stoneware", "warm wishes", "{"].iter().all(|banned| !text.contains(banned)), "{text}");
            }
        }
    }

    #[test]
    fn an_unknown_tone_or_language_is_refused_with_those_there_are() {
        let mut campaign = Sample::load().campaign;
        campaign.experiment.arms[1].tone = "Shouting".into();
        campaign.experiment.arms[2].tone = "Luxury ".into();
        campaign.campaign.locales.push(Locale::new("de").unwrap());
        let problems = check_tones(&campaign);
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_deref().unwrap()).collect();
        assert_eq!(fields, ["campaign.locales[1]", "experiment.arms[1].tone"]);
        assert!(TONES.iter().all(|tone| problems[1].remedy.contains(tone)));
    }
}
