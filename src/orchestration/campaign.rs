//! `cpo run`: starts a campaign, or goes on with one, and works on it until it is at rest.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::civil::Date;

use super::{
    account,
    client::ClientError,
    engine::{Clock, Engine},
    finished::{self, Frozen, RunFiles},
    follow,
    host::Host,
    instance::{EventId, Failure, Gate, Instance, Request, Status},
    layout, names,
    names::Run,
    plan::Plan,
    progress::Event,
    record::{self, Outcome, Record},
    results,
    stage::{Stage, Step},
    start::{Source, Start},
    summary::{self, RunKind, Summary},
    tracking,
    workshop::{Admitted, Providers, Workshop},
    workspace::{self, Workspace},
};
use crate::{
    Error,
    agents::experimentation::design::Design,
    config::Campaign,
    domain::{digest::Digest, id::CampaignId, problem::Problem},
    store::{self, Azure, Embedded, Store},
};

/// What a run is asked to do.
#[derive(Debug)]
pub struct Inputs {
    pub campaign_file: PathBuf,
    pub customers: PathBuf,
    /// Instead of the campaign file's `content.path`.
    pub content: Option<PathBuf>,
    /// `campaigns/<id>/` is made in it.
    pub out: PathBuf,
    /// Whether a run of the same id but other inputs may be replaced.
    pub replace: bool,
    pub simulate: bool,
    /// The storage account in which the campaign runs; `None`: it runs in `out`.
    pub storage: Option<Azure>,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    Complete(Box<Summary>),
    /// A person must look at variants before it can go on.
    Waiting {
        campaign: CampaignId,
        gate: Gate,
    },
    /// Somebody suspended or terminated it.
    Stopped {
        campaign: CampaignId,
        status: Status,
    },
}

/// How long after the death of a process others take over its messages.
pub const VISIBILITY: Duration = Duration::from_secs(30);
pub const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// What a run works with.
pub struct Means {
    pub providers: Providers,
    /// Customers per shard, of a campaign that is not started yet.
    pub shard_rows: Option<u32>,
    /// Stands between the run and the store that it opened: to watch it, or to let it fail.
    pub store: Box<dyn Fn(Store) -> Store + Send + Sync>,
}

impl Default for Means {
    /// Those that need no service, and the store as it is.
    fn default() -> Self {
        Self { providers: Providers::default(), shard_rows: None, store: Box::new(|store| store) }
    }
}

pub async fn run(inputs: Inputs, watcher: &(dyn Fn(Event) + Sync)) -> Result<Ended, Error> {
    run_with(inputs, Means { providers: Providers::of_environment()?, ..Means::default() }, watcher).await
}

/// As [`run`], with other means.
pub async fn run_with(inputs: Inputs, means: Means, watcher: &(dyn Fn(Event) + Sync)) -> Result<Ended, Error> {
    let since = Instant::now();
    let date = earlier_date(&inputs).await?;
    let plan = Plan::read(&inputs.campaign_file, inputs.content.as_deref(), |_| date)?;
    let workspace = Workspace::claim(&inputs.out, &plan.campaign.campaign.id)?;
    let (start, documents) = plan.start(&inputs.customers)?;
    let start = Start { shard_rows: means.shard_rows.unwrap_or(start.shard_rows), ..start };
    let services = Arc::clone(&means.providers.services);
    let here = Here { workspace: &workspace, start, documents, means, watcher };
    let ended = match &inputs.storage {
        None => here.run(inputs.replace).await?,
        Some(account) => here.run_in(&account.store(), inputs.replace).await?,
    };
    let Ended::Complete(mut summary) = ended else { return Ok(ended) };
    if inputs.simulate {
        let folder = workspace.target();
        let design: Design = RunFiles::in_folder(folder).json(layout::DESIGN).await?;
        let results = results::simulate(folder, &design).await?;
        summary.simulated_decision = Some(results.decision.in_words());
        results::add(folder, results).await?;
        match &inputs.storage {
            None => tracking::owe_results(folder).await?,
            Some(account) => {
                if let Err(error) = tracking::tell_copy(folder, &account.store().blobs, &services).await {
                    summary.warnings.push(format!("Not tracked: {error}. The same command sends the results."));
                }
            }
        }
    }
    if let Err(error) = tracking::settle_folders(&inputs.out, &services, tracking::AT_CLOSE).await {
        summary.warnings.push(format!("Not tracked yet: {error}. The next run into the same folder sends it."));
    }
    summary.report = workspace.target().join(layout::REPORT_HTML);
    if summary.run != RunKind::Earlier {
        summary.seconds = since.elapsed().as_secs_f64();
    }
    Ok(Ended::Complete(summary))
}

