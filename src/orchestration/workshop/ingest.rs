//! Ingest: the customer file, checked and cut into shards; and the files that fix what the run is about.

use std::{
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempDir};
use tokio::sync::mpsc;

use super::{
    Job, Output, Trouble, compute,
    context::Context,
    folder::{Encoded, Folder, encode_table},
};
use crate::{
    Error,
    agents::segmentation::{self, Fitter, Next},
    audit::Written,
    domain::{customer::ShardId, problem::Problem, variant::Usage},
    ingest::{self, Ingest, Ingested, Outputs, Suppression},
    orchestration::{
        finished::Frozen,
        instance::Fact,
        layout,
        start::{self, Source, Start},
    },
    store::Precondition,
};

/// Shards on their way into the store at once.
const WRITES: usize = 8;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admitted {
    pub ingested: Ingested,
    pub quarantine: Written,
    pub suppressed: Written,
    pub quality: Written,
    pub campaign: Written,
    pub content: Written,
    pub shards: Vec<Written>,
    /// Where customers must be looked at before there is a model.
    pub fitter: Option<Fitter>,
    /// Where they need not be.
    pub model: Option<Written>,
}

pub async fn perform(job: Job<'_>) -> Result<Output, Trouble> {
    job.providers()?;
    let (context, folder) = (job.context, job.folder());
    let start = &context.start;
    let scratch = job.workshop.scratch.as_path();
    std::fs::create_dir_all(scratch)?;
    let customers = open(&start.customers, "customer file", job).await?;
    let suppression = suppression(start, job).await?;
    if start.suppression.is_some() {
        // The file was found to be the campaign's: whoever is first writes what all others would.
        let path = job.records.run.suppression();
        job.records.blobs.put(&path, suppression.to_bytes(), Precondition::None).await?;
    }
    let (ingested, lists, shards) = cut(context, &customers, suppression, scratch, folder).await?;
    if ingested.contactable == 0 {
        return Err(Trouble::Problems(vec![nobody_left(&ingested, start.customers.name())]));
    }
    let Lists { quarantine, suppressed } = lists;
    let frozen = Frozen::new(start, ingested.digest)?;
    let (fitter, model) = match first_pass(context)? {
        Next::Pass(fitter) => (Some(fitter), None),
        Next::Model(model) => (None, Some(folder.put_json(layout::blob(layout::MODEL), &model).await?)),
    };
    let content = context.content_json(job.records).await?;
    let fact = Fact::Ingested { shards: ingested.shards, profile: fitter.is_some() };
    let admitted = Admitted {
        quarantine: folder.put_file(layout::blob(layout::QUARANTINE), quarantine).await?,
        suppressed: folder.put_file(layout::blob(layout::SUPPRESSED), suppressed).await?,
        quality: folder.put_json(layout::blob(layout::QUALITY), &ingested.quality).await?,
        campaign: folder.put_json(layout::blob(layout::CAMPAIGN), &frozen).await?,
        content: folder.put(layout::blob(layout::CONTENT), content.into()).await?,
        ingested,
        shards,
        fitter,
        model,
    };
    Output::new(Some(fact), Usage::default(), &admitted)
}

fn first_pass(context: &Context) -> Result<Next, Trouble> {
    let plan = segmentation::Plan::new(&context.start.campaign.segmentation, &context.attributes);
    Ok(plan.map_err(Trouble::Problems)?.start())
}

/// The lists of rows and customers that go no further.
struct Lists {
    quarantine: NamedTempFile,
    suppressed: NamedTempFile,
}

/// Shards go into the store while the next ones are made.
async fn cut(
    context: &Arc<Context>,
    customers: &Opened,
    suppression: Suppression,
    scratch: &Path,
    folder: Folder<'_>,
) -> Result<(Ingested, Lists, Vec<Written>), Trouble> {
    let lists = Lists { quarantine: NamedTempFile::new_in(scratch)?, suppressed: NamedTempFile::new_in(scratch)? };
    let (sender, mut receiver) = mpsc::channel(1);
    let reading = tokio::task::spawn_blocking({
        let (context, file, scratch) = (Arc::clone(context), customers.path.clone(), scratch.to_owned());
        move || {
            let ingested = read(&context, &file, &suppression, &scratch, &lists, &sender)?;
            Ok::<_, Error>((ingested, lists))
        }
    });
    let written: Result<Vec<Written>, Trouble> = stream::poll_fn(move |cx| receiver.poll_recv(cx))
        .map(|(id, shard)| folder.put(layout::table(layout::SHARDS, id), shard))
        .buffered(WRITES)
        .try_collect()
        .await;
    let read = reading.await.map_err(|error| Trouble::Defect(error.into()))?;
    // Whoever reads fails too where shards cannot be written, and does not know why.
    let written = written?;
    let (ingested, lists) = read.map_err(|error| customers.trouble(error))?;
    Ok((ingested, lists, written))
}

