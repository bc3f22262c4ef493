//! What customers did, as files of it arrive: joined with the assignment, analysed, and told in the report.
//!
//! All files that have arrived for a campaign count together, in the order in which they came. A file may add customers;
//! of a customer who is in several files the newest row counts, so a file can also say again what became of some. A file
//! that is written anew counts as the newest; one that is deleted counts no more from the next arrival on.
//!
//! Which files the results tell of stands in one small blob, written after them: whoever dies in between leaves a file
//! that is not in it, and that is taken in again when its message comes again.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{
    client::ClientError,
    engine::{Engine, Held},
    finished::RunFiles,
    instance::{Instance, Status},
    layout,
    names::Run,
    results, tracking,
    turn::run_of,
    workshop::{Trouble, folder::Folder},
};
use crate::{
    Error,
    agents::experimentation::design::Design,
    config::campaign::TrackerName,
    domain::{digest::Digest, id::CampaignId, problem::Problem},
    report::Report,
    store::{self, BlobPath, ETag, Precondition},
};

/// How often two arrivals may be in each other's way before one of them is put off.
const ATTEMPTS: u32 = 8;

#[derive(Debug, thiserror::Error)]
pub enum OutcomesError {
    /// There is nothing yet that outcomes could be joined with.
    #[error("campaign `{0}` is not complete: bring its outcomes when it is")]
    NotComplete(CampaignId),
    #[error("there is no file {0}")]
    NoFile(BlobPath),
    /// The file, or one that came before it, cannot be analysed; the results stay as they were.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Problems(Vec<Problem>),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Failed(Error),
}

impl From<store::Error> for OutcomesError {
    fn from(error: store::Error) -> Self {
        ClientError::from(error).into()
    }
}

impl From<Error> for OutcomesError {
    fn from(error: Error) -> Self {
        match error {
            Error::Input(problems) => Self::Problems(problems),
            error => Self::Failed(error),
        }
    }
}

