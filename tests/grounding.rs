//! The gate held against `grounding/` of the evaluation data: messages about made-up products, and fabrications of them
//! in 23 classes. What must be refused is a property; the figures are printed (`cargo test --test grounding --
//! --nocapture`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use cpo::{
    agents::{
        retrieval::{Hit, library::Library},
        safety::{Gate, Lexicon},
    },
    config::campaign::{Brand, Safety},
    domain::{
        channel::Channel,
        content::{Approval, Category, Document, Passage, Validity},
        digest::Digest,
        id::{ArmName, DocumentId, Locale, PassageId},
        phrases::PhraseBook,
        variant::{Cell, Citation, Claim, Draft, Field, Message, Slots, Span, Usage},
        verdict::Finding,
    },
};
use jiff::civil::Date;
use serde::{Deserialize, de::DeserializeOwned};

/// Before the end of every offer that is approved.
const DATE: Date = jiff::civil::date(2026, 1, 15);
const SUBJECT: &str = "News for you";

#[derive(Deserialize)]
struct SourceDocument {
    doc_id: String,
    product: String,
    #[serde(rename = "type")]
    kind: String,
    status: String,
    passages: Vec<SourcePassage>,
}

#[derive(Deserialize)]
struct SourcePassage {
    pid: String,
    text: String,
}

#[derive(Clone, Deserialize)]
struct Sentence {
    text: String,
    cites: Vec<String>,
}

