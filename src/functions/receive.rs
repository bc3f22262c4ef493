//! A body of any size on its way into a file: never more than a piece of it is in memory.

use std::{path::Path, time::Duration};

use axum::{body::Body, http::StatusCode};
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use tempfile::TempPath;
use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::refusal::Refusal;
use crate::{Error, domain::digest::Digest};

/// What a Functions host takes of a body. Larger files go straight into storage.
pub const MOST: u64 = 100 << 20;
/// Without a byte for so long, nobody sends any more.
const STALL: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Received {
    /// Removed when it is let go.
    pub file: TempPath,
    pub bytes: u64,
    pub sha256: Digest,
}

/// The body in a file, which is gone when it is let go, wherever this stops.
pub async fn receive(body: Body, scratch: &Path, most: u64) -> Result<Received, Refusal> {
    let failed = |error: std::io::Error| Error::failed("the body cannot be set aside", error);
    let (file, path) = tempfile::NamedTempFile::new_in(scratch).map_err(failed)?.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    let mut pieces = body.into_data_stream();
    loop {
        let piece = timeout(STALL, pieces.try_next()).await.map_err(|_| stalled())?.map_err(|_| cut_off())?;
        let Some(piece) = piece else { break };
        bytes += piece.len() as u64;
        if bytes > most {
            return Err(too_large(most));
        }
        hasher.update(&piece);
        file.write_all(&piece).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    Ok(Received { file: path, bytes, sha256: Digest::from(<[u8; 32]>::from(hasher.finalize())) })
}

pub fn too_large(most: u64) -> Refusal {
    let detail = format!(
        "more than {} MiB cannot be sent to this app: POST /api/uploads gives an address for files of any size",
        most >> 20
    );
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
}

fn cut_off() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "cut_off", "the body ended too early: send the file again")
}

fn stalled() -> Refusal {
    let detail = format!("nothing came for {} s: send the file again", STALL.as_secs());
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "stalled", detail)
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_may_take_as_long_as_it_comes_on_and_no_longer() {
        let piece = |_| async {
            sleep(STALL - Duration::from_secs(1)).await;
            Ok::<_, std::io::Error>("x")
        };
        let slow = stream::iter(0..100).then(piece);
        let folder = tempfile::tempdir().unwrap();
        let received = receive(Body::from_stream(slow), folder.path(), 100).await.unwrap();
        assert_eq!((received.bytes, received.sha256), (100, Digest::of("x".repeat(100))));

        let since = Instant::now();
        let stopped = stream::iter(["x"]).map(Ok::<_, std::io::Error>).chain(stream::pending());
        let refused = receive(Body::from_stream(stopped), folder.path(), 100).await.unwrap_err();
        assert_eq!((refused.status(), since.elapsed()), (StatusCode::REQUEST_TIMEOUT, STALL));
        drop(received);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
