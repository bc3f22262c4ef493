//! Files that come, change and go. An event is a hint: whoever hears of a file looks at what is there now, so that an
//! event may be lost, repeated or late.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::files::{CONTENT, CUSTOMERS, OUTCOMES};
use crate::{
    orchestration::{content, engine::Engine},
    store::{self, BlobPath, QueueName},
};

/// An event of Event Grid about a blob, in its own schema or as a CloudEvent; all else in it is of no interest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StorageEvent {
    #[serde(alias = "type", rename = "eventType")]
    kind: String,
    subject: String,
}

/// One event or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Events {
    One(StorageEvent),
    Many(Vec<StorageEvent>),
}

/// As Event Grid puts them on a queue.
pub fn storage_events(body: &[u8]) -> serde_json::Result<Vec<StorageEvent>> {
    Ok(match serde_json::from_slice(body)? {
        Events::One(event) => vec![event],
        Events::Many(events) => events,
    })
}

const SUBJECT: &str = "/blobServices/default/containers/";
const CREATED: &str = "Microsoft.Storage.BlobCreated";
const DELETED: &str = "Microsoft.Storage.BlobDeleted";

impl StorageEvent {
    /// The file that is there now, or is not any more. `None`: the event is about something else.
    pub fn path(&self) -> Option<BlobPath> {
        if ![CREATED, DELETED].contains(&self.kind.as_str()) {
            return None;
        }
        let (container, blob) = self.subject.strip_prefix(SUBJECT)?.split_once("/blobs/")?;
        BlobPath::new(format!("{container}/{blob}")).ok()
    }
}

/// In Event Grid's schema.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Announcement<'a> {
    id: Uuid,
    topic: &'a str,
    subject: String,
    event_type: &'a str,
    event_time: jiff::Timestamp,
    data: serde_json::Value,
    data_version: &'a str,
}

impl Engine {
    /// The queue on which events about files come.
    pub fn storage_event_queue() -> QueueName {
        QueueName::new("storage-events").expect("it is the name of a queue")
    }

    /// Tells of a file that was written or deleted where nobody else does, as Event Grid would.
    pub async fn announce_file(&self, path: &BlobPath) -> Result<(), store::Error> {
        let Some((container, blob)) = path.as_str().split_once('/') else { return Ok(()) };
        let announcement = Announcement {
            id: Uuid::now_v7(),
            topic: "",
            subject: format!("{SUBJECT}{container}/blobs/{blob}"),
            event_type: CREATED,
            event_time: self.now(),
            data: json!({}),
            data_version: "1",
        };
        let body = serde_json::to_vec(&announcement).expect("texts are plain data");
        self.store.queues.send(&Self::storage_event_queue(), body, Duration::ZERO).await
    }

    /// A message of that queue. What is no event of a file is none of ours.
    pub async fn storage_event_message(&self, body: &[u8]) -> Result<(), store::Error> {
        let events = storage_events(body).map_err(|error| store::Error::Permanent {
            what: "a message on `storage-events`".to_owned(),
            source: error.into(),
        })?;
        for path in events.iter().filter_map(StorageEvent::path) {
            self.file_arrived(&path).await?;
        }
        Ok(())
    }

    /// Looks at a file that may have come, changed or gone. Doing it again does no harm.
    pub async fn file_arrived(&self, path: &BlobPath) -> Result<(), store::Error> {
        match path.as_str().split_once('/') {
            Some((CUSTOMERS, _)) => self.begin_all_pending().await,
            Some((CONTENT, _)) => {
                content::check(self, path).await?;
                self.begin_all_pending().await
            }
            Some((OUTCOMES, _)) => self.outcomes_arrived(path).await,
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(body: &str) -> Vec<Option<String>> {
        let path = |event: &StorageEvent| event.path().map(|path| path.to_string());
        storage_events(body.as_bytes()).unwrap().iter().map(path).collect()
    }

    #[test]
    fn both_of_event_grid_s_schemas_are_understood() {
        let grid = r#"{"id": "831e1650", "topic": "/subscriptions/s", "eventType": "Microsoft.Storage.BlobCreated",
            "subject": "/blobServices/default/containers/customers/blobs/a/b c.csv", "eventTime": "2026-11-22T13:49:58.7Z",
            "data": {"api": "PutBlob", "url": "https://acct.blob.core.windows.net/customers/a/b%20c.csv"},
            "dataVersion": "", "metadataVersion": "1"}"#;
        let cloud = r#"{"specversion": "1.0", "type": "Microsoft.Storage.BlobDeleted", "source": "/subscriptions/s",
            "id": "9", "subject": "/blobServices/default/containers/content/blobs/a.md", "data": {}}"#;
        assert_eq!(paths(grid), [Some("customers/a/b c.csv".to_owned())]);
        assert_eq!(
            paths(&format!("[{grid}, {cloud}]")),
            [Some("customers/a/b c.csv".to_owned()), Some("content/a.md".to_owned())]
        );
    }

    #[test]
    fn what_is_not_about_a_file_is_left_alone() {
        let event = |kind: &str, subject: &str| format!(r#"{{"eventType": "{kind}", "subject": "{subject}"}}"#);
        for (kind, subject) in [
            ("Microsoft.Storage.BlobTierChanged", "/blobServices/default/containers/customers/blobs/a"),
            (CREATED, "/blobServices/default/containers/customers"),
            (CREATED, "/blobServices/default/containers/customers/blobs/a//b"),
            (CREATED, "elsewhere"),
        ] {
            assert_eq!(paths(&event(kind, subject)), [None], "{kind} {subject}");
        }
        assert!(storage_events(b"{}").is_err() && storage_events(b"\xff").is_err());
    }

    #[tokio::test]
    async fn what_we_announce_we_understand() {
        let store = store::Memory::default().store();
        let agents = crate::orchestration::workshop::Workshop::new(
            store.clone(),
            std::env::temp_dir(),
            crate::orchestration::workshop::Providers::default(),
        );
        let engine = Engine::new(store.clone(), std::sync::Arc::new(agents), Default::default());
        let path = BlobPath::new("customers/a/Kunden März.csv").unwrap();
        engine.announce_file(&path).await.unwrap();
        let queue = Engine::storage_event_queue();
        let message = store.queues.receive(&queue, 1, Duration::from_secs(1)).await.unwrap().remove(0);
        assert_eq!(storage_events(&message.body).unwrap()[0].path(), Some(path));
    }
}
