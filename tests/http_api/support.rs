//! The app over a store in memory, and campaigns in it.

use std::{path::Path, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use cpo::{
    domain::id::CampaignId,
    functions::{self, App, access::Access, api::uploads::UploadUrls},
    orchestration::{
        engine::{Clock, Engine},
        follow,
        host::Host,
        plan::Plan,
        start::Start,
        workshop::{Providers, Workshop},
    },
    store::{Memory, Store},
};
use jiff::civil::date;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

pub struct Here {
    pub app: App,
    router: Router,
    _scratch: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }

    /// That it is an answer of this status; a refusal is problem details.
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        if status >= 400 {
            assert_eq!(self.header("content-type"), "application/problem+json");
            assert_eq!(self.json()["status"], status);
        }
        self
    }

    /// That it is refused under this code.
    pub fn refused(self, status: u16, code: &str) -> Self {
        let answer = self.is(status);
        assert_eq!(answer.json()["code"], code, "{}", answer.json());
        answer
    }
}

impl Here {
    pub fn new() -> Self {
        Self::over(Memory::default().store())
    }

    pub fn over(store: Store) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let workshop = Workshop::new(store.clone(), scratch.path().to_owned(), Providers::default());
        let app = App {
            engine: Arc::new(Engine::new(store, Arc::new(workshop), Clock::default())),
            scratch: scratch.path().into(),
            uploads: UploadUrls::Here,
            access: Access::Local,
            realtime: Arc::default(),
        };
        Self { router: functions::router(app.clone()), app, _scratch: scratch }
    }

    pub async fn call(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, uri: &str) -> Answer {
        self.call(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, uri: &str, kind: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(Method::POST).uri(uri).header("content-type", kind);
        self.call(request.body(body.into()).unwrap()).await
    }

    pub async fn post_json(&self, uri: &str, body: &Value) -> Answer {
        self.post(uri, "application/json", body.to_string()).await
    }

    /// Starts the starter campaign under another id, in shards of a few customers.
    pub async fn start(&self, id: &str, approval: &str) -> CampaignId {
        let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter");
        let text = std::fs::read_to_string(starter.join("campaign.toml")).unwrap();
        let edited = text.replace("first-campaign", id).replace("\"when_flagged\"", &format!("\"{approval}\""));
        assert_ne!(edited, text);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("campaign.toml");
        std::fs::write(&file, edited).unwrap();
        let plan = Plan::read(&file, Some(&starter.join("content")), |_| Some(date(2026, 11, 22))).unwrap();
        let (start, library) = plan.start(&starter.join("customers.csv")).unwrap();
        self.app.engine.start(&Start { shard_rows: 4, ..start }, library).await.unwrap();
        CampaignId::new(id).unwrap()
    }

    /// Works until the campaign has ended or waits for a person.
    pub async fn work(&self, campaign: &CampaignId) {
        let host = Host::new(Arc::clone(&self.app.engine), Duration::from_secs(30), Duration::from_secs(30), true);
        let at_rest = follow::until_rest(&self.app.engine, campaign, &|_| {});
        host.serve_until(at_rest).await.unwrap().unwrap();
    }

    /// Hears of all files that were announced, and whatever follows from it.
    pub async fn hear_of_files(&self) {
        let (queue, queues) = (Engine::storage_event_queue(), &self.app.engine.store.queues);
        while let Some(event) = queues.receive(&queue, 1, Duration::from_secs(60)).await.unwrap().pop() {
            self.app.engine.storage_event_message(&event.body).await.unwrap();
            queues.delete(&event).await.unwrap();
        }
    }

    /// Brings a file of outcomes, and says what became of it.
    pub async fn bring(&self, id: &str, kind: &str, file: impl Into<Body>) -> Value {
        let answer = self.post(&format!("/api/campaigns/{id}/outcomes"), kind, file).await.is(202);
        assert_eq!(answer.json()["standing"], "waiting");
        self.hear_of_files().await;
        self.get(answer.header("location")).await.is(200).json()
    }

    pub async fn complete(&self, id: &str) -> CampaignId {
        let campaign = self.start(id, "when_flagged").await;
        self.work(&campaign).await;
        campaign
    }

    /// One whose messages all wait for a person.
    pub async fn waiting(&self, id: &str) -> CampaignId {
        let campaign = self.start(id, "always").await;
        self.work(&campaign).await;
        campaign
    }

    /// All items of a list, a page of `top` after the other.
    pub async fn pages(&self, uri: &str, top: usize) -> Vec<Value> {
        let separator = if uri.contains('?') { '&' } else { '?' };
        let (mut items, mut next) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{uri}{separator}top={top}{next}")).await.is(200).json();
            let of_page = page["items"].as_array().unwrap();
            assert!(of_page.len() <= top, "{page}");
            items.extend(of_page.iter().cloned());
            match page["next"].as_str() {
                Some(after) => next = format!("&after={}", encoded(after)),
                None => return items,
            }
        }
    }
}

/// Of a segment of a path, or a value of a query.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
