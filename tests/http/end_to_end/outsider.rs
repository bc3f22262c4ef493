//! Who knows of the app only what it answers: plain HTTP.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{Answer, encoded};

/// How long the app may be away at a time.
const AWAY: Duration = Duration::from_secs(60);
/// Between two calls to one that is away.
const KNOCK: Duration = Duration::from_millis(20);

pub struct Outsider {
    http: Client,
    /// `http://127.0.0.1:7071`
    app: String,
    /// The longest that it waits where an answer says when to ask again.
    patience: Duration,
    again: AtomicUsize,
}

impl Outsider {
    pub fn new(app: String, patience: Duration) -> Self {
        Self { http: Client::new(), app, patience, again: AtomicUsize::new(0) }
    }

    /// How often a call had to be made again.
    pub fn again(&self) -> usize {
        self.again.load(Ordering::Relaxed)
    }

    /// Calls until there is an answer: connections are refused while a process is dead, and break when one dies. All
    /// calls of the API can be made again.
    async fn call(&self, request: RequestBuilder) -> Answer {
        let begun = Instant::now();
        loop {
            match answer(request.try_clone().expect("bodies are bytes")).await {
                Ok(answer) => return answer,
                Err(_) if begun.elapsed() < AWAY => drop(self.again.fetch_add(1, Ordering::Relaxed)),
                Err(error) => panic!("nobody answers: {error:?}"),
            }
            tokio::time::sleep(KNOCK).await;
        }
    }

    /// Of the app, or any other address that an answer has given.
    fn at(&self, uri: &str) -> String {
        if uri.starts_with('/') { format!("{}{uri}", self.app) } else { uri.to_owned() }
    }

    pub async fn get(&self, uri: &str) -> Answer {
        self.call(self.http.get(self.at(uri))).await
    }

    pub async fn post(&self, uri: &str, body: &Value) -> Answer {
        let request = self.http.post(self.at(uri)).header("content-type", "application/json");
        self.call(request.body(body.to_string())).await
    }

    /// Asks for a place, and puts the file there as it is told to: past the app, into the account.
    pub async fn upload(&self, what: Value, bytes: Vec<u8>) -> String {
        let place = self.post("/api/uploads", &what).await.is(201).json();
        let url = place["url"].as_str().unwrap();
        assert!(!url.starts_with(&self.app) && url.contains("sig="), "{url}");
        assert_eq!(place["headers"], json!({ "x-ms-blob-type": "BlockBlob" }));
        let request = self.http.request(place["method"].as_str().unwrap().parse().unwrap(), url);
        self.call(request.header("x-ms-blob-type", "BlockBlob").body(bytes)).await.is(201);
        place["path"].as_str().unwrap().to_owned()
    }

    /// As clients of Durable Functions do: asks again at `Location`, after `Retry-After` seconds, for as long as it is
    /// 202 and not `enough`.
    pub async fn poll(&self, mut answer: Answer, enough: impl Fn(&Value) -> bool) -> Answer {
        loop {
            let wait = Duration::from_secs(answer.header("retry-after").parse().unwrap());
            tokio::time::sleep(wait.min(self.patience)).await;
            answer = self.get(answer.header("location")).await;
            if answer.status != 202 || enough(&answer.json()) {
                return answer;
            }
        }
    }

    /// All items of a list, a page after the other.
    pub async fn pages(&self, uri: &str) -> Vec<Value> {
        let (mut items, mut next) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{uri}?top=10{next}")).await.is(200).json();
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(after) => next = format!("&after={}", encoded(after)),
                None => return items,
            }
        }
    }
}

/// Read to its end, which a process that dies cuts off.
async fn answer(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
}
