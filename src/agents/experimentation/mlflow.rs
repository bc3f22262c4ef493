//! Brings what is to be tracked to MLflow.
//!
//! Whoever dies here, or hears no answer, does it all again, and the server holds the same as if it had been done once:
//! the run is found by a tag, what it holds already is not sent again, and parameters never change. A metric that has
//! another value now is told as its next step.

use std::collections::{HashMap, HashSet};

use super::tracking::Tracked;
use crate::{
    domain::digest::Digest,
    providers::{
        mlflow::{Entry, Metric, MlFlow, Run},
        service::Fault,
    },
    report::Tracking,
};

/// The tag that names a run.
const IDENTITY: &str = "cpo_run";

/// Tags that say which state of a file has been uploaded: `cpo_sha256.<name>`.
const UPLOADED: &str = "cpo_sha256.";

/// The run is complete on the server when it returns.
pub async fn track(mlflow: &MlFlow, tracked: &Tracked) -> Result<Tracking, Fault> {
    let name = mlflow.experiment.as_deref().unwrap_or(&tracked.experiment);
    let experiment = mlflow.experiment_id(name).await?;
    let run = the_run(mlflow, &experiment, tracked).await?;
    let id = &run.info.run_id;
    let (params, metrics, tags) = missing(&run, tracked);
    mlflow.log(id, &params, &metrics, &tags).await?;
    for (name, bytes) in &tracked.artifacts {
        let uploaded =
            Entry { key: format!("{UPLOADED}{}", name.replace('/', ".")), value: Digest::of(bytes).to_string() };
        if run.data.tags.contains(&uploaded) {
            continue;
        }
        if !mlflow.upload(&run, name, bytes.clone()).await? {
            tracing::warn!(run = id, "the MLflow server takes no files (it runs without --serve-artifacts)");
            break;
        }
        mlflow.log(id, &[], &[], &[uploaded]).await?;
    }
    mlflow.finish_run(id, tracked.ended).await?;
    tracing::info!(experiment = name, run = id, name = tracked.name, "the run is tracked");
    Ok(Tracking {
        server: mlflow.address(),
        experiment: name.to_owned(),
        tag: tracked.identity.clone(),
        run_id: Some(id.clone()),
    })
}

/// Made where there is none. Where two processes make one each at the same moment, or an answer was lost, the one with
/// the first id stays, whoever looks.
async fn the_run(mlflow: &MlFlow, experiment: &str, tracked: &Tracked) -> Result<Run, Fault> {
    let search = || mlflow.runs_tagged(experiment, IDENTITY, &tracked.identity);
    let mut found = search().await?;
    if found.is_empty() {
        let tags = [Entry { key: IDENTITY.to_owned(), value: tracked.identity.clone() }];
        let made = mlflow.create_run(experiment, &tracked.name, tracked.began, &tags).await?;
        found = search().await?;
        if found.is_empty() {
            // A server that lists it only later.
            found.push(made);
        }
    }
    found.sort_by(|one, other| one.info.run_id.cmp(&other.info.run_id));
    let mut found = found.into_iter();
    let first = found.next().expect("one was found or made");
    for surplus in found {
        mlflow.delete_run(&surplus.info.run_id).await?;
    }
    mlflow.run(&first.info.run_id).await
}

fn missing(run: &Run, tracked: &Tracked) -> (Vec<Entry>, Vec<Metric>, Vec<Entry>) {
    let entry = |(key, value): (&String, &String)| Entry { key: key.clone(), value: value.clone() };
    let params: HashSet<&str> = run.data.params.iter().map(|param| param.key.as_str()).collect();
    let metrics: HashMap<&str, &Metric> = run.data.metrics.iter().map(|metric| (metric.key.as_str(), metric)).collect();
    let params = tracked.params.iter().filter(|(key, _)| !params.contains(key.as_str()));
    let metrics = tracked.metrics.iter().filter_map(|(key, &value)| {
        let step = match metrics.get(key.as_str()) {
            Some(known) if known.value == value => return None,
            Some(known) => known.step + 1,
            None => 0,
        };
        Some(Metric { key: key.clone(), value, timestamp: tracked.told.as_millisecond(), step })
    });
    let tags = tracked.tags.iter().map(entry).filter(|tag| !run.data.tags.contains(tag));
    (params.map(|(key, value)| entry((key, value))).collect(), metrics.collect(), tags.collect())
}
