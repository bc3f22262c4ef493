//! Message variants: what was written for a cell, and what each part of it rests on.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::LazyLock,
};

use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    channel::Channel,
    customer::ShardId,
    digest::Digest,
    id::{ArmName, Locale, PassageId, SegmentName, VariantId},
    money::Usd,
    verdict::Verdict,
};

/// The unit of generation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct Cell {
    /// `None`: the control message, one for all segments.
    pub segment: Option<SegmentName>,
    pub arm: ArmName,
    pub channel: Channel,
    pub locale: Locale,
}

impl Cell {
    /// The id of the cell's `candidate`-th variant (from 0): readable, unique within the campaign.
    pub fn variant_id(&self, candidate: usize) -> VariantId {
        let segment = self.segment.as_ref().map_or("everyone", SegmentName::as_str);
        let id = format!("{segment} / {} / {} / {} / {}", self.arm, self.channel, self.locale, candidate + 1);
        VariantId::new(id).expect("the parts' lengths add up to less than a variant id may have")
    }

    /// The id of the message for one customer: that in this row of a shard.
    pub fn personal_id(&self, shard: ShardId, row: u32) -> VariantId {
        let segment = self.segment.as_ref().map_or("everyone", SegmentName::as_str);
        let id = format!("{segment} / {} / {} / {} / {shard}.{row}", self.arm, self.channel, self.locale);
        VariantId::new(id).expect("the parts' lengths add up to less than a variant id may have")
    }
}

/// Subject and body with slots: `{{first_name}}` stands for a customer's value or its fallback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = VariantMessage)]
pub struct Message {
    /// The channel decides whether there is one, see [`Channel::limits`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Paragraphs are separated by an empty line.
    pub body: String,
}

impl Message {
    pub fn field(&self, field: Field) -> &str {
        match field {
            Field::Subject => self.subject.as_deref().unwrap_or_default(),
            Field::Body => &self.body,
        }
    }

    /// With `{{name}}` replaced by the slot's text. A slot without a text stays as it is, which no gate lets pass.
    pub fn filled(&self, slots: &BTreeMap<String, String>) -> Self {
        let fill = |template: &str| fill(template, |name| slots.get(name).cloned());
        Self { subject: self.subject.as_deref().map(fill), body: fill(&self.body) }
    }

    /// The names of the slots in it.
    pub fn slots(&self) -> BTreeSet<&str> {
        [Field::Subject, Field::Body]
            .into_iter()
            .flat_map(|field| slot_marks(self.field(field)))
            .map(|(_, name)| name)
            .collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    Subject,
    Body,
}

/// A character range of one field of a message, end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Span {
    pub field: Field,
    pub start: usize,
    pub end: usize,
}

/// A part of a message that asserts something, and the words it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Claim {
    pub span: Span,
    pub text: String,
    pub citation: Citation,
}

/// The supporting words: a character range of the passage's text, end exclusive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Citation {
    pub passage: PassageId,
    /// The version of the passage that was read.
    pub version: Digest,
    pub start: usize,
    pub end: usize,
    pub quote: String,
}

/// What a writer gives back for a cell. Nothing in it is trusted: the gates check message and claims afresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    pub message: Message,
    pub claims: Vec<Claim>,
    pub usage: Usage,
}

impl Draft {
    /// What stands for a draft that could not be written.
    pub fn nothing() -> Self {
        Self { message: Message { subject: None, body: String::new() }, claims: Vec::new(), usage: Usage::default() }
    }
}

/// What one provider call took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    pub requests: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_usd: Usd,
}

impl Usage {
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self += other;
        self
    }

    /// What was added since it was `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            input_tokens: self.input_tokens.saturating_sub(earlier.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(earlier.output_tokens),
            cost_usd: self.cost_usd.checked_sub(earlier.cost_usd).unwrap_or_default(),
        }
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cost_usd = self.cost_usd + other.cost_usd;
    }
}

/// A draft after the gates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Variant {
    pub id: VariantId,
    pub cell: Cell,
    pub message: Message,
    pub claims: Vec<Claim>,
    pub verdict: Verdict,
    /// Who wrote it, e.g. `composer/1`.
    pub writer: String,
    pub usage: Usage,
}

/// A campaign's slots: name to attribute and fallback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { attribute = \"first_name\", fallback = \"there\" }")]
pub struct Slot {
    pub attribute: String,
    /// Used where the customer has no value, or one that does not pass the screen.
    pub fallback: String,
}

pub type Slots = BTreeMap<String, Slot>;

impl Slot {
    /// The most characters that a customer's value may have; a longer one is not shown.
    pub const MAX_CHARS: usize = 40;
}

static MARK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{\{([a-z][a-z0-9_]*)\}\}").expect("the pattern is a constant"));

/// Where `{{name}}` stands in a text, in bytes, and the name; whether or not there is such a slot.
pub fn slot_marks(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    MARK.captures_iter(text).map(|mark| {
        let (_, [name]) = mark.extract();
        (mark.get_match().range(), name)
    })
}

/// The text with `value` of each mark's name in its place, all at once: what looks like a mark in a value is none. A
/// mark whose name has none stays.
pub fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    MARK.replace_all(text, |mark: &Captures<'_>| value(&mark[1]).unwrap_or_else(|| mark[0].to_owned())).into_owned()
}

/// The text as a customer without any value reads it.
pub fn with_fallbacks(text: &str, slots: &Slots) -> String {
    fill(text, |name| Some(slots.get(name)?.fallback.clone()))
}

/// How many characters the text has with the longest values that its slots may show.
pub fn longest_filled(text: &str, slots: &Slots) -> usize {
    let longest = |name: &str| Some("x".repeat(slots.get(name)?.fallback.chars().count().max(Slot::MAX_CHARS)));
    fill(text, longest).chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_looks_like_a_slot_is_not_filled_in_turn() {
        let message =
            Message { subject: Some("{{a}} and {{b}}".to_owned()), body: "{{b}}{{a}}{{c}} {{ a }} {a}".to_owned() };
        let values = [("a", "{{b}}"), ("b", "{{a}}")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let filled = message.filled(&values.into());
        assert_eq!(filled.subject.as_deref(), Some("{{b}} and {{a}}"));
        assert_eq!(filled.body, "{{a}}{{b}}{{c}} {{ a }} {a}");
        assert_eq!(message.slots(), BTreeSet::from(["a", "b", "c"]));
    }
}
