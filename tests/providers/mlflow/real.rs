//! The real server, read back by its own Python client.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use cpo::agents::experimentation::mlflow::track;
use futures::future::join_all;
use serde::Deserialize;
use tempfile::TempDir;

use super::{
    campaigns::{Folder, assert_tells, beside, cpo, nobody, stderr, warnings},
    fake::{FakeRun, digests},
    front::{Backend, Front},
    lost::{sample, services},
};

const VERSION: &str = "3.17.2";

/// Ends with its owner, and with the process whatever happens.
struct Server {
    process: Child,
    url: String,
    _folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = python("serve.py")
            .arg(folder.path())
            .arg("0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().expect("the server says on which port it is");
        Self { process, url: format!("http://127.0.0.1:{port}"), _folder: folder }
    }

    /// The runs of experiments, as MLflow's client finds them.
    fn read(&self, experiments: &[&str]) -> BTreeMap<String, Vec<Told>> {
        let read = python("read.py").arg(&self.url).args(experiments).output().unwrap();
        assert!(read.status.success(), "{}", stderr(&read));
        serde_json::from_slice(&read.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug, Deserialize)]
struct Told {
    #[serde(flatten)]
    run: FakeRun,
    /// SHA-256 of each.
    files: BTreeMap<String, String>,
}

fn python(script: &str) -> Command {
    let mut command = Command::new(installed());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/providers/mlflow").join(script));
    command.env("MLFLOW_DISABLE_TELEMETRY", "true").env_remove("MLFLOW_TRACKING_URI");
    command
}

/// Python with MLflow. One process installs it, others wait; one that was killed meanwhile leaves it unfinished.
fn installed() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is a folder in the target folder");
    let folder = target.join(format!("mlflow-{VERSION}"));
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let python = folder.join("venv/bin/python");
    let finished = folder.join("finished");
    if !finished.exists() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")).status();
        assert!(made.is_ok_and(|made| made.success()), "these tests need Python 3.10 or later with `venv`");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        let install = Command::new(&python).args(pip).arg(format!("mlflow=={VERSION}")).status().unwrap();
        assert!(install.success(), "pip could not install mlflow {VERSION}: once, that needs the network");
        File::create(&finished).unwrap();
    }
    python
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "installs MLflow (850 MB), and takes minutes"]
async fn a_real_server_holds_what_the_files_say_after_outages_and_outcomes() {
    let server = Arc::new(beside(Server::start).await);
    let front = Front::start(Backend::Real(server.url.clone())).await;
    let folder = Arc::new(Folder::new());
    let run = |id: &'static str, uri: String| {
        let here = Arc::clone(&folder);
        beside(move || here.run(id, &uri, &[]))
    };
    assert_eq!(warnings(&run("first", nobody()).await).len(), 1);
    // The server goes away in the middle.
    front.lose_answers_from(7);
    assert_eq!(warnings(&run("second", front.url()).await).len(), 1);
    front.lose_answers_from(usize::MAX);
    // Two processes at once, both of which find the same owed.
    let (third, fourth) = tokio::join!(run("third", front.url()), run("fourth", front.url()));
    assert!(third.status.success() && fourth.status.success());
    assert!(warnings(&run("third", front.url()).await).is_empty());

    let ids = ["first", "second", "third", "fourth"];
    let reader = Arc::clone(&server);
    let all = beside(move || reader.read(&ids)).await;
    for id in ids {
        assert_eq!(all[id].len(), 1, "{id}");
        assert_tells(&all[id][0].run, &all[id][0].files, &folder, id);
    }

    let (here, url) = (Arc::clone(&folder), front.url());
    let analyzed = beside(move || {
        let settings = [("MLFLOW_TRACKING_URI", url.as_str())];
        cpo(&here.path(""), &settings, &["analyze", "--campaign", "out/campaigns/first", "--simulate"])
    });
    let analyzed = analyzed.await;
    assert!(analyzed.status.success(), "{}", stderr(&analyzed));
    let reader = Arc::clone(&server);
    let after = beside(move || reader.read(&["first"])).await;
    let Told { run, files } = &after["first"][0];
    assert_eq!((after["first"].len(), &run.params), (1, &all["first"][0].run.params));
    assert_eq!(files["report.html"], folder.digest("first", "report.html"));
    let results = folder.json("first", "experiment/results.json");
    assert_eq!(run.tags["cpo_simulated"], "true");
    let sample_ratio = run.metrics["results.sample_ratio.p_value"][0].0;
    assert_eq!(sample_ratio, results["sample_ratio"]["p_value"].as_f64().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "installs MLflow (850 MB), and takes minutes"]
async fn a_real_server_holds_one_whole_run_whichever_answer_was_lost() {
    let server = Arc::new(beside(Server::start).await);
    let undisturbed = Front::start(Backend::Real(server.url.clone())).await;
    track(&services(&undisturbed).mlflow().unwrap(), &sample("undisturbed", 10)).await.unwrap();
    let requests = undisturbed.seen().len();
    let experiments: Vec<String> = (0..requests).map(|lost| format!("lost-{lost}")).collect();
    join_all(experiments.iter().enumerate().map(async |(lost, experiment)| {
        let front = Front::start(Backend::Real(server.url.clone())).await;
        front.lose_answers_from(lost);
        let tracked = sample(experiment, 10);
        assert!(track(&services(&front).mlflow().unwrap(), &tracked).await.is_err(), "{lost}");
        front.lose_answers_from(usize::MAX);
        for _ in 0..2 {
            track(&services(&front).mlflow().unwrap(), &tracked).await.unwrap();
        }
    }))
    .await;
    let reader = Arc::clone(&server);
    let names = experiments.clone();
    let all = beside(move || reader.read(&names.iter().map(String::as_str).collect::<Vec<_>>())).await;
    for experiment in &experiments {
        let tracked = sample(experiment, 10);
        let told = &all[experiment];
        assert_eq!(told.len(), 1, "{experiment}");
        told[0].run.assert_holds(&tracked);
        assert_eq!(told[0].files, digests(&tracked.artifacts), "{experiment}");
    }
}
