//! What the model answers, and the draft that it makes.
//!
//! Nothing is taken from the answer but texts and ids. Where they stand, in the message and in their passage, and which
//! version of the passage it was, is found here.

use serde::Deserialize;

use crate::{
    agents::generation::{Brief, Source},
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

#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    before: Vec<Part>,
    claim: Part,
    #[serde(default)]
    rest: Vec<Part>,
    #[serde(default)]
    subject: Option<Part>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Part {
    Phrase { text: String },
    Claim { passage: String, quote: String, text: String },
}

/// The draft of an answer, whose claims are from `sources`; or all that is wrong with it, as far as it can be told
/// without the gate.
pub fn draft(answer: &str, brief: &Brief<'_>, sources: &[Source<'_>]) -> Result<Draft, Vec<Defect>> {
    let said = parse(answer)
        .map_err(|why| vec![Defect::at("it is not one JSON object of the form that was asked for", &why)])?;
    let mut defects = Vec::new();
    let channel = brief.cell.channel;
    let mut body = Text::default();
    for part in said.before.iter().chain([&said.claim]).chain(&said.rest) {
        body.add(part, sources, channel, &mut defects);
    }
    if body.claims.is_empty() && defects.is_empty() {
        defects.push(Defect::new("no part is a claim: the message says nothing of the documents"));
    }
    if let Some(required) = brief.brand.required.get(&channel) {
        body.push(required.trim(), paragraph(channel));
    }
    let mut subject = Text { field: Field::Subject, ..Text::default() };
    if channel.limits().subject.is_some() {
        match &said.subject {
            Some(part) => subject.add(part, sources, channel, &mut defects),
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
    /// A claim goes on after a claim, or a phrase that ends in a colon; everything else is a paragraph. Claims that no
    /// full stop and capital would tell apart are set apart too.
    fn add(&mut self, part: &Part, sources: &[Source<'_>], channel: Channel, defects: &mut Vec<Defect>) {
        match part {
            Part::Phrase { text } => {
                self.push(text.trim(), paragraph(channel));
                self.is_open = text.trim_end().ends_with(':');
            }
            Part::Claim { passage, quote, text } => {
                let (quote, text) = (quote.trim(), text.trim());
                let citation = match citation(passage, quote, sources) {
                    Ok(citation) => citation,
                    Err(defect) => return defects.push(defect),
                };
                let goes_on = self.is_open && (self.text.ends_with(':') || text.starts_with(char::is_uppercase));
                let start = self.push(text, if goes_on { " " } else { paragraph(channel) });
                let span = Span { field: self.field, start, end: start + text.chars().count() };
                self.claims.push(Claim { span, text: text.to_owned(), citation });
                self.is_open = text.ends_with(['.', '!']);
            }
        }
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
    let source = sources.iter().find(|source| source.passage.id.as_str() == passage.trim());
    let Some(Source { passage, .. }) = source else {
        return Err(Defect::at("a claim cites a passage that is not among those given", passage));
    };
    let found = passage.text.find(quote).filter(|_| !quote.is_empty());
    let Some(at) = found else {
        let why = format!("the passage {} does not hold this quote: copy it letter by letter", passage.id);
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

    fn phrase(text: &str) -> Value {
        json!({"kind": "phrase", "text": text})
    }

    fn claim((passage, text): &(String, String)) -> Value {
        json!({"kind": "claim", "passage": passage, "quote": text, "text": text})
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
        let answer = json!({"note": "more than was asked for", "rest": [
            claim(&blend), phrase("Come and have a look."), claim(&guide),
        ], "before": [phrase("Hello {{first_name}},"), phrase("Good to know:")], "claim": claim(&post), "subject": phrase("Hello from us")});
        let draft = draft(&answer.to_string(), &world.brief(&sources), &sources).unwrap();
        let body = format!(
            "Hello {{{{first_name}}}},\n\nGood to know: {} {}\n\nCome and have a look.\n\n{}\n\n{}",
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
        let part = |text: &str, (passage, quote): &(String, String)| json!({"kind": "claim", "passage": passage, "quote": quote, "text": text});
        let (first, small) = (blend.1.trim_end_matches('.'), post.1.replacen('H', "h", 1));
        let answer = json!({"claim": part(first, &blend), "rest": [part(&post.1, &post), part(&small, &post)]});
        let draft = draft(&answer.to_string(), &world.brief(&sources), &sources).unwrap();
        assert_eq!(draft.message.body, format!("{first}\n{}\n{small}\nReply STOP to opt out.", post.1));
        holds_together(&draft, &sources);
    }

    #[test]
    fn a_bad_answer_is_told_with_the_words_at_fault() {
        let world = World::new(Channel::Email);
        let sources = world.sources();
        let blend = world.passage("house");
        let good = claim(&blend);
        let with = |key: &str, value: &str| {
            let mut claim = good.clone();
            claim[key] = value.into();
            claim
        };
        let message = |part: &Value| json!({"claim": part, "subject": phrase("Hello from us")}).to_string();
        for (answer, why, words) in [
            (String::new(), "one JSON object", "EOF"),
            ("Sure! {}".to_owned(), "one JSON object", "line 1"),
            (format!("{} and more", message(&good)), "one JSON object", "trailing"),
            (message(&good)[..40].to_owned(), "one JSON object", "EOF"),
            (json!({"subject": phrase("x")}).to_string(), "one JSON object", "claim"),
            (json!({"claim": {"kind": "picture"}}).to_string(), "one JSON object", "picture"),
            (json!({"claim": good}).to_string(), "the subject is missing", ""),
            (message(&phrase("Hello,")), "no part is a claim", ""),
            (message(&with("passage", "nowhere#p1")), "not among those given", "nowhere#p1"),
            (message(&with("quote", "House Blend is free.")), "does not hold this quote", "House Blend is free."),
            (message(&with("quote", " ")), "does not hold this quote", ""),
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
            let part = |(at, from, length, text): &(usize, usize, usize, String)| match sources.get(*at) {
                None => phrase(text),
                Some(Source { passage, .. }) => json!({"kind": "claim", "passage": passage.id, "text": text,
                    "quote": slice(&passage.text, *from, from + length)}),
            };
            let parts: Vec<Value> = parts.iter().map(part).collect();
            let answer = json!({"claim": parts.first(), "rest": parts, "subject": parts.last()});
            if let Ok(draft) = draft(&answer.to_string(), &brief, &sources) {
                holds_together(&draft, &sources);
                prop_assert!(draft.message.body.ends_with("You can unsubscribe at any time."));
            }
        }
    }
}
