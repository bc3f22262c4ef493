//! The queue into which Event Grid puts what happens in the account's containers, as plain JSON. Where there is no Event
//! Grid, whoever writes a file puts the same there.
//!
//! An event is a hint: the file is looked at as it is by then.

use axum::{body::Bytes, extract::State};
use serde::Deserialize;

use super::queues;
use crate::{
    functions::{
        App,
        envelope::{Done, Failed},
    },
    store::{self, BlobPath, QueueName},
};

pub(super) fn queue() -> QueueName {
    QueueName::new("storage-events").expect("it is the name of a queue")
}

/// Of Event Grid's own schema, or a CloudEvent.
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "eventType", alias = "type")]
    kind: String,
    #[serde(default)]
    subject: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Events {
    One(Event),
    Many(Vec<Event>),
}

impl Event {
    /// The blob that came, was replaced or went; `None`: it tells of something else. The subject holds the names as they
    /// are, not as they stand in addresses.
    fn blob(&self) -> Option<BlobPath> {
        if !matches!(self.kind.as_str(), "Microsoft.Storage.BlobCreated" | "Microsoft.Storage.BlobDeleted") {
            return None;
        }
        let (container, name) =
            self.subject.strip_prefix("/blobServices/default/containers/")?.split_once("/blobs/")?;
        BlobPath::new(format!("{container}/{name}")).ok()
    }
}

fn parse(message: &[u8]) -> Result<Vec<Event>, Failed> {
    let events = serde_json::from_slice(message).map_err(|_| Failed::Message("it is no event of Event Grid".into()))?;
    Ok(match events {
        Events::One(event) => vec![event],
        Events::Many(events) => events,
    })
}

pub(super) async fn arrived(State(app): State<App>, body: Bytes) -> Result<Done, Failed> {
    let (message, about) = queues::read(&body)?;
    for event in parse(&message.body)? {
        match event.blob() {
            Some(path) => changed(&app, &path).await?,
            None => tracing::debug!(kind = event.kind, "an event that is not about a file"),
        }
    }
    Ok(Done::saying(about))
}

/// A file came, was replaced, or went.
pub(super) async fn changed(_app: &App, path: &BlobPath) -> Result<(), store::Error> {
    tracing::info!(%path, "a file changed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(message: &str) -> Vec<Option<String>> {
        parse(message.as_bytes()).unwrap().iter().map(|event| Some(event.blob()?.to_string())).collect()
    }

    #[test]
    fn both_schemas_and_lists_of_them_name_the_blob() {
        let subject = "/blobServices/default/containers/customers/blobs/spring/a b%20/blobs/é.csv";
        let path = Some("customers/spring/a b%20/blobs/é.csv".to_owned());
        let own = format!(
            r#"{{"id":"1","topic":"/x","subject":"{subject}","eventType":"Microsoft.Storage.BlobCreated","eventTime":"2026-11-22T13:49:58.7Z",
                "data":{{"api":"PutBlockList","url":"https://acct.blob.core.windows.net/x"}},"dataVersion":"","metadataVersion":"1"}}"#
        );
        let cloud = format!(
            r#"{{"specversion":"1.0","type":"Microsoft.Storage.BlobDeleted","source":"/x","id":"1","subject":"{subject}","data":{{}}}}"#
        );
        assert_eq!(blobs(&own), [path.clone()]);
        assert_eq!(blobs(&cloud), [path.clone()]);
        assert_eq!(blobs(&format!("[{own},{cloud}]")), [path.clone(), path]);
    }

    #[test]
    fn what_is_about_no_file_changes_nothing_and_what_is_no_event_is_refused() {
        let created = |subject: &str| format!(r#"{{"type":"Microsoft.Storage.BlobCreated","subject":"{subject}"}}"#);
        assert_eq!(blobs(r#"{"eventType":"Microsoft.Storage.DirectoryCreated","subject":"/x"}"#), [None]);
        for subject in ["", "customers/a", "/blobServices/default/containers/customers/blobs/../instances/x"] {
            assert_eq!(blobs(&created(subject)), [None], "{subject}");
        }
        for message in ["", "null", "1", "{}", r#"{"eventType":1}"#, r#"["x"]"#] {
            assert!(parse(message.as_bytes()).is_err(), "{message}");
        }
    }
}
