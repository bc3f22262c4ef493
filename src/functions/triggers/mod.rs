//! A handler per function of `functions/` that is not called over HTTP, at the top level under the function's name.

mod blobs;
mod queues;
mod timer;

use axum::{Router, extract::DefaultBodyLimit, routing::post};

use super::App;
use crate::{
    orchestration::{engine::Engine, stage::Agent},
    store::QueueName,
};

/// What sets a function off, as its folder's `function.json` says it to the host.
enum Trigger {
    /// The queue of the function's name, and what is done with its messages.
    Queue(Duty),
    /// A container, of whose blobs Event Grid tells.
    Blob(&'static str),
    Timer,
}

enum Duty {
    TakeTurn,
    HearOfFiles,
    Work,
    GiveUp,
    SetAside,
}

fn functions() -> Vec<(String, Trigger)> {
    let mut functions = vec![
        ("sweeper".to_owned(), Trigger::Timer),
        ("customers-uploaded".to_owned(), Trigger::Blob("customers")),
        ("content-changed".to_owned(), Trigger::Blob("content")),
        ("outcomes-uploaded".to_owned(), Trigger::Blob("outcomes")),
    ];
    let mut queue = |queue: QueueName, messages: Duty, poison: Duty| {
        functions.push((queue.poison().to_string(), Trigger::Queue(poison)));
        functions.push((queue.to_string(), Trigger::Queue(messages)));
    };
    queue(Engine::storage_event_queue(), Duty::HearOfFiles, Duty::SetAside);
    queue(Engine::orchestrate(), Duty::TakeTurn, Duty::SetAside);
    for agent in Agent::ALL {
        queue(agent.queue(), Duty::Work, Duty::GiveUp);
    }
    functions
}

/// What a blob trigger sends is as large as the blob: a limit would have it fail in every try.
pub(super) fn routes() -> Router<App> {
    let mut routes = Router::new();
    for (name, trigger) in functions() {
        let handler = match trigger {
            Trigger::Queue(Duty::TakeTurn) => post(queues::take_turn),
            Trigger::Queue(Duty::HearOfFiles) => post(queues::hear_of_files),
            Trigger::Queue(Duty::Work) => post(queues::work),
            Trigger::Queue(Duty::GiveUp) => post(queues::give_up),
            Trigger::Queue(Duty::SetAside) => post(queues::set_aside),
            Trigger::Blob(container) => post(move |app, body| blobs::arrived(container, app, body)),
            Trigger::Timer => post(timer::sweep),
        };
        routes = routes.route(&format!("/{name}"), handler);
    }
    routes.layer(DefaultBodyLimit::disable())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

    use axum::{
        body::{Body, Bytes, to_bytes},
        http::{Request, StatusCode},
    };
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;
    use crate::{
        functions::{access::Access, api::uploads::UploadUrls},
        orchestration::{
            engine::Clock,
            workshop::{Providers, Workshop},
        },
        store::Memory,
    };

    /// The bindings of every folder.
    fn folders() -> BTreeMap<String, Vec<Value>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("functions");
        let folders = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let bindings = folders.map(|entry| {
            let json = fs::read(entry.path().join("function.json")).unwrap();
            let mut function: BTreeMap<String, Vec<Value>> = serde_json::from_slice(&json).unwrap();
            let bindings = function.remove("bindings").unwrap();
            assert!(function.is_empty(), "{entry:?}");
            (entry.file_name().into_string().unwrap(), bindings)
        });
        bindings.collect()
    }

