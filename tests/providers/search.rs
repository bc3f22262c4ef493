//! Azure AI Search: the client's requests against the vendor's documents, and what it makes of answers. What retrieval makes
//! of it is in [`crate::retrieval`].

use std::sync::Arc;

use cpo::providers::{
    ErrorKind, Services,
    search::{
        Entry, Filter, Found, Index, Neighbours, Query, Search, Words,
        index::{Field, Kind, Meaning},
    },
    service::Fault,
};
use serde_json::{Value, json};

use crate::{
    prism::prism,
    scripted::{Reply, Request, Scripted},
};

fn client(server: &Scripted) -> Arc<Search> {
    let url = server.url();
    let services = Services::new(move |name| match name {
        "AZURE_SEARCH_ENDPOINT" => Some(url.clone()),
        "AZURE_SEARCH_API_KEY" => Some("the-key".to_owned()),
        _ => None,
    });
    services.azure_search().unwrap()
}

fn index() -> Index {
    let field = |name, kind| Field { name, kind };
    let fields = vec![
        field("note", Kind::Note),
        field("document", Kind::Name),
        field("audience", Kind::Names),
        field("approved", Kind::Flag),
        field("valid_from", Kind::Moment),
        field("text", Kind::Words { analyzer: "en.lucene" }),
        field("vector", Kind::Vector { dimensions: 2 }),
    ];
    Index {
        name: "passages".to_owned(),
        fields,
        meaning: Meaning { title: "document", text: "text", keywords: "note" },
    }
}

fn entry(key: &str) -> Entry<Value> {
    Entry { key: key.to_owned(), name: format!("passage {key}"), fields: json!({"text": "Tea.", "vector": [0.5, 1.0]}) }
}

fn words() -> Words {
    Words { text: "green tea".to_owned(), fields: &["text"] }
}

fn ranked() -> Query {
    let near = Neighbours { vector: vec![0.5, 1.0], field: "vector" };
    Query::ranked(words(), Some(near), Filter::Is("approved"), 12)
}

/// Both documents were changed; two are found, in pages of one.
fn good(request: &Request) -> Reply {
    if request.method == "GET" {
        return Reply::json(200, &json!({"value": [{"name": "passages"}]}));
    }
    let body = request.json();
    if request.method == "PUT" {
        return Reply::json(201, &body);
    }
    if request.path().ends_with("search.index") {
        let done = |action: &Value| json!({"key": action["key"], "status": true, "statusCode": 200});
        let done: Vec<Value> = body["value"].as_array().unwrap().iter().map(done).collect();
        return Reply::json(200, &json!({ "value": done }));
    }
    let is_after = body["filter"].as_str().unwrap().contains("key gt 'a'");
    let hits = if is_after { vec![] } else { vec![json!({"key": "a", "@search.score": 1.0})] };
    Reply::json(200, &json!({"@odata.count": 7, "value": hits}))
}

#[tokio::test]
async fn every_request_is_one_that_the_service_describes() {
    let server = Scripted::start(good).await;
    let client = client(&server);
    let approved = || Filter::Is("approved");
    client.create(&index()).await.unwrap();
    client.upload("passages", [entry("a"), entry("b")]).await.unwrap();
    assert_eq!(client.count("passages", approved()).await.unwrap(), 7);
    client.search("passages", &ranked()).await.unwrap();
    client.remove("passages", &approved()).await.unwrap();
    client.probe().await.unwrap();

    let (docs, list) = ("/indexes('passages')/docs/", "/indexes");
    let uploaded = |key: &str| json!({"@search.action": "upload", "key": key, "text": "Tea.", "vector": [0.5, 1.0]});
    let page = |after: &str| {
        json!({"search": "*", "queryType": "simple", "orderby": "key asc", "select": "key",
        "filter": format!("(approved eq true and key gt '{after}')"), "top": 1_000, "count": false})
    };
    let expected = [
        ("PUT", "/indexes('passages')".to_owned(), serde_json::to_value(index()).unwrap()),
        ("POST", format!("{docs}search.index"), json!({"value": [uploaded("a"), uploaded("b")]})),
        (
            "POST",
            format!("{docs}search.post.search"),
            json!({"search": "*", "queryType": "simple", "filter": "approved eq true", "select": "key", "top": 0,
                "count": true}),
        ),
        (
            "POST",
            format!("{docs}search.post.search"),
            json!({"search": "green tea", "searchFields": "text", "queryType": "semantic",
                "semanticConfiguration": "meaning", "semanticErrorHandling": "partial",
                "vectorQueries": [{"kind": "vector", "vector": [0.5, 1.0], "fields": "vector", "k": 50}],
                "vectorFilterMode": "preFilter", "filter": "approved eq true", "select": "key", "top": 12,
                "count": false}),
        ),
        ("POST", format!("{docs}search.post.search"), page("")),
        ("POST", format!("{docs}search.index"), json!({"value": [{"@search.action": "delete", "key": "a"}]})),
        ("POST", format!("{docs}search.post.search"), page("a")),
        ("GET", list.to_owned(), Value::Null),
    ];
    let requests = server.requests();
    assert_eq!(requests.len(), expected.len());
    for (request, (method, path, body)) in requests.iter().zip(expected) {
        assert_eq!((request.method.as_str(), request.path()), (method, path.as_str()));
        assert_eq!(request.query()["api-version"], "2025-09-01");
        assert_eq!(request.header("api-key"), Some("the-key"));
        let sent = if request.body.is_empty() { Value::Null } else { request.json() };
        assert_eq!(sent, body, "{path}");
        let prefer = (method == "PUT").then_some("return=representation");
        assert_eq!(request.header("prefer"), prefer);
        assert_eq!(violations(request).await, [""; 0], "{path}");
    }
    assert_eq!(requests[7].query()["$select"], "name");
}