fn read(
    context: &Context,
    file: &Path,
    suppression: &Suppression,
    scratch: &Path,
    lists: &Lists,
    sender: &mpsc::Sender<(ShardId, Encoded)>,
) -> Result<Ingested, Error> {
    let campaign = &context.start.campaign;
    let ingest = Ingest {
        file,
        customers: &campaign.customers,
        attributes: &context.attributes,
        channels: &campaign.campaign.channels,
        suppression,
        scratch,
        shard_rows: context.start.shard_rows as usize,
    };
    let mut quarantine = BufWriter::new(lists.quarantine.as_file());
    let mut suppressed = BufWriter::new(lists.suppressed.as_file());
    let ingested = ingest.run(Outputs {
        quarantine: &mut quarantine,
        suppressed: &mut suppressed,
        shards: &mut |shard| {
            let table = encode_table(&shard.rows).map_err(|error| Error::failed("a shard cannot be encoded", error))?;
            let sent = sender.blocking_send((shard.id, table));
            sent.map_err(|_| Error::failed("a shard cannot be written", "nobody takes it any more"))
        },
        progress: &mut |_, _| {},
    })?;
    let flushed = quarantine.flush().and_then(|()| suppressed.flush());
    flushed.map_err(|error| Error::failed("the lists of bad and suppressed rows cannot be written", error))?;
    Ok(ingested)
}

/// A source on this machine.
struct Opened {
    path: PathBuf,
    name: PathBuf,
    /// Where the path is only for us: removed when this is dropped.
    _copy: Option<TempDir>,
}

impl Opened {
    /// A problem names the file as its owner knows it.
    fn problem(&self, mut problem: Problem) -> Problem {
        if problem.file.as_ref() == Some(&self.path) {
            problem.file = Some(self.name.clone());
        }
        problem
    }

    fn trouble(&self, error: Error) -> Trouble {
        match error {
            Error::Input(problems) => {
                Trouble::Problems(problems.into_iter().map(|problem| self.problem(problem)).collect())
            }
            error @ Error::Failed { .. } => Trouble::of_work(error.into()),
        }
    }
}

/// The source as it was when the campaign was started; anything else is refused.
async fn open(source: &Source, what: &str, job: Job<'_>) -> Result<Opened, Trouble> {
    match source {
        Source::File { path, name, bytes, modified } => {
            let now = start::size_and_time(path)
                .map_err(|error| Trouble::Problems(vec![ingest::unreadable(name, what, error)]))?;
            if now != (*bytes, *modified) {
                return Err(changed(source, what));
            }
            Ok(Opened { path: path.clone(), name: name.clone(), _copy: None })
        }
        Source::Blob { path, etag, name } => {
            let copy = tempfile::tempdir_in(&job.workshop.scratch)?;
            // What a file is can be told from the end of its name.
            let file = copy.path().join(name.file_name().unwrap_or("source".as_ref()));
            let read = job.records.blobs.get_file(path, &file).await?;
            if etag.as_ref().is_some_and(|etag| *etag != read.0) {
                return Err(changed(source, what));
            }
            Ok(Opened { path: file, name: name.clone(), _copy: Some(copy) })
        }
    }
}

async fn suppression(start: &Start, job: Job<'_>) -> Result<Suppression, Trouble> {
    let Some(list) = &start.suppression else { return Ok(Suppression::default()) };
    let what = "suppression list";
    let opened = open(&list.source, what, job).await?;
    let path = opened.path.clone();
    let read = compute(move || Ok(Suppression::read(&path))).await?;
    let read = read.map_err(|problem| Trouble::Problems(vec![opened.problem(problem)]))?;
    if read.sha256() != Some(list.sha256) {
        return Err(changed(&list.source, what));
    }
    Ok(read)
}

fn changed(source: &Source, what: &str) -> Trouble {
    let message = format!("the {what} was changed after the campaign was started");
    let problem = Problem::new(message, "restart the campaign, and leave the file alone until it is read");
    Trouble::Problems(vec![problem.in_file(source.name())])
}

fn nobody_left(ingested: &Ingested, customers: &Path) -> Problem {
    let reasons: Vec<String> =
        ingested.suppressed_by_reason.iter().map(|(reason, count)| format!("{reason}: {count}")).collect();
    let reasons = if reasons.is_empty() { "no row is good".to_owned() } else { reasons.join("; ") };
    Problem::new(
        format!("none of the {} customers may be contacted ({reasons})", ingested.read),
        "check the consent columns and the suppression list that the campaign file names",
    )
    .in_file(customers)
}
