//! Questions to an index.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Filter, Search,
    index::{KEY, SEMANTIC},
    path, versioned,
};
use crate::providers::service::{Call, Fault};

/// How many neighbours are looked for. As many as the semantic ranker reads.
const NEIGHBOURS: usize = 50;

#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// `None`: everything that the filter lets through.
    pub words: Option<Words>,
    pub vector: Option<Neighbours>,
    pub filter: Filter,
    pub limit: usize,
    /// By key, not by rank.
    by_key: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    pub text: String,
    pub fields: &'static [&'static str],
}

#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    pub vector: Vec<f32>,
    pub field: &'static str,
}

/// A document that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub key: String,
    /// Higher is better; comparable within one answer.
    pub score: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    search: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_fields: Option<String>,
    query_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    semantic_configuration: Option<&'static str>,
    /// What the ranker cannot do in time it leaves in the order that it came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    semantic_error_handling: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vector_queries: Vec<VectorQuery<'a>>,
    /// Filters go first, or the nearest might all be such as nobody may see.
    #[serde(skip_serializing_if = "Option::is_none")]
    vector_filter_mode: Option<&'static str>,
    filter: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    orderby: Option<String>,
    select: &'static str,
    top: usize,
    count: bool,
}

#[derive(Serialize)]
struct VectorQuery<'a> {
    kind: &'static str,
    vector: &'a [f32],
    fields: &'static str,
    k: usize,
}

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "@odata.count", default)]
    count: Option<u64>,
    value: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    key: String,
    #[serde(rename = "@search.score")]
    score: f64,
    #[serde(rename = "@search.rerankerScore", default)]
    reranker_score: Option<f64>,
}

impl Query {
    pub fn ranked(words: Words, vector: Option<Neighbours>, filter: Filter, limit: usize) -> Self {
        Self { words: Some(words), vector, filter, limit, by_key: false }
    }

    pub(super) fn keys(filter: Filter, limit: usize) -> Self {
        Self { words: None, vector: None, filter, limit, by_key: true }
    }

    fn body<'a>(&'a self, semantic: bool, count: bool) -> Body<'a> {
        let neighbours = |near: &'a Neighbours| {
            let Neighbours { vector, field } = near;
            VectorQuery { kind: "vector", vector, fields: field, k: NEIGHBOURS.max(self.limit) }
        };
        let vector_queries: Vec<_> = self.vector.iter().map(neighbours).collect();
        Body {
            search: self.words.as_ref().map_or_else(|| "*".to_owned(), |words| without_operators(&words.text)),
            search_fields: self.words.as_ref().map(|words| words.fields.join(",")),
            query_type: if semantic { "semantic" } else { "simple" },
            semantic_configuration: semantic.then_some(SEMANTIC),
            semantic_error_handling: semantic.then_some("partial"),
            vector_filter_mode: (!vector_queries.is_empty()).then_some("preFilter"),
            vector_queries,
            filter: self.filter.to_string(),
            orderby: self.by_key.then(|| format!("{KEY} asc")),
            select: KEY,
            top: self.limit,
            count,
        }
    }
}

impl Search {
    /// The best first. Ranked by meaning where that is wanted and the service can.
    pub async fn search(&self, index: &str, query: &Query) -> Result<Vec<Found>, Fault> {
        if query.words.is_some() && self.is_semantic() {
            match self.ask(index, &query.body(true, false)).await {
                Err(fault) if has_no_ranker(&fault) => {
                    tracing::warn!(error = fault.message, "the search service ranks by words and vectors only");
                    self.semantic.store(false, Ordering::Relaxed);
                }
                said => return said.map(ranked),
            }
        }
        self.ask(index, &query.body(false, false)).await.map(ranked)
    }

    /// How many documents can be found that the filter lets through.
    pub async fn count(&self, index: &str, filter: Filter) -> Result<u64, Fault> {
        let query = Query { words: None, vector: None, filter, limit: 0, by_key: false };
        // An answer without the number knows of none.
        Ok(self.ask(index, &query.body(false, true)).await?.count.unwrap_or_default())
    }

    async fn ask(&self, index: &str, body: &Body<'_>) -> Result<Said, Fault> {
        let call = Call::post("search", format!("{}/docs/search.post.search", path(index)));
        self.service.ask(&versioned(call).json(body)).await
    }
}

