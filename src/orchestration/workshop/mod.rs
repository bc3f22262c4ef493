//! What the items of each stage do. A function per stage: from what the stages before it stored to an [`Output`].
//!
//! Nothing here knows of queues, attempts, leases or arrivals; that is the worker's. An item may be done twice, by two
//! processes at once: whatever it writes by itself (tables, documents) is a function of its inputs.
//!
//! | step | an item reads | and leaves in the run's folder | and in its record |
//! |---|---|---|---|
//! | ingest | the sources | lists, quality, campaign, content, shards; the model, if it needs no pass | [`Admitted`] |
//! | profile | a shard | | a profile |
//! | fit | all profiles of the pass | the model, after the last pass | what the next pass looks for |
//! | label | a shard, the model | a table of labels | who the segments' customers are |
//! | design | what label left | the design | the segments with customers |
//! | retrieve | the content | | passages |
//! | generate | a cell's passages | | a draft, or why there is none |
//! | screen | a draft, its cell's passages | | a judged variant |
//! | collect | all variants and passages | the passages | [`Collected`] |
//! | release | these, and a person's decision | the variants | |
//! | personalize | a shard, its labels, the variants, passages | its customers' messages | how many were approved |
//! | deliver | a shard, its labels, the variants and messages | a table of deliveries | what became of its customers |
//! | close | all of it | ledger, audit, report | [`Closed`] |

pub(super) mod cells;
mod close;
mod collect;
mod context;
mod deliver;
mod design;
mod estimate;
mod fit;
pub(super) mod folder;
mod generate;
mod ingest;
mod label;
mod personalize;
mod playbook;
mod providers;
mod records;
mod release;
mod retrieve;
mod screen;
#[cfg(test)]
mod tests;

