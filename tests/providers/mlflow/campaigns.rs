//! Campaigns run by the program, and what the server holds afterwards.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::header::AUTHORIZATION;
use cpo::domain::digest::Digest;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    fake::{Fake, FakeRun},
    front::{Backend, Front},
    workspace::WORKSPACE,
};

/// What `cpo init` makes, for campaigns that are tracked.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let made = cpo(root.path(), &[], &["init", "spring"]);
        assert!(made.status.success(), "{}", stderr(&made));
        Self(root)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("spring").join(name)
    }

    /// A campaign file of its own for this id; returns its name.
    pub fn campaign(&self, id: &str) -> String {
        let text = fs::read_to_string(self.path("campaign.toml")).unwrap();
        let text = text.replacen("first-campaign", id, 1) + "\n[providers]\ntracking = \"mlflow\"\n";
        let name = format!("{id}.toml");
        fs::write(self.path(&name), text).unwrap();
        name
    }

    /// `cpo run` of a campaign, with the server at an address and more settings.
    pub fn run(&self, id: &str, uri: &str, settings: &[(&str, &str)]) -> Output {
        let campaign = self.campaign(id);
        let settings = [&[("MLFLOW_TRACKING_URI", uri)], settings].concat();
        let run = ["run", &campaign, "--customers", "customers.csv", "--format", "json"];
        cpo(&self.path(""), &settings, &run)
    }

    pub fn file(&self, id: &str, name: &str) -> Vec<u8> {
        fs::read(self.path("out/campaigns").join(id).join(name)).unwrap()
    }

    pub fn digest(&self, id: &str, name: &str) -> String {
        Digest::of(self.file(id, name)).to_string()
    }

    pub fn json(&self, id: &str, name: &str) -> Value {
        serde_json::from_slice(&self.file(id, name)).unwrap()
    }
}

pub fn cpo(folder: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cpo"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MLFLOW_") || name.starts_with("IDENTITY_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).envs(settings.iter().copied()).args(arguments).stdin(Stdio::null()).output().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn warnings(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", stderr(output));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let warnings = summary["warnings"].as_array().unwrap().iter();
    warnings.map(|warning| warning.as_str().unwrap().to_owned()).filter(|it| it.starts_with("Not tracked")).collect()
}

/// Runs blocking work while the servers of the test go on.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn served() -> (Arc<Fake>, Front) {
    let fake: Arc<Fake> = Arc::default();
    let front = Front::start(Backend::Fake(Arc::clone(&fake))).await;
    (fake, front)
}

/// A port that refuses connections.
pub fn nobody() -> String {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("http://{free}")
}

#[track_caller]
pub fn the_one(runs: Vec<FakeRun>) -> FakeRun {
    assert_eq!(runs.len(), 1);
    runs.into_iter().next().unwrap()
}

