//! What the messages rest on, and which documents were left out and why.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{
    agents::retrieval::Retrieved,
    domain::{
        content::{Category, Document, Passage, Validity},
        digest::Digest,
        id::{DocumentId, PassageId},
        variant::Variant,
    },
};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sources {
    /// Documents that were retrieved or cited.
    pub used: Vec<SourceDocument>,
    pub unused: Vec<UnusedDocument>,
    pub retrieved: Vec<Retrieved>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceDocument {
    pub id: DocumentId,
    pub title: String,
    pub category: Category,
    pub approved_on: Option<Date>,
    /// Of the document and, where it holds one, of its offer.
    pub validity: Validity,
    pub source_url: Option<String>,
    pub digest: Digest,
    pub passages: Vec<Passage>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnusedDocument {
    pub id: DocumentId,
    pub title: String,
    pub reason: String,
}

impl Sources {
    /// Sorts `documents` into used and unused; both keep their order.
    pub fn of(documents: &[Document], retrieved: Vec<Retrieved>, variants: &[Variant], date: Date) -> Self {
        let cited = variants.iter().flat_map(|variant| &variant.claims).map(|claim| claim.citation.passage.document());
        let found = retrieved.iter().flat_map(|answer| &answer.hits).map(|hit| hit.passage.document());
        let drawn_on: BTreeSet<&str> = cited.chain(found).collect();
        let (used, unused): (Vec<_>, Vec<_>) =
            documents.iter().partition(|document| drawn_on.contains(document.id.as_str()));
        Self {
            used: used.into_iter().map(SourceDocument::of).collect(),
            unused: unused
                .into_iter()
                .map(|document| UnusedDocument {
                    id: document.id.clone(),
                    title: document.title.clone(),
                    reason: document
                        .obstacle(date)
                        .unwrap_or_else(|| "Usable, but no segment's search returned it.".to_owned()),
                })
                .collect(),
            retrieved,
        }
    }

    pub(super) fn passage(&self, id: &PassageId) -> Option<(usize, &SourceDocument, &Passage)> {
        let index = self.used.iter().position(|document| document.id.as_str() == id.document())?;
        let document = &self.used[index];
        let passage = document.passages.iter().find(|passage| passage.id == *id)?;
        Some((index, document, passage))
    }
}

/// When the document may be used: an offer's also ends its document's.
fn window(document: &Document) -> Validity {
    let offer = document.offer.as_ref();
    Validity {
        from: document.validity.from.max(offer.map(|offer| offer.start)),
        until: [document.validity.until, offer.map(|offer| offer.end)].into_iter().flatten().min(),
    }
}

impl SourceDocument {
    fn of(document: &Document) -> Self {
        Self {
            id: document.id.clone(),
            title: document.title.clone(),
            category: document.category,
            approved_on: document.approved_on,
            validity: window(document),
            source_url: document.source_url.clone(),
            digest: document.digest,
            passages: document.passages.clone(),
        }
    }
}