use std::{fmt, future::Future, io, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::{sync::Semaphore, time::Instant};

pub use self::{
    close::Closed, collect::Collected, design::Designed, ingest::Admitted, playbook::Playbook, providers::Providers,
    records::Records,
};
use self::{
    context::{Context, Contexts},
    folder::Folder,
    providers::Chosen,
};
use super::{
    instance::{Fact, Instance},
    item::Item,
    stage::{Agent, Stage},
    tracking, withdrawal,
};
use crate::{
    domain::{problem::Problem, variant::Usage},
    ingest::PERSONAL_SHARD_ROWS,
    providers::{CALLS, ErrorKind, Limiter, ProviderError},
    store::{self, Store},
    telemetry::{self, Outcome},
};

/// How long a question waits for its turn: well below the time that an item has, which is meant for the answer.
const TURN: Duration = Duration::from_secs(60);

/// How long the sweeper waits for each of the services that are owed something.
const AT_SWEEP: Duration = Duration::from_secs(45);

/// Whoever does the items. The engine knows nothing else of them, so that its rules can be put to the test without
/// them.
#[async_trait]
pub trait Agents: fmt::Debug + Send + Sync {
    /// Does one item. `instance` is at least as new as the item's message.
    async fn perform(&self, item: &Item, instance: &Instance) -> Result<Output, Setback>;

    /// How many items that ask a provider are of use at once: as many as it gets calls.
    fn calls(&self) -> NonZeroUsize {
        CALLS
    }

    /// Sends what the tracking server is owed, and removes from the search index what must not be there any more, as far
    /// as they take it. What does not succeed is told in the log, and is still owed.
    async fn settle(&self) {}
}

/// The five agents at work on one store.
#[derive(Debug)]
pub struct Workshop {
    store: Store,
    /// For files that are larger than memory, on their way into the store or out of it.
    scratch: PathBuf,
    providers: Providers,
    limits: Limits,
    contexts: Contexts,
}

/// One per provider: each bears what it bears, whoever asks.
#[derive(Debug)]
struct Limits {
    retriever: Limiter,
    writer: Limiter,
    screen: Limiter,
    /// Shards whose customers are written to at the same time: enough of them to keep the writer busy. Of more each would
    /// take the longer, until its time is over.
    desks: Semaphore,
}

impl Limits {
    fn new(calls: NonZeroUsize) -> Self {
        let desks = Semaphore::new(1 + (2 * calls.get()).div_ceil(PERSONAL_SHARD_ROWS));
        let [retriever, writer, screen] = [calls; 3].map(Limiter::new);
        Self { retriever, writer, screen, desks }
    }
}

impl Workshop {
    pub fn new(store: Store, scratch: PathBuf, providers: Providers) -> Self {
        let limits = Limits::new(providers.calls);
        Self { store, scratch, providers, limits, contexts: Contexts::default() }
    }

    async fn settle_within(&self, time: Duration) {
        if let Err(error) = tracking::settle(&self.store.blobs, &self.providers.services, time).await {
            tracing::warn!(%error, "the tracking server is still owed what campaigns did");
        }
    }
}

#[async_trait]
impl Agents for Workshop {
    async fn perform(&self, item: &Item, instance: &Instance) -> Result<Output, Setback> {
        let run = item.run();
        let records = Records { blobs: self.store.blobs.as_ref(), run: &run, instance };
        let context = &self.contexts.of(records).await?;
        let job = Job { item, records, context, workshop: self };
        match item.step.stage {
            Stage::Ingest => Ok(ingest::perform(job).await?),
            Stage::Profile => Ok(fit::profile(job).await?),
            Stage::Fit => Ok(fit::perform(job).await?),
            Stage::Label => Ok(label::perform(job).await?),
            Stage::Design => Ok(design::perform(job).await?),
            Stage::Retrieve => retrieve::perform(job).await,
            Stage::Generate => generate::perform(job).await,
            Stage::Screen => screen::perform(job).await,
            Stage::Collect => Ok(collect::perform(job).await?),
            Stage::Release => Ok(release::perform(job).await?),
            Stage::Personalize => personalize::perform(job).await,
            Stage::Deliver => Ok(deliver::perform(job).await?),
            Stage::Close => Ok(close::perform(job).await?),
        }
    }

    fn calls(&self) -> NonZeroUsize {
        self.providers.calls
    }

    async fn settle(&self) {
        let withdrawn = withdrawal::settle(self.store.blobs.as_ref(), &self.providers.services);
        let withdrawn = tokio::time::timeout(AT_SWEEP, withdrawn);
        let (_, withdrawn) = tokio::join!(self.settle_within(AT_SWEEP), withdrawn);
        match withdrawn {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the search index still holds what was recalled or purged"),
            Err(_) => tracing::warn!("the search service took too long to remove what was recalled or purged"),
        }
    }
}

/// One item, and all that it is done with.
#[derive(Clone, Copy)]
struct Job<'a> {
    item: &'a Item,
    records: Records<'a>,
    context: &'a Arc<Context>,
    workshop: &'a Workshop,
}

impl<'a> Job<'a> {
    fn folder(&self) -> Folder<'a> {
        Folder { blobs: self.records.blobs, run: self.records.run }
    }

    /// Those that the campaign names; the first item of a run asks, so that one that is not set up costs nothing.
    fn providers(&self) -> Result<&'a Chosen, Trouble> {
        self.context.chosen(&self.workshop.providers)
    }

    /// The item's part of all that the stage has to do.
    fn pick<'b, T>(&self, all: &'b [T]) -> Result<&'b T, Trouble> {
        let Item { step, index, .. } = self.item;
        let picked = all.get(*index as usize);
        picked.ok_or_else(|| Trouble::Defect(format!("{step} has no item {index}").into()))
    }
}

/// Runs CPU-bound or blocking work beside the async tasks.
async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
) -> Result<T, Trouble> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Trouble::of_work),
        Err(panicked) => Err(Trouble::Defect(panicked.into())),
    }
}

