//! Work on many shards at once, with as many in memory as there are cores.

use std::{future::Future, num::NonZeroUsize};

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};

use crate::{
    Error,
    audit::Written,
    domain::{
        customer::{Shard, ShardId},
        digest::Digest,
    },
    orchestration::{layout, progress::Running},
    store::{Files, table},
};

/// The results of `work`, in the order of the shards.
pub async fn map<T, Work, Doing>(count: u32, running: &Running<'_>, work: Work) -> Result<Vec<T>, Error>
where
    Work: Fn(ShardId) -> Doing,
    Doing: Future<Output = Result<T, Error>>,
{
    in_order(count, running, work).try_collect().await
}

/// The results of `work`, merged in the order of the shards as soon as they are there: only those of the shards in
/// flight are in memory. `None`: there is no shard.
pub async fn reduce<T, Work, Doing>(
    count: u32,
    running: &Running<'_>,
    work: Work,
    merge: impl Fn(T, T) -> T,
) -> Result<Option<T>, Error>
where
    Work: Fn(ShardId) -> Doing,
    Doing: Future<Output = Result<T, Error>>,
{
    let merge_next = |merged: Option<T>, next| {
        let merged = match merged {
            None => next,
            Some(merged) => merge(merged, next),
        };
        std::future::ready(Ok(Some(merged)))
    };
    in_order(count, running, work).try_fold(None, merge_next).await
}

fn in_order<T, Work, Doing>(count: u32, running: &Running<'_>, work: Work) -> impl Stream<Item = Result<T, Error>>
where
    Work: Fn(ShardId) -> Doing,
    Doing: Future<Output = Result<T, Error>>,
{
    stream::iter((0..count).map(ShardId)).map(work).buffered(parallelism()).inspect_ok(|_| running.advance(1))
}

/// Runs CPU-bound work beside the async tasks.
pub async fn compute<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
) -> Result<T, Error> {
    let panicked = |error| Error::failed(what, error);
    tokio::task::spawn_blocking(work).await.map_err(panicked)?.map_err(|error| Error::failed(what, error))
}

pub async fn load(store: &Files, folder: &str, id: ShardId) -> Result<Vec<u8>, Error> {
    store.get(&layout::table(folder, id)).map_err(|error| Error::failed("a shard cannot be read", error))
}

pub fn decode(id: ShardId, bytes: Vec<u8>) -> Result<Shard, parquet::errors::ParquetError> {
    Ok(Shard { id, rows: table::decode(bytes)? })
}

/// Writes bytes whose digest was taken where they were made.
pub async fn put(
    store: &Files,
    path: crate::store::BlobPath,
    bytes: Vec<u8>,
    sha256: Digest,
) -> Result<Written, Error> {
    let written = Written { path: path.clone(), bytes: bytes.len() as u64, sha256 };
    store.put(&path, &bytes).map_err(|error| Error::failed("a result cannot be written", error))?;
    Ok(written)
}

pub fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// A table's bytes and their digest.
pub fn encoded(rows: &arrow_array::RecordBatch) -> Result<(Vec<u8>, Digest), parquet::errors::ParquetError> {
    let bytes = table::encode(rows)?;
    let digest = Digest::of(&bytes);
    Ok((bytes, digest))
}
