//! Where campaigns live: blobs and queues, the same on a laptop and in Azure Storage.
//!
//! Names are the same everywhere. Every write is all-or-nothing: a reader sees the old bytes or the new ones. What two
//! writers may race for is guarded by a [`Precondition`]; exactly one of them wins.
//!
//! | | blobs under a run's folder | other blobs, arrivals, leases, queues |
//! |---|---|---|
//! | [`Memory`] | in memory | in memory |
//! | [`Embedded`] | files, each whole or absent | one SQLite file |
//! | [`Azure`] | Blob Storage | Blob and Queue Storage |

mod azure;
mod embedded;
mod files;
mod limits;
mod memory;
mod path;
pub mod table;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;

pub use azure::{Azure, Upload};
pub use embedded::Embedded;
pub use files::Files;
pub use memory::Memory;
pub use path::{BlobPath, InvalidPath};

/// The two halves of a store, shared by all who work on it.
#[derive(Debug, Clone)]
pub struct Store {
    pub blobs: Arc<dyn Blobs>,
    pub queues: Arc<dyn Queues>,
}

/// Names one state of a blob: another write gives another tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ETag(pub String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub bytes: Vec<u8>,
    pub etag: ETag,
}

/// The beginning of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub etag: ETag,
    /// Of all of it.
    pub len: u64,
    pub bytes: Vec<u8>,
}

/// A page of the names of folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    pub names: Vec<String>,
    /// Where the next page begins, in the store's own words; `None`: there is no more.
    pub next: Option<String>,
}

impl Folders {
    /// By the names of all blobs below `folder`, in order. A page begins after the name that `from` is.
    fn among(paths: &[BlobPath], folder: &BlobPath, prefix: &str, from: Option<&str>, most: usize) -> Self {
        let name = |path: &BlobPath| {
            let (name, _) = path.as_str().strip_prefix(folder.as_str())?.strip_prefix('/')?.split_once('/')?;
            let is_later = from.is_none_or(|from| format!("{name}/") > format!("{from}/"));
            (name.starts_with(prefix) && is_later).then(|| name.to_owned())
        };
        let mut names: Vec<String> = paths.iter().filter_map(name).collect();
        names.dedup();
        Self::first(names, most)
    }

    /// The first of names among which there is one more than a page has, if there are so many.
    fn first(mut names: Vec<String>, most: usize) -> Self {
        let has_more = names.len() > most;
        names.truncate(most);
        Self { next: names.last().filter(|_| has_more).cloned(), names }
    }
}

/// What must be so for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    None,
    /// There is no such blob; else [`Error::AlreadyExists`].
    Absent,
    /// The blob is in this state; else [`Error::PreconditionFailed`].
    Match(ETag),
}

impl Precondition {
    /// For a store that looks at what is there and writes in one indivisible step.
    fn check(&self, path: &BlobPath, current: Option<&ETag>) -> Result<(), Error> {
        match self {
            Self::Absent if current.is_some() => Err(Error::AlreadyExists { what: path.to_string() }),
            Self::Match(etag) if current != Some(etag) => Err(Error::PreconditionFailed { what: path.to_string() }),
            _ => Ok(()),
        }
    }
}

/// The right to be the only one who works on something, for a while. Nothing that must be right rests on it: it
/// saves work that would be done twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub path: BlobPath,
    pub id: String,
}

/// Named bytes, append logs and leases. All names share one space; a name is either a blob or a log.
///
/// A call may fail with [`Error::Ambiguous`] although it took effect: whoever made it reads to find out. A future
/// that is dropped half-way is ambiguous too.
#[async_trait]
pub trait Blobs: fmt::Debug + Send + Sync {
    /// A blob, or all records of a log one after the other. [`Error::NotFound`] where there is none.
    async fn get(&self, path: &BlobPath) -> Result<Blob, Error>;

    /// The first bytes of a blob, at most so many; with none, only what it is. [`Error::NotFound`] where there is none.
    async fn head(&self, path: &BlobPath, most: usize) -> Result<Head, Error> {
        let Blob { mut bytes, etag } = self.get(path).await?;
        let len = bytes.len() as u64;
        bytes.truncate(most);
        Ok(Head { etag, len, bytes })
    }

    async fn put(&self, path: &BlobPath, bytes: Vec<u8>, when: Precondition) -> Result<ETag, Error>;

    /// As [`Blobs::get`], into a new file: for what may be larger than memory.
    async fn get_file(&self, path: &BlobPath, file: &Path) -> Result<ETag, Error>;

    /// As [`Blobs::put`], from a file, which may be moved away: for what may be larger than memory. Not `Match`.
    async fn put_file(&self, path: &BlobPath, file: &Path, when: Precondition) -> Result<ETag, Error>;

    /// Adds a record to the end of a log, which is made by its first record. Returns how many records the log has
    /// with this one (or more, if others came in at the same moment). At most 50,000 records of 4 MiB.
    async fn append(&self, path: &BlobPath, record: Vec<u8>) -> Result<u64, Error>;

