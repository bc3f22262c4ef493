//! What a campaign is started with: fixed for good, and named by its digest.

use std::{
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::instance::Policy;
use crate::{
    config::{Campaign, campaign::GenerationMode},
    domain::digest::Digest,
    ingest,
    providers::prices,
    store::BlobPath,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    pub schema: Schema,
    /// With the date resolved.
    pub campaign: Campaign,
    /// The documents: a [`Library`](crate::agents::retrieval::library::Library) as JSON, an input of the instance.
    pub documents: Digest,
    /// Of the documents' files, see [`Frozen`](super::finished::Frozen).
    pub content: Digest,
    /// As the user named it, for reports.
    pub content_folder: PathBuf,
    pub customers: Source,
    pub suppression: Option<Suppression>,
    /// Customers per shard.
    pub shard_rows: u32,
    /// The version of this program.
    pub engine: String,
    /// What this program takes providers to charge, where the campaign does not say it. `None`, from earlier versions:
    /// whoever does the work counts by its own list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<prices::List>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    #[serde(rename = "start/1")]
    V1,
}

/// A file as it was when the campaign was started. If it is another one by the time it is read, the campaign fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// On the machine where the campaign runs; `path` is absolute, for workers that were started elsewhere. Of a pipe
    /// neither size nor time is known.
    File { path: PathBuf, name: PathBuf, bytes: u64, modified: Timestamp },
    /// In the store, in the state of `etag` where its name does not say what is in it.
    Blob { path: BlobPath, etag: Option<String>, name: PathBuf },
}

impl Start {
    /// Customers per shard, usually.
    pub fn rows_of_shards(campaign: &Campaign) -> u32 {
        let rows = match campaign.generation.mode {
            GenerationMode::Segment => ingest::SHARD_ROWS,
            GenerationMode::Customer => ingest::PERSONAL_SHARD_ROWS,
        };
        rows as u32
    }
}

impl Source {
    /// The file that the user names, as it is now.
    pub fn file(name: &Path) -> io::Result<Self> {
        let path = std::path::absolute(name)?;
        let (bytes, modified) = size_and_time(&path)?;
        Ok(Self::File { path, name: name.to_owned(), bytes, modified })
    }

    /// As the user knows it.
    pub fn name(&self) -> &Path {
        match self {
            Self::File { name, .. } | Self::Blob { name, .. } => name,
        }
    }
}

/// Both change with a file's content, as far as can be told without reading it.
pub fn size_and_time(path: &Path) -> io::Result<(u64, Timestamp)> {
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        return Ok((0, Timestamp::UNIX_EPOCH));
    }
    let modified = Timestamp::try_from(metadata.modified()?).map_err(io::Error::other)?;
    Ok((metadata.len(), modified))
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppression {
    pub source: Source,
    pub sha256: Digest,
}

impl Start {
    pub fn policy(&self) -> Policy {
        Policy { run: self.campaign.run, cap_usd: self.campaign.budget.max_usd }
    }
}
