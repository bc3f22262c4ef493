//! The double treats a handler's process as the real host was seen to.

use std::{fs, path::Path, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::double::{
    envelope::{self, Message, System},
    host::{Farewell, Host, Passing},
    outcome::{Ending, Outcome},
    package::Times,
    process::Event,
    wire::{Framing, Request},
};

/// A package whose handler does as it is told.
fn package() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/functions/handler.js");
    let host = json!({
        "version": "2.0",
        "functionTimeout": "00:00:30",
        "customHandler": {
            "description": {"defaultExecutablePath": "node", "arguments": ["handler.js"]},
            "enableForwardingHttpRequest": true,
            "enableProxyingHttpRequest": true,
        },
    });
    fs::copy(script, folder.path().join("handler.js")).unwrap();
    fs::write(folder.path().join("host.json"), host.to_string()).unwrap();
    let function = |name: &str, bindings: Value| {
        fs::create_dir(folder.path().join(name)).unwrap();
        let json = json!({"bindings": bindings}).to_string();
        fs::write(folder.path().join(name).join("function.json"), json).unwrap();
    };
    let queue = json!({"name": "message", "type": "queueTrigger", "direction": "in", "queueName": "jobs"});
    function("job", json!([merged(queue, json!({"dataType": "binary"}))]));
    function(
        "web",
        json!([
            {"name": "req", "type": "httpTrigger", "direction": "in", "route": "api/{*path}"},
            {"name": "res", "type": "http", "direction": "out"},
        ]),
    );
    folder
}

fn merged(mut one: Value, other: Value) -> Value {
    one.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    one
}

fn host(folder: &TempDir, start: &Value, shorten: impl FnOnce(&mut Times)) -> Host {
    Host::start(folder.path(), vec![("START".to_owned(), start.to_string())], shorten)
}

async fn call(host: &Host, message: Value) -> Outcome {
    let message = Message {
        id: "1".to_owned(),
        receipt: "r".to_owned(),
        body: message.to_string().into_bytes(),
        deliveries: 1,
        inserted: Timestamp::now(),
    };
    let envelope = envelope::queue(host.function("job"), &System::new("job"), &message).unwrap();
    host.invoke("job", envelope, Framing::Chunked).await
}

fn count(events: &[Event], what: fn(&Event) -> bool) -> usize {
    events.iter().filter(|event| what(event)).count()
}