/// The day for which an earlier run of the campaign was judged.
async fn earlier_date(inputs: &Inputs) -> Result<Option<Date>, Error> {
    // What replaces the earlier run is judged for its own day: an offer may have ended since.
    if inputs.replace {
        return Ok(None);
    }
    let id = Campaign::read(&inputs.campaign_file)?.campaign.id;
    if let Some(account) = &inputs.storage {
        return Ok(account::started(&account.store(), &id).await?.and_then(|start| start.campaign.campaign.date));
    }
    let folders = [workspace::working(&inputs.out, &id), workspace::target(&inputs.out, &id)];
    Ok(folders.iter().find_map(|folder| finished::frozen(folder).ok()?.campaign.campaign.date))
}

/// A campaign on this machine.
pub(super) struct Here<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) start: Start,
    pub(super) documents: Vec<u8>,
    pub(super) means: Means,
    pub(super) watcher: &'a (dyn Fn(Event) + Sync),
}

impl Here<'_> {
    pub(super) fn campaign(&self) -> &CampaignId {
        &self.start.campaign.campaign.id
    }

    /// With its state and files in the output folder.
    async fn run(self, replace: bool) -> Result<Ended, Error> {
        let goes_on = self.goes_on(replace).await?;
        if !goes_on
            && !replace
            && let Some(summary) = self.complete_already().await?
        {
            return Ok(Ended::Complete(summary.into()));
        }
        let mut ended = {
            let embedded = open(self.workspace.working(), self.campaign())?;
            embedded.take_over().map_err(of_store)?;
            let engine = Arc::new(self.engine(embedded.store()));
            self.start_or_wake(&engine).await?;
            self.work(engine).await
        };
        match &mut ended {
            Ok(Ended::Complete(summary)) => {
                summary.run = if goes_on { RunKind::Continued } else { RunKind::Whole };
                self.workspace.commit()?;
            }
            // What can never be completed as it is leaves nothing behind.
            Err(Error::Input(_)) => self.workspace.discard()?,
            _ => {}
        }
        ended
    }

    /// Whether there is an unfinished run of these inputs. One of other inputs is refused; unless it may be replaced, or
    /// has not even read its customers: then it is removed. So the same command goes on, whether it replaces or not.
    async fn goes_on(&self, replace: bool) -> Result<bool, Error> {
        let folder = self.workspace.working();
        if !folder.exists() {
            return Ok(false);
        }
        let unfinished = {
            let store = open(folder, self.campaign())?.store();
            match self.engine(store.clone()).load(self.campaign()).await.map_err(of_store)? {
                Some(held) if can_go_on(&held.instance.status, replace) => {
                    let ingested = ingested(&store, &held.instance).await?;
                    ingested.map(|customers| (held.instance, customers))
                }
                _ => None,
            }
        };
        let Some((_, customers)) = unfinished else {
            self.workspace.discard()?;
            return Ok(false);
        };
        // `campaign.json` is written when the customers are read.
        let frozen = finished::frozen(folder)?;
        debug_assert_eq!(frozen.customers, customers);
        match self.same_inputs(&frozen, folder, "left unfinished") {
            Err(Error::Input(_)) if replace => self.workspace.discard().map(|()| false),
            same => same.map(|()| true),
        }
    }

    /// What a complete run of the same inputs gave, where there is one and nobody has asked anything of it since.
    async fn complete_already(&self) -> Result<Option<Summary>, Error> {
        let folder = self.workspace.target();
        let Ok(frozen) = finished::frozen(folder) else { return Ok(None) };
        self.same_inputs(&frozen, folder, "run before")?;
        if !Embedded::is_in(folder) {
            return Ok(None);
        }
        let summary = {
            let store = open(folder, self.campaign())?.store();
            let asked = store.blobs.list(Some(&names::inbox(self.campaign()))).await.map_err(of_store)?;
            match self.engine(store.clone()).load(self.campaign()).await.map_err(of_store)? {
                Some(held) if asked.is_empty() && held.instance.status == Status::Completed => {
                    Some(summary::of(&store, &held.instance).await?)
                }
                Some(_) => None,
                None => return Ok(None),
            }
        };
        if summary.is_none() {
            self.workspace.reopen()?;
        }
        Ok(summary)
    }

    /// An id stands for one set of inputs: what has been run under it is not replaced by something else unasked.
    fn same_inputs(&self, earlier: &Frozen, folder: &Path, when: &str) -> Result<(), Error> {
        let now = &self.start;
        let digest = Digest::of_json(&now.campaign).map_err(|error| Error::failed("the campaign", error))?;
        let suppression = now.suppression.as_ref().map(|suppression| suppression.sha256);
        let changed = if digest != earlier.digest {
            "campaign file"
        } else if now.content != earlier.content {
            "content"
        } else if suppression != earlier.suppression {
            "suppression list"
        } else if digest_of(&now.customers)? != Some(earlier.customers) {
            "customer file"
        } else {
            return Ok(());
        };
        Err(other_inputs(changed, when).in_file(folder).into())
    }

    pub(super) fn engine(&self, store: Store) -> Engine {
        let store = (self.means.store)(store);
        let providers = self.means.providers.clone();
        let workshop = Workshop::new(store.clone(), self.workspace.scratch().to_owned(), providers);
        Engine::new(store, Arc::new(workshop), Clock::default())
    }

    pub(super) async fn start_or_wake(&self, engine: &Engine) -> Result<(), Error> {
        let instance = match engine.load(self.campaign()).await.map_err(of_store)? {
            Some(held) => held.instance,
            None => engine.start(&self.start, self.documents.clone()).await.map_err(of_client)?,
        };
        let reason = "run again".to_owned();
        let request = match instance.status {
            Status::Failed { .. } => Request::Rewind { reason },
            Status::Suspended { .. } => Request::Resume { reason },
            _ => return engine.wake_all(self.campaign()).await.map_err(of_store),
        };
        engine.request(self.campaign(), EventId::next(), request).await.map_err(of_client)
    }

    /// Works until the campaign is at rest.
    pub(super) async fn work(&self, engine: Arc<Engine>) -> Result<Ended, Error> {
        let host = Host::new(Arc::clone(&engine), VISIBILITY, SWEEP_EVERY, true);
        let at_rest = follow::until_rest(&engine, self.campaign(), self.watcher);
        let view = host.serve_until(at_rest).await.map_err(|error| {
            let campaign = self.campaign();
            let what = format!("campaign `{campaign}` stopped; when this is mended, the same command goes on with it");
            Error::failed(what, error)
        })??;
        let instance = engine.held(self.campaign()).await.map_err(of_client)?.instance;
        match (view.status, view.gate) {
            (Status::Completed, _) => Ok(Ended::Complete(summary::of(&engine.store, &instance).await?.into())),
            (Status::Failed { failure }, _) => Err(why_failed(&engine.store, &instance, failure).await?),
            (Status::Running, Some(gate)) => Ok(Ended::Waiting { campaign: view.campaign, gate }),
            (status, _) => Ok(Ended::Stopped { campaign: view.campaign, status }),
        }
    }
}

