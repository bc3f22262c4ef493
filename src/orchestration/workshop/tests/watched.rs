//! A store that counts what is asked of it, and lets a worker fall asleep at the worst moment.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::store::{Blob, BlobPath, Blobs, ETag, Error, Lease, Precondition, Store};

#[derive(Debug)]
pub struct Watched {
    inner: Arc<dyn Blobs>,
    calls: Mutex<BTreeMap<&'static str, u32>>,
    /// Before such a blob is written, whoever wants to falls asleep.
    stall: Option<BlobPath>,
    pub asleep: Notify,
    pub wake: Notify,
}

impl Watched {
    pub fn over(store: &Store, stall: Option<BlobPath>) -> (Arc<Self>, Store) {
        let inner = Arc::clone(&store.blobs);
        let watched =
            Arc::new(Self { inner, calls: Mutex::default(), stall, asleep: Notify::new(), wake: Notify::new() });
        let store = Store { blobs: Arc::clone(&watched) as Arc<dyn Blobs>, queues: Arc::clone(&store.queues) };
        (watched, store)
    }

    fn count(&self, call: &'static str) {
        *self.calls.lock().unwrap().entry(call).or_default() += 1;
    }

    /// How often each was called.
    pub fn calls(&self) -> Vec<(&'static str, u32)> {
        self.calls.lock().unwrap().clone().into_iter().collect()
    }
}

#[async_trait]
impl Blobs for Watched {
    async fn get(&self, path: &BlobPath) -> Result<Blob, Error> {
        self.count("get");
        self.inner.get(path).await
    }

    async fn put(&self, path: &BlobPath, bytes: Vec<u8>, when: Precondition) -> Result<ETag, Error> {
        self.count("put");
        if self.stall.as_ref() == Some(path) {
            self.asleep.notify_one();
            self.wake.notified().await;
        }
        self.inner.put(path, bytes, when).await
    }

    async fn get_file(&self, path: &BlobPath, file: &Path) -> Result<ETag, Error> {
        self.count("get");
        self.inner.get_file(path, file).await
    }

    async fn put_file(&self, path: &BlobPath, file: &Path, when: Precondition) -> Result<ETag, Error> {
        self.count("put");
        self.inner.put_file(path, file, when).await
    }

    async fn append(&self, path: &BlobPath, record: Vec<u8>) -> Result<u64, Error> {
        self.count("append");
        self.inner.append(path, record).await
    }

    async fn list(&self, folder: Option<&BlobPath>) -> Result<Vec<BlobPath>, Error> {
        self.count("list");
        self.inner.list(folder).await
    }

    async fn delete(&self, path: &BlobPath) -> Result<(), Error> {
        self.count("delete");
        self.inner.delete(path).await
    }

    async fn lease(&self, path: &BlobPath, time: Duration) -> Result<Lease, Error> {
        self.inner.lease(path, time).await
    }

    async fn renew(&self, lease: &Lease) -> Result<(), Error> {
        self.inner.renew(lease).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), Error> {
        self.inner.release(lease).await
    }
}
