//! A store that goes wrong on purpose.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use cpo::store::{Blob, BlobPath, Blobs, Delivery, ETag, Error, Lease, Precondition, QueueName, Queues, Store};
use tokio::sync::watch;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and the caller is told.
    Fail,
    /// Nothing is done: the store is too busy.
    Throttle,
    /// It is done, and the caller is told that this is not known.
    LoseAnswer,
    /// It is done, a while later.
    Delay(Duration),
    /// A message is sent twice.
    Duplicate,
    /// A message is lost, and the caller is told that it was sent.
    Lose,
    /// The process dies before it is done.
    DieBefore,
    /// The process dies when it is done, before it learns so.
    DieAfter,
}

/// Which fault the n-th call (from 1) meets.
type Plan = Box<dyn FnMut(u64, &str) -> Option<Fault> + Send>;

/// Counts calls, and lets those fail that the plan names.
pub struct Faults {
    inner: Store,
    calls: AtomicU64,
    plan: Mutex<Plan>,
    dead: watch::Sender<bool>,
    /// Calls by kind.
    pub counts: Mutex<std::collections::BTreeMap<&'static str, u64>>,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faults")
    }
}

impl Faults {
    pub fn new(inner: Store, plan: impl FnMut(u64, &str) -> Option<Fault> + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            inner,
            calls: AtomicU64::new(0),
            plan: Mutex::new(Box::new(plan)),
            dead: watch::Sender::new(false),
            counts: Mutex::default(),
        })
    }

    pub fn store(self: &Arc<Self>) -> Store {
        Store { blobs: Arc::clone(self) as _, queues: Arc::clone(self) as _ }
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    /// Returns when the process has died.
    pub async fn death(&self) {
        let mut dead = self.dead.subscribe();
        dead.wait_for(|dead| *dead).await.expect("the sender is in self");
    }

    async fn die<T>(&self) -> T {
        self.dead.send_replace(true);
        std::future::pending().await
    }

    async fn call<T: Send>(
        &self,
        kind: &'static str,
        what: &str,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        if self.is_dead() {
            return std::future::pending().await;
        }
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        *self.counts.lock().unwrap().entry(kind).or_default() += 1;
        let fault = (self.plan.lock().unwrap())(number, &format!("{kind} {what}"));
        let what = || format!("call {number} ({kind} {what})");
        match fault {
            None | Some(Fault::Duplicate | Fault::Lose) => work.await,
            Some(Fault::Fail) => Err(Error::Transient { what: what(), source: "made to fail".into() }),
            Some(Fault::Throttle) => {
                Err(Error::Throttled { what: what(), retry_after: Some(Duration::from_millis(700)) })
            }
            Some(Fault::LoseAnswer) => {
                let is_write = !["get", "list", "receive"].contains(&kind);
                let done = work.await;
                match done {
                    Ok(_) if is_write => Err(Error::Ambiguous { what: what(), source: "the answer was lost".into() }),
                    // What is only read can be read again.
                    Ok(_) => Err(Error::Transient { what: what(), source: "the answer was lost".into() }),
                    Err(error) => Err(error),
                }
            }
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                work.await
            }
            Some(Fault::DieBefore) => self.die().await,
            Some(Fault::DieAfter) => {
                let _ = work.await;
                self.die().await
            }
        }
    }
}

#[async_trait]
impl Blobs for Faults {
    async fn get(&self, path: &BlobPath) -> Result<Blob, Error> {
        self.call("get", path.as_str(), self.inner.blobs.get(path)).await
    }

    async fn put(&self, path: &BlobPath, bytes: Vec<u8>, when: Precondition) -> Result<ETag, Error> {
        self.call("put", path.as_str(), self.inner.blobs.put(path, bytes, when)).await
    }

    async fn get_file(&self, path: &BlobPath, file: &Path) -> Result<ETag, Error> {
        self.call("get", path.as_str(), self.inner.blobs.get_file(path, file)).await
    }

    async fn put_file(&self, path: &BlobPath, file: &Path, when: Precondition) -> Result<ETag, Error> {
        self.call("put", path.as_str(), self.inner.blobs.put_file(path, file, when)).await
    }

    async fn append(&self, path: &BlobPath, record: Vec<u8>) -> Result<u64, Error> {
        self.call("append", path.as_str(), self.inner.blobs.append(path, record)).await
    }

    async fn list(&self, folder: Option<&BlobPath>) -> Result<Vec<BlobPath>, Error> {
        let what = folder.map_or("everything", BlobPath::as_str);
        self.call("list", what, self.inner.blobs.list(folder)).await
    }

    async fn delete(&self, path: &BlobPath) -> Result<(), Error> {
        self.call("delete", path.as_str(), self.inner.blobs.delete(path)).await
    }

    async fn lease(&self, path: &BlobPath, time: Duration) -> Result<Lease, Error> {
        self.call("lease", path.as_str(), self.inner.blobs.lease(path, time)).await
    }

    async fn renew(&self, lease: &Lease) -> Result<(), Error> {
        self.call("lease", lease.path.as_str(), self.inner.blobs.renew(lease)).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), Error> {
        self.call("lease", lease.path.as_str(), self.inner.blobs.release(lease)).await
    }
}

#[async_trait]
impl Queues for Faults {
    async fn send(&self, queue: &QueueName, body: Vec<u8>, delay: Duration) -> Result<(), Error> {
        let fault = (self.plan.lock().unwrap())(self.calls() + 1, &format!("send {queue}"));
        match fault {
            Some(Fault::Duplicate) => self.inner.queues.send(queue, body.clone(), delay).await?,
            Some(Fault::Lose) => {
                return self.call("send", queue.as_str(), async { Ok(()) }).await;
            }
            _ => {}
        }
        self.call("send", queue.as_str(), self.inner.queues.send(queue, body, delay)).await
    }

    async fn receive(&self, queue: &QueueName, limit: usize, visibility: Duration) -> Result<Vec<Delivery>, Error> {
        self.call("receive", queue.as_str(), self.inner.queues.receive(queue, limit, visibility)).await
    }

    async fn extend(&self, delivery: &mut Delivery, visibility: Duration) -> Result<(), Error> {
        let queue = delivery.queue.clone();
        self.call("extend", queue.as_str(), self.inner.queues.extend(delivery, visibility)).await
    }

    async fn delete(&self, delivery: &Delivery) -> Result<(), Error> {
        self.call("delete message", delivery.queue.as_str(), self.inner.queues.delete(delivery)).await
    }

    async fn wait(&self, queues: &[QueueName], at_most: Duration) {
        if self.is_dead() {
            return std::future::pending().await;
        }
        self.inner.queues.wait(queues, at_most).await;
    }
}