/// That the run says what the campaign's files say.
pub fn assert_tells(run: &FakeRun, files: &BTreeMap<String, String>, folder: &Folder, id: &str) {
    let frozen = folder.json(id, "campaign.json");
    let report = folder.json(id, "report.json");
    assert_eq!(run.status, "FINISHED");
    assert_eq!(run.params["campaign.id"], id);
    assert_eq!(run.params["digest.campaign"], frozen["digest"].as_str().unwrap());
    assert_eq!(run.params["digest.customers"], frozen["customers"].as_str().unwrap());
    for (number, arm) in frozen["campaign"]["experiment"]["arms"].as_array().unwrap().iter().enumerate() {
        assert_eq!(run.params[&format!("experiment.arms.{number}.tone")], arm["tone"].as_str().unwrap());
    }
    assert_eq!(run.tags["cpo_audit_root"], folder.json(id, "audit/root.json")["root"].as_str().unwrap());
    let last = |key: &str| run.metrics[key].last().unwrap().0;
    for name in ["read", "quarantined", "holdout", "assigned"] {
        assert_eq!(last(&format!("customers.{name}")), report["funnel"][name].as_f64().unwrap(), "{name}");
    }
    let variants = report["variants"].as_array().unwrap();
    assert_eq!(last("variants.generated"), variants.len() as f64);
    let is_blocked = |variant: &&Value| variant["verdict"]["decision"] == "blocked";
    let blocked = variants.iter().filter(is_blocked).count() as f64;
    assert_eq!(last("variants.blocked_share"), blocked / variants.len() as f64);
    for timing in report["timings"].as_array().unwrap() {
        let key = format!("stage.{}.seconds", timing["stage"].as_str().unwrap());
        assert_eq!(last(&key), timing["seconds"].as_f64().unwrap(), "{key}");
    }
    for cost in report["cost"]["stages"].as_array().unwrap() {
        let key = format!("stage.{}.requests", cost["stage"].as_str().unwrap());
        assert_eq!(last(&key), cost["usage"]["requests"].as_f64().unwrap(), "{key}");
    }
    // All of the run, told once.
    assert!(run.metrics.values().all(|history| history.len() == 1));
    assert!(files.contains_key("report.html") && files.contains_key("experiment/design.json"));
    for (name, sha256) in files {
        assert_eq!(*sha256, folder.digest(id, name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_fails_no_campaign_and_the_next_close_sends_what_is_owed() {
    let (fake, front) = served().await;
    let folder = Arc::new(Folder::new());
    let (here, gone) = (Arc::clone(&folder), nobody());
    let began = Instant::now();
    let first = beside(move || here.run("first", &gone, &[])).await;
    assert_eq!(warnings(&first).len(), 1, "{}", stderr(&first));
    assert!(began.elapsed() < Duration::from_secs(60));
    assert!(fake.runs("first").is_empty());

    // It goes away again in the middle of what is owed.
    front.lose_answers_from(7);
    let (here, url) = (Arc::clone(&folder), front.url());
    let second = beside(move || here.run("second", &url, &[])).await;
    assert_eq!(warnings(&second).len(), 1);

    front.lose_answers_from(usize::MAX);
    let (here, url) = (Arc::clone(&folder), front.url());
    assert!(warnings(&beside(move || here.run("third", &url, &[])).await).is_empty());
    for id in ["first", "second", "third"] {
        let run = the_one(fake.runs(id));
        assert_tells(&run, &fake.files(&run), &folder, id);
    }

    // Nothing is owed any more: the same command again asks the server for nothing.
    let before = front.seen().len();
    let (here, url) = (Arc::clone(&folder), front.url());
    beside(move || here.run("third", &url, &[])).await;
    assert_eq!(front.seen().len(), before);
    // And no customer is known to it.
    let customers = fs::read_to_string(folder.path("customers.csv")).unwrap();
    let ids: Vec<&str> = customers.lines().skip(1).filter_map(|line| line.split(',').next()).take(20).collect();
    assert!(ids.len() == 20 && ids.iter().all(|id| id.len() > 2), "{ids:?}");
    for seen in front.seen() {
        let text = String::from_utf8_lossy(&seen.body).into_owned();
        assert!(!ids.iter().any(|id| text.contains(id)), "{}", seen.path);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_told_in_the_same_run_and_two_processes_at_once_double_nothing() {
    let (fake, front) = served().await;
    let folder = Arc::new(Folder::new());
    let gone = nobody();
    for id in ["first", "second"] {
        let (here, gone) = (Arc::clone(&folder), gone.clone());
        beside(move || here.run(id, &gone, &[])).await;
    }
    // Both find both owed.
    let again = |id: &'static str| {
        let (here, url) = (Arc::clone(&folder), front.url());
        beside(move || here.run(id, &url, &[]))
    };
    let (one, other) = tokio::join!(again("first"), again("second"));
    assert!(one.status.success() && other.status.success(), "{}\n{}", stderr(&one), stderr(&other));
    let before = the_one(fake.runs("first"));
    the_one(fake.runs("second"));

    let (here, url) = (Arc::clone(&folder), front.url());
    let analyzed = beside(move || {
        let settings = [("MLFLOW_TRACKING_URI", url.as_str())];
        cpo(&here.path(""), &settings, &["analyze", "--campaign", "out/campaigns/first", "--simulate"])
    });
    let analyzed = analyzed.await;
    assert!(analyzed.status.success(), "{}", stderr(&analyzed));
    let run = the_one(fake.runs("first"));
    assert_eq!((&run.id, &run.params), (&before.id, &before.params));
    assert_eq!(run.tags["cpo_simulated"], "true");
    let results = folder.json("first", "experiment/results.json");
    assert_eq!(fake.files(&run)["experiment/results.json"], folder.digest("first", "experiment/results.json"));
    assert_eq!(fake.files(&run)["report.html"], folder.digest("first", "report.html"));
    for comparison in results["comparisons"].as_array().unwrap() {
        let text = |name: &str| comparison[name].as_str().unwrap().to_owned();
        let at = format!("results.{}_vs_{}.{}", text("arm"), text("control"), text("metric"));
        let last = |key: &str| run.metrics.get(&format!("{at}.{key}")).map(|history| history.last().unwrap().0);
        assert!(last("difference").is_some());
        assert_eq!(last("difference"), comparison["difference"].as_f64());
        // Of few customers there may be none.
        assert_eq!(last("p_value"), comparison["p_value"].as_f64());
        assert_eq!(last("difference.low"), comparison["difference_interval"]["low"].as_f64());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_is_reached_with_the_identity_of_the_app() {
    let fake: Arc<Fake> = Arc::default();
    let front = Front::start(Backend::Fake(Arc::clone(&fake))).await;
    let folder = Arc::new(Folder::new());
    let (here, url) = (Arc::clone(&folder), front.url());
    let ran = beside(move || {
        let identity = format!("{url}/identity");
        let settings = [("IDENTITY_ENDPOINT", identity.as_str()), ("IDENTITY_HEADER", "secret")];
        here.run("first", &format!("{url}/mlflow/v2.0/{WORKSPACE}"), &settings)
    });
    let ran = ran.await;
    assert!(warnings(&ran).is_empty(), "{}", stderr(&ran));
    let (tokens, calls): (Vec<_>, Vec<_>) = front.seen().into_iter().partition(|seen| seen.path == "/identity");
    assert!(tokens.iter().all(|seen| seen.query["resource"] == "https://management.azure.com"));
    assert!(!tokens.is_empty() && calls.iter().all(|seen| seen.headers[AUTHORIZATION] == "Bearer of-the-app"));
    let run = the_one(fake.runs("first"));
    assert_tells(&run, &fake.files(&run), &folder, "first");
}

#[tokio::test]
async fn a_campaign_without_a_server_is_refused_before_anything_is_done() {
    let folder = Folder::new();
    let campaign = folder.campaign("first");
    let refused = cpo(&folder.path(""), &[], &["run", &campaign, "--customers", "customers.csv"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("MLFLOW_TRACKING_URI"), "{}", stderr(&refused));
}
