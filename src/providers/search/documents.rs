//! Documents into an index, and out of it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{Filter, Query, Search, path, versioned};
use crate::providers::{
    ErrorKind,
    service::{Answer, Call, Fault},
};

/// What the service takes at once: 1,000 documents, 16 MB. Half of that leaves room for whatever wraps it.
const MOST_DOCUMENTS: usize = 1_000;
const MOST_BYTES: usize = 8 << 20;

/// How often a document is sent that the service could not take just then, the first time included.
const ROUNDS: usize = 3;

/// A document of an index.
#[derive(Debug, Clone, Serialize)]
pub struct Entry<D> {
    /// Letters, digits, `_`, `-` and `=`.
    pub key: String,
    /// For messages.
    #[serde(skip)]
    pub name: String,
    #[serde(flatten)]
    pub fields: D,
}

/// One change, ready to be sent.
struct Action {
    key: String,
    name: String,
    json: Box<RawValue>,
}

#[derive(Serialize)]
struct Marked<T> {
    #[serde(rename = "@search.action")]
    action: &'static str,
    #[serde(flatten)]
    what: T,
}

#[derive(Serialize)]
struct Key<'a> {
    key: &'a str,
}

#[derive(Serialize)]
struct Batch<'a> {
    value: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Results {
    value: Vec<Done>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    key: String,
    status: bool,
    status_code: u16,
    #[serde(default)]
    error_message: Option<String>,
}

impl Search {
    /// Adds documents, each in the place of the one that has its key. All or an error, which may have left some: the same
    /// upload again mends that. They are found some time later.
    ///
    /// # Panics
    ///
    /// Where a document is no JSON.
    pub async fn upload<D: Serialize>(
        &self,
        index: &str,
        entries: impl IntoIterator<Item = Entry<D>, IntoIter: Send>,
    ) -> Result<(), Fault> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for entry in entries {
            let json = to_raw_value(&Marked { action: "upload", what: &entry }).expect("a document is JSON");
            if batch.len() == MOST_DOCUMENTS || (bytes + json.get().len() > MOST_BYTES && !batch.is_empty()) {
                self.change(index, std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += json.get().len();
            batch.push(Action { key: entry.key, name: entry.name, json });
        }
        self.change(index, batch).await
    }

    /// Removes all documents that the filter lets through.
    pub async fn remove(&self, index: &str, which: &Filter) -> Result<(), Fault> {
        let mut last = String::new();
        loop {
            let after = Filter::All(vec![which.clone(), Filter::After(super::index::KEY, last.clone())]);
            let keys = self.search(index, &Query::keys(after, MOST_DOCUMENTS)).await?;
            let keys: Vec<String> = keys.into_iter().map(|found| found.key).collect();
            let Some(newest) = keys.last() else { return Ok(()) };
            last.clone_from(newest);
            let delete = |key: String| {
                let marked = Marked { action: "delete", what: Key { key: &key } };
                Action { json: to_raw_value(&marked).expect("a key is JSON"), name: key.clone(), key }
            };
            self.change(index, keys.into_iter().map(delete).collect()).await?;
        }
    }

    async fn change(&self, index: &str, mut actions: Vec<Action>) -> Result<(), Fault> {
        let operation = "change documents";
        let call = versioned(Call::post(operation, format!("{}/docs/search.index", path(index))));
        let mut put_off = None;
        for _ in 0..ROUNDS {
            if actions.is_empty() {
                return Ok(());
            }
            let batch = Batch { value: actions.iter().map(|action| &*action.json).collect() };
            let answer = self.service.send(&call.clone().json(&batch)).await?;
            actions = left_over(&answer, actions)?;
            put_off = Some(answer);
        }
        match (actions.first(), put_off) {
            (Some(first), Some(answer)) => {
                let why = format!("{} documents were not taken just then, `{}` among them", actions.len(), first.name);
                let kind = ErrorKind::Throttled { retry_after: None };
                Err(Fault { kind, may_have_cost: false, ..answer.unusable(why) })
            }
            _ => Ok(()),
        }
    }
}

/// What is to be sent again. What was refused is an error, as it would be again.
fn left_over(answer: &Answer, actions: Vec<Action>) -> Result<Vec<Action>, Fault> {
    let Results { value } = answer.json()?;
    let done: HashMap<&str, &Done> = value.iter().map(|done| (done.key.as_str(), done)).collect();
    let mut again = Vec::new();
    for action in actions {
        match done.get(action.key.as_str()) {
            Some(done) if done.status => {}
            Some(done) if !is_temporary(done.status_code) => {
                let said = done.error_message.as_deref().unwrap_or("no reason");
                let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
                let why = format!("`{}` was refused ({}): {said}", action.name, done.status_code);
                return Err(Fault { kind: ErrorKind::Rejected, may_have_cost: false, ..answer.unusable(why) });
            }
            // An answer that does not name it says nothing of it.
            Some(_) | None => again.push(action),
        }
    }
    Ok(again)
}

/// 409: a version conflict; 422: the index is not available just then; 429, 503: too busy.
fn is_temporary(status: u16) -> bool {
    matches!(status, 409 | 422 | 429 | 503)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use reqwest::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderMap, HeaderValue},
    };
    use serde_json::{Value, json};

    use super::*;

    fn answer(value: &Value) -> Answer {
        let json = HeaderValue::from_static("application/json; odata.metadata=minimal");
        Answer {
            service: "azure_search",
            operation: "change documents",
            status: StatusCode::MULTI_STATUS,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
            body: Bytes::from(value.to_string()),
        }
    }

    fn actions() -> Vec<Action> {
        let action = |key: &str| Action {
            key: key.to_owned(),
            name: format!("passage {key}"),
            json: to_raw_value(&Marked { action: "delete", what: Key { key } }).unwrap(),
        };
        ["a", "b", "c", "d"].map(action).into()
    }

    fn done(key: &str, code: u16) -> Value {
        json!({"key": key, "status": code < 300, "statusCode": code, "errorMessage": "why\nnot", "new": 1})
    }

    #[test]
    fn what_failed_for_the_moment_or_is_not_spoken_of_is_sent_again() {
        let said = json!({"value": [done("d", 503), done("a", 201), done("b", 422), done("z", 400)]});
        let again = left_over(&answer(&said), actions()).unwrap();
        assert_eq!(again.iter().map(|action| action.key.as_str()).collect::<Vec<_>>(), ["b", "c", "d"]);
    }

    #[test]
    fn what_was_refused_is_an_error_that_names_the_document() {
        let said = json!({"value": [done("a", 200), done("b", 400), done("c", 200), done("d", 200)]});
        let fault = left_over(&answer(&said), actions()).err().unwrap();
        assert_eq!(fault.kind, ErrorKind::Rejected);
        assert_eq!(fault.message, "change documents: `passage b` was refused (400): why not");
    }

    #[test]
    fn an_action_stands_beside_the_document_and_its_key() {
        let entry = Entry { key: "k".into(), name: "n".into(), fields: json!({"text": "Tea."}) };
        let written = serde_json::to_value(Marked { action: "upload", what: &entry }).unwrap();
        assert_eq!(written, json!({"@search.action": "upload", "key": "k", "text": "Tea."}));
    }
}
