//! A stand-in for a search service: no emulator of Azure AI Search runs here.
//!
//! It keeps indexes and documents, reads the filters by itself, ranks by words and by vectors and fuses the two. It ranks
//! as simply as can be: by how many words of the query a document has. What the real one thinks of a request is asked of
//! the vendor's document (`prism`); how well it ranks is not for us to test.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::{Value, json};

use crate::scripted::{Reply, Request, Scripted};

type Documents = BTreeMap<String, Value>;

#[derive(Clone)]
pub struct StandIn {
    pub server: Scripted,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    pub indexes: BTreeMap<String, Documents>,
    /// Whether its plan has the semantic ranker.
    pub has_ranker: bool,
    /// Uploads that are not found yet.
    pub late: Option<Vec<(String, Documents)>>,
    /// What the next documents are answered with, each once: a status.
    pub next_items: Vec<u16>,
    /// Answered to every query that is ranked, whatever it is.
    pub stray: Option<Value>,
}

impl StandIn {
    pub async fn start() -> Self {
        Self::changed(|_, good| good).await
    }

    /// With something done to its answers.
    pub async fn changed(change: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let answer = move |request: &Request| change(request, answer(&mut shared.lock().unwrap(), request));
        Self { server: Scripted::start(answer).await, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on uploads are not found.
    pub fn delay(&self) {
        self.state().late = Some(Vec::new());
    }

    /// All that was uploaded can be found.
    pub fn catch_up(&self) {
        let mut state = self.state();
        for (index, documents) in state.late.take().into_iter().flatten() {
            state.indexes.get_mut(&index).unwrap().extend(documents);
        }
    }

    /// Requests whose path ends so.
    pub fn asked(&self, end: &str) -> Vec<Request> {
        self.server.requests().into_iter().filter(|request| request.path().ends_with(end)).collect()
    }

    /// All documents, of whatever index.
    pub fn documents(&self) -> Vec<Value> {
        self.state().indexes.values().flat_map(Documents::values).cloned().collect()
    }
}

fn answer(state: &mut State, request: &Request) -> Reply {
    assert_eq!(request.header("api-key"), Some("the-key"));
    assert_eq!(request.query()["api-version"], "2025-09-01");
    if (request.method.as_str(), request.path()) == ("GET", "/indexes") {
        let names: Vec<_> = state.indexes.keys().map(|name| json!({"name": name})).collect();
        return Reply::json(200, &json!({"value": names}));
    }
    let path = request.path().strip_prefix("/indexes('").unwrap();
    let (index, action) = path.split_once("')").unwrap();
    let body = request.json();
    if (request.method.as_str(), action) == ("PUT", "") {
        assert_eq!(request.header("prefer"), Some("return=representation"));
        state.indexes.entry(index.to_owned()).or_default();
        return Reply::json(201, &body);
    }
    if !state.indexes.contains_key(index) {
        let message = format!("No index with the name '{index}' was found in the service.");
        return Reply::json(404, &json!({"error": {"code": "", "message": message}}));
    }
    match action {
        "/docs/search.index" => change(state, index, &body),
        "/docs/search.post.search" => search(state, index, &body),
        other => panic!("{other}"),
    }
}

fn change(state: &mut State, index: &str, body: &Value) -> Reply {
    let mut done = Vec::new();
    for action in body["value"].as_array().unwrap() {
        let key = action["key"].as_str().unwrap().to_owned();
        let status = state.next_items.pop().unwrap_or(200);
        done.push(json!({"key": key, "status": status < 300, "statusCode": status,
                         "errorMessage": (status >= 300).then_some("it was not to be")}));
        if status >= 300 {
            continue;
        }
        match (action["@search.action"].as_str().unwrap(), &mut state.late) {
            ("delete", _) => drop(state.indexes.get_mut(index).unwrap().remove(&key)),
            ("upload", Some(late)) => {
                late.push((index.to_owned(), Documents::from([(key, action.clone())])));
            }
            ("upload", None) => drop(state.indexes.get_mut(index).unwrap().insert(key, action.clone())),
            (other, _) => panic!("{other}"),
        }
    }
    let status = if done.iter().all(|done| done["status"] == true) { 200 } else { 207 };
    Reply::json(status, &json!({"@odata.context": "x", "value": done}))
}

fn search(state: &State, index: &str, body: &Value) -> Reply {
    let semantic = body["queryType"] == "semantic";
    if semantic && !state.has_ranker {
        let message = "Semantic search is not enabled for this service.\r\nParameter name: queryType";
        return Reply::json(400, &json!({"error": {"code": "FeatureNotSupportedInService", "message": message}}));
    }
    let filter = Filter::read(body["filter"].as_str().unwrap());
    let let_through: Vec<&Value> =
        state.indexes[index].values().filter(|document| filter.lets_through(document)).collect();
    let total = let_through.len();
    let top = usize::try_from(body["top"].as_u64().unwrap()).unwrap();
    let mut found = if body["search"] == "*" {
        let_through.into_iter().map(|document| (document, 1.0)).collect()
    } else {
        ranked(&let_through, body)
    };
    if body["orderby"] == "key asc" {
        found.sort_by_key(|(document, _)| document["key"].as_str().unwrap().to_owned());
    }
    found.truncate(top);
    let hits = found.into_iter().map(|(document, score)| {
        json!({"@search.score": score, "@search.rerankerScore": semantic.then_some(score * 10.0), "key": document["key"]})
    });
    let mut hits: Vec<Value> = hits.collect();
    if let (Some(stray), true) = (&state.stray, body["search"] != "*") {
        hits.push(stray.clone());
    }
    let count = (body["count"] == true).then_some(total);
    Reply::new(
        200,
        "application/json; odata.metadata=minimal",
        json!({"@odata.count": count, "value": hits}).to_string(),
    )
}

/// Those with a word of the query, and the nearest neighbours.
fn ranked<'a>(documents: &[&'a Value], body: &Value) -> Vec<(&'a Value, f64)> {
    let words = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase).collect()
    };
    let asked = words(body["search"].as_str().unwrap());
    let fields: Vec<&str> = body["searchFields"].as_str().unwrap().split(',').collect();
    let by_words = |document: &Value| {
        let text: Vec<&str> = fields.iter().map(|field| document[*field].as_str().unwrap()).collect();
        words(&text.join(" ")).intersection(&asked).count() as f64
    };
    let mut lists = vec![ordered(documents.iter().map(|document| (*document, by_words(document))).collect())];
    lists[0].retain(|(_, score)| *score > 0.0);
    for near in body["vectorQueries"].as_array().into_iter().flatten() {
        assert_eq!((&near["kind"], &body["vectorFilterMode"]), (&json!("vector"), &json!("preFilter")));
        let field = near["fields"].as_str().unwrap();
        let cosine = |document: &Value| {
            let pairs = numbers(&document[field]).into_iter().zip(numbers(&near["vector"]));
            pairs.map(|(a, b)| a * b).sum::<f64>()
        };
        let mut nearest = ordered(documents.iter().map(|document| (*document, cosine(document))).collect());
        nearest.truncate(usize::try_from(near["k"].as_u64().unwrap()).unwrap());
        lists.push(nearest);
    }
    if lists.len() == 1 {
        return lists.remove(0);
    }
    let mut fused: BTreeMap<&str, (&Value, f64)> = BTreeMap::new();
    for list in lists {
        for (place, (document, _)) in list.into_iter().enumerate() {
            fused.entry(document["key"].as_str().unwrap()).or_insert((document, 0.0)).1 += 1.0 / (61.0 + place as f64);
        }
    }
    ordered(fused.into_values().collect())
}

