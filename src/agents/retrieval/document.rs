//! From what a file states about a document to a checked [`Document`].

use std::{fmt, ops::Range, path::Path};

use serde::{Deserialize, Deserializer, de};

use super::markdown::Page;
use crate::{
    config::Day,
    domain::{
        channel::Channel,
        content::{Approval, Category, Document, Offer, Passage, Validity},
        digest::Digest,
        id::{DocumentId, Locale, PassageId},
        problem::Problem,
    },
};

/// Everything that can be stated; nothing has to be. What is not stated as approved is a draft.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "keys with values, such as `status: approved`")]
pub(super) struct Metadata {
    pub id: Option<DocumentId>,
    pub title: Option<String>,
    pub category: Option<Category>,
    pub status: Option<Approval>,
    pub approved_on: Option<Day>,
    pub valid_from: Option<Day>,
    pub valid_until: Option<Day>,
    pub audience: Texts,
    pub locales: Vec<Locale>,
    pub channels: Vec<Channel>,
    pub keywords: Texts,
    pub products: Texts,
    pub headlines: Texts,
    pub offer: Option<OfferMetadata>,
    pub source_url: Option<String>,
}

/// As [`Offer`], with dates in every form that [`Day`] reads.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with amount, start, end and, where they apply, code and eligible")]
pub(super) struct OfferMetadata {
    code: Option<String>,
    amount: String,
    start: Day,
    end: Day,
    #[serde(default)]
    eligible: Texts,
}

/// One text or a list of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Texts(Vec<String>);

// By hand: an untagged enum's errors have no line.
impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, texts: A) -> Result<Texts, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(texts)).map(Texts)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Texts, E> {
                Ok(Texts::default())
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl Texts {
    /// Without blanks around them; an empty text is a mistake, as it could mean everything or nothing.
    fn into_vec(self, field: &str) -> Result<Vec<String>, Problem> {
        let texts: Vec<String> = self.0.iter().map(|text| text.trim().to_owned()).collect();
        if texts.iter().any(String::is_empty) {
            return Err(Problem::new("an entry is empty", "write something there, or remove the key").at_field(field));
        }
        if texts.iter().any(|text| text.contains(char::is_control)) {
            return Err(Problem::new("an entry has control characters", "write plain text").at_field(field));
        }
        Ok(texts)
    }

    /// Names of segments; `all` and its like mean everybody, which is the empty list.
    fn into_audience(self, field: &str) -> Result<Vec<String>, Problem> {
        const EVERYBODY: [&str; 3] = ["all", "everybody", "everyone"];
        let names = self.into_vec(field)?;
        let is_everybody = |name: &String| EVERYBODY.contains(&name.to_lowercase().as_str());
        Ok(if names.iter().any(is_everybody) { Vec::new() } else { names })
    }
}

/// Where a document's words come from.
pub(super) struct Source<'a> {
    pub path: &'a Path,
    /// Of the file's bytes.
    pub digest: Digest,
    pub page: &'a Page,
}

/// Far beyond any text that a person approved as a whole.
const MAX_TEXT_BYTES: usize = 500_000;

impl Metadata {
    pub fn into_document(self, source: Source<'_>) -> Result<Document, Problem> {
        let Source { path, digest, page } = source;
        self.checked(digest, page, path).map_err(|problem| problem.in_file(path))
    }

    fn checked(self, digest: Digest, page: &Page, path: &Path) -> Result<Document, Problem> {
        let id = match self.id {
            Some(id) => id,
            None => id_from_name(path)?,
        };
        let validity = Validity { from: self.valid_from.map(|day| day.0), until: self.valid_until.map(|day| day.0) };
        if validity.from.zip(validity.until).is_some_and(|(from, until)| from > until) {
            return Err(Problem::new(
                "the document is valid on no day: valid_until is before valid_from",
                "correct either date; both days belong to the window",
            )
            .at_field("valid_until"));
        }
        let title = self.title.or_else(|| page.title.clone()).unwrap_or_else(|| id.to_string());
        if page.text.len() > MAX_TEXT_BYTES {
            return Err(Problem::new(
                "the document has more than 500,000 bytes of text",
                "split it into documents about one subject each",
            )
            .at_field("content"));
        }
        // They would go out in messages, and a terminal would obey them.
        if [&title, &page.text].iter().any(|text| text.contains(|c: char| c.is_control() && c != '\n')) {
            return Err(
                Problem::new("the document has control characters", "save it as plain text").at_field("content")
            );
        }
        if page.passages.is_empty() {
            return Err(Problem::new(
                "the document has no text that could be cited",
                "write at least one paragraph or list item, or remove the file",
            )
            .at_field("content"));
        }
        Ok(Document {
            title,
            category: self.category.unwrap_or(Category::Other),
            approval: self.status.unwrap_or(Approval::Draft),
            approved_on: self.approved_on.map(|day| day.0),
            validity,
            audience: self.audience.into_audience("audience")?,
            locales: self.locales,
            channels: self.channels,
            keywords: self.keywords.into_vec("keywords")?,
            products: self.products.into_vec("products")?,
            headlines: self.headlines.into_vec("headlines")?,
            offer: self.offer.map(OfferMetadata::checked).transpose()?,
            source_url: self.source_url,
            passages: passages(&id, page)?,
            text: page.text.clone(),
            digest,
            id,
        })
    }
}

impl OfferMetadata {
    fn checked(self) -> Result<Offer, Problem> {
        let (start, end) = (self.start.0, self.end.0);
        if start > end {
            return Err(Problem::new(
                "the offer runs on no day: its end is before its start",
                "correct either date; both days belong to the offer",
            )
            .at_field("offer.end"));
        }
        let eligible = self.eligible.into_audience("offer.eligible")?;
        Ok(Offer { code: self.code, amount: self.amount, start, end, eligible })
    }
}

fn id_from_name(path: &Path) -> Result<DocumentId, Problem> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    DocumentId::new(stem).map_err(|error| {
        Problem::new(format!("the file's name cannot serve as the document's id: {error}"), "state an `id`")
            .at_field("id")
    })
}

fn passages(id: &DocumentId, page: &Page) -> Result<Vec<Passage>, Problem> {
    let chars: Vec<char> = page.text.chars().collect();
    let passage = |(index, range): (usize, &Range<usize>)| {
        let text: String = chars[range.clone()].iter().collect();
        let id = PassageId::new(format!("{id}#p{}", index + 1)).map_err(|error| {
            Problem::new(error.to_string(), "give the document a shorter or simpler id").at_field("id")
        })?;
        Ok(Passage { id, start: range.start, end: range.end, version: Digest::of(&text), text })
    };
    page.passages.iter().enumerate().map(passage).collect()
}
