//! Where a campaign's files live.
//!
//! Names are the same on disk and in Blob Storage. Every write is all-or-nothing: a reader sees the old bytes or the
//! new ones.

mod files;
#[cfg(test)]
mod memory;
mod path;
pub mod table;

use async_trait::async_trait;

pub use files::Files;
#[cfg(test)]
pub use memory::Memory;
pub use path::{BlobPath, InvalidPath};

/// Named bytes.
#[async_trait]
pub trait Blobs: std::fmt::Debug + Send + Sync {
    /// [`Error::NotFound`] where there is none.
    async fn get(&self, path: &BlobPath) -> Result<Vec<u8>, Error>;

    /// In the place of what was there before.
    async fn put(&self, path: &BlobPath, bytes: Vec<u8>) -> Result<(), Error>;

    /// All paths below a folder (named without a trailing `/`; `None`: everything), sorted. Empty where there is none.
    async fn list(&self, folder: Option<&BlobPath>) -> Result<Vec<BlobPath>, Error>;
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} does not exist")]
    NotFound(BlobPath),
    #[error("{path}: {source}")]
    Io { path: String, source: std::io::Error },
}
