//! What the model is told: the rules, the material, and what was wrong with its last answer.
//!
//! The rules are the same for every message of every campaign; the material begins with what the messages of a brand,
//! a channel and a segment share. So services that keep the beginnings of prompts can charge less for them.
//!
//! Whatever is not this program's own enters as one JSON document between two marks. No text in it can end it: `<` and
//! `>` are written as escapes there.

use std::{collections::BTreeMap, sync::LazyLock};

use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Defect;
use crate::{
    agents::generation::{
        Brief, Source,
        phrases::{Spoken, Tone},
    },
    domain::{
        channel::Channel, content::Category, digest::Digest, id::PassageId, segment::Segment, variant::longest_filled,
    },
    providers::openai::chat::{Role, Turn},
};

/// A changed prompt is a new version: messages say by which they were written.
const VERSION: u32 = 1;

const FILES: [(&str, &str); 3] = [
    ("system", include_str!("prompts/system.jinja")),
    ("message", include_str!("prompts/message.jinja")),
    ("correction", include_str!("prompts/correction.jinja")),
];

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    for (name, text) in FILES {
        templates.add_template(name, text).expect("a test parses these very texts");
    }
    templates
});

/// Version and digest of the prompts, e.g. `prompt-1-0a1b2c3d`.
pub fn name() -> String {
    let digest = Digest::of(FILES.map(|(name, text)| format!("{name}\n{text}")).join("\n")).short();
    format!("prompt-{VERSION}-{}", &digest[..8])
}

/// The conversation's beginning, and the schema of its answer.
pub struct Prompt {
    pub turns: Vec<Turn>,
    pub schema: Value,
}

impl Prompt {
    /// With the best `sources` of the brief; `None` where it has no phrases in the tone.
    pub fn new(brief: &Brief<'_>, sources: &[Source<'_>]) -> Option<Self> {
        let channel = brief.cell.channel;
        let phrases = Tone::find(&brief.cell.locale, brief.tone)?.spoken(channel, brief.brand, brief.slots);
        let schema = schema(&phrases, sources, channel);
        let data = fenced(&Data::new(brief, sources, phrases));
        let has_subject = channel.limits().subject.is_some();
        let candidate = brief.candidate + 1;
        let message = render("message", context! { data, channel => channel.as_str(), has_subject, candidate });
        let turn = |role, content| Turn { role, content };
        Some(Self { turns: vec![turn(Role::System, render("system", context! {})), turn(Role::User, message)], schema })
    }
}

/// What the model is told of a bad answer.
pub fn correction(defects: &[Defect]) -> String {
    const MOST_DEFECTS: usize = 8;
    const MOST_CHARS: usize = 120;
    let told = |defect: &Defect| {
        let words: String = defect.words.chars().take(MOST_CHARS).collect();
        if words.is_empty() { defect.why.clone() } else { format!("{}: {}", defect.why, fenced(&words)) }
    };
    let defects: Vec<String> = defects.iter().take(MOST_DEFECTS).map(told).collect();
    render("correction", context! { defects })
}

fn render(template: &str, context: minijinja::Value) -> String {
    let template = TEMPLATES.get_template(template);
    let text = template.and_then(|template| template.render(context));
    text.expect("a test renders every template, and what they are given is of the same types each time")
        .trim()
        .to_owned()
}

/// JSON that holds no angle bracket.
fn fenced(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("texts and numbers are JSON");
    json.replace('<', "\\u003c").replace('>', "\\u003e")
}

/// What is common to most messages first, what is of this one last.
#[derive(Serialize)]
struct Data<'a> {
    brand: &'a str,
    voice: &'a str,
    banned: &'a [String],
    campaign: &'a str,
    locale: &'a str,
    limits: Limits,
    tone: &'a str,
    phrases: Spoken,
    /// What stands for a mark where the customer has no value.
    marks: BTreeMap<&'a str, &'a str>,
    segment: Option<&'a Segment>,
    /// The best first.
    documents: Vec<DocumentGiven<'a>>,
}

#[derive(Serialize)]
struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<usize>,
    parts: usize,
}

#[derive(Serialize)]
struct DocumentGiven<'a> {
    title: &'a str,
    category: Category,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    headlines: &'a [String],
    passages: Vec<PassageGiven<'a>>,
}

#[derive(Serialize)]
struct PassageGiven<'a> {
    id: &'a PassageId,
    text: &'a str,
}

impl<'a> Data<'a> {
    fn new(brief: &Brief<'a>, sources: &[Source<'a>], phrases: Spoken) -> Self {
        let channel = brief.cell.channel;
        let limits = channel.limits();
        // It stands in a paragraph of its own.
        let required = brief.brand.required.get(&channel).map_or(0, |text| longest_filled(text, brief.slots) + 2);
        Self {
            brand: &brief.brand.name,
            voice: &brief.brand.voice,
            banned: &brief.brand.banned,
            campaign: brief.campaign_name,
            locale: brief.cell.locale.as_str(),
            limits: Limits { subject: limits.subject, parts: limits.body.saturating_sub(required) },
            tone: brief.tone,
            phrases,
            marks: brief.slots.iter().map(|(name, slot)| (name.as_str(), slot.fallback.as_str())).collect(),
            segment: brief.segment,
            documents: documents(sources),
        }
    }
}

/// Passages by document, in their order there: what one takes back of another stands below it.
fn documents<'a>(sources: &[Source<'a>]) -> Vec<DocumentGiven<'a>> {
    let mut order: Vec<Source<'a>> = Vec::new();
    for source in sources {
        if order.iter().all(|first| first.document.id != source.document.id) {
            order.push(*source);
        }
    }
    let given = |Source { document, .. }: Source<'a>| {
        let mut passages: Vec<_> =
            sources.iter().filter(|source| source.document.id == document.id).map(|source| source.passage).collect();
        passages.sort_by_key(|passage| passage.start);
        DocumentGiven {
            title: &document.title,
            category: document.category,
            headlines: &document.headlines,
            passages: passages
                .into_iter()
                .map(|passage| PassageGiven { id: &passage.id, text: &passage.text })
                .collect(),
        }
    };
    order.into_iter().map(given).collect()
}

/// Phrases and passages can only be those that there are, where the service keeps to the schema.
fn schema(phrases: &Spoken, sources: &[Source<'_>], channel: Channel) -> Value {
    let text = || json!({ "type": "string" });
    let one_of = |values: Vec<&str>| json!({ "type": "string", "enum": values });
    let phrase = |values: Vec<&str>| object([("kind", one_of(vec!["phrase"])), ("text", one_of(values))]);
    let ids = sources.iter().map(|source| source.passage.id.as_str()).collect();
    let claim =
        object([("kind", one_of(vec!["claim"])), ("passage", one_of(ids)), ("quote", text()), ("text", text())]);
    let part = |values: Vec<&str>| match values.as_slice() {
        [] => claim.clone(),
        _ => json!({ "anyOf": [phrase(values), claim] }),
    };
    let parts = json!({ "type": "array", "items": part(phrases.of_parts().collect()) });
    match channel.limits().subject {
        None => object([("parts", parts)]),
        Some(_) => object([("parts", parts), ("subject", part(phrases.subjects.iter().map(String::as_str).collect()))]),
    }
}

fn object<const N: usize>(properties: [(&str, Value); N]) -> Value {
    let required: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let properties: serde_json::Map<String, Value> =
        properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}