/// By the vendor's documents, where they are.
pub async fn violations(request: &Request) -> Vec<String> {
    let below = request.path().find("/docs/").map_or("", |end| &request.target[..end]);
    let spec = if below.is_empty() { "search-service-2025-09-01" } else { "search-index-2025-09-01" };
    let Some(prism) = prism(spec) else { return Vec::new() };
    // The document lists the types of fields and leaves the list open (`modelAsString`): it lacks this one, which the
    // service has had since its first version.
    let body = String::from_utf8(request.body.clone()).unwrap();
    let body = body.replace("Collection(Edm.String)", "Collection(Edm.Single)").into_bytes();
    prism.violations(&Request { body, ..request.clone() }, below).await
}

async fn searched(answer: &Value) -> Result<Vec<Found>, Fault> {
    let server = Scripted::in_turn([Reply::json(200, answer)]).await;
    client(&server).search("passages", &ranked()).await
}

#[tokio::test]
async fn what_is_found_is_read_as_the_documents_show_it_and_with_more_or_less_in_it() {
    let found = |key: &str, score| Found { key: key.to_owned(), score };
    let documented = json!({
        "@odata.context": "https://x.search.windows.net/indexes('passages')/$metadata#docs(*)", "@odata.count": 2,
        "@search.answers": [], "@search.semanticPartialResponseReason": null,
        "value": [
            {"@search.score": 0.03, "@search.rerankerScore": 2.5, "@search.captions": [{"text": "Tea.", "highlights": ""}],
                "key": "a"},
            {"key": "b", "@search.rerankerScore": 1.5, "@search.highlights": null, "@search.score": 0.04},
        ],
    });
    assert_eq!(searched(&documented).await.unwrap(), [found("a", 2.5), found("b", 1.5)]);
    let bare = json!({"value": [{"key": "a", "@search.score": 1}]});
    assert_eq!(searched(&bare).await.unwrap(), [found("a", 1.0)]);
    assert_eq!(searched(&json!({"value": []})).await.unwrap(), []);
    for answer in [
        json!({}),
        json!([]),
        json!({"value": null}),
        json!({"value": {"key": "a"}}),
        json!({"value": [{"@search.score": 1}]}),
        json!({"value": [{"key": 7, "@search.score": 1}]}),
        json!({"value": [{"key": "a"}]}),
        json!({"value": [{"key": "a", "@search.score": "1"}]}),
    ] {
        let fault = searched(&answer).await.unwrap_err();
        assert_eq!((fault.kind, fault.may_have_cost), (ErrorKind::Unavailable, true), "{answer}");
    }
}

#[tokio::test]
async fn an_upload_is_done_when_the_service_says_so_of_each_document() {
    let done = |key: &str, status: u16| {
        json!({"key": key, "status": status < 300, "errorMessage": (status >= 300).then_some("why"), "statusCode": status,
            "new": 1})
    };
    for (answer, expected) in [
        (json!({"@odata.context": "x", "value": [done("b", 201), done("a", 200)]}), None),
        // Of one nothing is said, however often it is sent.
        (json!({"value": [done("a", 200)]}), Some((ErrorKind::Throttled { retry_after: None }, 3))),
        (json!({"value": [done("a", 200), done("b", 503)]}), Some((ErrorKind::Throttled { retry_after: None }, 3))),
        (json!({"value": [done("a", 200), done("b", 400)]}), Some((ErrorKind::Rejected, 1))),
        (json!({"value": [{"key": "a", "status": true}]}), Some((ErrorKind::Unavailable, 1))),
        (json!({"value": [{"key": "a", "statusCode": 200}]}), Some((ErrorKind::Unavailable, 1))),
        (json!({}), Some((ErrorKind::Unavailable, 1))),
    ] {
        let server = Scripted::in_turn([Reply::json(207, &answer)]).await;
        let fault = client(&server).upload("passages", [entry("a"), entry("b")]).await.err();
        let seen = fault.map(|fault| (fault.kind, server.requests().len()));
        assert_eq!(seen, expected, "{answer}");
    }
}

#[tokio::test]
async fn an_error_is_told_with_its_code_and_its_words() {
    let error = json!({"error": {"code": "InvalidRequestParameter", "message": "The field is not filterable.",
        "details": [{"code": "FieldNotFilterable", "message": "…"}]}});
    let server = Scripted::in_turn([Reply::json(400, &error)]).await;
    let fault = client(&server).count("passages", Filter::Is("approved")).await.unwrap_err();
    assert_eq!((fault.kind, fault.code.as_deref()), (ErrorKind::Rejected, Some("InvalidRequestParameter")));
    assert!(fault.message.ends_with("InvalidRequestParameter: The field is not filterable."), "{}", fault.message);
}
