//! What stands between the client and a server: it keeps what was asked, and may lose an answer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;

use super::fake::Fake;

/// As it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

#[derive(Debug, Clone)]
pub enum Backend {
    Fake(Arc<Fake>),
    /// Its address.
    Real(String),
}

impl Backend {
    pub fn fake() -> Self {
        Self::Fake(Arc::default())
    }
}

/// Serves on a port of its own for as long as the test's runtime.
#[derive(Debug, Clone)]
pub struct Front(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    port: u16,
    backend: Backend,
    seen: Mutex<Vec<Seen>>,
    /// The answer to this request (from 0) is lost, and there is none to those that follow.
    lost: AtomicUsize,
}

impl Front {
    pub async fn start(backend: Backend) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Shared { port, backend, seen: Mutex::default(), lost: AtomicUsize::new(usize::MAX) };
        let front = Self(Arc::new(shared));
        let served = front.clone();
        let app = Router::new().fallback(move |request: Request| async move { served.answer(request).await });
        tokio::spawn(async move { axum::serve(listener, app).await });
        front
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().unwrap().clone()
    }

    pub fn lose_answers_from(&self, request: usize) {
        self.0.lost.store(request, Ordering::Relaxed);
    }

    async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let seen = Seen {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query,
            headers: parts.headers,
            body: to_bytes(body, usize::MAX).await.unwrap(),
        };
        let number = {
            let mut all = self.0.seen.lock().unwrap();
            all.push(seen.clone());
            all.len() - 1
        };
        let lost = self.0.lost.load(Ordering::Relaxed);
        if number > lost {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let answer = match &self.0.backend {
            Backend::Fake(fake) => fake.answer(&seen),
            Backend::Real(address) => passed_on(address, seen).await,
        };
        // It was done all the same.
        if number == lost { StatusCode::BAD_GATEWAY.into_response() } else { answer }
    }
}

async fn passed_on(address: &str, seen: Seen) -> Response {
    let request =
        reqwest::Client::builder().no_proxy().build().unwrap().request(seen.method, format!("{address}{}", seen.path));
    let request = request.query(&seen.query).body(seen.body);
    let content_type = seen.headers.get(CONTENT_TYPE).cloned();
    let request = content_type.into_iter().fold(request, |request, value| request.header(CONTENT_TYPE, value));
    let answer = request.send().await.unwrap();
    let (status, content_type) = (answer.status(), answer.headers().get(CONTENT_TYPE).cloned());
    let mut response = (status, answer.bytes().await.unwrap()).into_response();
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}
