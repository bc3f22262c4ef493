//! Each request as MLflow's documentation of its REST API describes it, and answers as that shows them. There is no
//! machine-readable document of it; the real server is asked in [`super::real`].

use std::sync::Arc;

use cpo::providers::{
    ErrorKind, Services,
    mlflow::{Entry, Metric, MlFlow, Run},
    service::Fault,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::scripted::{Reply, Request, Scripted};

fn client(server: &Scripted) -> Arc<MlFlow> {
    let url = server.url();
    Services::new(move |name| (name == "MLFLOW_TRACKING_URI").then(|| url.clone())).mlflow().unwrap()
}

fn pair(key: &str) -> Entry {
    Entry { key: key.to_owned(), value: "v".to_owned() }
}

fn run() -> Value {
    json!({"info": {"run_id": "0f", "artifact_uri": "mlflow-artifacts:/1/0f/artifacts"}})
}

/// There is no experiment before it is made.
fn good(request: &Request) -> Reply {
    match request.path().strip_prefix("/api/2.0/mlflow/").unwrap_or_default() {
        "experiments/get-by-name" => Reply::json(404, &json!({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": ""})),
        "experiments/create" => Reply::json(200, &json!({"experiment_id": "1"})),
        "runs/create" | "runs/get" => Reply::json(200, &json!({ "run": run() })),
        _ => Reply::json(200, &json!({})),
    }
}

#[tokio::test]
async fn every_request_is_one_that_the_documentation_describes() {
    let server = Scripted::start(good).await;
    let mlflow = client(&server);
    let time: Timestamp = "1970-01-01T00:00:01.5Z".parse().unwrap();
    assert_eq!(mlflow.experiment_id("spring & summer").await.unwrap(), "1");
    assert!(mlflow.runs_tagged("1", "cpo_run", "spring/1").await.unwrap().is_empty());
    let run = mlflow.create_run("1", "spring 1", time, &[pair("t")]).await.unwrap();
    mlflow.run("0f").await.unwrap();
    let params: Vec<Entry> = (0..101).map(|number| pair(&format!("p{number}"))).collect();
    let metric = Metric { key: "m".to_owned(), value: 0.5, timestamp: 1_500, step: 2 };
    mlflow.log("0f", &params, &[metric], &[pair("t")]).await.unwrap();
    assert!(mlflow.upload(&run, "experiment/a b.json", b"{}".to_vec()).await.unwrap());
    mlflow.finish_run("0f", time).await.unwrap();
    mlflow.delete_run("0f").await.unwrap();
    mlflow.probe().await.unwrap();

    let pair = |key: &str| json!({"key": key, "value": "v"});
    let some =
        |from: usize, to: usize| -> Vec<Value> { (from..to).map(|number| pair(&format!("p{number}"))).collect() };
    let expected = [
        ("GET", "experiments/get-by-name?experiment_name=spring+%26+summer", Value::Null),
        ("POST", "experiments/create", json!({"name": "spring & summer"})),
        (
            "POST",
            "runs/search",
            json!({"experiment_ids": ["1"], "filter": "tags.cpo_run = 'spring/1'", "run_view_type": "ACTIVE_ONLY",
                "max_results": 100}),
        ),
        (
            "POST",
            "runs/create",
            json!({"experiment_id": "1", "run_name": "spring 1", "start_time": 1_500, "tags": [pair("t")]}),
        ),
        ("GET", "runs/get?run_id=0f", Value::Null),
        ("POST", "runs/log-batch", json!({"run_id": "0f", "params": some(0, 100)})),
        ("POST", "runs/log-batch", json!({"run_id": "0f", "params": some(100, 101)})),
        ("POST", "runs/log-batch", json!({"run_id": "0f", "tags": [pair("t")]})),
        (
            "POST",
            "runs/log-batch",
            json!({"run_id": "0f", "metrics": [{"key": "m", "value": 0.5, "timestamp": 1_500, "step": 2}]}),
        ),
        ("PUT", "-artifacts/artifacts/1/0f/artifacts/experiment/a%20b.json", json!({})),
        ("POST", "runs/update", json!({"run_id": "0f", "status": "FINISHED", "end_time": 1_500})),
        ("POST", "runs/delete", json!({"run_id": "0f"})),
        ("POST", "experiments/search", json!({"max_results": 1})),
    ];
    let requests = server.requests();
    assert_eq!(requests.len(), expected.len());
    for (request, (method, target, body)) in requests.iter().zip(expected) {
        let slash = if target.starts_with('-') { "" } else { "/" };
        let target = format!("/api/2.0/mlflow{slash}{target}");
        assert_eq!((request.method.as_str(), &request.target), (method, &target));
        let sent = if request.body.is_empty() { Value::Null } else { request.json() };
        assert_eq!(sent, body, "{target}");
        let content_type = match method {
            "GET" => None,
            "PUT" => Some("application/octet-stream"),
            _ => Some("application/json"),
        };
        assert_eq!(request.header("content-type"), content_type, "{target}");
    }
}

async fn read(answer: &Value) -> Result<Run, Fault> {
    let server = Scripted::in_turn([Reply::json(200, answer)]).await;
    client(&server).run("0f").await
}

#[tokio::test]
async fn a_run_is_read_as_the_documentation_shows_it_and_with_more_or_less_in_it() {
    let documented = json!({"run": {
        "inputs": {"dataset_inputs": []},
        "data": {
            "tags": [{"value": "v", "key": "t"}],
            "metrics": [{"step": 2, "timestamp": 1_500, "value": 0.5, "key": "m", "model_id": "x"}],
            "params": [{"key": "p", "value": "v"}],
        },
        "info": {"status": "RUNNING", "artifact_uri": "mlflow-artifacts:/1/0f/artifacts", "lifecycle_stage": "active",
            "run_uuid": "0f", "run_id": "0f", "experiment_id": "1", "run_name": "spring 1", "start_time": 1_500},
    }});
    let run = read(&documented).await.unwrap();
    assert_eq!(
        (run.info.run_id.as_str(), &run.data.params, &run.data.tags),
        ("0f", &vec![pair("p")], &vec![pair("t")])
    );
    assert_eq!(run.data.metrics, [Metric { key: "m".to_owned(), value: 0.5, timestamp: 1_500, step: 2 }]);
    // Servers leave out what is empty, 0 or the empty text.
    let bare = json!({"run": {"info": {"run_id": "0f"}, "data": {"params": [{"key": "p"}],
        "metrics": [{"key": "m", "value": 1, "timestamp": 0}]}}});
    let run = read(&bare).await.unwrap();
    assert_eq!((run.data.params[0].value.as_str(), run.data.metrics[0].step), ("", 0));
    assert!(read(&json!({"run": {"info": {"run_id": "0f"}}})).await.is_ok());
    for answer in [
        json!({}),
        json!({"run": {}}),
        json!({"run": {"info": {}}}),
        json!({"run": {"info": {"run_id": 7}}}),
        json!({"run": {"info": {"run_id": "0f"}, "data": {"metrics": [{"key": "m", "value": "x", "timestamp": 0}]}}}),
    ] {
        assert_eq!(read(&answer).await.unwrap_err().kind, ErrorKind::Unavailable, "{answer}");
    }
}

#[tokio::test]
async fn an_experiment_that_somebody_else_makes_meanwhile_is_taken_and_errors_are_told_in_the_servers_words() {
    let missing = Reply::json(404, &json!({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such"}));
    let exists = Reply::json(400, &json!({"error_code": "RESOURCE_ALREADY_EXISTS", "message": "Experiment exists."}));
    let there =
        Reply::json(200, &json!({"experiment": {"lifecycle_stage": "active", "experiment_id": "7", "name": "s"}}));
    let server = Scripted::in_turn([missing.clone(), exists.clone(), there]).await;
    assert_eq!(client(&server).experiment_id("s").await.unwrap(), "7");
    // One that was deleted keeps its name, and is not found.
    let server = Scripted::in_turn([missing.clone(), exists, missing]).await;
    let fault = client(&server).experiment_id("s").await.unwrap_err();
    assert_eq!((fault.kind, fault.code.as_deref()), (ErrorKind::Rejected, Some("RESOURCE_ALREADY_EXISTS")));
    assert!(fault.message.contains("Experiment exists."), "{}", fault.message);
}
