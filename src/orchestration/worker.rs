//! What is done with an item's message.
//!
//! ```text
//! is it still wanted? -> is its record stored? -> claim -> work -> store the record
//!   -> send what follows without a barrier -> append the arrival -> is the group through? wake
//! ```
//!
//! If the process dies anywhere, the message comes again and walks the same way; what is stored is not done again. The
//! claim only saves money: two workers on one item give one record.

use std::{pin::pin, time::Duration};

use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use super::{
    arrivals,
    engine::{Engine, ITEM_TIME},
    instance::{ENGINE, GROUP, Instance, Status},
    item::{Item, ItemSchema},
    record::{self, Outcome, Record, Tombstone},
    spent,
    stage::{Stage, Step},
    workshop::{Output, Setback, Trouble},
};
use crate::{
    domain::variant::Usage,
    providers::ErrorKind,
    store,
    telemetry::{self, Outcome as Ended},
};

/// A message that is handed out so often in vain is given up: its item gets a tombstone.
pub const MAX_DELIVERIES: u32 = 5;

const CLAIM: Duration = Duration::from_secs(60);
const CLAIM_RENEWED: Duration = Duration::from_secs(20);
/// When to look again at an item that somebody else works on.
const CLAIMED_ELSEWHERE: Duration = Duration::from_secs(45);
/// When to try again where a provider or the store is too busy and does not say.
const BUSY: Duration = Duration::from_secs(10);
/// When to look again at what only a newer program understands.
const FOR_A_NEWER_PROGRAM: Duration = Duration::from_secs(60);

/// Why a message must come again.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("{step} {index} of campaign {campaign}: {source}")]
    Item { campaign: String, step: Step, index: u32, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("not a message of this program: {0}")]
    Unreadable(serde_json::Error),
}

fn told<E>(item: &Item, since: Instant, worked: &Result<Result<Output, Setback>, E>) {
    let nothing = Usage::default();
    let (outcome, usage) = match worked {
        Ok(Ok(output)) => (Ended::Done, &output.usage),
        Ok(Err(Setback { trouble: Trouble::Provider(error), usage }))
            if matches!(error.kind, ErrorKind::Throttled { .. }) =>
        {
            (Ended::Throttled, usage)
        }
        Ok(Err(setback)) => (Ended::Failed, &setback.usage),
        Err(_) => (Ended::Failed, &nothing),
    };
    let stage = item.step.stage.as_str();
    telemetry::metrics().item_ended(stage, since.elapsed(), outcome);
    telemetry::metrics().spent(stage, usage);
}

/// What became of the work on an item.
enum Worked {
    Stored(Record),
    /// A copy of its message comes later.
    PutOff,
}

impl Engine {
    /// Handles a message of an agent's queue. `Ok`: it can be deleted. On an error it must come again.
    pub async fn work(&self, body: &[u8], deliveries: u32) -> Result<(), WorkError> {
        let Some(item) = self.read_item(body).await? else { return Ok(()) };
        let span = self.came(&item);
        match self.bring_through(item.clone(), deliveries).instrument(span).await {
            // A message's tries are for what goes wrong with its item, not for a store that is busy.
            Err(WorkError::Store(store::Error::Throttled { retry_after, .. })) => {
                Ok(self.send(&item, retry_after.unwrap_or(BUSY)).await?)
            }
            brought => brought,
        }
    }

    /// Tells of the message; all that is done with it is told with its item's name.
    fn came(&self, item: &Item) -> Span {
        let Item { campaign, step, index, attempt, .. } = item;
        let span = tracing::info_span!("item", %campaign, stage = %step, shard = index, attempt);
        if let Some(sent) = &item.sent {
            let lag = self.now().duration_since(sent.due).try_into().unwrap_or_default();
            telemetry::metrics().message_came(step.stage.agent().as_str(), lag);
            if let Some(trace) = &sent.trace {
                telemetry::trace::continue_from(&span, trace);
            }
        }
        span
    }

    async fn bring_through(&self, item: Item, deliveries: u32) -> Result<(), WorkError> {
        let Some((item, instance)) = self.wanted(item).await? else { return Ok(()) };
        let record = match self.stored(&item).await? {
            Some(record) => record,
            None => match self.claim_and_work(&item, &instance, deliveries).await? {
                Worked::Stored(record) => record,
                Worked::PutOff => return Ok(()),
            },
        };
        Ok(self.announce(&item, &instance, &record).await?)
    }

