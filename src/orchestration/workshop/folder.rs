//! A run's folder: what items write into it beside their records.
//!
//! A table or document counts only when a record names it with its digest, and never changes from then on. Whoever
//! dies before the record is written leaves files that the item, done again, finds: they are the same, as they are
//! functions of the item's inputs, or they are replaced.

use std::{
    collections::HashMap,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use arrow_array::RecordBatch;
use parquet::errors::ParquetError;
use serde::{Serialize, de::DeserializeOwned};
use tempfile::NamedTempFile;

use super::{Trouble, compute};
use crate::{
    audit::Written,
    domain::{
        customer::{Shard, ShardId},
        digest::Digest,
    },
    orchestration::names::Run,
    store::{self, BlobPath, Blobs, ETag, Precondition, table},
};

#[derive(Clone, Copy)]
pub struct Folder<'a> {
    pub blobs: &'a dyn Blobs,
    pub run: &'a Run,
}

/// A file's bytes and their digest, which was taken where they were made.
pub struct Encoded {
    pub bytes: Vec<u8>,
    pub sha256: Digest,
}

/// The states that documents were in.
pub struct Standing(HashMap<BlobPath, ETag>);

impl From<Vec<u8>> for Encoded {
    fn from(bytes: Vec<u8>) -> Self {
        Self { sha256: Digest::of(&bytes), bytes }
    }
}

impl Folder<'_> {
    pub async fn put(&self, path: BlobPath, file: Encoded) -> Result<Written, Trouble> {
        let Encoded { bytes, sha256 } = file;
        let blob = self.run.file(&path);
        let written = Written { path, bytes: bytes.len() as u64, sha256 };
        match self.blobs.put(&blob, bytes.clone(), Precondition::Absent).await {
            Err(error) if may_be_there(&error) => {
                let there = self.blobs.get(&blob).await?;
                if there.bytes != bytes {
                    self.blobs.put(&blob, bytes, Precondition::Match(there.etag)).await?;
                }
            }
            put => drop(put?),
        }
        Ok(written)
    }

    pub async fn put_json(&self, path: BlobPath, value: &impl Serialize) -> Result<Written, Trouble> {
        self.put(path, to_json(value)?.into()).await
    }

    /// For what may be larger than memory.
    pub async fn put_file(&self, path: BlobPath, file: NamedTempFile) -> Result<Written, Trouble> {
        let blob = self.run.file(&path);
        let file = file.into_temp_path();
        let (bytes, sha256) = size_and_digest(file.to_path_buf()).await?;
        match self.blobs.put_file(&blob, &file, Precondition::Absent).await {
            Err(error) if may_be_there(&error) => {
                let folder = tempfile::tempdir_in(file.parent().unwrap_or(Path::new("")))?;
                let there = folder.path().join("there");
                self.blobs.get_file(&blob, &there).await?;
                if size_and_digest(there).await? != (bytes, sha256) {
                    self.blobs.put_file(&blob, &file, Precondition::None).await?;
                }
            }
            put => drop(put?),
        }
        Ok(Written { path, bytes, sha256 })
    }

    /// What stands under these names now, to be replaced later.
    pub async fn standing(&self, paths: impl IntoIterator<Item = BlobPath>) -> Result<Standing, Trouble> {
        let mut standing = HashMap::new();
        for path in paths {
            match self.blobs.get(&self.run.file(&path)).await {
                Ok(blob) => drop(standing.insert(path, blob.etag)),
                Err(store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Standing(standing))
    }

    /// In the place of what stood there; refused where somebody else has replaced it by something else meanwhile.
    pub async fn replace(&self, standing: &Standing, path: BlobPath, bytes: Vec<u8>) -> Result<Written, Trouble> {
        let Encoded { bytes, sha256 } = bytes.into();
        let blob = self.run.file(&path);
        let when = standing.0.get(&path).map_or(Precondition::Absent, |etag| Precondition::Match(etag.clone()));
        let written = Written { path, bytes: bytes.len() as u64, sha256 };
        match self.blobs.put(&blob, bytes, when).await {
            Err(error) if may_be_there(&error) => {
                if Digest::of(self.blobs.get(&blob).await?.bytes) != sha256 {
                    return Err(error.into());
                }
            }
            put => drop(put?),
        }
        Ok(written)
    }

    /// What a record names, and nothing else that may stand in its place.
    pub async fn get(&self, written: &Written) -> Result<Vec<u8>, Trouble> {
        let bytes = self.blobs.get(&self.run.file(&written.path)).await?.bytes;
        if Digest::of(&bytes) != written.sha256 {
            return Err(Trouble::Defect(format!("{} is not what was recorded", written.path).into()));
        }
        Ok(bytes)
    }

    pub async fn get_json<T: DeserializeOwned>(&self, written: &Written) -> Result<T, Trouble> {
        let bytes = self.get(written).await?;
        serde_json::from_slice(&bytes).map_err(|error| Trouble::Defect(format!("{}: {error}", written.path).into()))
    }
}

pub fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Trouble> {
    Ok(serde_json::to_vec_pretty(value)?)
}

/// An answer can be lost after the write was done, and another worker may have written the same.
fn may_be_there(error: &store::Error) -> bool {
    use store::Error::{AlreadyExists, Ambiguous, PreconditionFailed};
    matches!(error, AlreadyExists { .. } | Ambiguous { .. } | PreconditionFailed { .. })
}

async fn size_and_digest(file: PathBuf) -> Result<(u64, Digest), Trouble> {
    compute(move || {
        let mut reader = BufReader::new(File::open(file)?);
        let sha256 = Digest::of_reader(&mut reader)?;
        Ok((reader.get_ref().metadata()?.len(), sha256))
    })
    .await
}

/// A table's bytes, with their digest.
pub fn encode_table(rows: &RecordBatch) -> Result<Encoded, ParquetError> {
    Ok(table::encode(rows)?.into())
}

pub fn decode_shard(id: ShardId, bytes: Vec<u8>) -> Result<Shard, ParquetError> {
    Ok(Shard { id, rows: table::decode(bytes)? })
}
