//! `cpo serve` under the double: whatever a host may send, it answers as the contract wants, and lives.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    app::Deployed,
    double::{
        envelope::{self, Message, System},
        host::{Farewell, Host, Passing},
        outcome::{Answer, Ending, Outcome},
        process::{Event, State, Stream},
        wire::{Connections, Framing, Request},
    },
    recorded,
};

const FRAMINGS: [Framing; 2] = [Framing::Chunked, Framing::Length];

/// Functions with such a trigger, by name.
fn functions(host: &Host, trigger: &str) -> Vec<String> {
    let functions = host.package.functions.iter();
    let names: Vec<_> = functions.filter(|(_, f)| f.trigger().kind == trigger).map(|(name, _)| name.clone()).collect();
    assert!(!names.is_empty(), "{trigger}");
    names
}

fn message(host: &Host, function: &str, body: &[u8], deliveries: u32) -> Vec<u8> {
    let (id, receipt) = ("an-id".to_owned(), "a-receipt".to_owned());
    let message = Message { id, receipt, body: body.to_vec(), deliveries, inserted: Timestamp::now() };
    envelope::queue(host.function(function), &System::new(function), &message).unwrap()
}

fn blob(host: &Host, function: &str, content: &[u8]) -> Vec<u8> {
    let container = host.function(function).trigger().path.as_deref().unwrap().split('/').next().unwrap().to_owned();
    let url = format!("https://account.blob.core.windows.net/{container}/a%20folder/file.csv");
    envelope::blob(host.function(function), &System::new(function), &url, "a folder/file.csv", content)
}

async fn sweep(host: &Host) -> Outcome {
    let tick = envelope::timer(host.function("sweeper"), &System::new("sweeper"), true);
    host.invoke("sweeper", tick, Framing::Chunked).await
}

/// The first process is still the one that answers, and it does what it is for.
async fn assert_alive(host: &Host) {
    assert_eq!(sweep(host).await.ending, Ending::Succeeded);
    let events = host.process.events();
    assert!(matches!(events[..], [Event::Started { .. }, Event::Ready { .. }]), "{events:?}");
}

fn assert_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem["status"], status);
}