/// The ranker's scores where it has read all, else those that it was to improve on: the two cannot be compared.
fn ranked(Said { value, .. }: Said) -> Vec<Found> {
    let by_meaning = value.iter().all(|hit| hit.reranker_score.is_some());
    let found = |hit: Hit| {
        let score = hit.reranker_score.filter(|_| by_meaning).unwrap_or(hit.score);
        Found { key: hit.key, score }
    };
    value.into_iter().map(found).collect()
}

/// The service's plan has no semantic ranker, it is switched off, or the month's free queries are used up. Its answers
/// differ by plan and version in all but that they speak of it.
fn has_no_ranker(fault: &Fault) -> bool {
    let status = fault.status.map_or(0, |status| status.as_u16());
    let speaks_of_it = |value: &Value| value.to_string().to_ascii_lowercase().contains("semantic");
    status == 402 || matches!(status, 400 | 403) && speaks_of_it(&fault.body)
}

/// Words only: what the query language takes for an operator becomes a space, as it does between words anyway.
fn without_operators(text: &str) -> String {
    let plain: String = text.chars().map(|c| if r#"+-|"()*~\"#.contains(c) { ' ' } else { c }).collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    if words.is_empty() { "*".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use reqwest::{StatusCode, header::HeaderMap};
    use serde_json::json;

    use super::*;
    use crate::providers::service::Answer;

    fn query(vector: Option<Vec<f32>>) -> Query {
        let words = Words { text: r#"-coffee* "or (tea"#.into(), fields: &["title", "text"] };
        let vector = vector.map(|vector| Neighbours { vector, field: "vector" });
        Query::ranked(words, vector, Filter::Is("approved"), 12)
    }

    fn written(query: &Query, semantic: bool) -> Value {
        serde_json::to_value(query.body(semantic, false)).unwrap()
    }

    #[test]
    fn a_hybrid_query_filters_before_it_ranks_by_words_vectors_and_meaning() {
        let expected = json!({
            "search": "coffee or tea", "searchFields": "title,text", "queryType": "semantic",
            "semanticConfiguration": "meaning", "semanticErrorHandling": "partial",
            "vectorQueries": [{"kind": "vector", "vector": [0.5, 1.0], "fields": "vector", "k": 50}],
            "vectorFilterMode": "preFilter", "filter": "approved eq true", "select": "key", "top": 12, "count": false});
        assert_eq!(written(&query(Some(vec![0.5, 1.0])), true), expected);
    }

    #[test]
    fn by_words_alone_nothing_is_said_of_vectors_or_meaning() {
        let expected = json!({
            "search": "coffee or tea", "searchFields": "title,text", "queryType": "simple",
            "filter": "approved eq true", "select": "key", "top": 12, "count": false});
        assert_eq!(written(&query(None), false), expected);
        assert_eq!(without_operators(" (-) "), "*");
    }

    #[test]
    fn scores_of_the_ranker_count_where_it_has_read_everything() {
        let hit = |key: &str, score: f64, reranker: Value| json!({"@search.score": score, "@search.rerankerScore": reranker, "key": key, "@search.captions": null});
        let scores = |value: Value| -> Vec<f64> {
            let said: Said = serde_json::from_value(json!({"@odata.context": "x", "value": value})).unwrap();
            ranked(said).into_iter().map(|found| found.score).collect()
        };
        assert_eq!(scores(json!([hit("a", 0.03, json!(2.5)), hit("b", 0.04, json!(1.5))])), [2.5, 1.5]);
        assert_eq!(scores(json!([hit("a", 0.03, json!(2.5)), hit("b", 0.04, Value::Null)])), [0.03, 0.04]);
        assert_eq!(scores(json!([{"key": "a", "@search.score": 1.0}])), [1.0]);
    }

    #[test]
    fn only_an_answer_about_the_ranker_switches_it_off() {
        let fault = |status: u16, message: &str| {
            let answer = Answer {
                service: "azure_search",
                operation: "search",
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                body: Bytes::new(),
            };
            Fault { body: json!({"error": {"code": "", "message": message}}), ..answer.unusable(String::new()) }
        };
        assert!(has_no_ranker(&fault(400, "Semantic search is not enabled for this service.")));
        assert!(has_no_ranker(&fault(402, "The free quota is used up.")));
        assert!(!has_no_ranker(&fault(400, "Invalid expression: the field is not filterable.")));
        assert!(!has_no_ranker(&fault(503, "The semantic ranker is busy.")));
    }
}
