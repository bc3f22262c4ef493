//! What the messages rest on, and which documents were left out and why.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{
    agents::retrieval::{Retrieved, library::obstacles},
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
                    reason: why_unused(document, date, &retrieved),
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

/// What keeps the document from being used at all, else from what was asked for, in words.
fn why_unused(document: &Document, date: Date, retrieved: &[Retrieved]) -> String {
    let obstacles = obstacles(document, date);
    if !obstacles.is_empty() {
        return format!("Not usable: {}.", obstacles.join("; "));
    }
    if !retrieved.iter().any(|answer| document.is_for(answer.segment.as_ref())) {
        let eligible = document.offer.as_ref().map(|offer| offer.eligible.as_slice()).unwrap_or_default();
        let names: BTreeSet<&str> = document.audience.iter().chain(eligible).map(String::as_str).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        return format!("Usable, but it is for no segment of this campaign that has customers: it names {names}.");
    }
    if !retrieved.iter().any(|answer| document.is_in(answer.channel, &answer.locale)) {
        return "Usable, but it is for other channels or locales than the campaign's.".to_owned();
    }
    "Usable, but no segment's search returned it.".to_owned()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::{
        domain::{
            channel::Channel,
            content::Approval,
            id::{Locale, SegmentName},
        },
        report::sample,
    };

    #[test]
    fn a_document_that_was_not_used_has_the_reason_that_is_true_of_it() {
        let today = date(2026, 3, 10);
        let usable = sample::documents().remove(0);
        let answer = Retrieved {
            segment: Some(SegmentName::new("Regulars").unwrap()),
            channel: Channel::Email,
            locale: Locale::new("en").unwrap(),
            query: String::new(),
            hits: Vec::new(),
            withheld: Vec::new(),
        };
        type Change = fn(&mut Document);
        let changes: [(&str, Change); 9] = [
            ("Usable, but no segment's search", |d| d.audience = vec!["regulars".to_owned()]),
            ("Usable, but it is for no segment", |d| d.audience = vec!["Regular".to_owned()]),
            ("Usable, but it is for other channels", |d| d.channels = vec![Channel::Sms]),
            ("Usable, but it is for other channels", |d| d.locales = vec![Locale::new("de").unwrap()]),
            ("Not usable: it is a draft", |d| d.approval = Approval::Draft),
            ("Not usable: it was withdrawn", |d| d.approval = Approval::Withdrawn),
            ("Not usable: it does not say when", |d| d.approved_on = None),
            ("Not usable: its approval is dated", |d| d.approved_on = Some(date(2026, 3, 11))),
            ("Not usable: it was valid until", |d| d.validity.until = Some(date(2026, 3, 9))),
        ];
        for (reason, change) in changes {
            let mut document = usable.clone();
            (document.audience, document.channels, document.locales) = (Vec::new(), Vec::new(), Vec::new());
            change(&mut document);
            let why = why_unused(&document, today, std::slice::from_ref(&answer));
            assert!(why.starts_with(reason), "{why}");
            assert_eq!(document.is_usable_on(today), why.starts_with("Usable"), "{why}");
        }
    }
}