    /// Handles a message that was handed out too often, so that its stage can end. Whatever is stored by now decides.
    pub async fn give_up(&self, body: &[u8]) -> Result<(), WorkError> {
        let item = match self.read_item(body).await {
            Ok(Some(item)) => item,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::error!(%error, "a message that nobody can read is dropped");
                return Ok(());
            }
        };
        let Some((item, instance)) = self.wanted(item).await? else { return Ok(()) };
        let record = match self.stored(&item).await? {
            Some(record) => record,
            None => {
                let reason = "given up after too many tries, in each of which the process died".to_owned();
                let tombstone = Tombstone { reason, problems: Vec::new() };
                self.bury(&item, self.spent(&item).await?, tombstone).await?
            }
        };
        Ok(self.announce(&item, &instance, &record).await?)
    }

    /// `None`: it is a newer program's, and was put back for one.
    async fn read_item(&self, body: &[u8]) -> Result<Option<Item>, WorkError> {
        #[derive(serde::Deserialize)]
        struct Any {
            schema: String,
            step: Step,
        }
        let error = match serde_json::from_slice::<Item>(body) {
            Ok(item) => return Ok(Some(item)),
            Err(error) => error,
        };
        match serde_json::from_slice::<Any>(body) {
            Ok(Any { schema, step }) if schema.starts_with("item/") && schema != "item/1" => {
                let queue = step.stage.agent().queue();
                self.store.queues.send(&queue, body.to_vec(), FOR_A_NEWER_PROGRAM).await?;
                Ok(None)
            }
            _ => Err(WorkError::Unreadable(error)),
        }
    }

    /// The item as it is to be done now, and the instance; `None`: nobody waits for it, or only a newer program can do
    /// it. That nobody does is never concluded from what was read earlier.
    async fn wanted(&self, mut item: Item) -> Result<Option<(Item, std::sync::Arc<Instance>)>, store::Error> {
        let mut view = self.view(&item.campaign, item.version).await?;
        for is_fresh in [false, true] {
            if is_fresh {
                view = self.load(&item.campaign).await?.map(|held| std::sync::Arc::new(held.instance));
            }
            let Some(instance) = &view else { continue };
            if instance.engine > ENGINE {
                self.send(&item, FOR_A_NEWER_PROGRAM).await?;
                return Ok(None);
            }
            let stage = instance.stage(item.step).filter(|stage| stage.is_open() && item.index < stage.planned);
            if let Some(stage) = stage
                && instance.status == Status::Running
                && instance.generation == item.generation
            {
                if item.attempt < stage.attempt {
                    // It was sent before a rewind, which wants the same thing.
                    item.attempt = stage.attempt;
                    item.allowance = stage.allowance;
                    item.expected = 0;
                }
                return Ok(view.map(|instance| (item, instance)));
            }
        }
        Ok(None)
    }

    /// The item's record, where there is one that this attempt does not do again.
    async fn stored(&self, item: &Item) -> Result<Option<Record>, store::Error> {
        let stored = record::read(self.store.blobs.as_ref(), &item.run(), item.step, item.index, item.attempt).await?;
        Ok(stored.filter(|record| record.is_done() || record.attempt == item.attempt))
    }

    async fn claim_and_work(&self, item: &Item, instance: &Instance, deliveries: u32) -> Result<Worked, WorkError> {
        if item.is_light() {
            return self.do_work(item, instance, deliveries).await;
        }
        let blobs = self.store.blobs.as_ref();
        let claim = match blobs.lease(&item.run().claim(item.step, item.index), CLAIM).await {
            Ok(claim) => claim,
            Err(store::Error::LeaseHeld { .. }) => {
                self.send(item, CLAIMED_ELSEWHERE).await?;
                return Ok(Worked::PutOff);
            }
            Err(error) => return Err(error.into()),
        };
        // Whoever had the claim before may have done it meanwhile.
        let work = async {
            match self.stored(item).await? {
                Some(record) => Ok(Worked::Stored(record)),
                None => self.do_work(item, instance, deliveries).await,
            }
        };
        let renewing = async {
            loop {
                tokio::time::sleep(CLAIM_RENEWED).await;
                if let Err(error) = blobs.renew(&claim).await {
                    tracing::warn!(%error, step = %item.step, index = item.index, "a claim was not renewed");
                }
            }
        };
        let worked = tokio::select! {
            worked = work => worked,
            () = renewing => unreachable!("renewing never ends"),
        };
        // If it is not released, it runs out.
        if let Err(error) = blobs.release(&claim).await {
            tracing::debug!(%error, "a claim was not released");
        }
        worked
    }

    async fn do_work(&self, item: &Item, instance: &Instance, deliveries: u32) -> Result<Worked, WorkError> {
        // What the tries before this one have spent is spent of the same allowance.
        let before = self.spent(item).await?.cost_usd;
        let left = Item { allowance: item.allowance.checked_sub(before).unwrap_or_default(), ..item.clone() };
        let work = pin!(self.agents.perform(&left, instance));
        let since = Instant::now();
        let worked = tokio::time::timeout(ITEM_TIME, work).await;
        told(item, since, &worked);
        let Setback { trouble, usage } = match worked {
            Ok(Ok(Output { fact, usage, value: output })) => {
                let spent = self.spent(item).await?.and(usage);
                let record = self.store_record(item, spent, Outcome::Done { fact, output }).await?;
                return Ok(Worked::Stored(record));
            }
            Ok(Err(setback)) => setback,
            Err(_) => Trouble::Defect(format!("it took more than {} s", ITEM_TIME.as_secs()).into()).into(),
        };
        let busy = match &trouble {
            Trouble::Problems(problems) => {
                let tombstone = Tombstone { reason: trouble.to_string(), problems: problems.clone() };
                return Ok(Worked::Stored(self.bury(item, self.spent(item).await?.and(usage), tombstone).await?));
            }
            Trouble::Provider(error) => match error.kind {
                ErrorKind::Throttled { retry_after } => Some(retry_after.unwrap_or(BUSY)),
                _ => None,
            },
            Trouble::Store(store::Error::Throttled { retry_after, .. }) => Some(retry_after.unwrap_or(BUSY)),
            _ => None,
        };
        if busy.is_none()
            && deliveries >= MAX_DELIVERIES
            && !matches!(trouble, Trouble::Store(store::Error::Permanent { .. }))
        {
            let reason = format!("given up after {deliveries} tries: {trouble}");
            let tombstone = Tombstone { reason, problems: Vec::new() };
            return Ok(Worked::Stored(self.bury(item, self.spent(item).await?.and(usage), tombstone).await?));
        }
        spent::note(self.store.blobs.as_ref(), item, usage).await?;
        match (busy, trouble) {
            (Some(delay), _) => {
                self.send(item, delay).await?;
                Ok(Worked::PutOff)
            }
            (None, Trouble::Store(error)) => Err(error.into()),
            (None, trouble) => Err(WorkError::Item {
                campaign: item.campaign.to_string(),
                step: item.step,
                index: item.index,
                source: trouble.into(),
            }),
        }
    }

    /// What tries of this attempt have spent, as far as they lived to tell. Nothing is noted of what costs nothing and
    /// is soon done again.
    async fn spent(&self, item: &Item) -> Result<Usage, store::Error> {
        if item.is_light() { Ok(Usage::default()) } else { spent::total(self.store.blobs.as_ref(), item).await }
    }

    async fn bury(&self, item: &Item, usage: Usage, tombstone: Tombstone) -> Result<Record, store::Error> {
        let reason = tombstone.reason.as_str();
        tracing::warn!(campaign = %item.campaign, step = %item.step, index = item.index, reason, "an item failed");
        self.store_record(item, usage, Outcome::Failed(tombstone)).await
    }

    async fn store_record(&self, item: &Item, usage: Usage, result: Outcome) -> Result<Record, store::Error> {
        let record = Record {
            schema: record::Schema::V1,
            step: item.step,
            index: item.index,
            attempt: item.attempt,
            at: self.now(),
            usage,
            result,
        };
        record::write(self.store.blobs.as_ref(), &item.run(), record).await
    }

    /// Tells everybody whom it concerns. Done again with every delivery, because the one before may have died on the way.
    ///
    /// The screen first: with the last arrival the stage closes, and then this message is not wanted any more.
    async fn announce(&self, item: &Item, instance: &Instance, record: &Record) -> Result<(), store::Error> {
        if item.step.stage == Stage::Generate && record.is_done() {
            self.send_to_screen(item, instance).await?;
        }
        let arrived = arrivals::append(self.store.blobs.as_ref(), &item.run(), record).await?;
        tracing::info!(campaign = %item.campaign, step = %item.step, index = item.index, done = record.is_done(), "item");
        if arrived >= item.expected {
            self.wake_if_through(instance, item.step, item.index / GROUP).await?;
        }
        self.progressed();
        Ok(())
    }

    async fn send_to_screen(&self, draft: &Item, instance: &Instance) -> Result<(), store::Error> {
        let Some(screen) = instance.stage(Stage::Screen.into()) else { return Ok(()) };
        let item = Item {
            schema: ItemSchema::V1,
            step: screen.step,
            attempt: screen.attempt,
            allowance: screen.allowance,
            version: instance.version,
            expected: u64::from(screen.group_size(draft.index / GROUP)),
            ..draft.clone()
        };
        self.send(&item, Duration::ZERO).await
    }
}