fn starts(events: &[Event]) -> usize {
    count(events, |event| matches!(event, Event::Started { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_gets_its_port_and_its_names_and_runs_in_the_package() {
    let folder = package();
    let host = host(&folder, &json!({}), |_| ());
    let outcome = call(&host, json!({})).await;
    assert_eq!(outcome.ending, Ending::Succeeded);
    let environment: Value = serde_json::from_slice(&outcome.reply.body).unwrap();
    let port = host.process.port.to_string();
    assert_eq!(environment["FUNCTIONS_CUSTOMHANDLER_PORT"], port);
    assert_eq!(environment["FUNCTIONS_HTTPWORKER_PORT"], port);
    assert_eq!(environment["FUNCTIONS_APP_ROOT_PATH"], folder.path().to_str().unwrap());
    let [Event::Started { worker }, ..] = host.process.events()[..] else { panic!("it was started") };
    assert_eq!(environment["FUNCTIONS_CUSTOMHANDLER_WORKER_ID"], worker.to_string());
    assert_eq!(environment["FUNCTIONS_HTTPWORKER_ID"], worker.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ends_with_0_is_not_started_again() {
    let folder = package();
    let host = host(&folder, &json!({}), |_| ());
    assert!(matches!(call(&host, json!({"exit": 0})).await.ending, Ending::Failed(_)));
    host.until(|events| events.iter().any(|event| matches!(event, Event::Ended { code: 0, .. }))).await;
    assert!(matches!(call(&host, json!({})).await.ending, Ending::Failed(_)));
    assert_eq!(starts(&host.process.events()), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ends_with_200_is_started_again_as_often_as_it_likes() {
    let folder = package();
    let host = host(&folder, &json!({}), |_| ());
    for times in 1..=4 {
        call(&host, json!({"exit": 200})).await;
        host.until(|events| starts(events) > times).await;
        assert_eq!(call(&host, json!({})).await.ending, Ending::Succeeded);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_third_error_ends_the_host_and_each_takes_the_neighbours_with_it() {
    let folder = package();
    let host = host(&folder, &json!({}), |_| ());
    for error in 1..=3 {
        let neighbour = tokio::spawn({
            let host = host.clone();
            async move { call(&host, json!({"silent": true})).await }
        });
        let heard = |count: usize| {
            let host = host.clone();
            async move { host.until(|_| host.process.said().len() >= count).await }
        };
        heard(2 * error - 1).await;
        call(&host, json!({"exit": 3})).await;
        assert!(matches!(neighbour.await.unwrap().ending, Ending::Failed(_)));
        host.until(|events| count(events, |event| matches!(event, Event::Ended { code: 3, .. })) == error).await;
    }
    host.until(|events| events.contains(&Event::HostEnds)).await;
    assert_eq!(starts(&host.process.events()), 3);
    assert!(matches!(call(&host, json!({})).await.ending, Ending::Failed(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_never_ready_is_tried_three_times() {
    for start in [json!({"listen": false}), json!({"exit": 0})] {
        let folder = package();
        let host = host(&folder, &start, |times| times.ready = Duration::from_millis(300));
        host.until(|events| events.contains(&Event::HostEnds)).await;
        let events = host.process.events();
        assert_eq!(count(&events, |event| matches!(event, Event::NeverReady { .. })), 3, "{start}: {events:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_run_is_not_tried_again_and_calls_wait_four_times_as_long_as_a_start_may_take() {
    let folder = package();
    let text = fs::read_to_string(folder.path().join("host.json")).unwrap();
    fs::write(folder.path().join("host.json"), text.replace("\"node\"", "\"no-such-program-anywhere\"")).unwrap();
    let ready = Duration::from_millis(50);
    let host = host(&folder, &json!({}), |times| times.ready = ready);
    let begun = std::time::Instant::now();
    assert!(matches!(call(&host, json!({})).await.ending, Ending::Failed(_)));
    assert!(begun.elapsed() >= 4 * ready);
    assert_eq!(starts(&host.process.events()), 1);
    assert_eq!(host.process.events().last(), Some(&Event::CannotStart));
}

/// None of them is an error that counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_that_takes_too_long_kills_the_process_once() {
    const CALLS: usize = 4;
    let folder = package();
    let host = host(&folder, &json!({}), |times| {
        times.function = Duration::from_millis(300);
        times.kill = Duration::from_millis(50);
    });
    // The time of a call runs while a process starts, too.
    host.process.settled().await;
    let calls = (0..CALLS).map(|_| call(&host, json!({"silent": true})));
    for outcome in futures::future::join_all(calls).await {
        assert!(matches!(outcome.ending, Ending::Failed(_)));
    }
    host.until(|events| starts(events) == 1 + CALLS).await;
    let events = host.process.events();
    assert_eq!(count(&events, |event| matches!(event, Event::TimedOut { .. })), CALLS);
    assert_eq!(count(&events, |event| matches!(event, Event::Killed { .. })), CALLS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_ends_kills_an_idle_handler_and_leaves_behind_one_with_a_message_in_hand() {
    for (message, farewell) in [(None, Farewell::Killed), (Some(json!({"silent": true})), Farewell::Orphaned)] {
        let folder = package();
        let host = host(&folder, &json!({}), |times| times.drain_queues = Duration::from_millis(100));
        call(&host, json!({})).await;
        let in_hand = message.map(|message| {
            let host = host.clone();
            tokio::spawn(async move { call(&host, message).await })
        });
        host.until(|_| host.process.said().len() == 1 + usize::from(in_hand.is_some())).await;
        assert_eq!(host.end().await, farewell);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_closes_without_an_answer_brings_a_get_four_times_under_one_id_and_a_body_once() {
    let folder = package();
    let host = host(&folder, &json!({}), |_| ());
    let get = Request::get("/api/drop");
    let post = Request { method: "POST".to_owned(), framing: Framing::Length, body: b"x".to_vec(), ..get.clone() };
    for (request, times) in [(get, 4), (post, 1)] {
        host.process.said().clear();
        assert_eq!(host.http(Passing::Forwarding, request).await.status, 500);
        host.until(|_| host.process.said().len() >= times).await;
        let said = host.process.said().clone();
        assert_eq!(said.len(), times);
        assert!(said.iter().all(|line| *line == said[0]), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_sends_in_pieces_never_reaches_a_handler_by_forwarding() {
    let folder = package();
    let host = host(&folder, &json!({}), |_| ());
    let chunked = Request { method: "POST".to_owned(), framing: Framing::Chunked, ..Request::get("/api/items") };
    assert_eq!(host.http(Passing::Forwarding, chunked.clone()).await.status, 500);
    assert_eq!(host.http(Passing::Proxying, chunked).await.status, 200);
    assert_eq!(host.http(Passing::Proxying, Request::get("/elsewhere")).await.status, 404);
    assert_eq!(host.process.said().len(), 1);
}
