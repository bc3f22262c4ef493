//! What makes a campaign end even if every message is lost.
//!
//! A timer calls it; two at once do no harm. It takes a turn for every campaign that is not at rest (that carries out
//! what a dead process left in the outbox, sees requests whose wake was lost, and deadlines), and where nothing has
//! arrived from one call to the next, it mends the logs from the stored records and sends for what is missing. It
//! waits twice as long before each further time, so that items that a busy provider puts off are not sent in ever more
//! copies. It gives nothing up: that is for tries and deadlines to do.

use serde::{Deserialize, Serialize};

use super::{
    arrivals::{self, Standing},
    engine::Engine,
    instance::{ENGINE, GROUP, Instance, StageState, Status},
    item::{Wake, WakeSchema},
    names, record,
    turn::run_of,
};
use crate::{
    domain::id::CampaignId,
    store::{self, Precondition},
};

/// Calls without a change before a campaign counts as stuck.
const PATIENCE: u32 = 2;
/// And at most, however often it was sent again.
const MOST_PATIENCE: u32 = 32;
/// A mark without an instance is a start under way, or one that died; after so long it is the latter.
const ABANDONED: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// What the last call saw: `instances/<campaign>/sweep.json`. A hint; losing it costs patience.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    version: u64,
    arrived: u64,
    /// Calls since anything changed.
    quiet: u32,
    /// After how many quiet calls to send again.
    patience: u32,
}

impl Engine {
    /// Looks after every campaign that is not at rest. What goes wrong with one does not keep the others from it.
    pub async fn sweep(&self) -> Result<(), store::Error> {
        let active = store::BlobPath::new(names::ACTIVE).expect("it is a path");
        let mut failed = self.begin_all_pending().await.err();
        for mark in self.store.blobs.list(Some(&active)).await? {
            let name = mark.as_str().rsplit('/').next().unwrap_or_default();
            let Ok(campaign) = CampaignId::new(name) else { continue };
            if let Err(error) = self.sweep_campaign(&campaign).await {
                tracing::warn!(%campaign, %error, "a campaign could not be looked after");
                failed = Some(error);
            }
        }
        self.agents.settle().await;
        failed.map_or(Ok(()), Err)
    }

    async fn sweep_campaign(&self, campaign: &CampaignId) -> Result<(), store::Error> {
        // A newer program's has a sweeper of its own; a turn here would only put another wake on the queue each time.
        if self.load(campaign).await?.is_some_and(|held| held.instance.engine > ENGINE) {
            return Ok(());
        }
        self.turn(&Wake { schema: WakeSchema::V1, campaign: campaign.clone(), group: None }).await?;
        let Some(held) = self.load(campaign).await? else { return self.forget_if_abandoned(campaign).await };
        if held.instance.status.is_final() && held.instance.outbox.is_empty() {
            return self.retire(campaign).await;
        }
        // At a gate nothing is on its way.
        let is_at_work = held.instance.status == Status::Running && held.instance.open_stages().next().is_some();
        if is_at_work { self.send_again_if_stuck(&held.instance).await } else { Ok(()) }
    }

    async fn forget_if_abandoned(&self, campaign: &CampaignId) -> Result<(), store::Error> {
        let mark = names::active(campaign);
        let since = match self.store.blobs.get(&mark).await {
            Ok(blob) => String::from_utf8_lossy(&blob.bytes).parse::<jiff::Timestamp>().ok(),
            Err(store::Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        match since {
            Some(since) if self.now().duration_since(since) < ABANDONED => Ok(()),
            _ => self.store.blobs.delete(&mark).await,
        }
    }

    async fn send_again_if_stuck(&self, instance: &Instance) -> Result<(), store::Error> {
        let (blobs, run) = (self.store.blobs.as_ref(), run_of(instance));
        let mut arrived = 0;
        for stage in instance.open_stages() {
            for group in waiting_groups(stage) {
                arrived += arrivals::read(blobs, &run, stage.step, group).await?.lines();
            }
        }
        let path = names::sweep(&instance.campaign);
        let seen = match blobs.get(&path).await {
            Ok(blob) => serde_json::from_slice(&blob.bytes).unwrap_or_default(),
            Err(store::Error::NotFound { .. }) => Seen::default(),
            Err(error) => return Err(error),
        };
        let is_same = seen.version == instance.version && seen.arrived == arrived;
        let mut now = Seen { version: instance.version, arrived, quiet: 0, patience: PATIENCE };
        if is_same {
            now = Seen { quiet: seen.quiet + 1, patience: seen.patience.clamp(PATIENCE, MOST_PATIENCE), ..seen };
        }
        let is_stuck = now.quiet >= now.patience;
        if is_stuck {
            now = Seen { quiet: 0, patience: (2 * now.patience).min(MOST_PATIENCE), ..now };
        }
        let bytes = serde_json::to_vec(&now).expect("numbers are plain data");
        blobs.put(&path, bytes, Precondition::None).await?;
        if is_stuck { self.send_again(instance).await } else { Ok(()) }
    }

    /// Mends the logs from the records, and sends for what has none.
    async fn send_again(&self, instance: &Instance) -> Result<(), store::Error> {
        let (blobs, run) = (self.store.blobs.as_ref(), run_of(instance));
        for stage in instance.open_stages().filter(|stage| waiting_groups(stage).next().is_some()) {
            tracing::warn!(campaign = %instance.campaign, step = %stage.step, "nothing arrives: sending again for what is missing");
            let stored = blobs.list(Some(&run.items(stage.step))).await?;
            for group in waiting_groups(stage) {
                let log = arrivals::read(blobs, &run, stage.step, group).await?;
                let standings = log.standings(stage, group);
                let first = group * GROUP;
                for path in &stored {
                    let Some((index, attempt)) = run.index_of(path) else { continue };
                    let position = index.checked_sub(first).map(|position| position as usize);
                    let is_missing = position.and_then(|position| standings.get(position)) == Some(&Standing::Missing);
                    if !is_missing || attempt > stage.attempt {
                        continue;
                    }
                    if let Some(record) = record::read(blobs, &run, stage.step, index, stage.attempt).await?
                        && (record.is_done() || record.attempt == stage.attempt)
                    {
                        arrivals::append(blobs, &run, &record).await?;
                    }
                }
            }
            if self.fan_out(instance, stage.step, 0..stage.planned).await? {
                self.wake_all(&instance.campaign).await?;
            }
        }
        Ok(())
    }
}

fn waiting_groups(stage: &StageState) -> impl Iterator<Item = u32> + '_ {
    (0..stage.groups()).filter(|group| stage.is_waiting_for(*group))
}
