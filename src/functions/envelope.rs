//! The host's envelope: a trigger's data in, outputs and logs out.
//!
//! `{"Data": {"<binding>": ...}, "Metadata": {"<key>": ...}}`. In both, a value that is an object stands as it is, bytes
//! are a string of Base64, and all else is its JSON text inside a JSON string, so that 1 comes as `"1"` and `hello` as
//! `"\"hello\""`. Values are read leniently: one that is not wrapped twice is what it says.

use std::{collections::BTreeMap, net::IpAddr};

use axum::{
    Json,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    orchestration::worker::WorkError,
    store::{self, BlobPath},
};

/// What came with a call. Values are looked at when they are asked for: a blob trigger sends the whole blob along.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Envelope<'a> {
    #[serde(borrow)]
    data: BTreeMap<String, &'a RawValue>,
    #[serde(borrow)]
    metadata: BTreeMap<String, &'a RawValue>,
}

/// What is wrong with one. Never holds what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEnvelope {
    #[error("the body is no envelope of a Functions host (line {line}, column {column})")]
    Unreadable { line: usize, column: usize },
    #[error("the envelope has no {0}")]
    Missing(&'static str),
    #[error("{0} of the envelope cannot be right")]
    Wrong(&'static str),
}

/// A message of a queue, handed out by the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMessage {
    pub body: Vec<u8>,
    /// Stays the same however often it is handed out.
    pub id: String,
    /// How often it was handed out, this time included.
    pub deliveries: u32,
}

impl<'a> Envelope<'a> {
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidEnvelope> {
        serde_json::from_slice(body)
            .map_err(|error| InvalidEnvelope::Unreadable { line: error.line(), column: error.column() })
    }

    /// Of a `queueTrigger`. One of `dataType: binary` sends the bytes as they are, and its metadata are the host's: of a
    /// message that comes as text, the host lets every field of its JSON take the place of metadata of that name.
    pub fn queue_message(&self, binding: &'static str) -> Result<QueueMessage, InvalidEnvelope> {
        let deliveries = match self.metadata("DequeueCount")? {
            Value::Number(number) => number.as_u64(),
            Value::String(digits) => digits.parse().ok(),
            _ => None,
        };
        let deliveries = deliveries.and_then(|count| u32::try_from(count).ok());
        let id = match self.metadata("Id")? {
            Value::String(id) => id,
            other => other.to_string(),
        };
        Ok(QueueMessage {
            body: bytes(self.data(binding)?).ok_or(InvalidEnvelope::Wrong(binding))?,
            id,
            deliveries: deliveries.ok_or(InvalidEnvelope::Wrong("DequeueCount"))?,
        })
    }

    /// Of a `blobTrigger`: where the blob is. That its content comes too nobody asked for.
    pub fn blob(&self) -> Result<BlobPath, InvalidEnvelope> {
        let wrong = InvalidEnvelope::Wrong("Uri");
        let Value::String(uri) = self.metadata("Uri")? else { return Err(wrong) };
        blob_at(&uri).ok_or(wrong)
    }

    /// Of a `timerTrigger`: whether it comes later than it should.
    pub fn is_past_due(&self, binding: &'static str) -> Result<bool, InvalidEnvelope> {
        let timer = decoded(self.data(binding)?);
        timer.get("IsPastDue").and_then(Value::as_bool).ok_or(InvalidEnvelope::Wrong(binding))
    }

