//! Runs are told to a tracking server, when it can be reached.
//!
//! A run's close, and every arrival of outcomes, leaves a note that the server is owed the run as it stands; the note is
//! there before the close (or the arrival) counts as done, and goes when the server has it all. So an outage delays no
//! campaign for longer than [`AT_CLOSE`], and loses nothing: every close of any campaign and every call of the sweeper
//! settles what is owed.
//!
//! A note says only which run it is. What is sent is read from the run's files at that time, and is at least as new as
//! the note. Sending it again changes nothing, see [`mlflow::track`], so that nothing rests on the lease that keeps two
//! processes from sending the same. Where the server has the run is kept beside the run's state ([`found`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{
    campaign,
    finished::RunFiles,
    instance::Instance,
    layout,
    names::{self, Run},
    stage::Stage,
    workspace,
};
use crate::{
    Error,
    agents::experimentation::{mlflow, tracking::Tracked},
    audit,
    config::campaign::TrackerName,
    domain::{digest::Digest, id::CampaignId, problem::Problem, variant::Usage},
    providers::{ErrorKind, ProviderError, Services, mlflow::MlFlow},
    report::{Report, Tracking},
    store::{self, BlobPath, Blobs, Embedded, Precondition},
};

/// How long a campaign may wait for the server.
pub const AT_CLOSE: Duration = Duration::from_secs(15);

/// Longer than anybody sends.
const LEASE: Duration = Duration::from_secs(60);

/// The server is owed the run as its files tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "schema", deny_unknown_fields)]
enum Owed {
    #[serde(rename = "tracking/1")]
    V1 {
        campaign: CampaignId,
        generation: u32,
        /// When the run was started: another one under the same id and generation, in another folder or in its place,
        /// is another run.
        created: Timestamp,
        /// When its last stage began.
        ended: Timestamp,
        /// When what is owed became known.
        told: Timestamp,
    },
}

/// Why something is still owed.
#[derive(Debug, thiserror::Error)]
pub enum Unsettled {
    #[error("{0}")]
    NotSetUp(Problem),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("the MLflow server did not take it all within {} s", .0.as_secs())]
    TooLong(Duration),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("{0}")]
    Unreadable(Error),
}