#[derive(Deserialize)]
struct Text {
    id: String,
    #[serde(default)]
    base_id: String,
    #[serde(default)]
    cls: String,
    allowed_docs: Vec<String>,
    sentences: Vec<Sentence>,
    #[serde(default)]
    change: Change,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Change {
    /// The sentence that is changed or added.
    sent: usize,
    frm: String,
    to: String,
}

/// `None` where the data is absent.
fn lines(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/grounding").join(name);
    let text = fs::read_to_string(path).ok();
    if text.is_none() {
        eprintln!("skipped: grounding/{name} is not here");
    }
    text
}

fn read<T: DeserializeOwned>(name: &str) -> Option<Vec<T>> {
    Some(lines(name)?.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

struct World {
    content: Library,
    phrases: PhraseBook,
}

impl World {
    fn load() -> Option<Self> {
        let documents = read::<SourceDocument>("documents.jsonl")?.into_iter().map(document).collect();
        let phrases = lines("phrases.txt")?.lines().map(str::to_owned).chain([SUBJECT.to_owned()]).collect::<Vec<_>>();
        Some(Self { content: Library::new(documents), phrases: PhraseBook::new(phrases) })
    }

    fn passage(&self, id: &str) -> Option<&Passage> {
        Some(self.content.passage(&PassageId::new(id).ok()?)?.1)
    }

    /// Each sentence that cites becomes a claim on the whole of the first passage it cites.
    fn findings(&self, allowed: &[String], sentences: &[Sentence]) -> Vec<Finding> {
        let mut message = Message { subject: Some(SUBJECT.to_owned()), body: String::new() };
        let mut claims = Vec::new();
        for sentence in sentences {
            if !message.body.is_empty() {
                message.body.push(' ');
            }
            let start = message.body.chars().count();
            message.body.push_str(&sentence.text);
            let Some(id) = sentence.cites.first() else { continue };
            let quote = self.passage(id).map(|passage| passage.text.clone()).unwrap_or_default();
            claims.push(Claim {
                span: Span { field: Field::Body, start, end: message.body.chars().count() },
                text: sentence.text.clone(),
                citation: Citation {
                    passage: PassageId::new(id.as_str()).unwrap(),
                    version: Digest::of(&quote),
                    start: 0,
                    end: quote.chars().count(),
                    quote,
                },
            });
        }
        let allowed: Vec<Hit> = self
            .content
            .documents()
            .iter()
            .filter(|document| allowed.iter().any(|id| id == document.id.as_str()))
            .flat_map(|document| &document.passages)
            .map(|passage| Hit { passage: passage.id.clone(), score: 1.0 })
            .collect();
        let cell = Cell {
            segment: None,
            arm: ArmName::new("friendly").unwrap(),
            channel: Channel::Email,
            locale: Locale::new("en").unwrap(),
        };
        let gate = Gate {
            content: &self.content,
            date: DATE,
            allowed: &allowed,
            phrases: &self.phrases,
            brand: &Brand::default(),
            slots: &Slots::new(),
            safety: &Safety::default(),
            screen: &Lexicon::default(),
        };
        gate.check_text(&cell, &Draft { message, claims, usage: Usage::default() })
    }

    fn is_phrase(&self, sentence: &Sentence) -> bool {
        sentence.cites.is_empty() && self.phrases.contains(&sentence.text)
    }

    fn is_quote(&self, sentence: &Sentence) -> bool {
        sentence.cites.first().and_then(|id| self.passage(id)).is_some_and(|passage| passage.text == sentence.text)
    }
}

fn document(source: SourceDocument) -> Document {
    let text = source.passages.iter().map(|passage| passage.text.as_str()).collect::<Vec<_>>().join("\n\n");
    let mut start = 0;
    let passage = |passage: &SourcePassage| {
        let end = start + passage.text.chars().count();
        let id = PassageId::new(format!("{}#{}", source.doc_id, passage.pid)).unwrap();
        let passage = Passage { id, start, end, text: passage.text.clone(), version: Digest::of(&passage.text) };
        start = end + 2;
        passage
    };
    let until = if source.status == "approved" { DATE } else { DATE.yesterday().unwrap() };
    Document {
        id: DocumentId::new(source.doc_id.as_str()).unwrap(),
        title: source.product.clone(),
        category: match source.kind.as_str() {
            "offer_sheet" => Category::Offer,
            "policy" => Category::Policy,
            _ => Category::Product,
        },
        approval: Approval::Approved,
        approved_on: Some(jiff::civil::date(2026, 1, 1)),
        validity: Validity { from: None, until: Some(until) },
        audience: Vec::new(),
        locales: Vec::new(),
        channels: Vec::new(),
        keywords: Vec::new(),
        products: vec![source.product],
        headlines: Vec::new(),
        offer: None,
        source_url: None,
        digest: Digest::of(&text),
        passages: source.passages.iter().map(passage).collect(),
        text,
    }
}

#[test]
fn quotes_among_approved_phrases_pass() {
    let (Some(world), Some(base)) = (World::load(), read::<Text>("base.jsonl")) else { return };
    let (mut messages, mut quotes, mut whole) = (0, 0, 0);
    let mut refused = Vec::new();
    for text in &base {
        let said: Vec<_> = text.sentences.iter().filter(|s| world.is_phrase(s) || world.is_quote(s)).cloned().collect();
        let claims = said.iter().filter(|sentence| world.is_quote(sentence)).count();
        if claims == 0 {
            continue;
        }
        messages += 1;
        quotes += claims;
        whole += usize::from(said.len() == text.sentences.len());
        let findings = world.findings(&text.allowed_docs, &said);
        if !findings.is_empty() {
            refused.push((&text.id, findings));
        }
    }
    println!(
        "{} of {messages} messages with a verbatim claim ({quotes} such claims; {whole} messages of nothing else) refused",
        refused.len()
    );
    assert!(messages > 0 && refused.is_empty(), "{refused:#?}");
}

/// As the data has them, nearly all fabrications stand among paraphrases, which this gate refuses anyway. So each is
/// judged thrice: as it is; with the fabricated sentence among phrases and quotes only; and with the same fabrication
/// made in the words of the source, where these hold what was changed.
#[test]
fn every_fabrication_is_refused() {
    let (Some(world), Some(base), Some(mutated)) =
        (World::load(), read::<Text>("base.jsonl"), read::<Text>("mutated.jsonl"))
    else {
        return;
    };
    let base: BTreeMap<&str, &Text> = base.iter().map(|text| (text.id.as_str(), text)).collect();
    // Per class and way of judging: how many were refused, of how many.
    let mut classes: BTreeMap<&str, [(usize, usize); 3]> = BTreeMap::new();
    let mut passed = BTreeSet::new();
    for text in &mutated {
        let at = text.change.sent;
        let alone = text.sentences.iter().enumerate();
        let alone: Vec<_> = alone.filter(|(i, s)| *i == at || world.is_phrase(s) || world.is_quote(s)).collect();
        let alone: Vec<Sentence> = alone.into_iter().map(|(_, sentence)| sentence.clone()).collect();
        let in_source_words = in_source_words(&world, base[text.base_id.as_str()], text);
        let ways = [Some(text.sentences.clone()), Some(alone), in_source_words.map(|sentence| vec![sentence])];
        let counts = classes.entry(&text.cls).or_default();
        for (way, (sentences, (refused, of))) in ways.iter().zip(counts).enumerate() {
            let Some(sentences) = sentences else { continue };
            *of += 1;
            if world.findings(&text.allowed_docs, sentences).iter().any(|finding| finding.blocks) {
                *refused += 1;
            } else {
                passed.insert((way, text.id.as_str(), sentences.iter().map(|s| s.text.as_str()).collect::<String>()));
            }
        }
    }
    for (class, [whole, alone, in_source_words]) in &classes {
        let share = |(refused, of): &(usize, usize)| format!("{refused}/{of}");
        println!("{class:22} {:>10} {:>10} {:>10}", share(whole), share(alone), share(in_source_words));
    }
    assert_eq!(classes.len(), 23);
    assert!(passed.is_empty(), "{passed:#?}");
}

/// The words of the source with the same change in them.
fn in_source_words(world: &World, base: &Text, text: &Text) -> Option<Sentence> {
    let changed = text.sentences.get(text.change.sent)?;
    let Change { frm, to, .. } = &text.change;
    if text.cls.starts_with("cite_") {
        let true_source = base.sentences.iter().find(|sentence| sentence.text == changed.text)?.cites.first()?;
        return Some(Sentence { text: world.passage(true_source)?.text.clone(), cites: changed.cites.clone() });
    }
    let source = world.passage(changed.cites.first()?)?;
    let is_in_source = !frm.is_empty() && frm != to && source.text.contains(frm.as_str());
    is_in_source.then(|| Sentence { text: source.text.replacen(frm.as_str(), to, 1), cites: changed.cites.clone() })
}
