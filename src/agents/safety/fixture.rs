//! Documents for the tests.

use jiff::civil::Date;

use crate::domain::{
    content::{Approval, Category, Document, Passage, Validity},
    digest::Digest,
    id::{DocumentId, PassageId},
};

pub const DATE: Date = jiff::civil::date(2026, 10, 15);

/// An approved document for everybody.
pub fn document(id: &str, passages: &[&str]) -> Document {
    let mut text = String::new();
    let passages = passages
        .iter()
        .enumerate()
        .map(|(index, words)| {
            let start = text.chars().count();
            text.push_str(words);
            text.push_str("\n\n");
            Passage {
                id: PassageId::new(format!("{id}#p{}", index + 1)).unwrap(),
                start,
                end: start + words.chars().count(),
                text: (*words).to_owned(),
                version: Digest::of(words),
            }
        })
        .collect();
    Document {
        id: DocumentId::new(id).unwrap(),
        title: id.to_owned(),
        category: Category::Product,
        approval: Approval::Approved,
        approved_on: Some(DATE),
        validity: Validity::default(),
        audience: Vec::new(),
        locales: Vec::new(),
        channels: Vec::new(),
        keywords: Vec::new(),
        products: Vec::new(),
        headlines: Vec::new(),
        offer: None,
        source_url: None,
        digest: Digest::of(&text),
        text,
        passages,
    }
}
