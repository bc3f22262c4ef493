//! Every call of every client under each fault: its kind, whether it may have been charged for, how often it was sent.

use std::{pin::Pin, sync::Arc};

use cpo::{
    domain::{id::BlocklistName, verdict::SeverityLevels},
    providers::{
        Services,
        content_safety::{Bundle, Grounding, Part},
        mlflow,
        search::{
            Entry, Filter, Index, Neighbours, Query, Words,
            index::{Field, Kind, Meaning},
        },
        service,
    },
};
use futures::future::join_all;
use jiff::Timestamp;
use serde_json::json;

use super::{Fault, assert_none, let_time_pass};
use crate::{
    content_safety, openai,
    scripted::{Reply, Request},
};

type Asked = Pin<Box<dyn Future<Output = Result<(), service::Fault>>>>;

/// A call of a client, and what is particular about it.
struct Operation {
    name: &'static str,
    ask: fn(Arc<Services>) -> Asked,
    /// Of others only the status says that it was done.
    is_read: bool,
    /// A model charges for questions that it refuses.
    is_of_model: bool,
    /// What is not there is made, and then looked for again.
    is_made: bool,
}

impl Operation {
    fn new(name: &'static str, ask: fn(Arc<Services>) -> Asked) -> Self {
        Self { name, ask, is_read: true, is_of_model: false, is_made: false }
    }

    fn unread(self) -> Self {
        Self { is_read: false, ..self }
    }

    fn of_model(self) -> Self {
        Self { is_of_model: true, ..self }
    }

    async fn wrong_under(&self, fault: Fault, settings: &'static [(&str, &str)]) -> Option<String> {
        let server = fault.shown(good).await;
        let url = server.url();
        let services = Services::new(move |name| {
            let (_, value) = settings.iter().find(|(known, _)| *known == name)?;
            Some(value.replace("URL", &url))
        });
        let met = (self.ask)(Arc::new(services)).await.err();
        let seen = met.as_ref().map(|fault| (fault.kind, fault.may_have_cost));
        let is_harmless = !self.is_read && matches!(fault, Fault::WrongType | Fault::NotUtf8);
        let may_have_cost = fault.may_have_cost() || self.is_of_model && fault == Fault::Status(400);
        let expected = fault.kind().filter(|_| !is_harmless).map(|kind| (kind, may_have_cost));
        let requests = if self.is_made && fault == Fault::Status(404) { 3 } else { fault.requests() };
        let sent = server.requests().len();
        // A call of several requests goes on where nothing is wrong.
        let is_as_often = if expected.is_none() { sent >= requests } else { sent == requests };
        let is_right = seen == expected && is_as_often;
        (!is_right).then(|| format!("{}, {fault:?}: {met:?} after {sent} requests", self.name))
    }
}

/// All operations of a service under all faults, at once.
async fn matrix(settings: &'static [(&'static str, &'static str)], operations: &[Operation]) {
    let_time_pass();
    let cells = operations.iter().flat_map(|operation| Fault::ALL.map(|fault| operation.wrong_under(fault, settings)));
    assert_none(join_all(cells).await);
}

/// A call that a client of the services makes.
macro_rules! operation {
    ($name:literal, $service:ident, $client:ident => $call:expr) => {
        Operation::new($name, |services| {
            Box::pin(async move {
                let $client = services.$service().unwrap();
                $call.await.map(drop)
            })
        })
    };
}

/// What each service says when all is well.
fn good(request: &Request) -> Reply {
    let path = request.path();
    let run = json!({"info": {"run_id": "0f", "artifact_uri": "mlflow-artifacts:/1/0f/artifacts"}, "data": {}});
    match path.rsplit(['/', ':']).next().unwrap() {
        "completions" => openai::says("yes"),
        "embeddings" => Reply::json(200, &json!({"data": [{"index": 0, "embedding": [1.0, 2.0]}]})),
        "removeBlocklistItems" => Reply::json(200, &json!({})),
        _ if path.starts_with("/contentsafety") => content_safety::good(request),
        "search.index" => {
            let done = json!({"key": "a", "status": true, "statusCode": 200});
            Reply::json(200, &json!({"value": [done]}))
        }
        "search.post.search" => {
            let hit = json!({"key": "a", "@search.score": 1.0, "@search.rerankerScore": 2.0});
            // Of a page after the first there is none.
            let is_after = request.json()["filter"].as_str().unwrap().contains("key gt 'a'");
            let hits = if is_after { vec![] } else { vec![hit] };
            Reply::json(200, &json!({"@odata.count": 1, "value": hits}))
        }
        "indexes" => Reply::json(200, &json!({"value": []})),
        "get-by-name" => Reply::json(200, &json!({"experiment": {"experiment_id": "1"}})),
        _ if path.ends_with("experiments/create") => Reply::json(200, &json!({"experiment_id": "1"})),
        _ if path.ends_with("runs/search") => Reply::json(200, &json!({"runs": [run]})),
        _ if path.ends_with("runs/create") || path.ends_with("runs/get") => Reply::json(200, &json!({"run": run})),
        _ => Reply::json(200, &json!({})),
    }
}

fn chat() -> Operation {
    let chat = operation!("chat", azure_openai, client => {
        async move { client.chat(&openai::question(&openai::turns(), &json!({"type": "object"}))).await }
    });
    chat.of_model()
}

