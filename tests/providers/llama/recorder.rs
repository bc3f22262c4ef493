//! What stands between us and the server, and keeps what both say.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, Uri, header::CONTENT_TYPE},
};
use serde_json::Value;

#[derive(Debug, Clone)]
pub struct Exchange {
    pub asked: Value,
    pub status: StatusCode,
    pub answer: Value,
}

/// Serves on a port of its own for as long as the test's runtime.
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

struct Shared {
    port: u16,
    behind: String,
    http: reqwest::Client,
    exchanges: Mutex<Vec<Exchange>>,
}

impl Recorder {
    pub async fn before(server: &str) -> Self {
        cpo::tls::set_up();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let recorder = Self(Arc::new(Shared {
            port: listener.local_addr().unwrap().port(),
            behind: server.to_owned(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            exchanges: Mutex::default(),
        }));
        let app = Router::new().fallback(pass_on).with_state(recorder.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        recorder
    }

    /// As `OPENAI_BASE_URL` wants it.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.0.port)
    }

    /// All that were answered, in the order of their answers.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.0.exchanges.lock().unwrap().clone()
    }

    /// What the server says that the answers took, by the name of its field.
    pub fn counted(&self, tokens: &str) -> u64 {
        self.exchanges().iter().filter_map(|exchange| exchange.answer["usage"][tokens].as_u64()).sum()
    }
}

async fn pass_on(State(recorder): State<Recorder>, uri: Uri, Json(asked): Json<Value>) -> (StatusCode, Json<Value>) {
    let Shared { behind, http, exchanges, .. } = &*recorder.0;
    let request = http.post(format!("{behind}{uri}")).header(CONTENT_TYPE, "application/json");
    let answer = request.body(asked.to_string()).send().await.unwrap();
    let status = answer.status();
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    exchanges.lock().unwrap().push(Exchange { asked, status, answer: answer.clone() });
    (status, Json(answer))
}
