//! What the model answers, and the draft that it makes.
//!
//! Nothing is taken from the answer but texts and ids. Where they stand, in the message and in their passage, and which
//! version of the passage it was, is found here.

use serde::Deserialize;

use crate::{
    agents::generation::{
        Brief, Source,
        phrases::{Spoken, Tone},
    },
    domain::{
        channel::Channel,
        variant::{Citation, Claim, Draft, Field, Message, Span, Usage},
        verdict::Finding,
    },
};

/// Why an answer cannot be used, said to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// Holds nothing of the answer.
    pub why: String,
    /// The words at fault, if there are any.
    pub words: String,
}

impl Defect {
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), words: String::new() }
    }

    fn at(why: impl Into<String>, words: &str) -> Self {
        Self { why: why.into(), words: words.to_owned() }
    }
}

impl From<Finding> for Defect {
    fn from(finding: Finding) -> Self {
        Self { why: finding.why, words: finding.text }
    }
}

/// From top to bottom, and then the subject.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    before: Before,
    claim: Quoted,
    #[serde(default)]
    rest: Vec<Quoted>,
    #[serde(default)]
    sign_off: SignOff,
    #[serde(default)]
    subject: Option<Subject>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Before {
    greeting: Option<String>,
    opener: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SignOff {
    call: Option<String>,
    closing: Option<String>,
}

/// What a passage says, in its words.
#[derive(Debug, Deserialize)]
struct Quoted {
    id: String,
    #[serde(default)]
    lead: Option<String>,
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Subject {
    /// `quote` is the sentence that says the same.
    Headline {
        id: String,
        quote: String,
        text: String,
    },
    Phrase {
        text: String,
    },
}

/// The draft of an answer, whose claims are from `sources`; or all that is wrong with it, as far as it can be told
/// without the gate.
pub fn draft(answer: &str, brief: &Brief<'_>, sources: &[Source<'_>]) -> Result<Draft, Vec<Defect>> {
    let said = parse(answer)
        .map_err(|why| vec![Defect::at("it is not one JSON object of the form that was asked for", &why)])?;
    let mut defects = Vec::new();
    let channel = brief.cell.channel;
    let mut body = Text::default();
    for phrase in [&said.before.greeting, &said.before.opener].into_iter().flatten() {
        body.phrase(phrase, channel);
    }
    let tone = Tone::find(&brief.cell.locale, brief.tone);
    let phrases = tone.map_or_else(Spoken::default, |tone| tone.spoken(channel, brief.brand, brief.slots));
    let mut told: Vec<&str> = Vec::new();
    for claim in [&said.claim].into_iter().chain(&said.rest) {
        // What is said twice is written once.
        if told.contains(&claim.text.trim()) {
            continue;
        }
        told.push(claim.text.trim());
        match citation(&claim.id, &claim.text, sources) {
            Ok(citation) => {
                let lead = claim.lead.as_deref().filter(|lead| leads_to(lead, &claim.id, &phrases, sources));
                if let Some(lead) = lead.filter(|lead| !told.contains(lead)) {
                    told.push(lead);
                    body.phrase(lead, channel);
                }
                body.claim(&claim.text, citation, channel);
            }
            Err(defect) => defects.push(defect),
        }
    }
    for phrase in [&said.sign_off.call, &said.sign_off.closing].into_iter().flatten() {
        body.phrase(phrase, channel);
    }
    if let Some(required) = brief.brand.required.get(&channel) {
        body.push(required.trim(), paragraph(channel));
    }
    let mut subject = Text { field: Field::Subject, ..Text::default() };
    if channel.limits().subject.is_some() {
        match &said.subject {
            Some(Subject::Phrase { text }) => subject.phrase(text, channel),
            Some(Subject::Headline { id, quote, text }) => match citation(id, quote, sources) {
                Ok(citation) => subject.claim(text, citation, channel),
                Err(defect) => defects.push(defect),
            },
            None => defects.push(Defect::new("the subject is missing")),
        }
    }
    if !defects.is_empty() {
        return Err(defects);
    }
    let message = Message { subject: channel.limits().subject.map(|_| subject.text), body: body.text };
    let claims = subject.claims.into_iter().chain(body.claims).collect();
    Ok(Draft { message, claims, usage: Usage::default() })
}

/// A transition asserts nothing, and is left out where it is for a document of another category: "The offer:" says too much
/// of what is none.
fn leads_to(lead: &str, passage: &str, phrases: &Spoken, sources: &[Source<'_>]) -> bool {
    let source = sources.iter().find(|source| source.passage.id.as_str() == passage.trim());
    let category = source.map(|source| source.document.category.as_str());
    let leads = category.and_then(|category| phrases.transitions.get(category));
    leads.is_some_and(|leads| leads.iter().any(|known| known == lead))
}

/// With the place at fault, and nothing after it.
fn parse(answer: &str) -> Result<Said, String> {
    let mut json = serde_json::Deserializer::from_str(answer);
    let said = serde_path_to_error::deserialize(&mut json).map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    Ok(said)
}

fn paragraph(channel: Channel) -> &'static str {
    match channel {
        Channel::Email | Channel::InApp => "\n\n",
        Channel::Sms | Channel::Push => "\n",
    }
}

/// A field of a message, as far as it is there.
struct Text {
    field: Field,
    text: String,
    claims: Vec<Claim>,
    /// Whether a claim may go on in the same paragraph.
    is_open: bool,
}

impl Default for Text {
    fn default() -> Self {
        Self { field: Field::Body, text: String::new(), claims: Vec::new(), is_open: false }
    }
}

impl Text {
    /// A paragraph; an empty one is none.
    fn phrase(&mut self, text: &str, channel: Channel) {
        let text = text.trim();
        if !text.is_empty() {
            self.push(text, paragraph(channel));
            self.is_open = text.ends_with(':');
        }
    }

    /// It goes on after a claim, or a phrase that ends in a colon; else it is a paragraph. Claims that no full stop and
    /// capital would tell apart are set apart too.
    fn claim(&mut self, text: &str, citation: Citation, channel: Channel) {
        let text = text.trim();
        let goes_on = self.is_open && (self.text.ends_with(':') || text.starts_with(char::is_uppercase));
        let start = self.push(text, if goes_on { " " } else { paragraph(channel) });
        let span = Span { field: self.field, start, end: start + text.chars().count() };
        self.claims.push(Claim { span, text: text.to_owned(), citation });
        self.is_open = text.ends_with(['.', '!']);
    }

    /// Where it begins, in characters.
    fn push(&mut self, text: &str, separator: &str) -> usize {
        if !self.text.is_empty() {
            self.text.push_str(separator);
        }
        let start = self.text.chars().count();
        self.text.push_str(text);
        start
    }
}

fn citation(passage: &str, quote: &str, sources: &[Source<'_>]) -> Result<Citation, Defect> {
    let quote = quote.trim();
    let source = sources.iter().find(|source| source.passage.id.as_str() == passage.trim());
    let Some(Source { passage, .. }) = source else {
        return Err(Defect::at("a claim cites a passage that is not among those given", passage));
    };
    let found = passage.text.find(quote).filter(|_| !quote.is_empty());
    let Some(at) = found else {
        let mut others = sources.iter().map(|source| source.passage);
        let holder = others.find(|other| !quote.is_empty() && other.text.contains(quote));
        let why = match holder {
            Some(other) => format!("the passage {} does not hold these words, but {} does", passage.id, other.id),
            None => format!("the passage {} does not hold these words: copy it letter by letter", passage.id),
        };
        return Err(Defect::at(why, quote));
    };
    let start = passage.text[..at].chars().count();
    Ok(Citation {
        passage: passage.id.clone(),
        version: passage.version,
        start,
        end: start + quote.chars().count(),
        quote: quote.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{super::fixture::World, *};

    fn claim((passage, text): &(String, String)) -> Value {
        json!({"id": passage, "text": text})
    }

    fn led(lead: &str, quoted: &(String, String)) -> Value {
        json!({"lead": lead, "id": quoted.0, "text": quoted.1})
    }

    fn slice(text: &str, start: usize, end: usize) -> String {
        text.chars().skip(start).take(end - start).collect()
    }

    /// Every claim is where it says, in message and passage.
    fn holds_together(draft: &Draft, sources: &[Source<'_>]) {
        for Claim { span, text, citation } in &draft.claims {
            assert_eq!(slice(draft.message.field(span.field), span.start, span.end), *text);
            let source = sources.iter().find(|source| source.passage.id == citation.passage).unwrap();
            assert_eq!(citation.version, source.passage.version);
            assert_eq!(slice(&source.passage.text, citation.start, citation.end), citation.quote);
        }
    }

    #[test]
    fn parts_become_paragraphs_and_the_required_text_is_added() {
        let world = World::new(Channel::Email);
        let sources = world.sources();
        let (guide, blend, post) = (world.passage("brewing"), world.passage("house"), world.passage("delivery"));
        let answer = json!({"note": "more than was asked for", "rest": [led("Something we think you might like:", &blend), claim(&guide)],
            "before": {"opener": "In short:", "greeting": "Hello {{first_name}},"}, "claim": claim(&post),
            "sign_off": {"call": "Come and have a look.", "closing": null}, "subject": {"text": "Hello from us"}});
        let draft = draft(&answer.to_string(), &world.brief(&sources), &sources).unwrap();
        let body = format!(
            "Hello {{{{first_name}}}},\n\nIn short: {}\n\nSomething we think you might like: {} {}\n\nCome and have a \
             look.\n\n{}",
            post.1, blend.1, guide.1, "You can unsubscribe at any time."
        );
        assert_eq!(draft.message, Message { subject: Some("Hello from us".to_owned()), body });
        assert_eq!(draft.claims.len(), 3);
        holds_together(&draft, &sources);
    }

    #[test]
    fn claims_that_no_stop_tells_apart_are_paragraphs_of_their_own() {
        let world = World::new(Channel::Sms);
        let sources = world.sources();
        let (blend, post) = (world.passage("house"), world.passage("delivery"));
        let part = |(passage, _): &(String, String), text: &str| claim(&(passage.clone(), text.to_owned()));
        let (first, small) = (blend.1.trim_end_matches('.'), post.1.trim_start_matches("Harbour Coffee "));
        let answer = json!({"claim": part(&blend, first), "rest": [claim(&post), part(&post, small)]});
        let draft = draft(&answer.to_string(), &world.brief(&sources), &sources).unwrap();
        assert_eq!(draft.message.body, format!("{first}\n{}\n{small}\nReply STOP to opt out.", post.1));
        holds_together(&draft, &sources);
    }

    #[test]
    fn what_is_said_twice_is_written_once() {
        let world = World::new(Channel::Sms);
        let sources = world.sources();
        let (blend, post) = (world.passage("house"), world.passage("delivery"));
        let rest = [claim(&post), led("And:", &blend), claim(&(post.0.clone(), blend.1.clone()))];
        let answer = json!({"claim": claim(&blend), "rest": rest, "sign_off": {"call": ""}});
        let draft = draft(&answer.to_string(), &world.brief(&sources), &sources).unwrap();
        assert_eq!(draft.message.body, format!("{} {}\nReply STOP to opt out.", blend.1, post.1));
        holds_together(&draft, &sources);
    }

    #[test]
    fn a_transition_to_another_category_or_for_the_second_time_is_left_out() {
        let world = World::new(Channel::Email);
        let sources = world.sources();
        let (guide, blend, post) = (world.passage("brewing"), world.passage("house"), world.passage("delivery"));
        let refill = world.passage("regulars");
        let known = "Something we think you might like:";
        let rest = [led("A little something on top:", &blend), led(known, &refill), led(known, &post)];
        let answer = json!({"claim": claim(&guide), "rest": rest, "subject": {"text": "Hello from us"}});
        let draft = draft(&answer.to_string(), &world.brief(&sources), &sources).unwrap();
        let [guide, blend, refill, post] = [guide, blend, refill, post].map(|(_, text)| text);
        let body = format!("{guide} {blend}\n\n{known} {refill} {post}\n\nYou can unsubscribe at any time.");
        assert_eq!(draft.message.body, body);
        holds_together(&draft, &sources);
    }

    #[test]
    fn a_headline_cites_the_sentence_that_says_it() {
        let world = World::new(Channel::Email);
        let sources = world.sources();
        let (id, sentence) = world.passage("house");
        let headline = "House Blend is roasted every Tuesday";
        let subject = json!({"id": id, "quote": sentence, "text": headline});
        let answer = json!({"claim": claim(&(id, sentence.clone())), "subject": subject});
        let draft = draft(&answer.to_string(), &world.brief(&sources), &sources).unwrap();
        assert_eq!(draft.message.subject.as_deref(), Some(headline));
        assert_eq!((draft.claims[0].span.field, &draft.claims[0].citation.quote), (Field::Subject, &sentence));
        holds_together(&draft, &sources);
    }

    #[test]
    fn a_bad_answer_is_told_with_the_words_at_fault() {
        let world = World::new(Channel::Email);
        let sources = world.sources();
        let (blend, guide) = (world.passage("house"), world.passage("brewing"));
        let good = claim(&blend);
        let with = |key: &str, value: &str| {
            let mut claim = good.clone();
            claim[key] = value.into();
            claim
        };
        let message = |part: &Value| json!({"claim": part, "subject": {"text": "Hello from us"}}).to_string();
        for (answer, why, words) in [
            (String::new(), "one JSON object", "EOF"),
            ("Sure! {}".to_owned(), "one JSON object", "line 1"),
            (format!("{} and more", message(&good)), "one JSON object", "trailing"),
            (message(&good)[..40].to_owned(), "one JSON object", "EOF"),
            (json!({"subject": {"text": "x"}}).to_string(), "one JSON object", "claim"),
            (json!({"claim": {"text": "Hello,"}}).to_string(), "one JSON object", "id"),
            (json!({"claim": good}).to_string(), "the subject is missing", ""),
            (message(&with("id", "nowhere#p1")), "not among those given", "nowhere#p1"),
            (message(&with("text", "House Blend is free.")), "does not hold these words", "House Blend is free."),
            (message(&with("text", " ")), "does not hold these words: copy", ""),
            (message(&with("text", &guide.1)), &format!("these words, but {} does", guide.0), guide.1.as_str()),
        ] {
            let defects = draft(&answer, &world.brief(&sources), &sources).unwrap_err();
            assert!(defects[0].why.contains(why), "{answer}: {defects:?}");
            assert!(defects[0].words.contains(words), "{answer}: {defects:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_answered_a_draft_holds_together(
            parts in prop::collection::vec((0..14_usize, 0..40_usize, 1..40_usize, "[A-Za-zé.: \n\u{1F600}]{0,12}"), 0..8),
            raw in "\\PC{0,40}",
        ) {
            let world = World::new(Channel::Email);
            let sources = world.sources();
            let brief = world.brief(&sources);
            prop_assert!(draft(&raw, &brief, &sources).is_err());
            let part = |(at, from, length, text): &(usize, usize, usize, String)| {
                let Some(Source { passage, .. }) = sources.get(*at) else { return json!({ "text": text }) };
                let quote = slice(&passage.text, *from, from + length);
                json!({"id": passage.id, "lead": text, "text": quote, "quote": quote})
            };
            let parts: Vec<Value> = parts.iter().map(part).collect();
            let claims: Vec<&Value> = parts.iter().filter(|part| part.get("id").is_some()).collect();
            let phrase = parts.first().map(|part| &part["text"]);
            let answer = json!({"before": {"greeting": phrase}, "claim": claims.first(), "rest": claims,
                "sign_off": {"closing": phrase}, "subject": parts.last()});
            if let Ok(draft) = draft(&answer.to_string(), &brief, &sources) {
                holds_together(&draft, &sources);
                prop_assert!(draft.message.body.ends_with("You can unsubscribe at any time."));
            }
        }
    }
}