/// The files that results were made from, the newest last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "schema", deny_unknown_fields)]
enum Arrived {
    #[serde(rename = "outcomes/1")]
    V1 { files: Vec<Arrival> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arrival {
    path: BlobPath,
    sha256: Digest,
}

/// A file of outcomes is there, or another one under its name. The same file again changes nothing.
pub async fn arrived(engine: &Engine, campaign: &CampaignId, path: &BlobPath) -> Result<(), OutcomesError> {
    let Held { instance, .. } = engine.held(campaign).await?;
    if instance.status != Status::Completed {
        return Err(OutcomesError::NotComplete(campaign.clone()));
    }
    let run = run_of(&instance);
    for _ in 0..ATTEMPTS {
        if take_in(engine, &instance, &run, path).await? {
            return Ok(());
        }
    }
    Err(store::Error::Throttled { what: run.outcomes().to_string(), retry_after: None }.into())
}

/// `false`: others have written meanwhile what this began with.
async fn take_in(engine: &Engine, instance: &Instance, run: &Run, path: &BlobPath) -> Result<bool, OutcomesError> {
    let blobs = engine.store.blobs.as_ref();
    let folder = Folder { blobs, run };
    let written = [layout::RESULTS, layout::REPORT_JSON, layout::REPORT_HTML].map(layout::blob);
    // Before anything is looked at: what somebody writes from newer files, this does not replace.
    let standing = folder.standing(written).await.map_err(failed)?;
    let (Arrived::V1 { files: known }, etag) = known(engine, run).await?;

    let scratch = tempfile::tempdir().map_err(|error| failed(error.into()))?;
    let mut fetched = Fetched { scratch, files: Vec::new() };
    for earlier in known.iter().filter(|file| file.path != *path) {
        fetched.fetch(engine, &earlier.path).await?;
    }
    if !fetched.fetch(engine, path).await? {
        return Err(OutcomesError::NoFile(path.clone()));
    }
    let arrivals: Vec<Arrival> = fetched.files.iter().map(|(_, arrival)| arrival.clone()).collect();
    if arrivals.last().is_some_and(|newest| known.contains(newest)) {
        return Ok(true);
    }

    let files = RunFiles::Store { blobs: engine.store.blobs.clone(), run: run.clone() };
    let design: Design = files.json(layout::DESIGN).await?;
    let metrics = [results::primary_metric(&design)];
    let paths = fetched.files.iter().map(|(file, _)| file.clone()).collect();
    let results = results::analyze(&files, paths, &metrics, &design).await.map_err(|error| fetched.named(error))?;
    let mut report: Report = files.json(layout::REPORT_JSON).await?;
    report.tracking = tracking::found(blobs, run).await?.or(report.tracking);
    let is_tracked = files.frozen().await?.campaign.providers.tracking != TrackerName::None;
    let documents = results::documents(report, results)?;
    let told = documents.iter().find(|(name, _)| name.as_str() == layout::REPORT_JSON);
    let told = told.map(|(_, report)| Digest::of(report)).filter(|_| is_tracked);
    for (name, bytes) in documents {
        match folder.replace(&standing, name, bytes).await {
            Ok(_) => {}
            Err(Trouble::Store(error)) if is_overtaken(&error) => return Ok(false),
            Err(trouble) => return Err(failed(trouble)),
        }
    }
    // Before the files count as taken in: whoever dies here takes them in once more. The sweeper sends it.
    if let Some(report) = told {
        tracking::owe(blobs, instance, report, engine.now()).await?;
    }
    let bytes = serde_json::to_vec(&Arrived::V1 { files: arrivals }).map_err(|error| failed(error.into()))?;
    match blobs.put(&run.outcomes(), bytes, etag.map_or(Precondition::Absent, Precondition::Match)).await {
        Ok(_) => Ok(true),
        Err(error) if is_overtaken(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn known(engine: &Engine, run: &Run) -> Result<(Arrived, Option<ETag>), OutcomesError> {
    match engine.store.blobs.get(&run.outcomes()).await {
        Ok(blob) => Ok((serde_json::from_slice(&blob.bytes).map_err(|error| failed(error.into()))?, Some(blob.etag))),
        Err(store::Error::NotFound { .. }) => Ok((Arrived::V1 { files: Vec::new() }, None)),
        Err(error) => Err(error.into()),
    }
}

/// Copies of files, in order.
struct Fetched {
    scratch: TempDir,
    files: Vec<(PathBuf, Arrival)>,
}

impl Fetched {
    /// `false`: there is no such file.
    async fn fetch(&mut self, engine: &Engine, path: &BlobPath) -> Result<bool, OutcomesError> {
        let file = self.scratch.path().join(self.files.len().to_string());
        match engine.store.blobs.get_file(path, &file).await {
            Ok(_) => {}
            Err(store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let digest = {
            let file = file.clone();
            tokio::task::spawn_blocking(move || Digest::of_reader(&mut std::fs::File::open(file)?))
        };
        let digest = digest.await.map_err(|panicked| failed(Trouble::Defect(panicked.into())))?;
        let sha256 = digest.map_err(|error| failed(error.into()))?;
        self.files.push((file, Arrival { path: path.clone(), sha256 }));
        Ok(true)
    }

    /// The error with the files' own names in place of their copies'.
    fn named(&self, error: Error) -> OutcomesError {
        let Error::Input(mut problems) = error else { return error.into() };
        for problem in &mut problems {
            let copied = self.files.iter().find(|(file, _)| problem.file.as_ref() == Some(file));
            if let Some((_, arrival)) = copied {
                problem.file = Some(arrival.path.as_str().into());
            }
        }
        OutcomesError::Problems(problems)
    }
}

fn failed(trouble: Trouble) -> OutcomesError {
    match trouble {
        Trouble::Store(error) => error.into(),
        trouble => OutcomesError::Failed(Error::failed("the outcomes cannot be taken in", trouble)),
    }
}

/// An answer that was lost is as good as none: what was written is found to be the same when it is written again.
fn is_overtaken(error: &store::Error) -> bool {
    use store::Error::{AlreadyExists, Ambiguous, PreconditionFailed};
    matches!(error, AlreadyExists { .. } | Ambiguous { .. } | PreconditionFailed { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_version_kept_is_still_read() {
        let json = include_str!("../../tests/data/formats/outcomes-1.json");
        let arrived: Arrived = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&arrived).unwrap(), json);
    }
}
