//! Approved content in the store: what is in each file of the container `content`, as it was when it last changed.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{
    engine::Engine,
    intake::CONTENT,
    names,
    recalls::{self, Recall},
};
use crate::{
    agents::retrieval::library::{self, documents_in},
    domain::{
        content::{Approval, Category, Document, Validity},
        id::DocumentId,
        problem::Problem,
    },
    store::{self, BlobPath, Head, Precondition},
};

/// What a file had in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub file: BlobPath,
    /// The state of the file that was looked at.
    pub etag: String,
    pub checked: Timestamp,
    pub documents: Vec<Entry>,
    /// A campaign that reads the file does not start before they are mended.
    pub problems: Vec<Problem>,
}

/// `content-checks/<path>.json`
#[derive(Serialize, Deserialize)]
#[serde(tag = "schema")]
enum Saved {
    #[serde(rename = "content-check/1")]
    V1(Check),
}

/// A document, without its words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub id: DocumentId,
    pub title: String,
    pub category: Category,
    pub approval: Approval,
    pub approved_on: Option<Date>,
    pub validity: Validity,
    pub passages: usize,
}

impl From<&Document> for Entry {
    fn from(document: &Document) -> Self {
        Self {
            id: document.id.clone(),
            title: document.title.clone(),
            category: document.category,
            approval: document.approval,
            approved_on: document.approved_on,
            validity: document.validity,
            passages: document.passages.len(),
        }
    }
}

/// Looks at a file that may have changed. A document that was approved and is no longer, or is gone, counts as recalled
/// where a campaign cites it.
///
/// Recalls are written before the check: whoever dies in between finds the difference again.
pub async fn check(engine: &Engine, file: &BlobPath) -> Result<(), store::Error> {
    let name = Path::new(file.as_str());
    let (Some(path), true) = (names::content_check(file), library::is_document(name)) else { return Ok(()) };
    let blobs = engine.store.blobs.as_ref();
    let before = read(engine, &path).await?;
    let after = match blobs.head(file, library::MAX_FILE_BYTES as usize).await {
        Ok(head) if before.as_ref().is_some_and(|before| before.etag == head.etag.0) => return Ok(()),
        Ok(head) => Some(checked(file, head, engine.now())),
        Err(store::Error::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    let approved = |check: &Option<Check>| -> BTreeSet<DocumentId> {
        let documents = check.iter().flat_map(|check| &check.documents);
        documents.filter(|entry| entry.approval == Approval::Approved).map(|entry| entry.id.clone()).collect()
    };
    // A file that cannot be read may be half-way through being mended.
    let is_broken = after.as_ref().is_some_and(|after| !after.problems.is_empty());
    let lost = if is_broken { BTreeSet::new() } else { &approved(&before) - &approved(&after) };
    for document in lost {
        if !recalls::is_cited(engine, &document).await.map_err(of_client)? {
            continue;
        }
        let reason = match &after {
            Some(_) => "it is no longer approved",
            None => "its file was deleted",
        };
        tracing::warn!(%document, reason, "a document that campaigns cite counts as recalled");
        let (by, reason) = ("the content folder".to_owned(), reason.to_owned());
        recalls::recall(blobs, Recall { document, by, reason, at: engine.now() }).await?;
    }
    match after {
        Some(after) if is_broken => {
            // What was approved before stays known, for when the file is mended or goes.
            let documents = before.map_or(after.documents, |before| before.documents);
            keep(engine, &path, Check { documents, ..after }).await
        }
        Some(after) => keep(engine, &path, after).await,
        None => blobs.delete(&path).await,
    }
}

fn of_client(error: super::client::ClientError) -> store::Error {
    match error {
        super::client::ClientError::Store(error) => error,
        error => store::Error::Permanent { what: "the campaigns".to_owned(), source: error.into() },
    }
}

async fn keep(engine: &Engine, path: &BlobPath, check: Check) -> Result<(), store::Error> {
    let bytes = serde_json::to_vec(&Saved::V1(check))
        .map_err(|error| store::Error::Permanent { what: path.to_string(), source: error.into() })?;
    engine.store.blobs.put(path, bytes, Precondition::None).await.map(drop)
}

fn checked(file: &BlobPath, head: Head, now: Timestamp) -> Check {
    let name = PathBuf::from(file.as_str());
    let read = if head.len > library::MAX_FILE_BYTES {
        vec![Err(library::too_large(&name))]
    } else {
        documents_in(&name, &head.bytes)
    };
    let mut check =
        Check { file: file.clone(), etag: head.etag.0, checked: now, documents: Vec::new(), problems: Vec::new() };
    for document in read {
        match document {
            Ok(document) => check.documents.push(Entry::from(&document)),
            Err(problem) => check.problems.push(problem),
        }
    }
    check
}

/// The checks of up to `top` files after the one named, in the order of their names.
pub async fn checks(engine: &Engine, after: Option<&str>, top: usize) -> Result<Vec<Check>, store::Error> {
    let mut found = Vec::new();
    for path in all(engine).await? {
        if after.is_none_or(|after| file_of(&path).is_some_and(|file| file.as_str() > after)) {
            found.extend(read(engine, &path).await?);
        }
        if found.len() == top {
            break;
        }
    }
    Ok(found)
}

/// Whether some file has a document of that id. Files whose events were lost are looked at first.
pub async fn is_known(engine: &Engine, document: &DocumentId) -> Result<bool, store::Error> {
    let container = BlobPath::new(CONTENT).expect("it is a path");
    for file in engine.store.blobs.list(Some(&container)).await? {
        check(engine, &file).await?;
    }
    for path in all(engine).await? {
        if let Some(check) = read(engine, &path).await?
            && check.documents.iter().any(|entry| entry.id == *document)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn all(engine: &Engine) -> Result<Vec<BlobPath>, store::Error> {
    let folder = BlobPath::new(names::CONTENT_CHECKS).expect("it is a path");
    engine.store.blobs.list(Some(&folder)).await
}

fn file_of(check: &BlobPath) -> Option<String> {
    let name = check.as_str().strip_prefix(names::CONTENT_CHECKS)?.strip_suffix(".json")?;
    Some(format!("content{name}"))
}

async fn read(engine: &Engine, path: &BlobPath) -> Result<Option<Check>, store::Error> {
    match engine.store.blobs.get(path).await {
        // The file is looked at again: a check that cannot be read may keep nobody from recalling a document.
        Ok(blob) => Ok(serde_json::from_slice(&blob.bytes)
            .map(|Saved::V1(check)| check)
            .inspect_err(|error| tracing::warn!(%path, %error, "another version of this program wrote this check"))
            .ok()),
        Err(store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_version_kept_is_still_read() {
        let json = include_str!("../../tests/data/formats/content-check-1.json");
        let saved: Saved = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&saved).unwrap(), json.trim_end());
    }
}
