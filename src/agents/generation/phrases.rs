//! What messages may say without a citation, whoever writes them: a closed bank of phrases per language and tone.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use serde::{Deserialize, Serialize};

use crate::{
    config::campaign::{Brand, Campaign},
    domain::{channel::Channel, content::Category, id::Locale, phrases::PhraseBook, problem::Problem, variant::Slots},
};

/// The tone of the control message.
pub const NEUTRAL: &str = "neutral";

/// How an arm speaks: its phrases, and the structure of its messages. The file says what each field means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tone {
    synonyms: Vec<String>,
    pub letter: Vec<Category>,
    pub note: Vec<Category>,
    pub sentences: usize,
    pub subjects: Vec<String>,
    pub greetings: Vec<String>,
    pub openers: Vec<String>,
    pub introductions: Vec<String>,
    pub transitions: HashMap<Category, Vec<String>>,
    pub calls: Vec<String>,
    pub closings: Vec<String>,
}

type Tones = BTreeMap<String, Tone>;

static ENGLISH: LazyLock<Tones> =
    LazyLock::new(|| toml::from_str(include_str!("phrases/en.toml")).expect("a test reads this very text"));

fn tones(locale: &Locale) -> Option<&'static Tones> {
    match locale.language() {
        "en" => Some(&ENGLISH),
        _ => None,
    }
}

/// By its name or a synonym, in any case.
fn find<'a>(tones: &'a Tones, name: &str) -> Option<&'a Tone> {
    let name = name.trim().to_lowercase();
    tones.get(&name).or_else(|| tones.values().find(|tone| tone.synonyms.contains(&name)))
}

impl Tone {
    pub fn find(locale: &Locale, name: &str) -> Option<&'static Self> {
        find(tones(locale)?, name)
    }

    fn phrases(&self) -> impl Iterator<Item = &String> {
        [&self.subjects, &self.greetings, &self.openers, &self.introductions, &self.calls, &self.closings]
            .into_iter()
            .chain(self.transitions.values())
            .flatten()
    }
}

/// What a tone says on a channel, by purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Spoken {
    pub subjects: Vec<String>,
    /// Greetings, with or without an introduction.
    pub greetings: Vec<String>,
    pub openers: Vec<String>,
    pub transitions: BTreeMap<&'static str, Vec<String>>,
    pub calls: Vec<String>,
    pub closings: Vec<String>,
}

impl Tone {
    pub fn spoken(&self, channel: Channel, brand: &Brand, slots: &Slots) -> Spoken {
        let all = |phrases: &[String]| phrases.iter().filter_map(|phrase| spoken(phrase, brand, slots)).collect();
        let calls = all(&self.calls);
        match channel {
            Channel::Email => Spoken {
                subjects: all(&self.subjects),
                greetings: all(&self.greetings),
                openers: all(&self.openers),
                transitions: self
                    .transitions
                    .iter()
                    .map(|(category, phrases)| (category.as_str(), all(phrases)))
                    .collect(),
                calls,
                closings: all(&self.closings),
            },
            Channel::Sms => Spoken { greetings: all(&self.introductions), calls, ..Spoken::default() },
            Channel::InApp => Spoken { subjects: all(&self.subjects), calls, ..Spoken::default() },
            Channel::Push => Spoken { subjects: all(&self.subjects), ..Spoken::default() },
        }
    }
}

/// The phrase as `brand` says it; `None` where the brand's name or a slot is missing, or where the brand bans it.
pub(super) fn spoken(phrase: &str, brand: &Brand, slots: &Slots) -> Option<String> {
    if phrase.contains("{brand}") && brand.name.trim().is_empty() {
        return None;
    }
    let has_slots = SLOTS.iter().all(|(name, mark)| !phrase.contains(mark) || slots.contains_key(*name));
    let phrase = phrase.replace("{brand}", brand.name.trim());
    (has_slots && !is_banned(&phrase, brand)).then_some(phrase)
}

/// The slots that phrases know.
const SLOTS: [(&str, &str); 2] = [("first_name", "{{first_name}}"), ("link", "{{link}}")];

pub(super) fn is_banned(text: &str, brand: &Brand) -> bool {
    let text = text.to_lowercase();
    brand.banned.iter().any(|banned| text.contains(&banned.to_lowercase()))
}

/// Everything that this campaign's messages may say without a citation: the phrases of its tones and of the control
/// message, and the required texts.
pub fn phrase_book(campaign: &Campaign) -> PhraseBook {
    let generation = &campaign.generation;
    let names = campaign.experiment.arms.iter().map(|arm| arm.tone.as_str()).chain([NEUTRAL]);
    let spoken = names
        .flat_map(|name| campaign.campaign.locales.iter().filter_map(move |locale| Tone::find(locale, name)))
        .flat_map(Tone::phrases)
        .filter_map(|phrase| spoken(phrase, &generation.brand, &generation.slots));
    PhraseBook::new(spoken.chain(generation.brand.required.values().cloned()))
}

/// Whether messages can speak as this campaign asks. A model has no other phrases than the composer: what stands in none
/// of them it must cite.
pub fn check_tones(campaign: &Campaign) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, locale) in campaign.campaign.locales.iter().enumerate() {
        if tones(locale).is_none() {
            problems.push(
                Problem::new(
                    format!("there are no phrases for `{locale}`, in which messages greet, lead over and close"),
                    "messages are in English, whoever writes them: name locales such as `en` or `en-GB`",
                )
                .at_field(format!("campaign.locales[{index}]")),
            );
        }
    }
    let Some(tones) = campaign.campaign.locales.iter().find_map(tones) else { return problems };
    for (index, arm) in campaign.experiment.arms.iter().enumerate() {
        if find(tones, &arm.tone).is_none() {
            let names: Vec<&str> = tones.keys().map(String::as_str).collect();
            let names = names.join(", ");
            problems.push(
                Problem::new(
                    format!("there is no tone `{}`", arm.tone),
                    format!("use {names}, or a common synonym such as warm, professional, luxury, fun or brief"),
                )
                .at_field(format!("experiment.arms[{index}].tone")),
            );
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_phrase_asserts_nothing_and_shouts_never() {
        let facts = regex::Regex::new(
            r"(?i)[0-9$%!]|\b(one|two|three|four|five|six|seven|eight|nine|ten|half|double|free|new price|sale|best|only today|today|tomorrow|last|ends?|hurry|now or never)\b",
        )
        .unwrap();
        for tone in ENGLISH.values() {
            for phrase in tone.phrases() {
                assert!(!facts.is_match(phrase), "{phrase}");
                let slots = phrase.matches("{{").count();
                assert_eq!(slots, SLOTS.iter().filter(|(_, mark)| phrase.contains(mark)).count(), "{phrase}");
                assert!(
                    phrase.split_whitespace().all(|word| word.len() < 2 || word.to_uppercase() != word),
                    "{phrase}"
                );
            }
        }
    }

    #[test]
    fn every_tone_and_synonym_means_exactly_one_tone() {
        let names: Vec<&String> =
            ENGLISH.iter().flat_map(|(name, tone)| [name].into_iter().chain(&tone.synonyms)).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        for name in names {
            assert!(find(&ENGLISH, &name.to_uppercase()).is_some());
        }
        assert!(find(&ENGLISH, NEUTRAL).is_some());
    }
}
