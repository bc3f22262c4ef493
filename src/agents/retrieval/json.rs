//! Documents as JSON (one object or an array of them) and JSON Lines, in the shape that content systems export:
//! `document_id, title, category, content, audience, keywords, approval_date, source_url, metadata`.

use std::path::Path;

use serde::Deserialize;

use super::{
    document::{Metadata, OfferMetadata, Source, Texts},
    markdown::Page,
};
use crate::{
    config::{Day, in_plain_words},
    domain::{
        channel::Channel,
        content::{Approval, Category, Document},
        digest::Digest,
        id::{DocumentId, Locale},
        problem::Problem,
    },
};

/// `content` is read as Markdown, of which plain paragraphs are a part.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object that describes a document")]
struct Record {
    document_id: DocumentId,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    category: Option<String>,
    content: String,
    #[serde(default)]
    audience: Option<Texts>,
    #[serde(default)]
    keywords: Option<Texts>,
    /// The document was approved on that day; without it, it was not.
    #[serde(default)]
    approval_date: Option<Day>,
    #[serde(default)]
    source_url: Option<String>,
    #[serde(default)]
    metadata: Option<Extra>,
}

/// The keys of `metadata` that mean something here; systems put others there too, which are left alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Extra {
    /// A draft or withdrawn document is that, whatever `approval_date` says.
    status: Option<Approval>,
    valid_from: Option<Day>,
    valid_until: Option<Day>,
    locales: Vec<Locale>,
    channels: Vec<Channel>,
    products: Texts,
    headlines: Texts,
    offer: Option<OfferMetadata>,
}

const REMEDY: &str = "a document is an object with document_id, content, approval_date and, where they apply, title, \
    category, audience, keywords, source_url and metadata";

#[derive(Deserialize)]
#[serde(transparent)]
struct Records(Vec<Record>);

/// A whole JSON file.
pub(super) fn read(source: &str, path: &Path, digest: Digest) -> Vec<Result<Document, Problem>> {
    let records = if source.trim_start().starts_with('[') {
        serde_json::from_str::<Records>(source).map(|records| records.0)
    } else {
        serde_json::from_str(source).map(|record| vec![record])
    };
    match records {
        Ok(records) => records
            .into_iter()
            .enumerate()
            .map(|(index, record)| {
                record.into_document(path, digest).map_err(|problem| {
                    let field = format!("[{index}].{}", problem.field.as_deref().unwrap_or_default());
                    problem.at_field(field)
                })
            })
            .collect(),
        Err(error) => {
            let line = error.line() as u64;
            vec![Err(Problem::new(in_plain_words(&error.to_string()), REMEDY).in_file(path).at_line(line))]
        }
    }
}

/// One object a line; empty lines are skipped.
pub(super) fn read_lines(source: &str, path: &Path, digest: Digest) -> Vec<Result<Document, Problem>> {
    source
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            serde_json::from_str::<Record>(line)
                .map_err(|error| Problem::new(in_plain_words(&error.to_string()), REMEDY).in_file(path))
                .and_then(|record| record.into_document(path, digest))
                .map_err(|problem| problem.at_line(index as u64 + 1))
        })
        .collect()
}

impl Record {
    fn into_document(self, path: &Path, digest: Digest) -> Result<Document, Problem> {
        let page = Page::parse(&self.content);
        let extra = self.metadata.unwrap_or_default();
        let approved = self.approval_date.map(|_| Approval::Approved);
        Metadata {
            id: Some(self.document_id),
            title: self.title,
            category: self.category.as_deref().map(category),
            status: extra.status.or(approved),
            approved_on: self.approval_date,
            valid_from: extra.valid_from,
            valid_until: extra.valid_until,
            audience: self.audience.unwrap_or_default(),
            locales: extra.locales,
            channels: extra.channels,
            keywords: self.keywords.unwrap_or_default(),
            products: extra.products,
            headlines: extra.headlines,
            offer: extra.offer,
            source_url: self.source_url,
        }
        .into_document(Source { path, digest, page: &page })
    }
}

/// Other systems name their categories freely: the usual names are understood, any other is [`Category::Other`].
fn category(name: &str) -> Category {
    match name.trim().to_lowercase().as_str() {
        "product" | "products" | "catalog" | "catalogue" => Category::Product,
        "offer" | "offers" | "promotion" | "promotions" | "promo" | "discount" | "discounts" => Category::Offer,
        "policy" | "policies" | "terms" | "legal" | "shipping" | "returns" => Category::Policy,
        "story" | "stories" | "brand" | "news" => Category::Story,
        "guide" | "guides" | "how-to" | "howto" | "faq" | "support" | "education" => Category::Guide,
        _ => Category::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"document_id": "lamp", "title": "Lamp", "category": "Promotions",
        "content": "The lamp is bright.\n\nThe lamp folds.", "audience": ["Readers"], "keywords": "light, fold",
        "approval_date": "2026-10-01T09:00:00Z", "source_url": null, "metadata": {"version": 3}}"#;

    fn only(results: Vec<Result<Document, Problem>>) -> Result<Document, Problem> {
        assert_eq!(results.len(), 1);
        results.into_iter().next().unwrap()
    }

    fn json(source: &str) -> Vec<Result<Document, Problem>> {
        read(source, Path::new("x.json"), Digest::of(source))
    }

    #[test]
    fn an_object_an_array_and_a_line_read_alike() {
        let line = RECORD.replace('\n', " ");
        let digest = Digest::of("");
        let path = Path::new("x.json");
        let object = only(read(RECORD, path, digest)).unwrap();
        assert_eq!(only(read(&format!("[{RECORD}]"), path, digest)).unwrap(), object);
        assert_eq!(only(read_lines(&format!("\n{line}\n\n"), path, digest)).unwrap(), object);
        assert_eq!(object.category, Category::Offer);
        assert_eq!(object.audience, ["Readers"]);
        assert_eq!(object.passages.len(), 2);
        assert_eq!(
            (object.approval, object.approved_on.unwrap().to_string()),
            (Approval::Approved, "2026-10-01".into())
        );
    }

    #[test]
    fn without_an_approval_date_or_with_another_status_a_document_is_not_approved() {
        let undated = RECORD.replace("\"2026-10-01T09:00:00Z\"", "null");
        assert_eq!(only(json(&undated)).unwrap().approval, Approval::Draft);
        let withdrawn = RECORD.replace("\"version\": 3", "\"status\": \"withdrawn\"");
        assert_eq!(only(json(&withdrawn)).unwrap().approval, Approval::Withdrawn);
    }

    #[test]
    fn a_defect_names_its_line_and_every_good_line_is_still_read() {
        let unknown = RECORD.replace("\"title\"", "\"titel\"");
        let problem = only(json(&unknown)).unwrap_err();
        assert!(problem.message.contains("titel") && problem.line == Some(1), "{problem}");
        let good = RECORD.replace('\n', " ");
        let bad = good.replace("2026-10-01T09:00:00Z", "soon");
        let results = read_lines(&format!("{good}\n{bad}\n"), Path::new("x.jsonl"), Digest::of(""));
        assert!(results[0].is_ok());
        assert_eq!(results[1].as_ref().unwrap_err().line, Some(2));
    }
}