/// There was no room for the question, and there may be at any moment.
fn put_off(message: String) -> ProviderError {
    let kind = ErrorKind::Throttled { retry_after: Some(Duration::from_secs(1)) };
    ProviderError { provider: "limiter", kind, message }
}

/// A provider's answer, when it is the question's turn; the limiter hears how the provider took it. Where the turn does
/// not come, the provider is too busy, and the question is put off as if the provider had said so itself.
async fn answered<T>(
    agent: Agent,
    limiter: &Limiter,
    question: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    let Ok(permit) = tokio::time::timeout(TURN, limiter.acquire()).await else {
        return Err(put_off(format!("its turn did not come within {} s", TURN.as_secs())));
    };
    let since = Instant::now();
    let answer = question.await;
    let outcome = match answer.as_ref().map_err(|error| error.kind) {
        Ok(_) => Outcome::Done,
        Err(ErrorKind::Throttled { .. }) => Outcome::Throttled,
        Err(_) => Outcome::Failed,
    };
    telemetry::metrics().provider_answered(agent.as_str(), since.elapsed(), outcome);
    match answer.as_ref().map_err(|error| error.kind) {
        Ok(_) | Err(ErrorKind::Rejected) => permit.succeeded(),
        Err(ErrorKind::Throttled { retry_after }) => permit.throttled(retry_after),
        Err(ErrorKind::Unavailable | ErrorKind::Misconfigured) => permit.failed(),
        // Nothing was asked.
        Err(ErrorKind::OverAllowance) => drop(permit),
    }
    answer
}

/// What an item gave.
#[derive(Debug)]
pub struct Output {
    pub fact: Option<Fact>,
    pub usage: Usage,
    pub value: Box<RawValue>,
}

impl Output {
    pub fn new(fact: Option<Fact>, usage: Usage, value: &impl Serialize) -> Result<Self, Trouble> {
        Ok(Self { fact, usage, value: serde_json::value::to_raw_value(value)? })
    }
}

/// Why an item gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The campaign's owner must mend something; doing it again is of no use.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Problems(Vec<Problem>),
    /// It is done again, some times at most; a throttled one as often as it takes.
    #[error(transparent)]
    Provider(ProviderError),
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Something that must not be: it is tried again, and then given up.
    #[error("{0}")]
    Defect(Box<dyn std::error::Error + Send + Sync>),
}

/// An item that gave nothing, and what that took all the same.
#[derive(Debug)]
pub struct Setback {
    pub trouble: Trouble,
    pub usage: Usage,
}

impl<T: Into<Trouble>> From<T> for Setback {
    fn from(trouble: T) -> Self {
        Self { trouble: trouble.into(), usage: Usage::default() }
    }
}

impl Trouble {
    /// A full disk is no fault of the item that met it, and trying again does not help: it is told at once, as a store
    /// tells it.
    fn of_work(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        let first: &(dyn std::error::Error + 'static) = &*error;
        let mut causes = std::iter::successors(Some(first), |cause| cause.source());
        let is_full =
            |cause: &io::Error| matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if causes.any(|cause| cause.downcast_ref().is_some_and(is_full)) {
            return Self::Store(store::Error::Permanent {
                what: "the disk is full; make room and run the same command again, it goes on from here".to_owned(),
                source: error,
            });
        }
        Self::Defect(error)
    }
}

impl From<ProviderError> for Trouble {
    fn from(error: ProviderError) -> Self {
        if error.kind != ErrorKind::Misconfigured {
            return Self::Provider(error);
        }
        let remedy = "see what `cpo doctor` says of it, mend it, and rewind the campaign: it goes on from here";
        Self::Problems(vec![Problem::new(error.to_string(), remedy)])
    }
}

/// Of the scratch folder.
impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::of_work(error.into())
    }
}

/// Of what was stored by this program.
impl From<serde_json::Error> for Trouble {
    fn from(error: serde_json::Error) -> Self {
        Self::Defect(error.into())
    }
}
