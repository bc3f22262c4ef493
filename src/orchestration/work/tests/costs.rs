//! What items cost in calls to the store.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::try_join_all;

use super::driver::{Driver, Manner};
use crate::{
    orchestration::{
        stage::Stage,
        work::{Agents as _, Providers, Workshop},
    },
    store::{Blob, BlobPath, Blobs, ETag, Error, Lease, Precondition, Store},
};

/// Counts the calls that work makes.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn Blobs>,
    calls: Mutex<BTreeMap<&'static str, u32>>,
}

impl Counting {
    fn count(&self, call: &'static str) {
        *self.calls.lock().unwrap().entry(call).or_default() += 1;
    }

    fn taken(&self) -> Vec<(&'static str, u32)> {
        std::mem::take(&mut *self.calls.lock().unwrap()).into_iter().collect()
    }
}

#[async_trait]
impl Blobs for Counting {
    async fn get(&self, path: &BlobPath) -> Result<Blob, Error> {
        self.count("get");
        self.inner.get(path).await
    }

    async fn put(&self, path: &BlobPath, bytes: Vec<u8>, when: Precondition) -> Result<ETag, Error> {
        self.count("put");
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

/// All items of a stage at once, by a process that has done nothing before.
async fn calls(driver: &Driver, stage: Stage) -> Vec<(&'static str, u32)> {
    let counting = Arc::new(Counting { inner: Arc::clone(&driver.store.blobs), calls: Mutex::default() });
    let store = Store { blobs: Arc::clone(&counting) as Arc<dyn Blobs>, queues: Arc::clone(&driver.store.queues) };
    let scratch = tempfile::tempdir().unwrap();
    let workshop = Workshop::new(store, scratch.path().to_owned(), Providers::default());
    let planned = driver.instance.stage(stage.into()).unwrap().planned;
    let items: Vec<_> = (0..planned).map(|index| driver.item(stage.into(), index)).collect();
    try_join_all(items.iter().map(|item| workshop.perform(item, &driver.instance))).await.unwrap();
    counting.taken()
}

#[tokio::test]
async fn what_items_share_is_read_once_and_each_item_adds_only_its_own() {
    let mut driver = Driver::new(&[], 2, Manner::InOrder).await;
    // The start, ingest's record, the model; and each shard's table, read and written.
    driver.play_until(Stage::Label).await;
    let shards = driver.instance.stage(Stage::Label.into()).unwrap().planned;
    assert_eq!(calls(&driver, Stage::Label).await, [("get", 3 + shards), ("put", shards)]);
    // The start, design's record, the content; and each answer's record. Nothing of the customers.
    driver.play_until(Stage::Generate).await;
    let variants = driver.instance.stage(Stage::Generate.into()).unwrap().planned;
    assert_eq!(calls(&driver, Stage::Generate).await, [("get", 3 + variants)]);
    // The start, ingest's, design's and release's record, the variants, the model; and each shard's two tables, read,
    // and one written.
    driver.play_until(Stage::Deliver).await;
    assert_eq!(calls(&driver, Stage::Deliver).await, [("get", 6 + 2 * shards), ("put", shards)]);
}