/// A storage that takes every connection and never says a word.
async fn silent_storage() -> (TcpListener, String) {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let at = format!("http://{}/account", silent.local_addr().unwrap());
    let account =
        format!("AccountName=account;AccountKey={};BlobEndpoint={at};QueueEndpoint={at}", crate::azurite::KEY);
    (silent, account)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_at_once_whatever_its_storage_does() {
    let (_silent, account) = silent_storage().await;
    let app = Deployed::on(account);
    let host = app.host(|_| ());
    assert_eq!(host.process.settled().await, State::Ready);
    let [_, Event::Ready { after, .. }] = host.process.events()[..] else { panic!("{:?}", host.process.events()) };
    println!("ready after {after:?}");
    assert!(after < Duration::from_secs(2), "{after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recorded_request_is_answered_and_none_in_a_way_that_hangs_the_host() {
    let app = Deployed::new();
    let host = app.host(|_| ());
    host.process.settled().await;
    for name in recorded::names() {
        // As it is, for a function that we do not have: also where the address is one of ours.
        let request = recorded::request(&name);
        // Who refuses may close the connection with the body unread: it is nobody else's.
        let connection = Connections::new(host.process.port);
        assert_problem(&connection.send(&request).await.unwrap(), 404);
        // As it would be for those that we have.
        let trigger = match name.split('-').next().unwrap() {
            "queue" => "queueTrigger",
            "blob" => "blobTrigger",
            "timer" => "timerTrigger",
            _ => continue,
        };
        for function in functions(&host, trigger) {
            let mut body: Value = serde_json::from_slice(&request.body).unwrap();
            let data = body["Data"].as_object_mut().unwrap();
            let value = data.remove(if trigger == "timerTrigger" {
                "tick"
            } else if trigger == "blobTrigger" {
                "doc"
            } else {
                "job"
            });
            data.insert(host.function(&function).trigger().name.clone(), value.unwrap());
            let mut body = body.to_string();
            if trigger == "blobTrigger" {
                let container = host.function(&function).trigger().path.as_deref().unwrap().split('/').next().unwrap();
                for of in ["incomings", "incomingst", "incoming"] {
                    body = body.replace(&format!("devstoreaccount1/{of}/"), &format!("devstoreaccount1/{container}/"));
                }
            }
            for framing in FRAMINGS {
                let outcome = host.invoke(&function, body.clone().into_bytes(), framing).await;
                match trigger {
                    // Messages of somebody else: refused, so that they come to be poison, or dropped.
                    "queueTrigger" => assert_ne!(outcome.ending, Ending::Hung, "{name} to {function}"),
                    _ => assert_eq!(outcome.ending, Ending::Succeeded, "{name} to {function}"),
                }
                assert_eq!((outcome.messages, outcome.blobs.len()), (Vec::new(), 0), "{name} to {function}");
            }
        }
    }
    assert_alive(&host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_of_twenty_megabytes_arrives_by_either_framing() {
    let app = Deployed::new();
    let host = app.host(|_| ());
    let content: Vec<u8> = (0..20 << 20).map(|i: u32| (i % 251) as u8).collect();
    for function in functions(&host, "blobTrigger") {
        let envelope = blob(&host, &function, &content);
        for framing in FRAMINGS {
            let outcome = host.invoke(&function, envelope.clone(), framing).await;
            assert_eq!(outcome.ending, Ending::Succeeded, "{function}");
        }
    }
    assert_alive(&host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_envelope_fails_and_what_was_in_it_is_told_to_nobody() {
    const SECRET: &str = "ada.lovelace@example.org";
    let app = Deployed::new();
    let host = app.host(|_| ());
    host.process.settled().await;
    let names: Vec<_> =
        host.package.functions.iter().filter(|(_, f)| !f.is_forwarded()).map(|(name, _)| name).collect();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies = [
        String::new(),
        "null".to_owned(),
        format!("\"{SECRET}\""),
        format!("[\"{SECRET}\"]"),
        format!("{{\"Data\": \"{SECRET}\", \"Metadata\": 1}}"),
        format!("{{\"Data\": {{}}, \"Metadata\": {{\"DequeueCount\": \"{SECRET}\"}}}}"),
        format!("{{\"Data\": {{\"message\": {{\"a\": \"{SECRET}\"}}}}, \"Metadata\": {{\"DequeueCount\": -1}}}}"),
        format!("{{\"Data\": {{\"message\": \"{SECRET}\""),
        deep,
    ];
    for name in names {
        for body in &bodies {
            let outcome = host.invoke(name, body.clone().into_bytes(), Framing::Chunked).await;
            assert!(
                matches!(outcome.ending, Ending::Failed(_)),
                "{name}: {} gave {outcome:?}",
                body.get(..80).unwrap_or(body)
            );
        }
        let get = host.process.connections.send(&Request::get(&format!("/{name}"))).await.unwrap();
        assert_eq!(get.status, 405, "{name}");
    }
    for (_, line) in host.process.said().iter() {
        assert!(!line.contains(SECRET), "{line}");
    }
    assert_alive(&host).await;
}

/// Another queue's, of a campaign that never was, of nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_messages_many_at_once_and_however_often_handed_out_do_no_harm() {
    let app = Deployed::new();
    let host = app.host(|_| ());
    let bodies: [&[u8]; 4] = [
        b"",
        b"\x00\xff\xfe",
        br#"{"campaign":"never-was"}"#,
        br#"{"campaign":"../../etc","step":"label","index":4294967295}"#,
    ];
    let mut calls = Vec::new();
    for function in functions(&host, "queueTrigger") {
        for body in bodies {
            for deliveries in 1..=6 {
                calls.push((function.clone(), message(&host, &function, body, deliveries)));
            }
        }
    }
    let outcomes = join_all(calls.into_iter().map(|(function, envelope)| {
        let host = &host;
        async move { host.invoke(&function, envelope, Framing::Chunked).await.ending }
    }));
    assert!(outcomes.await.iter().all(|ending| *ending != Ending::Hung));
    assert_alive(&host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_get_under_one_id_is_answered_the_same_each_time_and_a_clients_own_id_is_not_believed() {
    let app = Deployed::new();
    let host = app.host(|_| ());
    host.process.settled().await;
    for target in ["/", "/api/openapi.json", "/api/no-such-thing", "/API/", "/console/"] {
        let id =
            ("X-Azure-Functions-InvocationId".to_owned(), "spoof, 63678145-3432-4ba0-bbea-6b60988bd640".to_owned());
        let request = Request { headers: vec![id], ..Request::get(target) };
        let answers = join_all((0..4).map(|_| host.process.connections.send(&request))).await;
        let first = answers[0].as_ref().unwrap();
        for answer in &answers {
            let answer = answer.as_ref().unwrap();
            assert_eq!((answer.status, &answer.body), (first.status, &first.body), "{target}");
        }
    }
    assert!(host.process.said().iter().all(|(_, line)| !line.contains("spoof")));
    assert_alive(&host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_comes_in_by_both_ways_and_what_is_not_there_is_a_problem_and_no_failure() {
    let app = Deployed::new();
    let host = app.host(|_| ());
    for passing in [Passing::Forwarding, Passing::Proxying] {
        let openapi = host.http(passing, Request::get("/api/openapi.json")).await;
        assert_eq!(openapi.status, 200);
        let openapi: Value = serde_json::from_slice(&openapi.body).unwrap();
        assert!(openapi["openapi"].as_str().unwrap().starts_with("3."));
        assert_problem(&host.http(passing, Request::get("/api/no-such-thing")).await, 404);
        // The host's own answer: no route leads there.
        let elsewhere = host.http(passing, Request::get("/orchestrate")).await;
        assert_eq!((elsewhere.status, elsewhere.body.len()), (404, 0));
    }
    assert_alive(&host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_in_the_midst_of_a_call_fails_it_and_the_next_process_is_up_at_the_same_place() {
    let (silent, account) = silent_storage().await;
    let app = Deployed::on(account);
    let host = app.host(|_| ());
    let call = tokio::spawn({
        let host = host.clone();
        async move { sweep(&host).await.ending }
    });
    // It asks its storage: the call is in hand.
    let connection = silent.accept().await.unwrap();
    host.process.kill();
    assert!(matches!(call.await.unwrap(), Ending::Failed(_)));
    drop(connection);
    host.until(|events| events.iter().filter(|event| matches!(event, Event::Ready { .. })).count() == 2).await;
    assert!(host.process.events().iter().any(|event| matches!(event, Event::Ended { code: 137, .. })));
    assert_eq!(host.process.connections.send(&Request::get("/")).await.unwrap().status, 200);
}

/// A handler that ended with 0 would never be started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_it_to_stop_gets_another_one() {
    let app = Deployed::new();
    let host = app.host(|_| ());
    host.process.settled().await;
    rustix::process::kill_process(host.process.pid().unwrap(), rustix::process::Signal::TERM).unwrap();
    host.until(|events| events.iter().filter(|event| matches!(event, Event::Ready { .. })).count() == 2).await;
    let events = host.process.events();
    assert!(events.iter().any(|event| matches!(event, Event::Ended { code: 200, .. })), "{events:?}");
    assert_eq!(sweep(&host).await.ending, Ending::Succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn left_behind_by_its_host_it_ends_within_seconds() {
    let (silent, account) = silent_storage().await;
    let app = Deployed::on(account);
    let host = app.host(|times| times.drain_queues = Duration::from_millis(100));
    let call = tokio::spawn({
        let host = host.clone();
        async move { sweep(&host).await }
    });
    let _connection = silent.accept().await.unwrap();
    let farewell = tokio::time::timeout(Duration::from_secs(20), host.end()).await;
    assert_eq!(farewell.expect("it goes on working as an orphan"), Farewell::Orphaned);
    assert!(matches!(call.await.unwrap().ending, Ending::Failed(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_logs_to_standard_output_alone_and_every_line_of_a_call_has_the_calls_id() {
    let app = Deployed::new();
    let host = app.host(|_| ());
    let id = "63678145-3432-4ba0-bbea-6b60988bd640";
    let envelope = message(&host, "orchestrate", b"nothing that anybody sent", 1);
    let outcome = host.invoke_as(id, "orchestrate", envelope, Framing::Chunked).await;
    assert_ne!(outcome.ending, Ending::Hung);
    let is_of_call = |line: &str| line.contains(id);
    host.until(|_| host.process.said().iter().any(|(_, line)| is_of_call(line))).await;
    for (stream, line) in host.process.said().iter() {
        assert_eq!(*stream, Stream::Out, "{line}");
        let line: Value = serde_json::from_str(line).unwrap();
        assert_ne!(line["level"], json!(null), "{line}");
    }
}