/// Notes that the server is owed the run with this report. For the same state of a run it is always the same note.
pub async fn owe(blobs: &dyn Blobs, instance: &Instance, report: Digest, told: Timestamp) -> Result<(), store::Error> {
    let run = Run { campaign: instance.campaign.clone(), generation: instance.generation };
    let bytes = serde_json::to_vec(&Owed::of(instance, told)).expect("a note is plain data");
    match blobs.put(&run.tracking_note(report), bytes, Precondition::Absent).await {
        Ok(_) | Err(store::Error::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

impl Owed {
    fn of(instance: &Instance, told: Timestamp) -> Self {
        let close = instance.stages.iter().rfind(|stage| stage.step.stage == Stage::Close);
        Self::V1 {
            campaign: instance.campaign.clone(),
            generation: instance.generation,
            created: instance.created,
            ended: close.map_or(instance.updated, |stage| stage.opened),
            told,
        }
    }
}

/// `instances/<campaign>/<generation>/tracked.json`
#[derive(Serialize, Deserialize)]
#[serde(tag = "schema")]
enum Saved {
    #[serde(rename = "tracked/1")]
    V1(Tracking),
}

/// Where the server will have the run.
pub fn place(server: &MlFlow, instance: &Instance) -> Tracking {
    Tracking {
        server: server.address(),
        experiment: server.experiment.clone().unwrap_or_else(|| instance.campaign.to_string()),
        tag: identity(&instance.campaign, instance.generation, instance.created),
        run_id: None,
    }
}

/// Where the server has the run; `None`: it was not sent yet.
pub async fn found(blobs: &dyn Blobs, run: &Run) -> Result<Option<Tracking>, store::Error> {
    match blobs.get(&run.tracked()).await {
        // What another version kept is as good as nothing: it is there to be read by people.
        Ok(blob) => Ok(serde_json::from_slice(&blob.bytes).map(|Saved::V1(tracking)| tracking).ok()),
        Err(store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// As [`found`], of what was run in a folder.
pub async fn found_in(folder: &Path, id: &CampaignId) -> Result<Option<Tracking>, Error> {
    if !Embedded::is_in(folder) {
        return Ok(None);
    }
    let store = campaign::open(folder, id)?.store();
    let Instance { campaign, generation, .. } = held(store.blobs.as_ref(), id).await?;
    found(store.blobs.as_ref(), &Run { campaign, generation }).await.map_err(campaign::of_store)
}

/// One run and no other.
fn identity(campaign: &CampaignId, generation: u32, created: Timestamp) -> String {
    format!("{campaign}/{generation}/{created}")
}

impl Unsettled {
    /// Others may be taken all the same.
    fn is_about_one_run(&self) -> bool {
        match self {
            Self::Provider(error) => error.kind == ErrorKind::Rejected,
            Self::Unreadable(_) => true,
            _ => false,
        }
    }
}

/// Sends what is owed of the store's runs, until the server does not answer any more or the time is over.
pub async fn settle(blobs: &Arc<dyn Blobs>, services: &Services, within: Duration) -> Result<(), Unsettled> {
    timeout(within, settle_all(blobs, services)).await.unwrap_or(Err(Unsettled::TooLong(within)))
}

async fn settle_all(blobs: &Arc<dyn Blobs>, services: &Services) -> Result<(), Unsettled> {
    let all = BlobPath::new(names::TRACKING).expect("it is a path");
    let notes = blobs.list(Some(&all)).await?;
    if notes.is_empty() {
        return Ok(());
    }
    let server = services.mlflow().map_err(Unsettled::NotSetUp)?;
    let mut failed = Ok(());
    let folder = |note: &BlobPath| note.as_str().rsplit_once('/').map(|(folder, _)| folder.to_owned());
    for notes in notes.chunk_by(|one, other| folder(one) == folder(other)) {
        match settle_run(blobs, &server, notes).await {
            Err(error) if error.is_about_one_run() => failed = Err(error),
            settled => settled?,
        }
    }
    failed
}

/// `notes` are all of one run.
async fn settle_run(blobs: &Arc<dyn Blobs>, server: &MlFlow, notes: &[BlobPath]) -> Result<(), Unsettled> {
    let mut newest: Option<Owed> = None;
    for path in notes {
        let note = match blobs.get(path).await {
            Ok(blob) => serde_json::from_slice(&blob.bytes),
            // Somebody else has just sent it.
            Err(store::Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // What a newer program owes it will send.
        let note = note.map_err(|error| Unsettled::Unreadable(Error::failed(path.to_string(), error)))?;
        newest = newest.into_iter().chain([note]).max_by_key(|Owed::V1 { told, .. }| *told);
    }
    let Some(owed) = newest else { return Ok(()) };
    let Owed::V1 { campaign, generation, .. } = &owed;
    let run = Run { campaign: campaign.clone(), generation: *generation };
    let lease = match blobs.lease(&run.tracking_lease(), LEASE).await {
        Ok(lease) => lease,
        Err(store::Error::LeaseHeld { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let files = RunFiles::Store { blobs: Arc::clone(blobs), run: run.clone() };
    let settled = match send(&files, server, &owed).await {
        Ok(tracking) => done(blobs.as_ref(), &run, tracking, notes).await,
        Err(error) => Err(error),
    };
    blobs.release(&lease).await?;
    settled
}

/// The notes go last.
async fn done(blobs: &dyn Blobs, run: &Run, tracking: Tracking, notes: &[BlobPath]) -> Result<(), Unsettled> {
    let bytes = serde_json::to_vec(&Saved::V1(tracking)).expect("texts are plain data");
    blobs.put(&run.tracked(), bytes, Precondition::None).await?;
    for note in notes {
        blobs.delete(note).await?;
    }
    Ok(())
}

async fn send(files: &RunFiles, server: &MlFlow, owed: &Owed) -> Result<Tracking, Unsettled> {
    let tracked = tracked(files, owed).await.map_err(Unsettled::Unreadable)?;
    mlflow::track(server, &tracked).await.map_err(|fault| Unsettled::Provider(fault.into()))
}

async fn tracked(files: &RunFiles, owed: &Owed) -> Result<Tracked, Error> {
    let Owed::V1 { campaign, generation, created, ended, told } = owed;
    let frozen = files.frozen().await?;
    let report: Report = files.json(layout::REPORT_JSON).await?;
    let root: audit::Root = files.json(audit::ROOT).await?;
    let mut tracked = Tracked {
        experiment: campaign.to_string(),
        identity: identity(campaign, *generation, *created),
        name: format!("{campaign} {generation}"),
        began: *created,
        ended: *ended,
        told: *told,
        params: Vec::new(),
        metrics: BTreeMap::new(),
        tags: BTreeMap::new(),
        artifacts: Vec::new(),
    };
    tracked.param("digest.campaign", frozen.digest);
    tracked.param("digest.content", frozen.content);
    tracked.param("digest.customers", frozen.customers);
    tracked.design(&report.design);
    for (number, segment) in (1..).zip(&report.segmentation.segments) {
        tracked.param(&format!("segment.{number}.name"), &segment.profile.name);
        tracked.metric(&format!("segment.{number}.customers"), segment.profile.customers as f64);
    }
    let unwritable = |error| Error::failed("the campaign cannot be told as parameters", error);
    tracked.campaign(&frozen.campaign).map_err(unwritable)?;
    tracked.tag("cpo_campaign", campaign);
    tracked.tag("cpo_generation", generation);
    tracked.tag("cpo_version", &frozen.engine);
    tracked.tag("cpo_audit_root", root.root);
    let writers: BTreeSet<_> = report.variants.iter().map(|variant| &*variant.writer).collect();
    tracked.tag("cpo_writer", writers.into_iter().collect::<Vec<_>>().join(", "));
    tracked.variants(&report.variants);
    if let Some(personal) = &report.personal {
        tracked.personal(&personal.counts);
    }
    tell_customers(&mut tracked, &report);
    tell_costs(&mut tracked, &report);
    if let Some(results) = &report.results {
        tracked.results(results);
    }
    let names = [layout::REPORT_HTML, layout::REPORT_JSON, layout::DESIGN];
    for name in names.into_iter().chain(report.results.is_some().then_some(layout::RESULTS)) {
        tracked.artifacts.push((name.to_owned(), files.bytes(&layout::blob(name)).await?));
    }
    Ok(tracked)
}

fn tell_customers(tracked: &mut Tracked, report: &Report) {
    let funnel = &report.funnel;
    for (name, count) in [
        ("read", funnel.read),
        ("quarantined", funnel.quarantined),
        ("duplicates", funnel.duplicates),
        ("suppressed", funnel.suppressed()),
        ("holdout", funnel.holdout),
        ("held", funnel.held()),
        ("fallback", funnel.fallback),
        ("assigned", funnel.assigned),
        ("undelivered", funnel.undelivered),
    ] {
        tracked.metric(&format!("customers.{name}"), count as f64);
    }
    let mut arms: BTreeMap<&str, u64> = BTreeMap::new();
    for assigned in &report.assigned {
        *arms.entry(assigned.arm.as_str()).or_default() += assigned.customers;
    }
    for (arm, customers) in arms {
        tracked.metric(&format!("arm.{arm}.customers"), customers as f64);
    }
}

fn tell_costs(tracked: &mut Tracked, report: &Report) {
    let mut stages: BTreeMap<&str, Usage> = BTreeMap::new();
    for cost in &report.cost.stages {
        *stages.entry(&cost.stage).or_default() += cost.usage;
    }
    let total = stages.values().fold(Usage::default(), |total, usage| total.and(*usage));
    let stages = stages.into_iter().map(|(stage, usage)| (format!("stage.{stage}"), usage));
    for (at, usage) in stages.chain([("total".to_owned(), total)]) {
        tracked.metric(&format!("{at}.requests"), usage.requests as f64);
        tracked.metric(&format!("{at}.input_tokens"), usage.input_tokens as f64);
        tracked.metric(&format!("{at}.output_tokens"), usage.output_tokens as f64);
        tracked.metric(&format!("{at}.cost_usd"), usage.cost_usd.dollars());
    }
    for timing in &report.timings {
        tracked.metric(&format!("stage.{}.seconds", timing.stage), timing.seconds);
    }
    tracked.metric("total.seconds", report.timings.iter().map(|timing| timing.seconds).sum());
    tracked.metric("total.failed_items", report.failures.len() as f64);
}

/// What the runs of an output folder owe: each of them has a store of its own.
pub async fn settle_folders(out: &Path, services: &Services, within: Duration) -> Result<(), Unsettled> {
    // Without a server there is no need to look.
    if services.mlflow().is_err() {
        return Ok(());
    }
    let entries = fs::read_dir(out.join(layout::CAMPAIGNS)).into_iter().flatten().filter_map(Result::ok);
    let ids = entries.filter_map(|entry| CampaignId::new(entry.file_name().into_string().ok()?).ok());
    let all = async {
        let mut failed = Ok(());
        for id in ids {
            match settle_folder(&workspace::target(out, &id), &id, services).await {
                Err(error) if error.is_about_one_run() => failed = Err(error),
                settled => settled?,
            }
        }
        failed
    };
    timeout(within, all).await.unwrap_or(Err(Unsettled::TooLong(within)))
}

async fn settle_folder(folder: &Path, id: &CampaignId, services: &Services) -> Result<(), Unsettled> {
    if !Embedded::is_in(folder) {
        return Ok(());
    }
    let store = campaign::open(folder, id).map_err(Unsettled::Unreadable)?.store();
    settle_all(&store.blobs, services).await
}

/// After results were added to a finished campaign's folder. Nothing is owed of a copy without the run's state, or of a
/// campaign that is not tracked.
pub async fn owe_results(folder: &Path) -> Result<(), Error> {
    let files = RunFiles::in_folder(folder);
    let frozen = files.frozen().await?;
    if frozen.campaign.providers.tracking == TrackerName::None || !Embedded::is_in(folder) {
        return Ok(());
    }
    let id = frozen.campaign.campaign.id;
    let store = campaign::open(folder, &id)?.store();
    let instance = held(store.blobs.as_ref(), &id).await?;
    let report = Digest::of(files.bytes(&layout::blob(layout::REPORT_JSON)).await?);
    owe(store.blobs.as_ref(), &instance, report, Timestamp::now()).await.map_err(campaign::of_store)
}

async fn held(blobs: &dyn Blobs, id: &CampaignId) -> Result<Instance, Error> {
    let instance = blobs.get(&names::instance(id)).await.map_err(campaign::of_store)?;
    serde_json::from_slice(&instance.bytes).map_err(|error| Error::failed("the campaign's state cannot be read", error))
}

/// Sends results that were added to the copy of a run whose state is in another store. No note is left: the run's own files
/// know nothing of them, so that whoever settled it would send the run without them.
pub async fn tell_copy(folder: &Path, blobs: &Arc<dyn Blobs>, services: &Services) -> Result<(), Unsettled> {
    let files = RunFiles::in_folder(folder);
    let frozen = files.frozen().await.map_err(Unsettled::Unreadable)?;
    if frozen.campaign.providers.tracking == TrackerName::None {
        return Ok(());
    }
    let all = async {
        // What is owed of the run itself goes first, or it would be told as it was before.
        settle_all(blobs, services).await?;
        let server = services.mlflow().map_err(Unsettled::NotSetUp)?;
        let instance = held(blobs.as_ref(), &frozen.campaign.campaign.id).await.map_err(Unsettled::Unreadable)?;
        send(&files, &server, &Owed::of(&instance, Timestamp::now())).await.map(drop)
    };
    timeout(AT_CLOSE, all).await.unwrap_or(Err(Unsettled::TooLong(AT_CLOSE)))
}

/// As [`owe_results`], and sends it where the server can be reached.
pub async fn tell_results(folder: &Path, services: &Services) -> Result<(), Error> {
    owe_results(folder).await?;
    let id = RunFiles::in_folder(folder).frozen().await?.campaign.campaign.id;
    let settled = timeout(AT_CLOSE, settle_folder(folder, &id, services));
    if let Err(error) = settled.await.unwrap_or(Err(Unsettled::TooLong(AT_CLOSE))) {
        tracing::warn!(%error, "the results are not tracked yet; the next `cpo run` into the same folder sends them");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_version_kept_of_a_run_is_still_read() {
        let json = include_str!("../../tests/data/formats/tracked-1.json");
        let saved: Saved = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&saved).unwrap(), json.trim_end());
    }

    #[test]
    fn what_an_earlier_version_owed_is_still_read() {
        let json = include_str!("../../tests/data/formats/tracking-1.json");
        let owed: Owed = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&owed).unwrap(), json);
    }
}
