//! Prism, a server that checks requests against an OpenAPI document: a process of its own for each document.
//!
//! The vendors' documents are not part of this repository. `CPO_SPECS` names the folder that has them, by default
//! `../shared/specs` beside the repository; where it is absent these tests say so and check nothing.
//!
//! Properties that a document does not know pass, and so does any value of `api-version`: that is asserted elsewhere.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Arc, LazyLock, Mutex, OnceLock},
    thread,
};

use serde_json::Value;

use crate::{
    npm,
    scripted::{Reply, Request, Scripted},
};

const VERSION: &str = "5.14.2";

pub struct Prism {
    url: String,
    /// It ends with this process, when nobody holds its standard input any more.
    _process: Child,
}

/// What checks requests against a document, e.g. `azure-openai-v1`; `None` where it is not there, which it says. Started
/// once. Blocks meanwhile: some seconds.
pub fn prism(spec: &'static str) -> Option<Arc<Prism>> {
    type Started = OnceLock<Option<Arc<Prism>>>;
    static STARTED: LazyLock<Mutex<BTreeMap<&str, Arc<Started>>>> = LazyLock::new(Mutex::default);
    let started = Arc::clone(STARTED.lock().unwrap().entry(spec).or_default());
    started.get_or_init(|| Prism::start(spec).map(Arc::new)).clone()
}

impl Prism {
    fn start(spec: &str) -> Option<Self> {
        let file = specs().join(format!("{spec}.prism.json"));
        if !file.exists() {
            println!("not checked against the vendor's document: there is no {}; see docs/testing.md", file.display());
            return None;
        }
        let mut process = npm::node("@stoplight/prism-cli", VERSION, "dist/index.js")
            .args(["mock", "--host", "127.0.0.1", "--port", "0", "--errors"])
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .expect("these tests need Node.js 20 or later as `node` on the PATH");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let url = lines.find_map(|line| Some(line.split_once("Prism is listening on ")?.1.trim().to_owned()));
        let url = url.unwrap_or_else(|| panic!("Prism did not start with {spec}"));
        // Whatever it says later must not fill the pipe.
        thread::spawn(move || lines.for_each(drop));
        Some(Self { url, _process: process })
    }

    /// What the document forbids in a request that a scripted server was sent. `below`: the part of its path that the
    /// document leaves to the server's address, e.g. `/openai/v1`.
    pub async fn violations(&self, request: &Request, below: &str) -> Vec<String> {
        let Some(target) = request.target.strip_prefix(below) else {
            return vec![format!("{} is not below {below}", request.target)];
        };
        let method = request.method.parse().unwrap();
        let mut copy = client().request(method, format!("{}{target}", self.url)).body(request.body.clone());
        for (name, value) in &request.headers {
            if !["host", "content-length"].contains(&name.to_ascii_lowercase().as_str()) {
                copy = copy.header(name, value);
            }
        }
        let answer = copy.send().await.unwrap();
        let is_problem = answer.headers().get("content-type").is_some_and(|kind| kind == "application/problem+json");
        if !is_problem {
            return Vec::new();
        }
        let problem: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        let listed = problem["validation"].as_array().into_iter().flatten().map(|violation| {
            let at: Vec<_> = violation["location"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            format!("{}: {}", at.join("."), violation["message"].as_str().unwrap_or_default())
        });
        let listed: Vec<_> = listed.collect();
        // What is wrong with the whole request, such as a path that the document does not have, or no credential.
        if listed.is_empty() { vec![format!("{} {}", problem["title"], problem["detail"])] } else { listed }
    }
}

fn client() -> reqwest::Client {
    // An error only says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn specs() -> PathBuf {
    match env::var_os("CPO_SPECS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/specs"),
    }
}

/// The requests that `body` makes to a path, as a server reads them.
async fn recorded(target: &str, key: Option<&str>, body: &Value) -> Request {
    let server = Scripted::start(|_| Reply::empty(200)).await;
    let request = client().post(format!("{}{target}", server.url())).body(body.to_string());
    let request = request.header("content-type", "application/json");
    let request = key.into_iter().fold(request, |request, key| request.header("ocp-apim-subscription-key", key));
    request.send().await.unwrap();
    server.requests().remove(0)
}

#[tokio::test]
async fn prism_passes_a_good_request_and_names_what_is_wrong_with_a_bad_one() {
    let Some(prism) = prism("contentsafety") else { return };
    let good = serde_json::json!({"text": "a text", "outputType": "EightSeverityLevels"});
    let bad = serde_json::json!({"text": 7, "outputType": "SomeLevels"});
    let target = "/contentsafety/text:analyze?api-version=2024-09-01";
    let found = async |target, key, body| prism.violations(&recorded(target, key, body).await, "/contentsafety").await;
    assert_eq!(found(target, Some("k"), &good).await, [""; 0]);
    let wrong = found(target, Some("k"), &bad).await;
    assert!(wrong.iter().any(|line| line.starts_with("body.text")), "{wrong:?}");
    assert!(wrong.iter().any(|line| line.starts_with("body.outputType")), "{wrong:?}");
    let others = [(target, None), ("/contentsafety/text:analyze", Some("k")), ("/contentsafety/none", Some("k"))];
    for (target, key) in others {
        assert_ne!(found(target, key, &good).await, [""; 0], "{target} {key:?}");
    }
}
