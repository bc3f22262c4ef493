//! Requests that a real host sent.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::double::wire::{Framing, Request};

#[derive(Deserialize)]
struct Recorded {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    framing: String,
    #[serde(default)]
    body: String,
    body_base64: Option<String>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/functions-host/requests")
}

/// The names of all, sorted.
pub fn names() -> Vec<String> {
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.map(|name| name.strip_suffix(".json").unwrap().to_owned()).collect();
    names.sort();
    names
}

pub fn request(name: &str) -> Request {
    let text = std::fs::read_to_string(folder().join(name).with_extension("json")).unwrap();
    let recorded: Recorded = serde_json::from_str(&text).unwrap();
    let framing = match recorded.framing.as_str() {
        "chunked" => Framing::Chunked,
        "content-length" => Framing::Length,
        "none" => Framing::None,
        other => panic!("{name}: {other}"),
    };
    let is_framing = |name: &str| ["transfer-encoding", "content-length"].contains(&name.to_ascii_lowercase().as_str());
    Request {
        method: recorded.method,
        target: recorded.target,
        headers: recorded.headers.into_iter().filter(|(name, _)| !is_framing(name)).collect(),
        framing,
        body: recorded.body_base64.map_or(recorded.body.into_bytes(), |body| STANDARD.decode(body).unwrap()),
    }
}
