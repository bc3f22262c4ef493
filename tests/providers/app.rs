//! The app in this process: starter campaigns, what people ask over HTTP, and the sweeper when the test wants it.

use std::{fs, path::Path, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, header},
};
use cpo::{
    domain::id::CampaignId,
    functions::{self, access::Access, api::uploads::UploadUrls},
    orchestration::{
        engine::{Clock, Engine},
        follow,
        host::Host,
        plan::Plan,
        workshop::{Providers, Workshop},
    },
    providers::Services,
    store::Store,
};
use jiff::civil::date;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

/// One process: others may work on the same store.
pub struct App {
    pub engine: Arc<Engine>,
    router: Router,
    scratch: TempDir,
}

impl App {
    /// With these settings and no others.
    pub fn on(store: &Store, settings: &[(&'static str, String)]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let settings = settings.to_vec();
        let value = move |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let providers = Providers { services: Arc::new(Services::new(value)), ..Providers::default() };
        let workshop = Workshop::new(store.clone(), scratch.path().to_owned(), providers);
        let engine = Arc::new(Engine::new(store.clone(), Arc::new(workshop), Clock::default()));
        let app = functions::App {
            engine: Arc::clone(&engine),
            scratch: scratch.path().into(),
            uploads: UploadUrls::Here,
            access: Access::Local,
            realtime: Arc::default(),
        };
        Self { engine, router: functions::router(app), scratch }
    }

    /// The starter's campaign under another id, with more at the end of its file, until nothing happens any more.
    pub async fn run(&self, id: &str, more: &str) {
        let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter");
        let text = fs::read_to_string(starter.join("campaign.toml")).unwrap().replacen("first-campaign", id, 1);
        let file = self.scratch.path().join("campaign.toml");
        fs::write(&file, format!("{text}\n{more}")).unwrap();
        let plan = Plan::read(&file, Some(&starter.join("content")), |_| Some(date(2026, 11, 22))).unwrap();
        let (start, library) = plan.start(&starter.join("customers.csv")).unwrap();
        self.engine.start(&start, library).await.unwrap();
        let (engine, id) = (Arc::clone(&self.engine), CampaignId::new(id).unwrap());
        let host = Host::new(Arc::clone(&engine), Duration::from_secs(30), Duration::from_secs(3_600), true);
        host.serve_until(follow::until_rest(&engine, &id, &|_| {})).await.unwrap().unwrap();
    }

    /// A call that is answered well, with JSON.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, kind: &str, body: impl Into<Body>) -> impl Future<Output = Value> {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
        let answer = self.router.clone().oneshot(request.body(body.into()).unwrap());
        let asked = format!("{method} {path}");
        async move {
            let answer = answer.await.unwrap();
            let status = answer.status();
            let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            assert!(status.is_success(), "{asked}: {status}: {}", String::from_utf8_lossy(&body));
            serde_json::from_slice(&body).unwrap()
        }
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ask("GET", path, "application/json", Body::empty()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", path, "application/json", body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Value {
        self.ask("DELETE", path, "application/json", Body::empty()).await
    }
}
