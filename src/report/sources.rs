//! What the messages rest on, and which documents were left out and why.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{
    agents::retrieval::Retrieved,
    domain::{
        content::{Approval, Category, Document, Passage, Validity},
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
                    reason: why_unused(document, date),
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

/// The first condition of [`Document::is_usable_on`] that fails, in words.
fn why_unused(document: &Document, date: Date) -> String {
    match (document.approval, document.approved_on) {
        (Approval::Draft, _) => return "Not approved: a draft.".to_owned(),
        (Approval::Withdrawn, _) => return "Approval was withdrawn.".to_owned(),
        (Approval::Approved, None) => return "Approved, but without a date of approval.".to_owned(),
        (Approval::Approved, Some(approved)) if approved > date => return format!("Not approved before {approved}."),
        (Approval::Approved, Some(_)) => {}
    }
    let offer = document
        .offer
        .as_ref()
        .map(|offer| ("Its offer", Validity { from: Some(offer.start), until: Some(offer.end) }));
    for (what, validity) in [("The document", document.validity)].into_iter().chain(offer) {
        if let Some(from) = validity.from.filter(|from| date < *from) {
            return format!("{what} is valid from {from} only.");
        }
        if let Some(until) = validity.until.filter(|until| *until < date) {
            return format!("{what} was valid until {until}.");
        }
    }
    "Usable, but no segment's search returned it.".to_owned()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::report::sample;

    #[test]
    fn every_document_that_may_not_be_used_has_a_reason_and_every_usable_one_is_said_to_be() {
        let today = date(2026, 3, 10);
        let usable = sample::documents().remove(0);
        assert!(usable.is_usable_on(today));
        assert!(why_unused(&usable, today).starts_with("Usable"));

        let broken: [fn(&mut Document); 5] = [
            |d| d.approval = Approval::Draft,
            |d| d.approval = Approval::Withdrawn,
            |d| d.approved_on = None,
            |d| d.approved_on = Some(date(2026, 3, 11)),
            |d| d.validity.until = Some(date(2026, 3, 9)),
        ];
        for break_it in broken {
            let mut document = usable.clone();
            break_it(&mut document);
            assert!(!document.is_usable_on(today));
            assert!(!why_unused(&document, today).starts_with("Usable"), "{document:?}");
        }
    }
}
