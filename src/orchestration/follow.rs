//! Watching a campaign from outside, whoever works on it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    client::{StageView, View},
    engine::Engine,
    instance::Status,
    names,
    progress::Event,
    stage::Step,
};
use crate::{Error, domain::id::CampaignId, store};

/// Looking costs a little: views of a long campaign are further apart.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_millis(250);
/// How often to look for what others have done.
const AT_MOST: Duration = Duration::from_secs(1);

/// Tells the watcher what happens until nothing will happen any more by itself: the campaign has ended, is suspended,
/// or waits for a person.
pub async fn until_rest(
    engine: &Engine,
    campaign: &CampaignId,
    watcher: &(dyn Fn(Event) + Sync),
) -> Result<View, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::failed("the campaign cannot be watched", error.to_string());
    let mut known: BTreeMap<Step, StageView> = BTreeMap::new();
    let mut is_first = true;
    let (since, mut progress) = (Instant::now(), engine.progress());
    loop {
        progress.mark_unchanged();
        let view = match engine.status(campaign).await {
            Ok(view) => view,
            // Whoever works on it has the same trouble, and decides what to do about it.
            Err(super::client::ClientError::Store(error)) if !matches!(error, store::Error::Permanent { .. }) => {
                tracing::debug!(%error, "the campaign could not be looked at");
                tokio::time::sleep(AT_MOST).await;
                continue;
            }
            Err(error) => return Err(failed(&error)),
        };
        for stage in &view.stages {
            tell(known.get(&stage.step), stage, is_first, watcher);
            known.insert(stage.step, stage.clone());
        }
        is_first = false;
        let waits = view.gate.is_some() && view.status == Status::Running;
        if waits || view.status != Status::Running {
            // Somebody may have asked for more already.
            let asked = engine.store.blobs.list(Some(&names::inbox(campaign))).await.map_err(|error| failed(&error))?;
            if asked.is_empty() {
                return Ok(view);
            }
        }
        tokio::time::sleep((since.elapsed() / 50).clamp(*PAUSES.start(), *PAUSES.end())).await;
        // The engine outlives its watchers.
        let _ = tokio::time::timeout(AT_MOST, progress.changed()).await;
    }
}

fn tell(before: Option<&StageView>, now: &StageView, is_first: bool, watcher: &(dyn Fn(Event) + Sync)) {
    let step = now.step;
    let through = |stage: &StageView| u64::from(stage.done) + u64::from(stage.failed);
    if before.is_none() {
        watcher(Event::Started { step, total: u64::from(now.planned) });
    }
    if through(now) > before.map_or(0, through) {
        watcher(Event::Advanced { step, done: through(now) });
    }
    let was_open = before.is_none_or(|before| before.closed.is_none());
    if let Some(closed) = now.closed
        && was_open
    {
        let took = Duration::try_from(closed.duration_since(now.opened)).unwrap_or_default();
        let failed = if now.failed > 0 { format!(", {} failed", now.failed) } else { String::new() };
        let outcome = format!("{} {}{failed}", now.done, step.stage.unit());
        watcher(Event::Finished { step, outcome, took: (!is_first).then_some(took) });
    }
}
