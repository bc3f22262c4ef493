//! What a campaign is started with: fixed for good, and named by its digest.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::instance::Policy;
use crate::{config::Campaign, domain::digest::Digest, store::BlobPath};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    pub schema: Schema,
    /// With the date resolved.
    pub campaign: Campaign,
    /// The documents: a [`Library`](crate::agents::retrieval::library::Library) as JSON, an input of the instance.
    pub library: Digest,
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
    /// On the machine where the campaign runs.
    File { path: PathBuf, bytes: u64, modified: jiff::Timestamp },
    /// In the store; `name` is the file's as the user knows it.
    Blob { path: BlobPath, etag: String, name: PathBuf },
}

impl Source {
    /// As the user knows it.
    pub fn name(&self) -> &std::path::Path {
        match self {
            Self::File { path, .. } => path,
            Self::Blob { name, .. } => name,
        }
    }
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
