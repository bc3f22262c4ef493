//! A store that lives as long as the process, on Tokio's clock: a test that pauses the clock sees hours pass in no time.

use std::{
    collections::{
        BTreeMap, HashMap,
        btree_map::{Entry, OccupiedEntry},
    },
    fs, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{Blob, BlobPath, Blobs, Delivery, ETag, Error, Lease, Precondition, QueueName, Queues, Store, limits};

/// Clones share the same content.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    content: Mutex<Content>,
    /// Messages were sent or became visible earlier than was planned.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Content {
    entries: BTreeMap<BlobPath, Written>,
    leases: BTreeMap<BlobPath, Held>,
    queues: HashMap<QueueName, BTreeMap<u64, Message>>,
    /// The last number given to a version, message, receipt or lease. Nothing is random: simulations repeat.
    last: u64,
}

#[derive(Debug)]
struct Written {
    bytes: Vec<u8>,
    version: u64,
    /// How many, if it is a log.
    records: Option<u64>,
}

#[derive(Debug)]
struct Held {
    id: String,
    time: Duration,
    until: Instant,
}

#[derive(Debug)]
struct Message {
    body: Vec<u8>,
    visible_at: Instant,
    deliveries: u32,
    receipt: u64,
}

impl Memory {
    pub fn store(&self) -> Store {
        Store { blobs: Arc::new(self.clone()), queues: Arc::new(self.clone()) }
    }

    /// Nobody panics half-way through a change, so what a poisoned lock guards is whole.
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn get(&self, path: &BlobPath) -> Result<&Written, Error> {
        self.entries.get(path).ok_or_else(|| Error::NotFound { what: path.to_string() })
    }

    fn holder(&mut self, path: &BlobPath) -> Option<&mut Held> {
        self.leases.get_mut(path).filter(|held| held.until > Instant::now())
    }

    /// The message, if this delivery is its latest.
    fn delivered(&mut self, delivery: &Delivery) -> Result<OccupiedEntry<'_, u64, Message>, Error> {
        let missing = || Error::NotFound { what: format!("a message of queue {}", delivery.queue) };
        let queue = self.queues.get_mut(&delivery.queue).ok_or_else(missing)?;
        match queue.entry(delivery.id.parse().map_err(|_| missing())?) {
            Entry::Occupied(message) if message.get().receipt.to_string() == delivery.receipt => Ok(message),
            _ => Err(missing()),
        }
    }

    fn next_visible(&self, queues: &[QueueName]) -> Option<Instant> {
        let queues = queues.iter().filter_map(|queue| self.queues.get(queue));
        queues.flat_map(BTreeMap::values).map(|message| message.visible_at).min()
    }
}

impl Written {
    fn etag(&self) -> ETag {
        ETag(self.version.to_string())
    }
}

#[async_trait]
impl Blobs for Memory {
    async fn get(&self, path: &BlobPath) -> Result<Blob, Error> {
        let content = self.content();
        let entry = content.get(path)?;
        Ok(Blob { bytes: entry.bytes.clone(), etag: entry.etag() })
    }

    async fn put(&self, path: &BlobPath, bytes: Vec<u8>, when: Precondition) -> Result<ETag, Error> {
        let mut content = self.content();
        when.check(path, content.entries.get(path).map(Written::etag).as_ref())?;
        let entry = Written { bytes, version: content.next(), records: None };
        let etag = entry.etag();
        content.entries.insert(path.clone(), entry);
        Ok(etag)
    }

    async fn get_file(&self, path: &BlobPath, file: &Path) -> Result<ETag, Error> {
        let Blob { bytes, etag } = self.get(path).await?;
        fs::write(file, bytes).map_err(|error| unreadable(path, error))?;
        Ok(etag)
    }

    async fn put_file(&self, path: &BlobPath, file: &Path, when: Precondition) -> Result<ETag, Error> {
        let bytes = fs::read(file).map_err(|error| unreadable(path, error))?;
        self.put(path, bytes, when).await
    }

    async fn append(&self, path: &BlobPath, record: Vec<u8>) -> Result<u64, Error> {
        limits::record(path, &record)?;
        let mut content = self.content();
        let version = content.next();
        let log =
            content.entries.entry(path.clone()).or_insert(Written { bytes: Vec::new(), version, records: Some(0) });
        let Some(records) = &mut log.records else { return limits::refused(path, "it is not a log".to_owned()) };
        limits::append(path, *records)?;
        *records += 1;
        log.version = version;
        log.bytes.extend_from_slice(&record);
        Ok(*records)
    }

