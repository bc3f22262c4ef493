//! The parts of a message in their places, within the limits of its channel.

use std::collections::BTreeMap;

use super::sentences::Sentence;
use crate::domain::{
    channel::Channel,
    content::Passage,
    variant::{Citation, Claim, Field, Slots, Span, longest_filled},
};

/// From top to bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Greeting,
    Opener,
    Facts(usize),
    Call,
    Closing,
    Required,
}

/// What stands at a place: a phrase, or quotes with or without a phrase that leads over to them.
#[derive(Debug, Clone, Default)]
pub(super) struct Paragraph<'a> {
    pub phrase: Option<String>,
    pub quotes: Vec<Quote<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Quote<'a> {
    pub passage: &'a Passage,
    pub sentence: Sentence<'a>,
}

impl Paragraph<'_> {
    pub fn phrase(phrase: String) -> Self {
        Self { phrase: Some(phrase), quotes: Vec::new() }
    }
}

impl Quote<'_> {
    pub fn claim(&self, field: Field, start: usize) -> Claim {
        let Sentence { text, start: from, end: to } = self.sentence;
        Claim {
            span: Span { field, start, end: start + (to - from) },
            text: text.to_owned(),
            citation: Citation {
                passage: self.passage.id.clone(),
                version: self.passage.version,
                start: from,
                end: to,
                quote: text.to_owned(),
            },
        }
    }
}

/// A body that is never too long: what does not fit is not let in.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    channel: Channel,
    slots: &'a Slots,
    parts: BTreeMap<Place, Paragraph<'a>>,
}

impl<'a> Layout<'a> {
    pub fn new(channel: Channel, slots: &'a Slots) -> Self {
        Self { channel, slots, parts: BTreeMap::new() }
    }

    /// Whether there was room.
    pub fn place(&mut self, place: Place, paragraph: Paragraph<'a>) -> bool {
        self.parts.insert(place, paragraph);
        let fits = longest_filled(&self.render().0, self.slots) <= self.channel.limits().body;
        if !fits {
            self.parts.remove(&place);
        }
        fits
    }

    /// The body and its claims. Phrases and quotes are set apart by a blank, paragraphs by an empty line or, where
    /// every character counts, by a line end.
    pub fn render(&self) -> (String, Vec<Claim>) {
        let separator = match self.channel {
            Channel::Email | Channel::InApp => "\n\n",
            Channel::Sms | Channel::Push => "\n",
        };
        let mut body = String::new();
        let mut length = 0;
        let mut claims = Vec::new();
        let mut push = |text: &str, separator: &str| {
            if !body.is_empty() {
                body.push_str(separator);
                length += separator.len();
            }
            let start = length;
            body.push_str(text);
            length += text.chars().count();
            start
        };
        for paragraph in self.parts.values() {
            let mut before = separator;
            if let Some(phrase) = &paragraph.phrase {
                push(phrase, before);
                before = " ";
            }
            for quote in &paragraph.quotes {
                let start = push(quote.sentence.text, before);
                claims.push(quote.claim(Field::Body, start));
                before = " ";
            }
        }
        (body, claims)
    }
}
