//! Approved content: documents and the passages that can be cited.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::domain::{
    channel::Channel,
    digest::Digest,
    id::{DocumentId, Locale, PassageId, SegmentName},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    Approved,
    Draft,
    Withdrawn,
}

/// Both days belong to it; `None`: no limit on that side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    pub from: Option<Date>,
    pub until: Option<Date>,
}

impl Validity {
    pub fn contains(&self, date: Date) -> bool {
        self.from.is_none_or(|from| from <= date) && self.until.is_none_or(|until| date <= until)
    }
}

/// What kind of thing a document says; decides where the composer may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    Product,
    Offer,
    Policy,
    Story,
    Guide,
    Other,
}

impl Category {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Offer => "offer",
            Self::Policy => "policy",
            Self::Story => "story",
            Self::Guide => "guide",
            Self::Other => "other",
        }
    }
}

/// The structured facts of an offer, next to its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// As written in the text, e.g. `15%` or `$10`.
    pub amount: String,
    pub start: Date,
    pub end: Date,
    /// Segments that may have it; empty: everybody.
    #[serde(default)]
    pub eligible: Vec<String>,
}

/// One document of the content folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    pub id: DocumentId,
    pub title: String,
    pub category: Category,
    pub approval: Approval,
    pub approved_on: Option<Date>,
    pub validity: Validity,
    /// Segments (by name) it is meant for; empty: everybody.
    pub audience: Vec<String>,
    /// Empty: any.
    pub locales: Vec<Locale>,
    /// Empty: any.
    pub channels: Vec<Channel>,
    pub keywords: Vec<String>,
    /// Product names as they must be written.
    pub products: Vec<String>,
    /// Approved subject lines or titles; each must itself be supported by the body.
    pub headlines: Vec<String>,
    pub offer: Option<Offer>,
    pub source_url: Option<String>,
    /// The document's plain text (markup removed); passages are ranges of it.
    pub text: String,
    /// SHA-256 of the file's bytes.
    pub digest: Digest,
    pub passages: Vec<Passage>,
}

impl Document {
    /// Approved, approval not in the future, and valid on `date`; an offer must be running too, and have an end.
    pub fn is_usable_on(&self, date: Date) -> bool {
        self.approval == Approval::Approved
            && self.approved_on.is_some_and(|approved| approved <= date)
            && self.validity.contains(date)
            && self.offer.as_ref().is_none_or(|offer| offer.start <= date && date <= offer.end)
            && !self.is_endless_offer()
    }

    /// An offer that does not say when it ends might have ended.
    pub fn is_endless_offer(&self) -> bool {
        self.category == Category::Offer && self.offer.is_none() && self.validity.until.is_none()
    }

    /// Whether it may speak to the customers of a segment (`None`: everybody), who all must be eligible for its offer.
    pub fn is_for(&self, segment: Option<&SegmentName>) -> bool {
        let is_named = |names: &[String]| {
            let is_it = |segment: &SegmentName| {
                names.iter().any(|name| name.trim().to_lowercase() == segment.as_str().trim().to_lowercase())
            };
            names.is_empty() || segment.is_some_and(is_it)
        };
        is_named(&self.audience) && self.offer.as_ref().is_none_or(|offer| is_named(&offer.eligible))
    }

    /// Whether it may stand in messages of that channel and locale; `de-AT` is served by `de` too.
    pub fn is_in(&self, channel: Channel, locale: &Locale) -> bool {
        let language = locale.as_str().split('-').next().unwrap_or_default();
        let serves = |own: &Locale| own == locale || own.as_str() == language;
        (self.channels.is_empty() || self.channels.contains(&channel))
            && (self.locales.is_empty() || self.locales.iter().any(serves))
    }
}

/// A citable piece of a document: a paragraph, list item or heading's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    pub id: PassageId,
    /// Character (not byte) range in the document's `text`.
    pub start: usize,
    pub end: usize,
    pub text: String,
    /// SHA-256 of `text`: changes when the words do.
    pub version: Digest,
}