pub(super) fn other_inputs(changed: &str, when: &str) -> Problem {
    Problem::new(
        format!("this campaign id was {when} with another {changed}"),
        "give the campaign a new id, or replace the earlier run with --replace",
    )
    .at_field("campaign.id")
}

/// The state of a run in the output folder.
pub fn open(folder: &Path, campaign: &CampaignId) -> Result<Embedded, Error> {
    let run = Run { campaign: campaign.clone(), generation: 1 };
    Embedded::open(folder, run.folder()).map_err(of_store)
}

/// Whoever replaces a run that failed wants another one.
fn can_go_on(status: &Status, replace: bool) -> bool {
    match status {
        Status::Terminated { .. } => false,
        Status::Failed { .. } => !replace,
        _ => true,
    }
}

/// The digest of the customer file that an unfinished run has read, if it got so far.
async fn ingested(store: &Store, instance: &Instance) -> Result<Option<Digest>, Error> {
    let step = Step::from(Stage::Ingest);
    let run = Run { campaign: instance.campaign.clone(), generation: instance.generation };
    let attempts = instance.stage(step).map_or(0, |stage| stage.attempt);
    let record = record::read(store.blobs.as_ref(), &run, step, 0, attempts).await.map_err(of_store)?;
    let admitted: Option<Admitted> = match record.as_ref().map(Record::output).transpose() {
        Ok(output) => output.and_then(Result::ok),
        Err(error) => return Err(Error::failed("the unfinished run cannot be read", error)),
    };
    Ok(admitted.map(|admitted| admitted.ingested.digest))
}

