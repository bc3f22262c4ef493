//! What a trigger sends: `{"Data": .., "Metadata": ..}`, every value that is no object, no bytes and no moment encoded
//! twice.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{function::Function, json};

/// A message as it was handed out.
#[derive(Debug, Clone)]
pub struct Message {
    pub id: String,
    pub receipt: String,
    pub body: Vec<u8>,
    /// This time included.
    pub deliveries: u32,
    pub inserted: Timestamp,
}

/// What the host adds to every call.
#[derive(Debug, Clone)]
pub struct System {
    pub function: String,
    pub now: Timestamp,
    pub random: Uuid,
}

impl System {
    pub fn new(function: &str) -> Self {
        Self { function: function.to_owned(), now: Timestamp::now(), random: Uuid::new_v4() }
    }

    fn value(&self) -> Value {
        json!({"MethodName": self.function, "UtcNow": precise(self.now, "Z"), "RandGuid": self.random})
    }
}

/// As its text, in a text.
fn twice(value: &Value) -> Value {
    Value::String(value.to_string())
}

fn whole_seconds(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// Up to seven digits, without trailing zeros.
fn precise(moment: Timestamp, zone: &str) -> String {
    let digits = moment.strftime("%7f").to_string();
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("{}{point}{digits}{zone}", moment.strftime("%Y-%m-%dT%H:%M:%S"))
}

fn envelope(data: Map<String, Value>, metadata: Map<String, Value>) -> Vec<u8> {
    json!({"Data": data, "Metadata": metadata}).to_string().into_bytes()
}

/// `None`: a message that is no UTF-8, for a function that wants text. It is never called.
pub fn queue(function: &Function, system: &System, message: &Message) -> Option<Vec<u8>> {
    let binding = function.trigger();
    let mut metadata = Map::new();
    metadata.insert("DequeueCount".to_owned(), twice(&json!(message.deliveries)));
    metadata.insert("ExpirationTime".to_owned(), json!(whole_seconds(message.inserted + (7 * 24).hours())));
    metadata.insert("Id".to_owned(), twice(&json!(message.id)));
    metadata.insert("InsertionTime".to_owned(), json!(whole_seconds(message.inserted)));
    metadata.insert("NextVisibleTime".to_owned(), json!(whole_seconds(message.inserted + 10.minutes())));
    metadata.insert("PopReceipt".to_owned(), twice(&json!(message.receipt)));
    metadata.insert("sys".to_owned(), system.value());
    let data = if binding.is_binary() {
        json!(STANDARD.encode(&message.body))
    } else {
        let text = std::str::from_utf8(&message.body).ok()?;
        pollute(&mut metadata, text);
        twice(&json!(text))
    };
    Some(envelope(Map::from_iter([(binding.name.clone(), data)]), metadata))
}

/// A text that is a JSON object puts its fields beside, and over, those of the trigger.
fn pollute(metadata: &mut Map<String, Value>, text: &str) {
    let Some(json::Value::Object(fields)) = json::Value::parse_container(text) else { return };
    for (name, value) in fields {
        let value = match value {
            json::Value::Null | json::Value::Array(_) => continue,
            json::Value::Object(_) => serde_json::from_str(&value.compact()).expect("what the double writes is JSON"),
            scalar => twice(&json!(scalar.to_text())),
        };
        let known = metadata.keys().find(|known| known.eq_ignore_ascii_case(&name)).cloned();
        metadata.insert(known.unwrap_or(name), value);
    }
}

/// A timer that is on time, or that should have gone off while no host was there.
pub fn timer(function: &Function, system: &System, is_past_due: bool) -> Vec<u8> {
    let due = system.now;
    let tick = json!({
        "Schedule": {"AdjustForDST": true},
        "ScheduleStatus": {
            "Last": precise(due - 1.minute(), "+00:00"),
            "Next": whole_seconds(due),
            "LastUpdated": precise(due - 1.minute(), "+00:00"),
        },
        "IsPastDue": is_past_due,
    });
    let metadata = Map::from_iter([("sys".to_owned(), system.value())]);
    envelope(Map::from_iter([(function.trigger().name.clone(), tick)]), metadata)
}

/// A blob that somebody put: all of it, whatever the binding says. `name` is what the placeholder `{name}` of the
/// binding's path stands for.
pub fn blob(function: &Function, system: &System, url: &str, name: &str, content: &[u8]) -> Vec<u8> {
    let written = whole_seconds(system.now);
    let properties = json!({
        "LastModified": written, "CreatedOn": written, "Metadata": {}, "BlobType": 0, "CopyId": null,
        "LeaseState": 0, "LeaseStatus": 1, "ContentLength": content.len(), "ContentType": "text/csv", "ETag": {},
        "ContentEncoding": null, "AccessTier": "Hot", "IsLatestVersion": false, "ExpiresOn": "0001-01-01T00:00:00+00:00",
    });
    let metadata = Map::from_iter([
        ("Uri".to_owned(), twice(&json!(url))),
        ("Properties".to_owned(), properties),
        ("Metadata".to_owned(), json!({})),
        ("name".to_owned(), twice(&json!(name))),
        ("sys".to_owned(), system.value()),
    ]);
    envelope(Map::from_iter([(function.trigger().name.clone(), json!(STANDARD.encode(content)))]), metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded;

    /// The message of a recorded call, from what the call says of it.
    fn message(recorded: &Value, body: Vec<u8>, id: &str) -> (System, Message) {
        let metadata = &recorded["Metadata"];
        let inner = |name: &str| -> Value { serde_json::from_str(metadata[name].as_str().unwrap()).unwrap() };
        let message = Message {
            id: id.to_owned(),
            receipt: inner("PopReceipt").as_str().unwrap().to_owned(),
            body,
            deliveries: inner("DequeueCount").as_u64().unwrap().try_into().unwrap(),
            inserted: metadata["InsertionTime"].as_str().unwrap().parse().unwrap(),
        };
        let sys = &metadata["sys"];
        let system = System {
            function: sys["MethodName"].as_str().unwrap_or("QPlain").to_owned(),
            now: sys["UtcNow"].as_str().map_or_else(Timestamp::now, |now| now.parse().unwrap()),
            random: sys["RandGuid"].as_str().map_or_else(Uuid::new_v4, |id| id.parse().unwrap()),
        };
        (system, message)
    }

    #[test]
    fn a_message_is_sent_as_the_real_host_sent_it() {
        let cases = [
            ("queue-plain-string", false),
            ("queue-plain-empty", false),
            ("queue-plain-unicode", false),
            ("queue-plain-base64ish", false),
            ("queue-plain-json-array", false),
            ("queue-plain-json-object", false),
            ("queue-binary-string", true),
            ("queue-binary-json", true),
            ("queue-binary-bytes", true),
        ];
        for (name, is_binary) in cases {
            let recorded: Value = serde_json::from_slice(&recorded::request(name).body).unwrap();
            let data = recorded["Data"]["job"].as_str().unwrap();
            let body = if is_binary {
                STANDARD.decode(data).unwrap()
            } else {
                serde_json::from_str::<String>(data).unwrap().into_bytes()
            };
            let id: String = serde_json::from_str(recorded["Metadata"]["Id"].as_str().unwrap()).unwrap();
            let (system, message) = message(&recorded, body, &id);
            let kind = if is_binary { json!("binary") } else { Value::Null };
            let function = json!({"bindings": [
                {"name": "job", "type": "queueTrigger", "direction": "in", "dataType": kind, "queueName": "jobs"},
            ]});
            let sent = queue(&serde_json::from_value(function).unwrap(), &system, &message).unwrap();
            let mut sent: Value = serde_json::from_slice(&sent).unwrap();
            // The clock of the emulator ticked between two of its stamps in some.
            sent["Metadata"]["NextVisibleTime"] = recorded["Metadata"]["NextVisibleTime"].clone();
            assert_eq!(sent, recorded, "{name}");
        }
    }

    #[test]
    fn text_that_is_none_never_reaches_a_function_that_wants_text() {
        let function = json!({"bindings": [{"name": "job", "type": "queueTrigger", "direction": "in"}]});
        let function = serde_json::from_value(function).unwrap();
        let message = Message {
            id: String::new(),
            receipt: String::new(),
            body: vec![0xff],
            deliveries: 1,
            inserted: Timestamp::now(),
        };
        assert_eq!(queue(&function, &System::new("f"), &message), None);
    }
}
