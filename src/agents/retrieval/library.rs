//! The content folder: documents and their passages.

use std::collections::HashMap;

use crate::domain::{
    content::{Document, Passage},
    id::PassageId,
};

/// All documents of a campaign, usable or not, with their passages by id.
#[derive(Debug, Clone, Default)]
pub struct Library {
    documents: Vec<Document>,
    /// Passage id -> (document, passage) positions.
    passages: HashMap<PassageId, (usize, usize)>,
}

impl Library {
    /// Sorted by document id, so that the order of files means nothing.
    pub fn new(mut documents: Vec<Document>) -> Self {
        documents.sort_by(|a, b| a.id.cmp(&b.id));
        let passages = documents
            .iter()
            .enumerate()
            .flat_map(|(d, document)| {
                document.passages.iter().enumerate().map(move |(p, passage)| (passage.id.clone(), (d, p)))
            })
            .collect();
        Self { documents, passages }
    }

    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    pub fn passage(&self, id: &PassageId) -> Option<(&Document, &Passage)> {
        let (document, passage) = *self.passages.get(id)?;
        let document = &self.documents[document];
        Some((document, &document.passages[passage]))
    }
}