    fn data(&self, binding: &'static str) -> Result<&'a RawValue, InvalidEnvelope> {
        self.data.get(binding).copied().ok_or(InvalidEnvelope::Missing(binding))
    }

    fn metadata(&self, key: &'static str) -> Result<Value, InvalidEnvelope> {
        self.metadata.get(key).map(|value| decoded(value)).ok_or(InvalidEnvelope::Missing(key))
    }
}

/// A value that is not bytes. One that is nested too deeply for us is nothing.
fn decoded(value: &RawValue) -> Value {
    match serde_json::from_str(value.get()) {
        Ok(Value::String(text)) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        value => value.unwrap_or_default(),
    }
}

/// A value that is bytes, or was sent as if it were text.
fn bytes(value: &RawValue) -> Option<Vec<u8>> {
    let text = match serde_json::from_str(value.get()).ok()? {
        Value::String(text) => text,
        Value::Null => return None,
        value => return Some(value.to_string().into_bytes()),
    };
    Some(STANDARD.decode(&text).unwrap_or_else(|_| match serde_json::from_str(&text) {
        Ok(Value::String(inner)) => inner.into_bytes(),
        _ => text.into_bytes(),
    }))
}

/// The container and name of a blob's address. Emulators have no name of their own for each account: where the address
/// begins with an IP address or a bare name, the account is the first part of the path.
fn blob_at(uri: &str) -> Option<BlobPath> {
    let uri: Uri = uri.parse().ok()?;
    let host = uri.host()?;
    let is_emulator = host.parse::<IpAddr>().is_ok() || host.starts_with('[') || !host.contains('.');
    let path = uri.path().strip_prefix('/')?;
    let path = if is_emulator { path.split_once('/')?.1 } else { path };
    BlobPath::new(percent_decode_str(path).decode_utf8().ok()?).ok().filter(|path| path.as_str().contains('/'))
}

/// The call did what it was for. Less than an object of JSON would have the host wait until it kills this process.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Done {
    /// What is to be written is written through the store, where it can be guarded.
    outputs: BTreeMap<String, Value>,
    /// The host puts them to the call's own log.
    logs: Vec<String>,
}