/// `None`: it can be read only once.
pub(super) fn digest_of(source: &Source) -> Result<Option<Digest>, Error> {
    let name = source.name();
    let digest = || {
        let file = File::open(name)?;
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        Digest::of_reader(&mut BufReader::with_capacity(1 << 20, file)).map(Some)
    };
    digest().map_err(|error| {
        Problem::new(format!("the file cannot be read: {error}"), "name a readable file").in_file(name).into()
    })
}

/// What to tell of a campaign that failed: what its owner can mend, else why its items did.
pub async fn why_failed(store: &Store, instance: &Instance, failure: Failure) -> Result<Error, Error> {
    let campaign = &instance.campaign;
    let (step, planned) = match failure {
        Failure::OverBudget { reserve, cap } => {
            let problem = Problem::new(
                format!("the campaign could cost {reserve}, and may cost {cap}"),
                "raise the budget, or ask for less: fewer candidates, arms, channels or locales, messages for segments alone",
            );
            return Ok(problem.at_field("budget.max_usd").into());
        }
        Failure::TooLarge { step, items } => {
            let problem =
                Problem::new(format!("stage {step} has {items} items, too many for one campaign"), "split it");
            return Ok(problem.into());
        }
        Failure::StageDeadline { step } => {
            let what = format!("campaign `{campaign}` has failed");
            let why =
                format!("stage {step} took longer than run.stage_deadline_minutes; the same command goes on with it");
            return Ok(Error::failed(what, why));
        }
        Failure::ApprovalDeadline => {
            let what = format!("campaign `{campaign}` has failed");
            return Ok(Error::failed(what, "nobody approved its variants in time; the same command asks again"));
        }
        Failure::ItemsFailed { step, planned, .. } => (step, planned),
    };
    let run = Run { campaign: campaign.clone(), generation: instance.generation };
    let attempt = instance.stage(step).map_or(0, |stage| stage.attempt);
    let (mut problems, mut reasons, mut failed) = (Vec::new(), Vec::new(), 0);
    for index in 0..planned {
        let record = record::read(store.blobs.as_ref(), &run, step, index, attempt).await.map_err(of_store)?;
        let Some(Record { result: Outcome::Failed(tombstone), .. }) = record else { continue };
        failed += 1;
        for problem in tombstone.problems {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        if reasons.len() < 3 && !reasons.contains(&tombstone.reason) {
            reasons.push(tombstone.reason);
        }
    }
    if !problems.is_empty() {
        return Ok(Error::Input(problems));
    }
    let what = format!("campaign `{campaign}`: {failed} of {planned} {} of stage {step} failed", step.stage.unit());
    Ok(Error::failed(
        what,
        format!("{}; the same command tries them again, and keeps what is done", reasons.join("; ")),
    ))
}

pub fn of_store(error: store::Error) -> Error {
    Error::failed("the campaign's storage", error)
}

pub fn of_client(error: ClientError) -> Error {
    match error {
        ClientError::Store(error) => of_store(error),
        ClientError::OtherInputs(id) => Problem::new(
            format!("campaign `{id}` was run before with other inputs"),
            "give the campaign a new id, or replace the earlier run with --replace",
        )
        .at_field("campaign.id")
        .into(),
        error => Problem::new(error.to_string(), "see `cpo instance status`").into(),
    }
}
