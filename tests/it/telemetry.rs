//! What is exported to an OpenTelemetry collector.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::Uri};

/// The bodies that came to each path, one after the other.
type Received = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

async fn receive(State(received): State<Received>, uri: Uri, body: Bytes) {
    received.lock().unwrap().entry(uri.path().to_owned()).or_default().extend(body);
}

fn demo(endpoint: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cpo"));
    command.args(["demo", "--out"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).env("CPO_LOG", "warn");
    command
}

/// Texts stand in protobuf as they are.
fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_told_of_every_stage_and_never_of_a_customer() {
    let received = Received::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collector = Router::new().fallback(receive).with_state(received.clone());
    tokio::spawn(async { axum::serve(listener, collector).await });

    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_owned();
    let ended = tokio::task::spawn_blocking(move || demo(&endpoint).arg(folder).output().unwrap()).await.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));

    let received = received.lock().unwrap();
    let (traces, metrics) = (&received["/v1/traces"], &received["/v1/metrics"]);
    for metric in ["cpo.queue.lag", "cpo.item.duration", "cpo.provider.duration", "cpo.variants"] {
        assert!(holds(metrics, metric), "{metric}");
    }
    for stage in ["ingest", "label", "retrieve", "generate", "screen", "deliver", "close"] {
        assert!(holds(traces, stage) && holds(metrics, stage), "{stage}");
    }
    for attribute in ["campaign", "stage", "shard", "attempt"] {
        assert!(holds(traces, attribute), "{attribute}");
    }
    let customers = include_str!("../../samples/customers.csv");
    for id in customers.lines().skip(1).filter_map(|line| line.split(',').next()).filter(|id| !id.is_empty()) {
        assert!(!holds(traces, id) && !holds(metrics, id), "{id} is told");
    }
}

#[test]
fn a_collector_that_is_away_does_not_keep_a_campaign_from_its_end() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let out = tempfile::tempdir().unwrap();
    let ended = demo(&endpoint).arg(out.path()).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
