//! An app on a store of its own, with or without somebody who works on its queues, and campaigns in it.

use std::{path::Path, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
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
    store::{Azure, Embedded, Memory, Store},
};
use jiff::civil::date;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

pub struct Served {
    pub app: App,
    router: Router,
    pub folder: TempDir,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }

    /// That it is an answer of this status; a refusal is problem details.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        if status >= 400 {
            assert_eq!(self.header("content-type"), "application/problem+json");
            assert_eq!(self.json()["status"], status);
        }
        self
    }

    /// That it is refused under this code.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        let answer = self.is(status);
        assert_eq!(answer.json()["code"], code, "{}", answer.json());
        answer
    }

    /// Fields that a refusal names.
    pub fn fields(&self) -> Vec<String> {
        let problems = self.json()["errors"].as_array().cloned().unwrap_or_default();
        problems.iter().filter_map(|problem| problem["field"].as_str().map(str::to_owned)).collect()
    }
}

impl Served {
    pub fn in_memory() -> Self {
        Self::over(Memory::default().store())
    }

    pub fn over(store: Store) -> Self {
        Self::on(|_| (store, UploadUrls::Here))
    }

    /// As `cpo dev` keeps it: containers are folders.
    pub fn embedded() -> Self {
        Self::on(|folder| {
            let containers = &["campaigns", "content", "customers", "outcomes", "uploads"];
            (Embedded::open_with(&folder.join("data"), containers).unwrap().store(), UploadUrls::Here)
        })
    }

    pub fn on_account(location: &str) -> Self {
        let account = Azure::open(location).unwrap();
        Self::on(|_| (account.store(), UploadUrls::Account(account)))
    }

    fn on(open: impl FnOnce(&Path) -> (Store, UploadUrls)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, uploads) = open(folder.path());
        let scratch = folder.path().join("scratch");
        std::fs::create_dir_all(&scratch).unwrap();
        let workshop = Workshop::new(store.clone(), scratch.clone(), Providers::default());
        let engine = Arc::new(Engine::new(store, Arc::new(workshop), Clock::default()));
        let app = App { engine, scratch: scratch.into(), uploads, access: Access::Local, realtime: Arc::default() };
        Self { router: functions::router(app.clone()), app, folder }
    }

    pub async fn call(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_as(path, "application/json", body.to_string()).await
    }

    pub async fn post_as(&self, path: &str, kind: &str, body: impl Into<Body>) -> Answer {
        self.call(Request::post(path).header(header::CONTENT_TYPE, kind).body(body.into()).unwrap()).await
    }

    pub async fn put(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.call(Request::put(path).body(body.into()).unwrap()).await
    }

    /// Uploads a file to this app, and gives the path that it got.
    pub async fn upload(&self, kind: &str, name: &str, bytes: &[u8]) -> String {
        let place = self.place(kind, name).await;
        self.put(place["url"].as_str().unwrap(), bytes.to_vec()).await.is(201).json();
        place["path"].as_str().unwrap().to_owned()
    }

    pub async fn place(&self, kind: &str, name: &str) -> Value {
        self.post("/api/uploads", &json!({ "kind": kind, "name": name })).await.is(201).json()
    }

    /// All documents of the starter campaign.
    pub async fn upload_content(&self, folder: &str) {
        for (name, bytes) in documents() {
            let path = self.upload("content", &format!("{folder}/{name}"), &bytes).await;
            assert_eq!(path, format!("content/{folder}/{name}"));
        }
    }

    /// Works on the queues until the work is done.
    pub async fn with_host<T>(&self, work: impl Future<Output = T>) -> T {
        let engine = Arc::clone(&self.app.engine);
        let host = Host::new(engine, Duration::from_secs(30), Duration::from_secs(3_600), true);
        host.serve_until(work).await.unwrap()
    }

    /// Starts the starter campaign under another id, in shards of a few customers.
    pub async fn start(&self, id: &str, approval: &str) -> CampaignId {
        let text = std::fs::read_to_string(starter("campaign.toml")).unwrap();
        let edited = text.replace("first-campaign", id).replace("\"when_flagged\"", &format!("\"{approval}\""));
        assert_ne!(edited, text);
        let file = self.folder.path().join("campaign.toml");
        std::fs::write(&file, edited).unwrap();
        let plan = Plan::read(&file, Some(&starter("content")), |_| Some(date(2026, 11, 22))).unwrap();
        let (start, library) = plan.start(&starter("customers.csv")).unwrap();
        self.app.engine.start(&Start { shard_rows: 4, ..start }, library).await.unwrap();
        CampaignId::new(id).unwrap()
    }

    /// Works until the campaign has ended or waits for a person.
    pub async fn work(&self, campaign: &CampaignId) {
        self.with_host(follow::until_rest(&self.app.engine, campaign, &|_| {})).await.unwrap();
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

    /// The campaign, once it stands as wanted; any other end fails.
    pub async fn until(&self, id: &str, wanted: &str) -> Value {
        let mut progress = self.app.engine.progress();
        loop {
            let campaign = self.get(&format!("/api/campaigns/{id}")).await.is(200).json();
            let status = campaign["status"].as_str().unwrap();
            if status == wanted {
                return campaign;
            }
            assert!(["pending", "running"].contains(&status), "{campaign:#}");
            // Looks again without one, too: others may work on the campaign.
            let _ = tokio::time::timeout(Duration::from_millis(200), progress.changed()).await;
        }
    }
}

fn starter(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter").join(name)
}

/// Of the starter campaign, by name.
pub fn documents() -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(starter("content")).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

pub fn customers() -> Vec<u8> {
    std::fs::read(starter("customers.csv")).unwrap()
}

/// Of a segment of a path, or a value of a query.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The starter campaign as JSON, on a fixed day, with its documents in a folder of the container.
pub fn campaign(id: &str, customers: &str) -> Value {
    let text = std::fs::read_to_string(starter("campaign.toml")).unwrap();
    let mut campaign: Value = toml::from_str(&text).unwrap();
    campaign["campaign"]["id"] = id.into();
    campaign["campaign"]["date"] = "2026-11-22".into();
    campaign["content"]["path"] = "autumn".into();
    campaign["inputs"] = json!({ "customers": customers });
    campaign
}
