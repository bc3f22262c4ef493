//! Experiments and runs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::MlFlow;
use crate::providers::service::Fault;

/// What one call of log-batch may bring.
const MOST_PARAMS: usize = 100;
const MOST_TAGS: usize = 100;
const MOST_METRICS: usize = 1_000;

/// A parameter or a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub key: String,
    #[serde(default)]
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    pub key: String,
    pub value: f64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    #[serde(default)]
    pub step: i64,
}

/// A run and what it holds: of each metric the last value.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Run {
    pub info: Info,
    #[serde(default)]
    pub data: Data,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Info {
    pub run_id: String,
    /// Where its artifacts are: how they get there depends on it.
    #[serde(default)]
    pub artifact_uri: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Data {
    #[serde(default)]
    pub params: Vec<Entry>,
    #[serde(default)]
    pub metrics: Vec<Metric>,
    #[serde(default)]
    pub tags: Vec<Entry>,
}

#[derive(Deserialize)]
struct OneRun {
    run: Run,
}

impl MlFlow {
    /// Its id; it is made where there is none.
    pub async fn experiment_id(&self, name: &str) -> Result<String, Fault> {
        if let Some(id) = self.known_experiment(name).await? {
            return Ok(id);
        }
        #[derive(Deserialize)]
        struct Created {
            experiment_id: String,
        }
        let create = self.post("create experiment", "experiments/create", &json!({ "name": name }));
        match self.ask(create).await {
            Ok(Created { experiment_id }) => Ok(experiment_id),
            // Somebody else may just have made it.
            Err(fault) => self.known_experiment(name).await?.ok_or(fault),
        }
    }

    async fn known_experiment(&self, name: &str) -> Result<Option<String>, Fault> {
        #[derive(Deserialize)]
        struct Found {
            experiment: Experiment,
        }
        #[derive(Deserialize)]
        struct Experiment {
            experiment_id: String,
        }
        let get = self.get("get experiment", "experiments/get-by-name").query("experiment_name", name);
        match self.ask(get).await {
            Ok(Found { experiment }) => Ok(Some(experiment.experiment_id)),
            Err(fault) if fault.status.is_some_and(|status| status == 404) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Those that were not deleted. Key and value hold no quotes.
    pub async fn runs_tagged(&self, experiment: &str, key: &str, value: &str) -> Result<Vec<Run>, Fault> {
        #[derive(Deserialize)]
        struct Found {
            // An answer without any run has no such field.
            #[serde(default)]
            runs: Vec<Run>,
        }
        let body = json!({
            "experiment_ids": [experiment],
            "filter": format!("tags.{key} = '{value}'"),
            "run_view_type": "ACTIVE_ONLY",
            "max_results": 100,
        });
        let found: Found = self.ask(self.post("search runs", "runs/search", &body)).await?;
        Ok(found.runs)
    }

    pub async fn create_run(
        &self,
        experiment: &str,
        name: &str,
        start: Timestamp,
        tags: &[Entry],
    ) -> Result<Run, Fault> {
        let body = json!({
            "experiment_id": experiment,
            "run_name": name,
            "start_time": start.as_millisecond(),
            "tags": tags,
        });
        let OneRun { run } = self.ask(self.post("create run", "runs/create", &body)).await?;
        Ok(run)
    }

    pub async fn run(&self, id: &str) -> Result<Run, Fault> {
        let OneRun { run } = self.ask(self.get("get run", "runs/get").query("run_id", id)).await?;
        Ok(run)
    }

    /// In as many calls as it takes; each is done as a whole or not at all.
    pub async fn log(&self, id: &str, params: &[Entry], metrics: &[Metric], tags: &[Entry]) -> Result<(), Fault> {
        for params in params.chunks(MOST_PARAMS) {
            self.log_batch(&json!({ "run_id": id, "params": params })).await?;
        }
        for tags in tags.chunks(MOST_TAGS) {
            self.log_batch(&json!({ "run_id": id, "tags": tags })).await?;
        }
        for metrics in metrics.chunks(MOST_METRICS) {
            self.log_batch(&json!({ "run_id": id, "metrics": metrics })).await?;
        }
        Ok(())
    }

    async fn log_batch(&self, body: &serde_json::Value) -> Result<(), Fault> {
        self.service.send(&self.post("log batch", "runs/log-batch", body)).await.map(drop)
    }

    pub async fn finish_run(&self, id: &str, end: Timestamp) -> Result<(), Fault> {
        let body = json!({ "run_id": id, "status": "FINISHED", "end_time": end.as_millisecond() });
        self.service.send(&self.post("update run", "runs/update", &body)).await.map(drop)
    }

    pub async fn delete_run(&self, id: &str) -> Result<(), Fault> {
        self.service.send(&self.post("delete run", "runs/delete", &json!({ "run_id": id }))).await.map(drop)
    }
}