    /// All names below a folder (named without a trailing `/`; `None`: everything), sorted, logs included, leases not.
    /// Empty where there is none. What was written before the call is in it.
    async fn list(&self, folder: Option<&BlobPath>) -> Result<Vec<BlobPath>, Error>;

    /// The folders right below a folder whose names begin with `prefix`: a page of them, `most` at most and perhaps fewer,
    /// by the bytes of their names with a `/` behind each. `from` is the `next` of the page before; [`Error::NotFound`]
    /// where the store can make nothing of it. A folder in which only leases are left may be among them.
    async fn folders(
        &self,
        folder: &BlobPath,
        prefix: &str,
        from: Option<&str>,
        most: usize,
    ) -> Result<Folders, Error> {
        Ok(Folders::among(&self.list(Some(folder)).await?, folder, prefix, from, most))
    }

    /// Of a blob or log. That there is none is no error.
    async fn delete(&self, path: &BlobPath) -> Result<(), Error>;

    /// Takes the lease of a name (of which nothing else need exist) for 15 to 60 seconds; [`Error::LeaseHeld`] where
    /// somebody has it. Time is the store's, not the caller's.
    async fn lease(&self, path: &BlobPath, time: Duration) -> Result<Lease, Error>;

    /// For as long again from now; [`Error::LeaseHeld`] where it was lost to somebody else.
    async fn renew(&self, lease: &Lease) -> Result<(), Error>;

    /// That it was lost is no error.
    async fn release(&self, lease: &Lease) -> Result<(), Error>;
}

/// 3 to 48 lower-case letters, digits and single hyphens, so that the name of its poison queue is one as well.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be the name of a queue")]
pub struct InvalidQueue(String);

const POISON: &str = "-poison";

impl QueueName {
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidQueue> {
        let name = name.into();
        let is_word =
            |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if (3..=48).contains(&name.len()) && name.split('-').all(is_word) && !name.ends_with(POISON) {
            Ok(Self(name))
        } else {
            Err(InvalidQueue(name))
        }
    }

    /// Where messages end that could not be worked on.
    pub fn poison(&self) -> Self {
        Self(format!("{}{POISON}", self.0))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message that was handed out, and is hidden from others for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub queue: QueueName,
    pub id: String,
    /// Changes whenever the message is handed out or extended; an older one is worth nothing.
    pub receipt: String,
    pub body: Vec<u8>,
    /// How often it was handed out, this time included.
    pub deliveries: u32,
}

/// Messages, each handed out at least once, in roughly the order in which they were sent. Queues are made when they
/// are first used. Messages do not expire.
#[async_trait]
pub trait Queues: fmt::Debug + Send + Sync {
    /// Text in UTF-8 without control characters, at most 48 KiB; what it has of white space at its ends and line breaks
    /// may come back otherwise. To be handed out after `delay` (at most 7 days) at the earliest.
    async fn send(&self, queue: &QueueName, body: Vec<u8>, delay: Duration) -> Result<(), Error>;

    /// Up to `limit` (at most 32) messages, hidden from others for `visibility` (1 second to 7 days). Does not wait.
    async fn receive(&self, queue: &QueueName, limit: usize, visibility: Duration) -> Result<Vec<Delivery>, Error>;

    /// Hides the message for so long from now. [`Error::NotFound`] where it was handed out to somebody else
    /// meanwhile, or deleted.
    async fn extend(&self, delivery: &mut Delivery, visibility: Duration) -> Result<(), Error>;

    /// [`Error::NotFound`] where it was handed out to somebody else meanwhile, or deleted.
    async fn delete(&self, delivery: &Delivery) -> Result<(), Error>;

    /// Returns when a message may have become available in one of the queues, after `at_most` at the latest.
    async fn wait(&self, queues: &[QueueName], at_most: Duration);
}

/// What a call on a store can end with, in the caller's terms. `what` names the blob or queue; it never holds content.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what} does not exist")]
    NotFound { what: String },
    #[error("{what} exists already")]
    AlreadyExists { what: String },
    #[error("{what} was changed by somebody else meanwhile")]
    PreconditionFailed { what: String },
    #[error("somebody else works on {what}")]
    LeaseHeld { what: String },
    /// Nothing was done; ask again later.
    #[error("the store is busy ({what})")]
    Throttled { what: String, retry_after: Option<Duration> },
    /// It may or may not have been done.
    #[error("it is not known whether {what} was written: {source}")]
    Ambiguous { what: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// Nothing was done; the same call may succeed later.
    #[error("{what}: {source}")]
    Transient { what: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// Nothing was done, and the same call will fail again: a full disk, a missing right, a malformed request.
    #[error("{what}: {source}")]
    Permanent { what: String, source: Box<dyn std::error::Error + Send + Sync> },
}
