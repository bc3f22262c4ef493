//! Watching a campaign from outside, whoever works on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;

use super::{
    client::{ClientError, StageView, View},
    engine::Engine,
    finished::Frozen,
    instance::{Instance, Status},
    layout,
    names::{self, Run},
    progress::Event,
    stage::{Stage, Step},
    summary::VariantCounts,
    workshop::{Admitted, Closed, Collected, Records, Trouble},
};
use crate::{
    Error,
    agents::{experimentation::words::count, retrieval::library::Library, segmentation::Model},
    domain::id::CampaignId,
    store,
};

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
    let mut known: BTreeMap<Step, StageView> = BTreeMap::new();
    let mut is_first = true;
    let (since, mut progress) = (Instant::now(), engine.progress());
    loop {
        progress.mark_unchanged();
        let (view, is_at_rest) = match look(engine, campaign).await {
            Ok(looked) => looked,
            // Whoever works on it has the same trouble, and decides what to do about it.
            Err(ClientError::Store(error)) if !matches!(error, store::Error::Permanent { .. }) => {
                tracing::debug!(%error, "the campaign could not be looked at");
                tokio::time::sleep(AT_MOST).await;
                continue;
            }
            Err(error) => return Err(Error::failed("the campaign cannot be watched", error)),
        };
        for stage in &view.stages {
            let before = known.insert(stage.step, stage.clone());
            // A rewind begins a stage anew.
            let before = before.filter(|before| before.attempt == stage.attempt);
            tell(engine, campaign, before.as_ref(), stage, is_first, watcher).await;
        }
        is_first = false;
        if is_at_rest {
            return Ok(view);
        }
        tokio::time::sleep((since.elapsed() / 50).clamp(*PAUSES.start(), *PAUSES.end())).await;
        // The engine outlives its watchers.
        let _ = tokio::time::timeout(AT_MOST, progress.changed()).await;
    }
}

/// The campaign, and whether nothing will happen any more by itself.
async fn look(engine: &Engine, campaign: &CampaignId) -> Result<(View, bool), ClientError> {
    let view = engine.status(campaign).await?;
    if view.status == Status::Running && view.gate.is_none() {
        return Ok((view, false));
    }
    // Somebody may have asked for more already, or it was taken in since the view; and what was decided last must be
    // carried out.
    let asked = engine.store.blobs.list(Some(&names::inbox(campaign))).await?;
    let now = engine.held(campaign).await?.instance;
    let is_at_rest = asked.is_empty() && now.updated == view.updated && now.outbox.is_empty();
    Ok((view, is_at_rest))
}

async fn tell(
    engine: &Engine,
    campaign: &CampaignId,
    before: Option<&StageView>,
    now: &StageView,
    is_first: bool,
    watcher: &(dyn Fn(Event) + Sync),
) {
    let step = now.step;
    let through = |stage: &StageView| u64::from(stage.done) + u64::from(stage.failed);
    match before {
        None => watcher(Event::Started { step, total: u64::from(now.planned), done: through(now) }),
        Some(before) if through(now) > through(before) => watcher(Event::Advanced { step, done: through(now) }),
        Some(_) => {}
    }
    let was_open = before.is_none_or(|before| before.closed.is_none());
    if let Some(closed) = now.closed
        && was_open
    {
        let took = Duration::try_from(closed.duration_since(now.opened)).unwrap_or_default();
        let failed = if now.failed > 0 { format!(", {} failed", now.failed) } else { String::new() };
        let outcome = format!("{}{failed}", outcome(engine, campaign, now).await);
        watcher(Event::Finished { step, outcome, took: (!is_first).then_some(took) });
    }
}

/// What a stage that has ended came to: what its record or the run's files say where one look tells, else how many of
/// its items are done.
async fn outcome(engine: &Engine, campaign: &CampaignId, stage: &StageView) -> String {
    match told(engine, campaign, stage.step).await {
        Ok(Some(words)) => return words,
        Ok(None) => {}
        // Progress that cannot be told in full is no reason to stop.
        Err(error) => tracing::debug!(%error, step = %stage.step, "what came of a stage could not be read"),
    }
    let unit = stage.step.stage.unit();
    match (stage.done, unit.strip_suffix('s')) {
        (1, Some(one)) => format!("1 {one}"),
        (done, _) => format!("{} {unit}", count(done.into())),
    }
}

async fn told(engine: &Engine, campaign: &CampaignId, step: Step) -> Result<Option<String>, Trouble> {
    if !matches!(step.stage, Stage::Ingest | Stage::Label | Stage::Retrieve | Stage::Collect | Stage::Close) {
        return Ok(None);
    }
    let Some(held) = engine.load(campaign).await? else { return Ok(None) };
    let instance: &Instance = &held.instance;
    let run = Run { campaign: campaign.clone(), generation: instance.generation };
    let records = Records { blobs: engine.store.blobs.as_ref(), run: &run, instance };
    Ok(match step.stage {
        Stage::Ingest => {
            let Admitted { ingested, .. } = records.output(step, 0).await?;
            Some(format!(
                "{} rows: {} may be contacted, {} suppressed, {} quarantined, {} duplicates",
                count(ingested.read),
                count(ingested.contactable),
                count(ingested.suppressed),
                count(ingested.quarantined),
                count(ingested.duplicates)
            ))
        }
        Stage::Label => {
            let model: Model = read(engine, &run, layout::MODEL).await?;
            Some(format!("{} segments", model.segments().len()))
        }
        Stage::Retrieve => {
            let frozen: Frozen = read(engine, &run, layout::CAMPAIGN).await?;
            let library: Library = read(engine, &run, layout::CONTENT).await?;
            frozen.campaign.campaign.date.map(|date| {
                let (usable, all) = (library.usable(date).count(), library.documents().len());
                format!("{usable} of {all} documents usable on {date}")
            })
        }
        Stage::Collect => {
            let Collected { variants, .. } = records.output(step, 0).await?;
            let VariantCounts { approved, blocked, needs_review, .. } = VariantCounts::of(&variants);
            let writers: BTreeSet<&str> = variants.iter().map(|variant| variant.writer.as_str()).collect();
            Some(format!(
                "{} approved, {} blocked, {} for review; written by {}",
                count(approved),
                count(blocked),
                count(needs_review),
                writers.into_iter().collect::<Vec<_>>().join(" and ")
            ))
        }
        Stage::Close => {
            let Closed { root, customers, .. } = records.output(step, 0).await?;
            Some(format!(
                "{} assigned, {} holdout, {} held; audit root {}",
                count(customers.assigned),
                count(customers.holdout),
                count(customers.held),
                root.short()
            ))
        }
        _ => None,
    })
}

/// One of the run's JSON documents.
async fn read<T: DeserializeOwned>(engine: &Engine, run: &Run, name: &str) -> Result<T, Trouble> {
    let blob = engine.store.blobs.get(&run.file(&layout::blob(name))).await?;
    serde_json::from_slice(&blob.bytes).map_err(|error| Trouble::Defect(format!("{name}: {error}").into()))
}