fn ordered(mut found: Vec<(&Value, f64)>) -> Vec<(&Value, f64)> {
    found.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    found
}

fn numbers(vector: &Value) -> Vec<f64> {
    vector.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// What our filters use of OData, read from their text.
#[derive(Debug)]
enum Filter {
    Compared(String, String, Value),
    IsEmpty(String),
    Has(String, String),
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
}

impl Filter {
    fn read(text: &str) -> Self {
        let tokens = tokens(text);
        let mut rest = tokens.as_slice();
        let filter = Self::joined(&mut rest);
        assert!(rest.is_empty(), "{text}: {rest:?}");
        filter
    }

    fn joined(rest: &mut &[String]) -> Self {
        let mut parts = vec![Self::one(rest)];
        let mut by = String::new();
        while let Some(word) = rest.first().filter(|word| ["and", "or"].contains(&word.as_str())) {
            assert!(by.is_empty() || by == *word, "`and` binds stronger than `or`, which nobody remembers");
            by.clone_from(word);
            *rest = &rest[1..];
            parts.push(Self::one(rest));
        }
        if by == "or" { Self::Any(parts) } else { Self::All(parts) }
    }

    fn one(rest: &mut &[String]) -> Self {
        let words: Vec<&str> = rest.iter().map(String::as_str).collect();
        let (filter, read) = match words.as_slice() {
            ["(", ..] => {
                *rest = &rest[1..];
                let inner = Self::joined(rest);
                assert_eq!(rest[0], ")");
                (inner, 1)
            }
            ["not", "(", ..] => {
                *rest = &rest[2..];
                let inner = Self::joined(rest);
                assert_eq!(rest[0], ")");
                (Self::Not(Box::new(inner)), 1)
            }
            ["not", list, "(", ")", ..] => (Self::IsEmpty(list.strip_suffix("/any").unwrap().to_owned()), 4),
            [list, "(", "x:", "x", "eq", value, ")", ..] => {
                let value = literal(value).as_str().unwrap().to_owned();
                (Self::Has(list.strip_suffix("/any").unwrap().to_owned(), value), 7)
            }
            [field, operator, value, ..] => {
                (Self::Compared((*field).to_owned(), (*operator).to_owned(), literal(value)), 3)
            }
            other => panic!("{other:?}"),
        };
        *rest = &rest[read..];
        filter
    }

    fn lets_through(&self, document: &Value) -> bool {
        let has = |list: &str, value: &str| document[list].as_array().unwrap().iter().any(|item| item == value);
        match self {
            Self::All(filters) => filters.iter().all(|filter| filter.lets_through(document)),
            Self::Any(filters) => filters.iter().any(|filter| filter.lets_through(document)),
            Self::Not(filter) => !filter.lets_through(document),
            Self::IsEmpty(list) => document[list].as_array().unwrap().is_empty(),
            Self::Has(list, value) => has(list, value),
            Self::Compared(field, operator, value) => match (&document[field], value, operator.as_str()) {
                (own, value, "eq") => own == value,
                // Moments of one zone and length are in the order of their texts.
                (Value::String(own), Value::String(value), "le") => own <= value,
                (Value::String(own), Value::String(value), "ge") => own >= value,
                (Value::String(own), Value::String(value), "gt") => own > value,
                other => panic!("{other:?}"),
            },
        }
    }
}

fn literal(token: &str) -> Value {
    match token {
        "true" => json!(true),
        "false" => json!(false),
        _ => match token.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            Some(text) => json!(text.replace("''", "'")),
            None => json!(token),
        },
    }
}

fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '(' | ')' => 1,
            '\'' => {
                let mut end = 1;
                while let Some(quote) = rest[end..].find('\'') {
                    end += quote + 1;
                    match rest[end..].starts_with('\'') {
                        true => end += 1,
                        false => break,
                    }
                }
                end
            }
            _ => rest.find([' ', '(', ')']).unwrap_or(rest.len()),
        };
        tokens.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    tokens
}