    fn text<'a>(binding: &'a Value, key: &str) -> &'a str {
        binding[key].as_str().unwrap_or_default()
    }

    #[test]
    fn every_function_has_a_folder_that_says_what_its_handler_reads() {
        let mut folders = folders();
        for (name, trigger) in functions() {
            let bindings = folders.remove(&name).unwrap_or_else(|| panic!("functions/{name}/function.json is missing"));
            let [binding] = &bindings[..] else { panic!("{name} has one binding") };
            assert_eq!(text(binding, "direction"), "in", "{name}");
            let (kind, binds) = match &trigger {
                Trigger::Queue(_) => {
                    assert_eq!(text(binding, "queueName"), name);
                    assert_eq!(text(binding, "dataType"), "binary", "{name}: else a message's fields become metadata");
                    ("queueTrigger", queues::MESSAGE)
                }
                Trigger::Blob(container) => {
                    assert_eq!(text(binding, "path"), format!("{container}/{{name}}"));
                    assert_eq!(text(binding, "source"), "EventGrid", "{name}: Flex Consumption has no other");
                    ("blobTrigger", "blob")
                }
                Trigger::Timer => ("timerTrigger", timer::TIMER),
            };
            assert_eq!((text(binding, "type"), text(binding, "name")), (kind, binds), "{name}");
            if !matches!(trigger, Trigger::Timer) {
                assert_eq!(text(binding, "connection"), "AzureWebJobsStorage", "{name}");
            }
        }
        // The host forwards what has these two bindings and no other.
        for (name, bindings) in &folders {
            let kinds: Vec<_> = bindings.iter().map(|b| (text(b, "type"), text(b, "direction"))).collect();
            assert_eq!(kinds, [("httpTrigger", "in"), ("http", "out")], "{name}");
        }
        // The host goes through them in this order, and takes the first that fits.
        let routes: Vec<_> = folders.values().map(|bindings| text(&bindings[0], "route")).collect();
        assert_eq!(routes, ["console/{*path}", "api/openapi.json", "api/{*path}"]);
        let levels: Vec<_> = folders.values().map(|bindings| text(&bindings[0], "authLevel")).collect();
        assert_eq!(levels, ["anonymous", "anonymous", "function"]);
    }

    #[test]
    fn the_host_takes_every_folders_name_for_a_functions_name() {
        for name in folders().keys() {
            assert!(
                name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= 128 && name != "host",
                "{name}"
            );
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
        }
    }

    #[test]
    fn host_json_says_what_the_handlers_rest_on() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("host.json");
        let host: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(host["extensions"]["queues"]["messageEncoding"], "none");
        // The host counts deaths of the process too, most of which are another message's fault.
        let tries = host["extensions"]["queues"]["maxDequeueCount"].as_u64().unwrap();
        assert!(tries > u64::from(crate::orchestration::worker::MAX_DELIVERIES));
        assert_eq!(host["extensions"]["http"]["routePrefix"], "");
        assert_eq!(host["customHandler"]["description"]["arguments"], serde_json::json!(["serve"]));
        assert_eq!(host["customHandler"]["enableForwardingHttpRequest"], true);
        assert_eq!(host["functionTimeout"], "00:10:00");
    }

    fn app() -> Router {
        let (store, scratch) = (Memory::default().store(), std::env::temp_dir());
        let workshop = Workshop::new(store.clone(), scratch.clone(), Providers::default());
        let app = App {
            engine: Arc::new(Engine::new(store, Arc::new(workshop), Clock::default())),
            scratch: scratch.into(),
            uploads: UploadUrls::Here,
            access: Access::Nobody,
            realtime: Arc::default(),
        };
        crate::functions::router(app)
    }

    async fn call(app: &Router, function: &str, body: impl Into<Body>) -> (StatusCode, Bytes) {
        let request = Request::post(format!("/{function}")).body(body.into()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        (response.status(), to_bytes(response.into_body(), usize::MAX).await.unwrap())
    }

    fn envelope(trigger: &Trigger, message: &[u8]) -> String {
        let (data, metadata) = match trigger {
            Trigger::Queue(_) => (
                json!({queues::MESSAGE: STANDARD.encode(message)}),
                json!({"DequeueCount": "1", "Id": "\"id\"", "PopReceipt": "\"x\""}),
            ),
            Trigger::Blob(container) => {
                let uri = format!("\"https://a.blob.core.windows.net/{container}/nothing%20there.csv\"");
                (json!({"blob": STANDARD.encode(message)}), json!({"Uri": uri}))
            }
            Trigger::Timer => (json!({timer::TIMER: {"ScheduleStatus": null, "IsPastDue": true}}), json!({})),
        };
        json!({"Data": data, "Metadata": metadata}).to_string()
    }

    #[tokio::test]
    async fn every_function_answers_what_its_host_sends_with_an_object_of_json() {
        let app = app();
        for (name, trigger) in functions() {
            let message = match name.strip_suffix("-poison").unwrap_or(&name) {
                "orchestrate" => r#"{"schema":"wake/1","campaign":"gone"}"#.to_owned(),
                "storage-events" => r#"{"eventType":"Microsoft.Storage.BlobTierChanged","subject":"/x"}"#.to_owned(),
                _ => r#"{"schema":"item/1","campaign":"gone","generation":1,"step":"label","index":3,"attempt":1,
                         "allowance":0.0,"version":1,"expected":1}"#
                    .to_owned(),
            };
            let (status, body) = call(&app, &name, envelope(&trigger, message.as_bytes())).await;
            assert_eq!(status, StatusCode::OK, "{name}: {body:?}");
            let answer: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(answer["Outputs"], json!({}), "{name}");
            assert!(answer["Logs"].as_array().unwrap().iter().all(Value::is_string), "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_no_envelope_never_counts_as_done() {
        let app = app();
        for (name, trigger) in functions() {
            let good = envelope(&trigger, b"{}");
            for body in ["", "null", "{}", "[]", r#"{"Data":{},"Metadata":{}}"#, &good[..good.len() / 2]] {
                let (status, _) = call(&app, &name, body.to_owned()).await;
                assert_eq!(status, StatusCode::BAD_REQUEST, "{name}: {body}");
            }
        }
        let get = Request::get("/segment").body(Body::empty()).unwrap();
        assert_eq!(app.oneshot(get).await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn a_message_that_nobody_can_read_comes_again_and_a_large_blob_comes_once() {
        let app = app();
        for (name, trigger) in functions().iter().filter(|(name, _)| !name.ends_with("-poison")) {
            let large = vec![0; if matches!(trigger, Trigger::Queue(_)) { 10 } else { 20_000_000 }];
            let (status, _) = call(&app, name, envelope(trigger, &large)).await;
            let is_message = matches!(trigger, Trigger::Queue(_));
            assert_eq!(status.is_success(), !is_message, "{name}: {status}");
        }
    }
}
