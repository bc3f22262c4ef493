//! A tracking server in memory, with the rules of the real one that matter: parameters never change, metrics have a
//! history, a run that was deleted is found no more.

use std::{collections::BTreeMap, sync::Mutex};

use axum::{
    body::to_bytes,
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use cpo::{agents::experimentation::tracking::Tracked, domain::digest::Digest};
use futures::FutureExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::front::Seen;
use crate::scripted::{Reply, Request};

#[derive(Debug, Default)]
pub struct Fake(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    experiments: Vec<String>,
    runs: Vec<FakeRun>,
    files: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct FakeRun {
    pub id: String,
    #[serde(default)]
    pub experiment: String,
    #[serde(default)]
    pub deleted: bool,
    pub status: String,
    pub params: BTreeMap<String, String>,
    /// Value, time and step of each.
    pub metrics: BTreeMap<String, Vec<(f64, i64, i64)>>,
    pub tags: BTreeMap<String, String>,
}

impl Fake {
    /// Those that were not deleted.
    pub fn runs(&self, experiment: &str) -> Vec<FakeRun> {
        let held = self.0.lock().unwrap();
        let id = held.experiments.iter().position(|name| name == experiment).map(|id| id.to_string());
        held.runs.iter().filter(|run| !run.deleted && Some(&run.experiment) == id.as_ref()).cloned().collect()
    }

    /// SHA-256 of each, by its path below the run's.
    pub fn files(&self, run: &FakeRun) -> BTreeMap<String, String> {
        let folder = format!("{}/{}/artifacts/", run.experiment, run.id);
        let held = self.0.lock().unwrap();
        let name = |(path, bytes): (&String, &Vec<u8>)| {
            Some((path.strip_prefix(&folder)?.to_owned(), Digest::of(bytes).to_string()))
        };
        held.files.iter().filter_map(name).collect()
    }

    /// As [`Fake::answer`], for a scripted server.
    pub fn replies(&self, request: &Request) -> Reply {
        let seen = Seen {
            method: request.method.parse().unwrap(),
            path: request.path().to_owned(),
            query: request.query(),
            headers: HeaderMap::new(),
            body: request.body.clone().into(),
        };
        let (parts, body) = self.answer(&seen).into_parts();
        let body = to_bytes(body, usize::MAX).now_or_never().expect("it is there already").unwrap();
        Reply::new(parts.status.as_u16(), "application/json", body)
    }

    pub fn answer(&self, seen: &Seen) -> Response {
        if seen.path == "/identity" {
            // As App Service answers an app that asks for a token of its own.
            assert_eq!(seen.headers["x-identity-header"], "secret");
            let expires = jiff::Timestamp::now().as_second() + 3_600;
            return answered(json!({
                "access_token": "of-the-app",
                "expires_on": expires.to_string(),
                "resource": seen.query["resource"],
                "token_type": "Bearer",
            }));
        }
        let mut held = self.0.lock().unwrap();
        if let Some((_, artifact)) = seen.path.split_once("/artifacts/ExperimentRun/dcid.") {
            assert_eq!((&seen.method, seen.query["allowOverwrite"].as_str()), (&Method::POST, "true"));
            let id = artifact.strip_suffix("/content").unwrap();
            let path = format!("{}/{id}/artifacts/{}", held.run(id).experiment, seen.query["path"]);
            held.files.insert(path, seen.body.to_vec());
            return answered(json!({}));
        }
        let (_, call) = seen.path.split_once("/api/2.0/").unwrap_or_else(|| panic!("{}", seen.path));
        if let Some(path) = call.strip_prefix("mlflow-artifacts/artifacts/") {
            assert_eq!(seen.method, Method::PUT);
            held.files.insert(path.to_owned(), seen.body.to_vec());
            return answered(json!({}));
        }
        let body = seen.json();
        match call.strip_prefix("mlflow/").unwrap() {
            "experiments/search" => answered(json!({})),
            "experiments/get-by-name" => {
                let id = held.experiments.iter().position(|name| *name == seen.query["experiment_name"]);
                match id {
                    Some(id) => answered(json!({ "experiment": { "experiment_id": id.to_string() } })),
                    None => refused(StatusCode::NOT_FOUND, "RESOURCE_DOES_NOT_EXIST"),
                }
            }
            "experiments/create" => {
                let name = text(&body["name"]);
                if held.experiments.contains(&name) {
                    return refused(StatusCode::BAD_REQUEST, "RESOURCE_ALREADY_EXISTS");
                }
                held.experiments.push(name);
                answered(json!({ "experiment_id": (held.experiments.len() - 1).to_string() }))
            }
            "runs/create" => {
                // A later one may have a smaller id.
                let id = format!("{:032x}", u128::MAX - held.runs.len() as u128 * 7);
                let mut run = FakeRun { id, experiment: text(&body["experiment_id"]), ..FakeRun::default() };
                run.tags = pairs(&body["tags"]);
                run.status = "RUNNING".to_owned();
                held.runs.push(run.clone());
                answered(json!({ "run": shown(&run) }))
            }
            "runs/search" => {
                let filter = text(&body["filter"]);
                let (key, value) = filter.strip_prefix("tags.").unwrap().split_once(" = ").unwrap();
                let is_meant = |run: &&FakeRun| {
                    let tagged = run.tags.get(key).is_some_and(|tag| format!("'{tag}'") == value);
                    tagged && !run.deleted && body["experiment_ids"] == json!([run.experiment])
                };
                let runs: Vec<Value> = held.runs.iter().filter(is_meant).map(shown).collect();
                answered(if runs.is_empty() { json!({}) } else { json!({ "runs": runs }) })
            }
            "runs/get" => answered(json!({ "run": shown(held.run(&seen.query["run_id"])) })),
            "runs/log-batch" => {
                let run = held.run(&text(&body["run_id"]));
                if run.deleted {
                    return refused(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE");
                }
                for (key, value) in pairs(&body["params"]) {
                    if run.params.insert(key, value.clone()).is_some_and(|before| before != value) {
                        return refused(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE");
                    }
                }
                for metric in body["metrics"].as_array().into_iter().flatten() {
                    let number = |name: &str| metric[name].as_i64().unwrap();
                    let value = (metric["value"].as_f64().unwrap(), number("timestamp"), number("step"));
                    run.metrics.entry(text(&metric["key"])).or_default().push(value);
                }
                run.tags.extend(pairs(&body["tags"]));
                answered(json!({}))
            }
            "runs/update" => {
                held.run(&text(&body["run_id"])).status = text(&body["status"]);
                answered(json!({}))
            }
            "runs/delete" => {
                held.run(&text(&body["run_id"])).deleted = true;
                answered(json!({}))
            }
            other => panic!("MLflow has no {other}, or nobody should ask for it"),
        }
    }
}

impl FakeRun {
    #[track_caller]
    pub fn assert_holds(&self, tracked: &Tracked) {
        assert_eq!(self.status, "FINISHED");
        assert_eq!(self.params, tracked.params.iter().cloned().collect());
        let told = tracked.told.as_millisecond();
        let metrics = tracked.metrics.iter().map(|(key, value)| (key.clone(), vec![(*value, told, 0)]));
        assert_eq!(self.metrics, metrics.collect());
        assert!(tracked.tags.iter().all(|(key, value)| self.tags.get(key) == Some(value)));
    }
}

/// SHA-256 of each.
pub fn digests(artifacts: &[(String, Vec<u8>)]) -> BTreeMap<String, String> {
    artifacts.iter().map(|(name, bytes)| (name.clone(), Digest::of(bytes).to_string())).collect()
}

impl Held {
    fn run(&mut self, id: &str) -> &mut FakeRun {
        self.runs.iter_mut().find(|run| run.id == id).expect("there is such a run")
    }
}

fn shown(run: &FakeRun) -> Value {
    let pairs = |of: &BTreeMap<String, String>| -> Vec<Value> {
        of.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
    };
    let last = |(key, history): (&String, &Vec<(f64, i64, i64)>)| {
        let (value, timestamp, step) = history.iter().max_by_key(|(_, timestamp, step)| (step, timestamp)).unwrap();
        json!({ "key": key, "value": value, "timestamp": timestamp, "step": step })
    };
    json!({
        "info": {
            "run_id": run.id,
            "artifact_uri": format!("mlflow-artifacts:/{}/{}/artifacts", run.experiment, run.id),
            "status": run.status,
        },
        "data": {
            "params": pairs(&run.params),
            "metrics": run.metrics.iter().map(last).collect::<Vec<_>>(),
            "tags": pairs(&run.tags),
        },
    })
}

fn pairs(list: &Value) -> BTreeMap<String, String> {
    let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(entries.len() <= 100, "a call may bring no more than 100");
    entries.iter().map(|entry| (text(&entry["key"]), text(&entry["value"]))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn answered(body: Value) -> Response {
    axum::Json(body).into_response()
}

fn refused(status: StatusCode, code: &str) -> Response {
    (status, axum::Json(json!({ "error_code": code, "message": "for people" }))).into_response()
}
