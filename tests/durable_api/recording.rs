//! `tests/data/functions-host/durable.jsonl`: what the real management API was asked and answered, a line each.
//!
//! The first line explains the placeholders. Lines are counted from 0, so that the first exchange is 1.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Deserializer};

use crate::json::Json;

#[derive(Debug, Clone, Deserialize)]
pub struct Exchange {
    pub scenario: String,
    pub step: String,
    #[serde(default)]
    pub request: Asked,
    #[serde(default)]
    pub response: Answered,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Asked {
    #[serde(default)]
    pub method: String,
    #[serde(default)]
    pub path_and_query: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Answered {
    #[serde(default)]
    pub status: u16,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// `Some(Null)`: the word `null`.
    #[serde(default, deserialize_with = "some")]
    pub body: Option<Json>,
}

fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

/// By their lines.
pub fn read() -> BTreeMap<usize, Exchange> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/functions-host/durable.jsonl");
    let text = fs::read_to_string(file).unwrap();
    let parse = |(line, text): (usize, &str)| (line, serde_json::from_str(text).unwrap());
    text.lines().enumerate().skip(1).map(parse).collect()
}

impl Exchange {
    /// `start: JSON object body`
    pub fn name(&self) -> String {
        format!("{}: {}", self.scenario, self.step)
    }

    pub fn path(&self) -> &str {
        self.request.path_and_query.split('?').next().unwrap_or_default()
    }

    /// Below the API's base.
    pub fn segments(&self) -> Vec<&str> {
        let below = self.path().splitn(4, '/').nth(3).and_then(|rest| rest.split_once('/'));
        below.map_or(Vec::new(), |(_, rest)| rest.split('/').filter(|segment| !segment.is_empty()).collect())
    }

    /// The instance that it is about.
    pub fn instance(&self) -> Option<&str> {
        match self.segments().as_slice() {
            [instances, id, ..] if instances.eq_ignore_ascii_case("instances") => Some(id),
            [orchestrators, _, id] if orchestrators.eq_ignore_ascii_case("orchestrators") => Some(id),
            _ => None,
        }
    }

    pub fn is_start(&self) -> bool {
        self.request.method == "POST"
            && matches!(self.segments().as_slice(), [first, _, ..] if first.eq_ignore_ascii_case("orchestrators"))
    }

    pub fn flag(&self, name: &str, otherwise: bool) -> bool {
        let query = self.request.path_and_query.split_once('?').map_or("", |(_, query)| query);
        let given: Vec<String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_lowercase())
            .collect();
        match given.as_slice() {
            [value] if value == "true" => true,
            [value] if value == "false" => false,
            _ => otherwise,
        }
    }
}
