//! A handler per function of `functions/` that is not called over HTTP, at the top level under the function's name.

mod blobs;
mod queues;
mod timer;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{MethodRouter, post},
};

use super::App;
use crate::{
    orchestration::{engine::Engine, stage::Agent},
    store::QueueName,
};

/// What sets a function off, as its folder's `function.json` says it to the host.
enum Trigger {
    /// The queue of the function's name, and what is done with its messages.
    Queue(MethodRouter<App>),
    /// A container, of whose blobs Event Grid tells.
    Blob(&'static str),
    Timer,
}

fn functions() -> Vec<(String, Trigger)> {
    let mut functions = vec![
        ("sweeper".to_owned(), Trigger::Timer),
        ("customers-uploaded".to_owned(), Trigger::Blob("customers")),
        ("content-changed".to_owned(), Trigger::Blob("content")),
        ("outcomes-uploaded".to_owned(), Trigger::Blob("outcomes")),
    ];
    let mut queue = |queue: QueueName, messages: MethodRouter<App>, poison: MethodRouter<App>| {
        functions.push((queue.poison().to_string(), Trigger::Queue(poison)));
        functions.push((queue.to_string(), Trigger::Queue(messages)));
    };
    queue(Engine::storage_event_queue(), post(queues::hear_of_files), post(queues::set_aside));
    queue(Engine::orchestrate(), post(queues::orchestrate), post(queues::set_aside));
    for agent in Agent::ALL {
        queue(agent.queue(), post(queues::work), post(queues::give_up));
    }
    functions
}

/// What a blob trigger sends is as large as the blob: a limit would have it fail in every try.
pub(super) fn routes() -> Router<App> {
    let mut routes = Router::new();
    for (name, trigger) in functions() {
        let handler = match trigger {
            Trigger::Queue(handler) => handler,
            Trigger::Blob(container) => post(move |app, body| blobs::arrived(container, app, body)),
            Trigger::Timer => post(timer::sweep),
        };
        routes = routes.route(&format!("/{name}"), handler);
    }
    routes.layer(DefaultBodyLimit::disable())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use serde_json::Value;

    use super::*;

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
        assert_eq!(host["extensions"]["queues"]["maxDequeueCount"], crate::orchestration::worker::MAX_DELIVERIES);
        assert_eq!(host["extensions"]["http"]["routePrefix"], "");
        assert_eq!(host["customHandler"]["description"]["arguments"], serde_json::json!(["serve"]));
        assert_eq!(host["customHandler"]["enableForwardingHttpRequest"], true);
        assert_eq!(host["functionTimeout"], "00:10:00");
    }
}
