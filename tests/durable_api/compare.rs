//! Whether an answer is the recorded one, in another app's words.
//!
//! What an orchestration is, takes and gives is this app's own: there only what kind of value stands there is compared.
//! Everything else must be the same: codes, headers, keys and their order, texts, what is null and what is absent.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{json::Json, recording::Exchange};

/// Of .NET, and never copied: they are for its developers' eyes.
const NEVER: [&str; 2] = ["ExceptionType", "StackTrace"];

/// Events that say what was asked of an instance; between them stands what it did, which is its own.
const ASKED: [&str; 6] = [
    "ExecutionStarted",
    "ExecutionSuspended",
    "ExecutionResumed",
    "ExecutionTerminated",
    "EventRaised",
    "ExecutionCompleted",
];

/// The keys of each kind of event in their order, all that it was ever recorded with.
#[derive(Debug)]
pub struct Shapes(BTreeMap<String, Vec<String>>);

impl Shapes {
    pub fn of<'a>(exchanges: impl Iterator<Item = &'a Exchange>) -> Self {
        let mut shapes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for exchange in exchanges {
            let events = exchange.response.body.as_ref().and_then(|body| body.get("historyEvents"));
            for event in events.map_or(&[][..], Json::items) {
                let keys: Vec<String> = event.keys().into_iter().map(str::to_owned).collect();
                let known = shapes.entry(event.text("EventType").unwrap().to_owned()).or_default();
                if known.len() < keys.len() {
                    *known = keys;
                }
            }
        }
        Self(shapes)
    }
}

/// What a body is compared with, and what its request asked to be shown.
pub struct Comparison<'a> {
    pub shapes: &'a Shapes,
    pub exchange: &'a Exchange,
    pub differences: Vec<String>,
}

impl Comparison<'_> {
    fn differ(&mut self, at: &str, expected: impl std::fmt::Debug, actual: impl std::fmt::Debug) {
        self.differences.push(format!("{at}: expected {expected:?}, not {actual:?}"));
    }

    pub fn same<T: PartialEq + std::fmt::Debug>(&mut self, at: &str, expected: T, actual: T) {
        if expected != actual {
            self.differ(at, expected, actual);
        }
    }

    pub fn body(&mut self, expected: &Json, actual: &Json) {
        match expected {
            Json::Object(_) if expected.get("runtimeStatus").is_some() => self.status(expected, actual),
            Json::Object(_) if expected.get("Message").is_some() => self.message(expected, actual),
            Json::Array(items) if items.first().is_some_and(|item| item.get("runtimeStatus").is_some()) => {
                self.page(items, actual);
            }
            Json::Object(_)
                if expected.get("statusQueryGetUri").is_none() && expected.get("instancesDeleted").is_none() =>
            {
                self.output(actual);
            }
            Json::Null => self.output(actual),
            Json::String(_) if self.exchange.is_start() => self.output(actual),
            _ => self.same("body", expected, actual),
        }
    }

    /// The bare output of what ended in time.
    fn output(&mut self, actual: &Json) {
        if !matches!(actual, Json::Object(_)) || actual.get("runtimeStatus").is_some() {
            self.differ("body", "an output", actual);
        }
    }

    fn message(&mut self, expected: &Json, actual: &Json) {
        let keys: Vec<&str> = expected.keys().into_iter().filter(|key| !NEVER.contains(key)).collect();
        self.same("keys", keys, actual.keys());
        self.same("Message", expected.text("Message"), actual.text("Message"));
    }

    fn page(&mut self, expected: &[Json], actual: &Json) {
        let actual = actual.items();
        let ids = |items: &[Json]| -> Vec<String> {
            items.iter().filter_map(|item| item.text("instanceId")).map(str::to_owned).collect()
        };
        // Of instances whose ids are not known, only how they are told.
        if ids(expected).iter().any(|id| id.starts_with('{')) {
            let (Some(expected), Some(actual)) = (expected.first(), actual.first()) else {
                return self.differ("body", "instances", actual);
            };
            return self.same("keys", expected.keys(), actual.keys());
        }
        // Ids that were made up there sort otherwise here.
        let mut sorted = ids(expected);
        sorted.sort();
        self.same("instances", sorted, ids(actual));
        for actual in actual {
            if let Some(expected) = expected.iter().find(|item| item.text("instanceId") == actual.text("instanceId")) {
                self.status(expected, actual);
            }
        }
    }

    fn status(&mut self, expected: &Json, actual: &Json) {
        self.same("keys", expected.keys(), actual.keys());
        self.same("name", Some("campaign"), actual.text("name"));
        self.same("instanceId", expected.text("instanceId"), actual.text("instanceId"));
        self.same("runtimeStatus", expected.text("runtimeStatus"), actual.text("runtimeStatus"));
        let is_object = |key| matches!(actual.get(key), Some(Json::Object(_)));
        if self.exchange.flag("showInput", true) != is_object("input") {
            self.differ("input", "what was asked for", actual.get("input"));
        }
        if !is_object("customStatus") {
            self.differ("customStatus", "an object", actual.get("customStatus"));
        }
        match expected.text("runtimeStatus") {
            Some("Completed") if is_object("output") => {}
            Some("Failed") if actual.text("output").is_some_and(|text| text.contains("failed: ")) => {}
            Some("Completed" | "Failed") => self.differ("output", "what it came to", actual.get("output")),
            _ => self.same("output", expected.get("output"), actual.get("output")),
        }
        for key in ["createdTime", "lastUpdatedTime"] {
            let text = actual.text(key).unwrap_or_default();
            if text.len() != "yyyy-MM-ddTHH:mm:ssZ".len() || !text.ends_with('Z') || text.parse::<Timestamp>().is_err()
            {
                self.differ(key, "whole seconds", text);
            }
        }
        if let (Some(expected), Some(actual)) = (expected.get("historyEvents"), actual.get("historyEvents")) {
            self.history(expected.items(), actual.items());
        }
    }

    fn history(&mut self, expected: &[Json], actual: &[Json]) {
        let (input, result) = (self.exchange.flag("showInput", true), self.exchange.flag("showHistoryOutput", false));
        for event in actual {
            let Some(keys) = self.shapes.0.get(event.text("EventType").unwrap_or_default()) else {
                self.differ("historyEvents", "a known event", event);
                continue;
            };
            let is_shown = |key: &&str| (input || *key != "Input") && (result || *key != "Result");
            let keys: Vec<&str> = keys.iter().map(String::as_str).filter(is_shown).collect();
            self.same("historyEvents", keys, event.keys());
            for (key, zone) in [("Timestamp", "Z"), ("ScheduledTime", "+00:00")] {
                let is_time = |text: &str| text.ends_with(zone) && text.parse::<Timestamp>().is_ok();
                if event.get(key).is_some() && !event.text(key).is_some_and(is_time) {
                    self.differ(key, zone, event.get(key));
                }
            }
        }
        let asked = |events: &[Json]| -> Vec<Vec<Option<Json>>> {
            let is_asked = |event: &&Json| event.text("EventType").is_some_and(|kind| ASKED.contains(&kind));
            let said = |event: &Json| {
                let mut keys = vec!["EventType", "Reason", "OrchestrationStatus", "FailureDetails"];
                if event.text("EventType") == Some("ExecutionTerminated") {
                    keys.push("Input");
                }
                keys.into_iter().map(|key| event.get(key).cloned()).collect()
            };
            events.iter().filter(is_asked).map(said).collect()
        };
        self.same("what was asked", asked(expected), asked(actual));
    }
}
