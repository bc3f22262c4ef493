//! Doubles of the services, as far as the agents ask them: a model that writes messages from what it is given, a screen
//! that finds no harm, an index that finds all it has.

use std::{collections::BTreeMap, sync::Mutex};

use serde_json::{Value, json};

use crate::scripted::{Reply, Request};

/// What each answer of the model says that it took.
pub const TOKENS: (u64, u64) = (1_000, 100);

/// A chat completion: the shortest of the passages in the prompt, word for word.
pub fn writes(request: &Request) -> Reply {
    let body = request.json();
    let prompt = body["messages"][1]["content"].as_str().expect("the material is in the first turn of the user");
    let (_, rest) = prompt.split_once("<data>").expect("the material begins with a mark");
    let data: Value = serde_json::from_str(rest.split_once("</data>").expect("and ends with one").0).unwrap();
    let documents = data["documents"].as_array().unwrap();
    let passages = documents.iter().flat_map(|document| document["passages"].as_array().unwrap());
    let one_line = passages.filter(|passage| !passage["text"].as_str().unwrap().contains('\n'));
    let passage = one_line.min_by_key(|passage| passage["text"].as_str().unwrap().len()).expect("there is a passage");
    let claim = json!({"id": passage["id"], "text": passage["text"]});
    let subject = &data["phrases"]["subjects"][0];
    let message = match subject {
        Value::Null => json!({"claim": claim, "rest": []}),
        text => json!({"claim": claim, "rest": [], "subject": {"text": text}}),
    };
    let choice = json!({"index": 0, "finish_reason": "stop", "message": {"content": message.to_string()}});
    let usage = json!({"prompt_tokens": TOKENS.0, "completion_tokens": TOKENS.1});
    Reply::json(200, &json!({"choices": [choice], "usage": usage}))
}

/// Content Safety: no harm, no attack.
pub fn passes(request: &Request) -> Reply {
    let category = |name| json!({"category": name, "severity": 0});
    let harmless = ["Hate", "SelfHarm", "Sexual", "Violence"].map(category);
    let answer = if request.path().ends_with("text:shieldPrompt") {
        let documents = request.json()["documents"].as_array().map_or(0, Vec::len);
        json!({"userPromptAnalysis": {"attackDetected": false},
            "documentsAnalysis": vec![json!({"attackDetected": false}); documents]})
    } else {
        json!({"blocklistsMatch": [], "categoriesAnalysis": harmless})
    };
    Reply::json(200, &answer)
}

/// AI Search: an index that holds whatever was uploaded, and finds all of it that is for the audience asked for. Of the
/// other filters it knows nothing.
#[derive(Default)]
pub struct Index(Mutex<BTreeMap<String, Value>>);

impl Index {
    pub fn answers(&self, request: &Request) -> Reply {
        if request.method == "PUT" {
            return Reply::json(201, &json!({}));
        }
        let mut documents = self.0.lock().unwrap();
        let body = request.json();
        if request.path().ends_with("docs/search.index") {
            let done = body["value"].as_array().unwrap().iter().map(|action| {
                let key = action["key"].as_str().unwrap();
                match action["@search.action"].as_str() {
                    Some("delete") => documents.remove(key),
                    _ => documents.insert(key.to_owned(), action["audience"].clone()),
                };
                json!({"key": key, "status": true, "statusCode": 200})
            });
            return Reply::json(200, &json!({"value": done.collect::<Vec<_>>()}));
        }
        if documents.is_empty() {
            return Reply::json(404, &json!({"error": {"code": "ResourceNotFound"}}));
        }
        let filter = body["filter"].as_str().unwrap_or_default();
        let is_for = |name: &Value| filter.contains(&format!("audience/any(x: x eq '{}')", name.as_str().unwrap()));
        let is_found = |audience: &Value| {
            let audience = audience.as_array().unwrap();
            !filter.contains("audience") || audience.is_empty() || audience.iter().any(is_for)
        };
        let found: Vec<&String> =
            documents.iter().filter(|(_, audience)| is_found(audience)).map(|(key, _)| key).collect();
        let most = body["top"].as_u64().map_or(usize::MAX, |top| top as usize);
        let hit = |key: &&String| json!({"key": key, "@search.score": 1.0, "@search.rerankerScore": 1.0});
        let hits: Vec<Value> = found.iter().take(most).map(hit).collect();
        Reply::json(200, &json!({"@odata.count": found.len(), "value": hits}))
    }
}