impl Done {
    pub fn saying(line: String) -> Self {
        Self { logs: vec![line], ..Self::default() }
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// The call must come again: the host hears the status only, the text is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error(transparent)]
    Envelope(#[from] InvalidEnvelope),
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Envelope(_) => StatusCode::BAD_REQUEST,
            Self::Work(_) | Self::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let why = self.to_string();
        tracing::error!(why, "the call failed");
        (status, why).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The body of a call that a real host made.
    fn recorded(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/data/functions-host/requests/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let request: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        request["body"].as_str().unwrap().as_bytes().to_vec()
    }

    #[test]
    fn every_recorded_message_is_read_back() {
        let object = r#"{"a":1,"Id":"x","b":{"c":[1,2]},"arr":[1],"t":true,"nul":null,"d":"2026-01-02T03:04:05.678Z","sys":"evil","f":1.50}"#;
        for (name, body, id) in [
            ("queue-binary-bytes", &b"\x00\xff\xfe\x01"[..], "3201fc0a-d037-45fd-ac8c-7b8528f02dfc"),
            ("queue-binary-json", object.as_bytes(), "dd45aadb-2c62-4106-abef-5157fc66fd55"),
            ("queue-plain-json-object", object.as_bytes(), "x"),
            ("queue-plain-json-array", b"[1,2]", "203127f8-0afe-4018-8c4f-5db8e5087508"),
            ("queue-plain-base64ish", b"aW5uZXI=", "63f80f94-ea5a-4935-9515-ab6a20a3603a"),
            ("queue-plain-empty", b"", "67d27b79-b0fa-4fc9-b036-ef98dd36f509"),
            ("queue-retry-attempt0", b"r", "3cec83f5-03fb-4e37-a5bd-adfe4b0616b3"),
            ("queue-retry-attempt1", b"r", "3cec83f5-03fb-4e37-a5bd-adfe4b0616b3"),
            ("queue-with-blob-inputs", br#"{"name":"a.txt"}"#, "d4262336-1c29-44a1-b942-7eaa555a935b"),
        ] {
            let recorded = recorded(name);
            let message = Envelope::parse(&recorded).unwrap().queue_message("job").unwrap();
            assert_eq!((&message.body[..], &message.id[..], message.deliveries), (body, id, 1), "{name}");
        }
        for name in
            ["queue-binary-string", "queue-plain-string", "queue-plain-unicode", "queue-with-blob-inputs-nonutf8"]
        {
            let recorded = recorded(name);
            let message = Envelope::parse(&recorded).unwrap().queue_message("job").unwrap();
            assert!(!message.body.starts_with(b"\"") && !message.body.is_empty(), "{name}: {message:?}");
        }
    }

    #[test]
    fn every_recorded_blob_is_found_by_its_address() {
        for (name, path) in [
            ("blob-trigger", "incoming/dir/a b.txt"),
            ("blob-trigger-empty", "incoming/empty.txt"),
            ("blob-trigger-dataType-string", "incomings/d1/f.json"),
            ("blob-trigger-dataType-stream", "incomingst/s.txt"),
        ] {
            assert_eq!(Envelope::parse(&recorded(name)).unwrap().blob().unwrap().as_str(), path, "{name}");
        }
    }

    #[test]
    fn every_recorded_timer_says_whether_it_is_late() {
        for (name, is_late) in [
            ("timer-first-run", false),
            ("timer-with-status", false),
            ("timer-timespan-schedule", false),
            ("timer-admin-invoked", false),
            ("timer-retry-attempt1", false),
            ("timer-past-due", true),
        ] {
            assert_eq!(Envelope::parse(&recorded(name)).unwrap().is_past_due("tick"), Ok(is_late), "{name}");
        }
    }

    #[test]
    fn an_address_names_its_container_and_blob_and_nothing_else() {
        for (uri, expected) in [
            ("https://acct.blob.core.windows.net/customers/a/b%20%C3%A9%2525.csv", Some("customers/a/b é%25.csv")),
            ("http://127.0.0.1:10000/devstoreaccount1/customers/a.csv", Some("customers/a.csv")),
            ("http://azurite:10000/devstoreaccount1/customers/a.csv", Some("customers/a.csv")),
            ("https://acct.blob.core.windows.net/customers/..%2Finstances/a", None),
            ("https://acct.blob.core.windows.net/customers/%2e%2e/instances/a", None),
            ("https://acct.blob.core.windows.net/customers/a%FF", None),
            ("https://acct.blob.core.windows.net/customers", None),
            ("http://127.0.0.1:10000/devstoreaccount1/customers", None),
            ("customers/a.csv", None),
            ("", None),
        ] {
            assert_eq!(blob_at(uri).as_ref().map(BlobPath::as_str), expected, "{uri}");
        }
    }

    #[test]
    fn what_is_not_an_envelope_is_refused_without_repeating_it() {
        use InvalidEnvelope::*;
        let message = |body: &str| {
            let parsed = Envelope::parse(body.as_bytes()).and_then(|envelope| envelope.queue_message("job"));
            let error = parsed.unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
            error
        };
        for body in ["", "null", "[]", "{", r#"{"Data":"secret","Metadata":{}}"#, r#"{"Data":{}}"#] {
            assert!(matches!(message(body), Unreadable { .. }), "{body}");
        }
        assert_eq!(message(r#"{"Data":{},"Metadata":{"DequeueCount":"1","Id":"x"}}"#), Missing("job"));
        assert_eq!(message(r#"{"Data":{"job":"eA=="},"Metadata":{"Id":"x"}}"#), Missing("DequeueCount"));
        assert_eq!(message(r#"{"Data":{"job":null},"Metadata":{"DequeueCount":1,"Id":"x"}}"#), Wrong("job"));
        for count in [r#""many""#, "-1", "1.5", "{}", "4294967296"] {
            let body = format!(r#"{{"Data":{{"job":"eA=="}},"Metadata":{{"DequeueCount":{count},"Id":"x"}}}}"#);
            assert_eq!(message(&body), Wrong("DequeueCount"), "{count}");
        }
    }

    #[test]
    fn a_host_that_wraps_values_once_is_understood_too() {
        let body = br#"{"Data":{"job":"{\"a\":1}"},"Metadata":{"DequeueCount":3,"Id":"x"}}"#;
        let message = Envelope::parse(body).unwrap().queue_message("job").unwrap();
        assert_eq!(message, QueueMessage { body: br#"{"a":1}"#.to_vec(), id: "x".to_owned(), deliveries: 3 });
    }
}
