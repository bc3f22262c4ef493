//! What drives campaigns: everything that a message, a timer or a client can set off.
//!
//! An engine keeps nothing that matters in memory. Any number of them may work on one store, and each may die at any
//! moment: what was in hand comes again.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{OwnedMutexGuard, watch},
    time::Instant,
};

use super::{
    instance::Instance,
    item::{Wake, WakeSchema},
    names,
    workshop::Agents,
};
use crate::{
    domain::id::CampaignId,
    store::{self, ETag, QueueName, Store},
};

/// How long an instance that was read may serve to decide that a message is worth working on. That one is not is
/// never decided by an instance that was read earlier.
const VIEW_LASTS: Duration = Duration::from_secs(5);

/// The longest that an item may take before it is tried again: below what a Functions host gives an invocation.
pub const ITEM_TIME: Duration = Duration::from_secs(240);

#[derive(Debug)]
pub struct Engine {
    pub store: Store,
    pub agents: Arc<dyn Agents>,
    clock: Clock,
    views: Mutex<HashMap<CampaignId, (Instant, Arc<Instance>)>>,
    turns: Mutex<HashMap<CampaignId, Arc<tokio::sync::Mutex<()>>>>,
    /// Told whenever this engine changed an instance or brought an item through.
    progress: watch::Sender<()>,
}

/// Tells the time that is written down. What it says decides nothing but deadlines.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(Timestamp::now))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// An instance as it was read.
#[derive(Debug, Clone)]
pub struct Held {
    pub instance: Instance,
    pub etag: ETag,
}

impl Engine {
    pub fn new(store: Store, agents: Arc<dyn Agents>, clock: Clock) -> Self {
        Self {
            store,
            agents,
            clock,
            views: Mutex::default(),
            turns: Mutex::default(),
            progress: watch::Sender::new(()),
        }
    }

    pub fn now(&self) -> Timestamp {
        (self.clock.0)()
    }

    /// The queue on which [`Wake`]s come.
    pub fn orchestrate() -> QueueName {
        QueueName::new("orchestrate").expect("it is the name of a queue")
    }

    /// `None`: there is no such campaign.
    pub async fn load(&self, campaign: &CampaignId) -> Result<Option<Held>, store::Error> {
        let path = names::instance(campaign);
        let blob = match self.store.blobs.get(&path).await {
            Ok(blob) => blob,
            Err(store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let instance: Instance = serde_json::from_slice(&blob.bytes)
            .map_err(|error| store::Error::Permanent { what: path.to_string(), source: error.into() })?;
        self.remember(&instance);
        Ok(Some(Held { instance, etag: blob.etag }))
    }

    pub(super) fn remember(&self, instance: &Instance) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.retain(|_, (at, _)| at.elapsed() < VIEW_LASTS);
        views.insert(instance.campaign.clone(), (Instant::now(), Arc::new(instance.clone())));
    }

    /// As it was some seconds ago at the earliest, and not before `version`.
    pub(super) async fn view(
        &self,
        campaign: &CampaignId,
        version: u64,
    ) -> Result<Option<Arc<Instance>>, store::Error> {
        let known = {
            let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
            views.get(campaign).filter(|(at, _)| at.elapsed() < VIEW_LASTS).map(|(_, instance)| Arc::clone(instance))
        };
        match known.filter(|instance| instance.version >= version) {
            Some(instance) => Ok(Some(instance)),
            None => Ok(self.load(campaign).await?.map(|held| Arc::new(held.instance))),
        }
    }

    /// Turns that one engine takes of one campaign wait for each other. Nothing that must be right rests on it: at once
    /// they would all find the same outbox, and each would send all of its messages.
    pub(super) async fn one_turn(&self, campaign: &CampaignId) -> OwnedMutexGuard<()> {
        let turns = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(campaign.clone()).or_default())
        };
        turns.lock_owned().await
    }

    pub(super) async fn wake(&self, wake: &Wake, delay: Duration) -> Result<(), store::Error> {
        let body = serde_json::to_vec(wake).expect("a wake is plain data");
        self.store.queues.send(&Self::orchestrate(), body, delay).await
    }

    pub(super) async fn wake_all(&self, campaign: &CampaignId) -> Result<(), store::Error> {
        let wake = Wake { schema: WakeSchema::V1, campaign: campaign.clone(), group: None };
        self.wake(&wake, Duration::ZERO).await
    }

    pub(super) fn progressed(&self) {
        self.progress.send_replace(());
    }

    /// Hears of everything that this engine gets done from now on. What others do it does not hear of.
    pub fn progress(&self) -> watch::Receiver<()> {
        self.progress.subscribe()
    }
}
