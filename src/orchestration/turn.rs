//! The orchestrator's turn: from what is known to the next state, and from the state to what follows from it.
//!
//! ```text
//! read instance (etag) -> carry out what is left of the last decision -> gather what is new -> decide
//!   -> archive the events of this version -> replace the instance, if it is still the one that was read
//!   -> carry out what was decided -> note that it is done
//! ```
//!
//! If the process dies before the replacement, nothing has happened; after it, the next turn finds the commands in the
//! outbox. A turn is set off by a message that stays on its queue until the turn has ended well.

use std::time::Duration;

use futures::{TryStreamExt as _, stream};
use jiff::Timestamp;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    arrivals::{self, Standing},
    decide::{self, Input},
    engine::{Engine, Held},
    instance::{Command, Envelope, Event, GROUP, Instance, Status},
    item::{Item, ItemSchema, Sent, Wake, WakeSchema},
    names::{self, Run},
    stage::{Stage, Step},
};
use crate::{
    domain::{digest::Digest, id::CampaignId},
    store::{self, Precondition},
    telemetry,
};

/// Turns that lose against others before the wake is put back on the queue.
const TRIES: u32 = 5;
/// Messages sent between two notes of how far a fan-out is: so many may be sent twice after a death.
const CHUNK: u32 = 512;
/// Messages sent at once.
const SENDERS: usize = 32;
/// Requests taken in by one turn.
const REQUESTS: usize = 16;

/// `history/<version>.json`
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    pub schema: HistorySchema,
    pub version: u64,
    pub events: Vec<Event>,
    /// SHA-256 of the version before.
    pub previous: Option<Digest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum HistorySchema {
    #[serde(rename = "history/1")]
    V1,
}

impl Engine {
    /// Handles a message of the queue `orchestrate`. On an error it must come again.
    pub async fn orchestrate_message(&self, body: &[u8]) -> Result<(), store::Error> {
        match serde_json::from_slice::<Wake>(body) {
            Ok(wake) => {
                let span = tracing::info_span!("turn", campaign = %wake.campaign);
                self.turn(&wake).instrument(span).await
            }
            Err(error) => {
                Err(store::Error::Permanent { what: "a message on `orchestrate`".to_owned(), source: error.into() })
            }
        }
    }

    pub async fn turn(&self, wake: &Wake) -> Result<(), store::Error> {
        let _turn = self.one_turn(&wake.campaign).await;
        let mut wake = wake.clone();
        let mut lost = 0;
        while lost < TRIES {
            let Some(held) = self.load(&wake.campaign).await? else { return Ok(()) };
            // Of a newer program's state machine: for a newer program.
            if held.instance.engine > super::instance::ENGINE {
                return self.wake(&wake, Duration::from_secs(30)).await;
            }
            let Some((held, some_are_through)) = self.flush(held).await? else {
                lost += 1;
                continue;
            };
            if some_are_through {
                wake.group = None;
            }
            let (inputs, more) = self.gather(&held.instance, wake.group).await?;
            let Some(next) = decide::decide(&held.instance, self.now(), &inputs) else { return Ok(()) };
            self.archive(&held.instance).await?;
            let previous = Some(Digest::of(history_of(&held.instance)));
            match self.replace(&held, Instance { previous, ..next }).await? {
                None => lost += 1,
                Some(held) => {
                    log_events(&held.instance);
                    let Some((_, some_are_through)) = self.flush(held).await? else {
                        lost += 1;
                        continue;
                    };
                    if !some_are_through && !more {
                        return Ok(());
                    }
                    wake.group = None;
                }
            }
        }
        // Whoever won knows no more than this turn did. After a moment it is quieter.
        let jitter = u64::from(Uuid::new_v4().as_bytes()[0]);
        self.wake(&wake, Duration::from_millis(1_000 + 4 * jitter)).await
    }

