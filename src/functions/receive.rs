//! A body of any size on its way into a file: never more than a piece of it is in memory.

use std::path::Path;

use axum::{body::Body, http::StatusCode};
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use tempfile::TempPath;
use tokio::io::AsyncWriteExt as _;

use super::refusal::Refusal;
use crate::{Error, domain::digest::Digest};

/// What a Functions host takes of a body. Larger files go straight into storage.
pub const MOST: u64 = 100 << 20;

#[derive(Debug)]
pub struct Received {
    /// Removed when it is let go.
    pub file: TempPath,
    pub bytes: u64,
    pub sha256: Digest,
}

pub async fn receive(body: Body, scratch: &Path, most: u64) -> Result<Received, Refusal> {
    let failed = |error: std::io::Error| Error::failed("the body cannot be set aside", error);
    let (file, path) = tempfile::NamedTempFile::new_in(scratch).map_err(failed)?.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    let mut pieces = body.into_data_stream();
    let broken = |_| Refusal::new(StatusCode::BAD_REQUEST, "broken_body", "the body ended before it was whole");
    while let Some(piece) = pieces.try_next().await.map_err(broken)? {
        bytes += piece.len() as u64;
        if bytes > most {
            let detail =
                format!("the body has more than {most} bytes; POST /api/uploads says where to put larger files");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
        }
        hasher.update(&piece);
        file.write_all(&piece).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    Ok(Received { file: path, bytes, sha256: Digest::from(<[u8; 32]>::from(hasher.finalize())) })
}
