//! The embedded writer: builds messages from approved sentences, word for word, and a closed list of phrases.
//!
//! It cannot assert anything of its own: what is not a quote comes from [`super::phrases`]. Its choices follow from
//! the SHA-256 of campaign, cell and seed, so the same brief always gives the same draft.

use async_trait::async_trait;

use super::{
    Brief, Writer,
    layout::{Layout, Paragraph, Place, Quote, filled_length},
    phrases::{Tone, is_banned, spoken},
    sentences::{self, Sentence},
};
use crate::{
    agents::ProviderError,
    domain::{
        channel::Channel,
        content::{Category, Document, Passage},
        digest::Digest,
        variant::{Claim, Draft, Field, Message, Usage},
    },
};

pub use super::phrases::{NEUTRAL, check_tones, phrase_book};

#[derive(Debug, Clone, Copy, Default)]
pub struct Composer;

#[async_trait]
impl Writer for Composer {
    fn name(&self) -> &str {
        "composer/1"
    }

    async fn write(&self, brief: &Brief<'_>) -> Result<Draft, ProviderError> {
        compose(brief)
    }
}

fn failed(message: String) -> ProviderError {
    ProviderError { provider: "composer", message }
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
    let quoted = place_facts(brief, tone, &shelf, &mut layout);
    if quoted.is_empty() {
        return Err(failed("no approved passage holds a sentence that stands alone and fits".to_owned()));
    }
    place_phrases(brief, tone, &mut layout);
    let (body, mut claims) = layout.render();
    let subject = match cell.channel.limits().subject {
        None => None,
        Some(limit) => {
            let (subject, claim) = subject(brief, tone, &quoted, limit)
                .ok_or_else(|| failed(format!("no subject fits into {limit} characters")))?;
            claims.splice(0..0, claim);
            Some(subject)
        }
    };
    Ok(Draft { message: Message { subject, body }, claims, usage: Usage::default() })
}

/// A document with what retrieval gave of it, best first.
struct Volume<'a> {
    document: &'a Document,
    passages: Vec<&'a Passage>,
}

/// What was written for this segment comes first, then what fits it best.
fn shelf<'a>(brief: &Brief<'a>) -> Vec<Volume<'a>> {
    let mut shelf: Vec<Volume<'a>> = Vec::new();
    for source in brief.sources.iter().filter(|source| source.document.is_usable_on(brief.date)) {
        match shelf.iter_mut().find(|volume| volume.document.id == source.document.id) {
            Some(volume) => volume.passages.push(source.passage),
            None => shelf.push(Volume { document: source.document, passages: vec![source.passage] }),
        }
    }
    let is_general = |document: &Document| {
        document.audience.is_empty() && document.offer.as_ref().is_none_or(|offer| offer.eligible.is_empty())
    };
    shelf.sort_by_key(|volume| is_general(volume.document));
    shelf
}

/// How many blocks of quotes a message has room for in its reader's attention.
fn max_blocks(channel: Channel) -> usize {
    match channel {
        Channel::Email => 4,
        Channel::Sms | Channel::InApp => 2,
        Channel::Push => 1,
    }
}

/// Gives back the documents quoted, from top to bottom.
fn place_facts<'a>(brief: &Brief<'_>, tone: &Tone, shelf: &[Volume<'a>], layout: &mut Layout<'a>) -> Vec<&'a Document> {
    let plan = if brief.cell.channel == Channel::Email { &tone.letter } else { &tone.note };
    let max = max_blocks(brief.cell.channel);
    let mut quoted: Vec<&Document> = Vec::new();
    for category in plan {
        if quoted.len() < max {
            let volumes: Vec<_> = shelf.iter().filter(|volume| volume.document.category == *category).collect();
            quoted.extend(place_block(brief, tone, &volumes, quoted.len(), layout));
        }
    }
    // Where the plan finds too little, whatever fits the segment best may speak.
    let least = if brief.cell.channel == Channel::Email { 2 } else { 1 };
    while quoted.len() < least {
        let volumes: Vec<_> =
            shelf.iter().filter(|volume| quoted.iter().all(|document| document.id != volume.document.id)).collect();
        let Some(document) = place_block(brief, tone, &volumes, quoted.len(), layout) else { break };
        quoted.push(document);
    }
    quoted
}

/// Quotes one of `volumes` as block number `block`: the best for the first candidate, the next for the second.
fn place_block<'a>(
    brief: &Brief<'_>,
    tone: &Tone,
    volumes: &[&Volume<'a>],
    block: usize,
    layout: &mut Layout<'a>,
) -> Option<&'a Document> {
    let lap = brief.candidate / volumes.len().max(1);
    for volume in rotated(volumes, brief.candidate) {
        for passage in rotated(&volume.passages, lap) {
            for sentences in extracts(volume.document, passage, tone.sentences) {
                if sentences.iter().any(|sentence| is_banned(sentence.text, brief.brand)) {
                    continue;
                }
                let quotes = sentences.into_iter().map(|sentence| Quote { passage, sentence }).collect();
                let phrase = transition(brief, tone, volume.document.category, block);
                if layout.place(Place::Facts(block), Paragraph { phrase, quotes }) {
                    return Some(volume.document);
                }
            }
        }
    }
    None
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

/// An approved headline of a quoted document that stands word for word in one of its passages, which it then cites;
/// else a phrase.
fn subject(brief: &Brief<'_>, tone: &Tone, quoted: &[&Document], limit: usize) -> Option<(String, Option<Claim>)> {
    for document in quoted {
        let passages = || brief.sources.iter().filter(|s| s.document.id == document.id).map(|s| s.passage);
        for headline in rotated(&document.headlines, turn(brief, "headline", document.headlines.len())) {
            if headline.chars().count() > limit || is_banned(headline, brief.brand) || headline.contains(['{', '}']) {
                continue;
            }
            if let Some(quote) = passages().find_map(|passage| find(passage, headline)) {
                return Some((headline.clone(), Some(quote.claim(Field::Subject, 0))));
            }
        }
    }
    let fits = |subject: &String| filled_length(subject, brief.slots) <= limit;
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

/// The phrases that can be spoken, in the order in which to try them: those that use a slot say more and come first.
fn choices(brief: &Brief<'_>, purpose: &str, phrases: &[String]) -> Vec<String> {
    let spoken: Vec<String> = phrases.iter().filter_map(|phrase| spoken(phrase, brief.brand, brief.slots)).collect();
    let (with_slots, without): (Vec<String>, Vec<String>) =
        spoken.into_iter().partition(|phrase| phrase.contains("{{"));
    [with_slots, without]
        .iter()
        .flat_map(|phrases| rotated(phrases, turn(brief, purpose, phrases.len())))
        .cloned()
        .collect()
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