    /// What the instance does not know yet, and whether there is more than is taken in at once.
    async fn gather(
        &self,
        instance: &Instance,
        group: Option<(u32, Step, u32)>,
    ) -> Result<(Vec<Input>, bool), store::Error> {
        let run = run_of(instance);
        let mut inputs = Vec::new();
        let groups: Vec<(Step, u32)> = match group {
            Some((generation, step, group)) if generation == instance.generation => vec![(step, group)],
            Some(_) => Vec::new(),
            None => {
                instance.open_stages().flat_map(|stage| (0..stage.groups()).map(|group| (stage.step, group))).collect()
            }
        };
        if instance.status == Status::Running {
            for (step, group) in groups {
                let Some(stage) = instance.stage(step).filter(|stage| stage.is_waiting_for(group)) else { continue };
                let log = arrivals::read(self.store.blobs.as_ref(), &run, step, group).await?;
                if let Some((total, fact)) = log.total(stage, group) {
                    inputs.push(Input::Group { step, group, total, fact });
                }
            }
        }
        let waiting = self.store.blobs.list(Some(&names::inbox(&instance.campaign))).await?;
        for path in waiting.iter().take(REQUESTS) {
            match self.store.blobs.get(path).await {
                Ok(blob) => match serde_json::from_slice::<Envelope>(&blob.bytes) {
                    Ok(envelope) => inputs.push(Input::Request(envelope)),
                    // A newer program's; it stays for one.
                    Err(error) => {
                        tracing::warn!(%path, %error, "a request that this version cannot read is left alone")
                    }
                },
                // Another turn took it in meanwhile.
                Err(store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((inputs, waiting.len() > REQUESTS))
    }

    /// Keeps the events of this version before another takes its place. What is there already is the same.
    async fn archive(&self, instance: &Instance) -> Result<(), store::Error> {
        self.keep(&names::history(&instance.campaign, instance.version), history_of(instance)).await
    }

    /// Writes what everybody who writes there would write. So it may be tried again when its answer was lost.
    pub(super) async fn keep(&self, path: &store::BlobPath, bytes: Vec<u8>) -> Result<(), store::Error> {
        let put = || self.store.blobs.put(path, bytes.clone(), Precondition::Absent);
        let kept = match put().await {
            Err(store::Error::Ambiguous { .. }) => put().await,
            kept => kept,
        };
        match kept {
            Ok(_) | Err(store::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Puts `next` in the place of what was read; `None`: somebody else was faster.
    ///
    /// An answer may be lost after the write was done, and a write that is sent again then finds its own result in the
    /// way. So whoever is refused reads, and knows its own write by the `commit` in it.
    async fn replace(&self, held: &Held, mut next: Instance) -> Result<Option<Held>, store::Error> {
        next.commit = Uuid::new_v4();
        let path = names::instance(&next.campaign);
        let bytes = serde_json::to_vec(&next)
            .map_err(|error| store::Error::Permanent { what: path.to_string(), source: error.into() })?;
        match self.store.blobs.put(&path, bytes, Precondition::Match(held.etag.clone())).await {
            Ok(etag) => {
                self.remember(&next);
                self.progressed();
                Ok(Some(Held { instance: next, etag }))
            }
            Err(store::Error::PreconditionFailed { .. } | store::Error::Ambiguous { .. }) => {
                match self.load(&next.campaign).await? {
                    Some(held) if held.instance.commit == next.commit => {
                        self.progressed();
                        Ok(Some(held))
                    }
                    _ => Ok(None),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Carries out what is in the outbox. Returns the instance without it, and whether a group turned out to be through
    /// already; `None`: somebody else changed the instance meanwhile.
    async fn flush(&self, mut held: Held) -> Result<Option<(Held, bool)>, store::Error> {
        let mut some_are_through = false;
        while !held.instance.outbox.is_empty() {
            let mut next = held.instance.clone();
            let mut sent = 0;
            while let Some(command) = next.outbox.first_mut() {
                match command {
                    Command::FanOut { step, next: from, end } => {
                        let (step, start) = (*step, *from);
                        let stop = start.saturating_add(CHUNK - sent).min(*end);
                        some_are_through |= self.fan_out(&held.instance, step, start..stop).await?;
                        sent += stop - start;
                        *from = stop;
                        if stop < *end {
                            break;
                        }
                    }
                    Command::Acknowledge { events } => {
                        for event in events {
                            self.store.blobs.delete(&names::request(&held.instance.campaign, event)).await?;
                        }
                    }
                    Command::Retire => self.retire(&held.instance.campaign).await?,
                }
                next.outbox.remove(0);
            }
            match self.replace(&held, next).await? {
                Some(replaced) => held = replaced,
                None => return Ok(None),
            }
        }
        Ok(Some((held, some_are_through)))
    }

    /// Takes the campaign off the sweeper's list, unless somebody wants something of it again.
    ///
    /// Whoever sends a request writes it first and the mark after it. So a request that is not seen here has its mark
    /// yet to come, or was taken in by a turn whose state is seen.
    pub(super) async fn retire(&self, campaign: &CampaignId) -> Result<(), store::Error> {
        self.store.blobs.delete(&names::active(campaign)).await?;
        let waiting = self.store.blobs.list(Some(&names::inbox(campaign))).await?;
        let is_at_rest = self.load(campaign).await?.is_none_or(|held| held.instance.status.is_final());
        if waiting.is_empty() && is_at_rest { Ok(()) } else { self.mark_active(campaign).await }
    }

    pub(super) async fn mark_active(&self, campaign: &CampaignId) -> Result<(), store::Error> {
        let since = self.now().to_string().into_bytes();
        self.store.blobs.put(&names::active(campaign), since, Precondition::None).await.map(drop)
    }

    /// Sends a message for every item of the range that is not through. Returns whether a group of the range is.
    pub(super) async fn fan_out(
        &self,
        instance: &Instance,
        step: Step,
        range: std::ops::Range<u32>,
    ) -> Result<bool, store::Error> {
        let Some(stage) = instance.stage(step).filter(|stage| stage.is_open()) else { return Ok(false) };
        let (run, blobs) = (run_of(instance), self.store.blobs.as_ref());
        let mut some_are_through = false;
        for group in range.start / GROUP..range.end.div_ceil(GROUP) {
            let log = arrivals::read(blobs, &run, step, group).await?;
            let standings = log.standings(stage, group);
            let missing = standings.iter().filter(|standing| **standing == Standing::Missing).count();
            some_are_through |= missing == 0;
            // A draft goes to the screen by itself when it is written. One that never will be goes at the end.
            let drafts = match instance.stage(Stage::Generate.into()) {
                Some(generate) if step.stage == Stage::Screen => {
                    let log = arrivals::read(blobs, &run, generate.step, group).await?;
                    Some((log.standings(generate, group), generate.is_open()))
                }
                _ => None,
            };
            let is_ready = |position: usize| match &drafts {
                None => true,
                Some((drafts, is_open)) => match drafts[position] {
                    Standing::Done => true,
                    Standing::Failed => !is_open,
                    Standing::Missing => false,
                },
            };
            let first = group * GROUP;
            let items = standings.iter().enumerate().filter(|(position, standing)| {
                **standing == Standing::Missing && range.contains(&(first + *position as u32)) && is_ready(*position)
            });
            let items = items.map(|(position, _)| Item {
                schema: ItemSchema::V1,
                campaign: instance.campaign.clone(),
                generation: instance.generation,
                step,
                index: first + position as u32,
                attempt: stage.attempt,
                allowance: stage.allowance,
                version: instance.version,
                expected: log.lines() + missing as u64,
                sent: None,
            });
            let sends = stream::iter(items.map(Ok::<Item, store::Error>));
            sends
                .try_for_each_concurrent(SENDERS, |item| async move { self.send(&item, Duration::ZERO).await })
                .await?;
        }
        Ok(some_are_through)
    }

    pub(super) async fn send(&self, item: &Item, delay: Duration) -> Result<(), store::Error> {
        let due = self.now().checked_add(delay).unwrap_or(Timestamp::MAX);
        let item = Item { sent: Some(Sent { due, trace: telemetry::trace::parent() }), ..item.clone() };
        let body = serde_json::to_vec(&item).expect("an item is plain data");
        self.store.queues.send(&item.step.stage.agent().queue(), body, delay).await
    }

    /// Sets off a turn where the group is through.
    pub(super) async fn wake_if_through(
        &self,
        instance: &Instance,
        step: Step,
        group: u32,
    ) -> Result<(), store::Error> {
        let Some(stage) = instance.stage(step) else { return Ok(()) };
        let log = arrivals::read(self.store.blobs.as_ref(), &run_of(instance), step, group).await?;
        if log.total(stage, group).is_none() {
            return Ok(());
        }
        let group = Some((instance.generation, step, group));
        let wake = Wake { schema: WakeSchema::V1, campaign: instance.campaign.clone(), group };
        self.wake(&wake, Duration::ZERO).await
    }
}

pub fn run_of(instance: &Instance) -> Run {
    Run { campaign: instance.campaign.clone(), generation: instance.generation }
}

fn history_of(instance: &Instance) -> Vec<u8> {
    let history = History {
        schema: HistorySchema::V1,
        version: instance.version,
        events: instance.events.clone(),
        previous: instance.previous,
    };
    serde_json::to_vec(&history).expect("events are plain data")
}

fn log_events(instance: &Instance) {
    for event in &instance.events {
        tracing::info!(campaign = %instance.campaign, version = instance.version, "{}", event.what);
    }
}