fn embed() -> Operation {
    operation!("embed", azure_openai, client => client.embed("small", &["a"], None)).of_model()
}

#[tokio::test(start_paused = true)]
async fn every_call_of_azure_openai_s_v1_path_tells_each_fault_for_what_it_is() {
    let operations = [
        chat(),
        embed(),
        operation!("probe", azure_openai, client => client.probe("small")).of_model(),
        operation!("probe embeddings", azure_openai, client => client.probe_embeddings("small")).of_model(),
    ];
    matrix(&[("AZURE_OPENAI_ENDPOINT", "URL"), ("AZURE_OPENAI_API_KEY", "k")], &operations).await;
}

#[tokio::test(start_paused = true)]
async fn every_call_of_azure_openai_s_dated_path_tells_each_fault_for_what_it_is() {
    let settings =
        &[("AZURE_OPENAI_ENDPOINT", "URL"), ("AZURE_OPENAI_API_KEY", "k"), ("AZURE_OPENAI_API_VERSION", "2024-10-21")];
    matrix(settings, &[chat(), embed()]).await;
}

#[tokio::test(start_paused = true)]
async fn every_call_of_content_safety_tells_each_fault_for_what_it_is() {
    let operations = [
        operation!("analyze", content_safety, client => client.analyze(Part::all("a")[0], SeverityLevels::Four, &[])),
        operation!("analyze with blocklists", content_safety, client => client.analyze(Part::all("a")[0], SeverityLevels::Eight, &[brand()])),
        operation!("shield a prompt", content_safety, client => client.shield_prompt(Part::all("a")[0])),
        operation!("shield documents", content_safety, client => client.shield_documents(&Bundle::all(&["a", "b"])[0])),
        operation!("groundedness", content_safety, client => client.ungrounded(Grounding::new("a", "b").unwrap())),
        operation!("probe", content_safety, client => client.probe()),
    ];
    matrix(&[("AZURE_CONTENT_SAFETY_ENDPOINT", "URL"), ("AZURE_CONTENT_SAFETY_KEY", "k")], &operations).await;
}

fn brand() -> BlocklistName {
    BlocklistName::new("brand").unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_call_of_ai_search_tells_each_fault_for_what_it_is() {
    let operations = [
        operation!("create an index", azure_search, client => client.create(&index())).unread(),
        operation!("upload", azure_search, client => client.upload("passages", [entry()])),
        operation!("count", azure_search, client => client.count("passages", Filter::Is("approved"))),
        operation!("query", azure_search, client => client.search("passages", &query())),
        operation!("remove", azure_search, client => client.remove("passages", &Filter::Is("approved"))),
        operation!("list indexes", azure_search, client => client.indexes()),
        operation!("probe", azure_search, client => client.probe()),
    ];
    matrix(&[("AZURE_SEARCH_ENDPOINT", "URL"), ("AZURE_SEARCH_API_KEY", "k")], &operations).await;
}

fn index() -> Index {
    let fields = vec![Field { name: "text", kind: Kind::Words { analyzer: "en.lucene" } }];
    Index { name: "passages".to_owned(), fields, meaning: Meaning { title: "text", text: "text", keywords: "text" } }
}

fn entry() -> Entry<serde_json::Value> {
    Entry { key: "a".to_owned(), name: "a".to_owned(), fields: json!({"text": "Tea."}) }
}

fn query() -> Query {
    let words = Words { text: "tea".to_owned(), fields: &["text"] };
    Query::ranked(words, Some(Neighbours { vector: vec![1.0], field: "vector" }), Filter::Is("approved"), 3)
}

#[tokio::test(start_paused = true)]
async fn every_call_of_mlflow_tells_each_fault_for_what_it_is() {
    let experiment = operation!("experiment", mlflow, client => client.experiment_id("spring"));
    let operations = [
        Operation { is_made: true, ..experiment },
        operation!("search runs", mlflow, client => client.runs_tagged("1", "cpo_run", "spring/1")),
        operation!("create a run", mlflow, client => client.create_run("1", "spring", Timestamp::UNIX_EPOCH, &[])),
        operation!("read a run", mlflow, client => client.run("0f")),
        operation!("log parameters", mlflow, client => client.log("0f", &[pair()], &[], &[])).unread(),
        operation!("log metrics", mlflow, client => client.log("0f", &[], &[metric()], &[])).unread(),
        operation!("log tags", mlflow, client => client.log("0f", &[], &[], &[pair()])).unread(),
        operation!("upload an artifact", mlflow, client => client.upload(&run(), "report.html", vec![1])).unread(),
        operation!("finish a run", mlflow, client => client.finish_run("0f", Timestamp::UNIX_EPOCH)).unread(),
        operation!("delete a run", mlflow, client => client.delete_run("0f")).unread(),
        operation!("probe", mlflow, client => client.probe()),
    ];
    matrix(&[("MLFLOW_TRACKING_URI", "URL")], &operations).await;
}

fn pair() -> mlflow::Entry {
    mlflow::Entry { key: "a".to_owned(), value: "b".to_owned() }
}

fn metric() -> mlflow::Metric {
    mlflow::Metric { key: "a".to_owned(), value: 1.0, timestamp: 0, step: 0 }
}

fn run() -> mlflow::Run {
    let info = json!({"run_id": "0f", "artifact_uri": "mlflow-artifacts:/1/0f/artifacts"});
    serde_json::from_value(json!({ "info": info })).unwrap()
}