    async fn list(&self, folder: Option<&BlobPath>) -> Result<Vec<BlobPath>, Error> {
        let content = self.content();
        let Some(folder) = folder else { return Ok(content.entries.keys().cloned().collect()) };
        let prefix = format!("{folder}/");
        let from_there = content.entries.range(folder..).map(|(path, _)| path);
        let candidates = from_there.take_while(|path| path.as_str().starts_with(folder.as_str()));
        Ok(candidates.filter(|path| path.as_str().starts_with(&prefix)).cloned().collect())
    }

    async fn delete(&self, path: &BlobPath) -> Result<(), Error> {
        self.content().entries.remove(path);
        Ok(())
    }

    async fn lease(&self, path: &BlobPath, time: Duration) -> Result<Lease, Error> {
        let mut content = self.content();
        if content.holder(path).is_some() {
            return Err(Error::LeaseHeld { what: path.to_string() });
        }
        let id = content.next().to_string();
        content.leases.insert(path.clone(), Held { id: id.clone(), time, until: Instant::now() + time });
        Ok(Lease { path: path.clone(), id })
    }

    async fn renew(&self, lease: &Lease) -> Result<(), Error> {
        match self.content().leases.get_mut(&lease.path) {
            Some(held) if held.id == lease.id => {
                held.until = Instant::now() + held.time;
                Ok(())
            }
            _ => Err(Error::LeaseHeld { what: lease.path.to_string() }),
        }
    }

    async fn release(&self, lease: &Lease) -> Result<(), Error> {
        let mut content = self.content();
        if content.leases.get(&lease.path).is_some_and(|held| held.id == lease.id) {
            content.leases.remove(&lease.path);
        }
        Ok(())
    }
}

fn unreadable(path: &BlobPath, error: io::Error) -> Error {
    Error::Permanent { what: path.to_string(), source: error.into() }
}

#[async_trait]
impl Queues for Memory {
    async fn send(&self, queue: &QueueName, body: Vec<u8>, delay: Duration) -> Result<(), Error> {
        limits::message(queue, &body)?;
        let mut content = self.content();
        let id = content.next();
        let message = Message { body, visible_at: Instant::now() + delay, deliveries: 0, receipt: id };
        content.queues.entry(queue.clone()).or_default().insert(id, message);
        self.0.changed.notify_waiters();
        Ok(())
    }

    async fn receive(&self, queue: &QueueName, limit: usize, visibility: Duration) -> Result<Vec<Delivery>, Error> {
        let now = Instant::now();
        let Content { queues, last, .. } = &mut *self.content();
        let Some(messages) = queues.get_mut(queue) else { return Ok(Vec::new()) };
        let visible = messages.iter_mut().filter(|(_, message)| message.visible_at <= now);
        let hand_out = |(id, message): (&u64, &mut Message)| {
            *last += 1;
            message.receipt = *last;
            message.visible_at = now + visibility;
            message.deliveries += 1;
            Delivery {
                queue: queue.clone(),
                id: id.to_string(),
                receipt: message.receipt.to_string(),
                body: message.body.clone(),
                deliveries: message.deliveries,
            }
        };
        Ok(visible.take(limit.min(limits::RECEIVE)).map(hand_out).collect())
    }

    async fn extend(&self, delivery: &mut Delivery, visibility: Duration) -> Result<(), Error> {
        let mut content = self.content();
        let receipt = content.next();
        let mut message = content.delivered(delivery)?;
        let message = message.get_mut();
        message.receipt = receipt;
        message.visible_at = Instant::now() + visibility;
        delivery.receipt = receipt.to_string();
        self.0.changed.notify_waiters();
        Ok(())
    }

    async fn delete(&self, delivery: &Delivery) -> Result<(), Error> {
        self.content().delivered(delivery)?.remove();
        Ok(())
    }

    async fn wait(&self, queues: &[QueueName], at_most: Duration) {
        let deadline = Instant::now() + at_most;
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            // From here on a change is noticed; the look that follows sees all earlier ones.
            changed.as_mut().enable();
            let wake = self.content().next_visible(queues).map_or(deadline, |visible| visible.min(deadline));
            if wake <= Instant::now() {
                return;
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(wake) => return,
            }
        }
    }
}
