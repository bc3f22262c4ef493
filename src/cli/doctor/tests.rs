use std::collections::BTreeMap;

use axum::{Router, http::StatusCode, response::IntoResponse as _, routing::any};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::domain::id::BlocklistName;

/// A server on this machine that answers everything alike.
async fn server(status: u16, body: Value) -> String {
    let status = StatusCode::from_u16(status).unwrap();
    let answer = move || async move { (status, axum::Json(body)).into_response() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(answer))).await });
    format!("http://{address}")
}

fn services(settings: &[(&str, &str)]) -> Services {
    let settings: BTreeMap<String, String> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Services::new(move |name| settings.get(name).cloned())
}

/// What is found of a deployment at `endpoint`.
async fn found(endpoint: &str) -> Found {
    let settings = [
        ("AZURE_OPENAI_ENDPOINT", endpoint),
        ("AZURE_OPENAI_API_KEY", "a-key"),
        ("AZURE_OPENAI_DEPLOYMENT", "gpt-4o-mini"),
    ];
    let mut examined = examine(&services(&settings), None).await;
    assert_eq!(examined.len(), 1);
    examined.remove(0).found
}

#[tokio::test]
async fn every_failure_has_a_sentence_of_its_own_and_a_remedy() {
    let error = |code: &str| json!({"error": {"code": code, "message": "what the service says"}});
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    // It speaks no TLS.
    let plain = server(200, json!({})).await.replace("http://", "https://");
    let cases = [
        ("https://nobody.invalid".to_owned(), "(DNS)", "AZURE_OPENAI_ENDPOINT"),
        (closed, "nothing listens", "AZURE_OPENAI_ENDPOINT"),
        (plain, "(TLS)", "certificate"),
        (server(401, error("401")).await, "the credential is not accepted", "AZURE_OPENAI_API_KEY"),
        (server(403, error("AuthorizationFailed")).await, "(role)", "Cognitive Services OpenAI User"),
        (server(404, error("DeploymentNotFound")).await, "nothing by that name", "AZURE_OPENAI_DEPLOYMENT"),
        (server(404, error("404")).await, "nothing at that path", "api-version"),
        (server(400, error("InvalidApiVersionParameter")).await, "the api-version", "leave the setting out"),
        (server(429, error("insufficient_quota")).await, "no credit left (quota)", "billing"),
        (server(429, error("429")).await, "its quota allows", "tokens per minute"),
        (server(400, error("BadRequest")).await, "does not take the question", "generation.model.name"),
        (server(200, json!({"hello": "there"})).await, "not as this service does", "another service"),
        (server(503, error("ServerBusy")).await, "in trouble itself", "status page"),
    ];
    let mut sentences = std::collections::BTreeSet::new();
    for (endpoint, wrong, remedy) in &cases {
        let diagnosis = found(endpoint).await.unwrap_err();
        assert!(diagnosis.wrong.contains(wrong), "{wrong}: {diagnosis:?}");
        assert!(diagnosis.remedy.contains(remedy), "{remedy}: {diagnosis:?}");
        assert!(!diagnosis.wrong.contains("a-key"), "{diagnosis:?}");
        sentences.insert(diagnosis.wrong.split(" [").next().unwrap().to_owned());
    }
    assert_eq!(sentences.len(), cases.len(), "{sentences:?}");
}

#[tokio::test]
async fn one_that_answers_is_well_unless_nobody_knows_what_it_costs() {
    let answer = json!({"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]});
    let well = found(&server(200, answer.clone()).await).await.unwrap();
    assert!(well.starts_with("`gpt-4o-mini` answered in "), "{well}");
    let here = server(200, answer).await;
    let found = examine(&services(&[("OPENAI_BASE_URL", &here), ("OPENAI_MODEL", "local")]), None).await;
    assert!(found[0].found.is_ok(), "what runs here is free: {found:?}");
}

#[tokio::test]
async fn a_blocklist_that_the_campaign_names_and_the_service_has_not_is_named() {
    let categories = ["Hate", "SelfHarm", "Sexual", "Violence"].map(|name| json!({"category": name, "severity": 0}));
    let analysis = json!({"blocklistsMatch": [], "categoriesAnalysis": categories});
    let lists = any(|axum::extract::Path(name): axum::extract::Path<String>| async move {
        if name == "brand" { (StatusCode::OK, "{}") } else { (StatusCode::NOT_FOUND, "") }
    });
    let routes = Router::new()
        .route("/contentsafety/text/blocklists/{name}", lists)
        .fallback(any(move || async move { axum::Json(analysis) }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let services = services(&[("AZURE_CONTENT_SAFETY_ENDPOINT", &endpoint), ("AZURE_CONTENT_SAFETY_KEY", "a-key")]);
    let starter = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter/campaign.toml");
    let mut campaign = Campaign::read(&starter).unwrap();
    campaign.providers.safety = ScreenName::AzureContentSafety;
    for (name, is_there) in [("brand", true), ("band", false)] {
        campaign.safety.content_safety.blocklists = vec![BlocklistName::new(name).unwrap()];
        match examine(&services, Some(&campaign)).await.remove(0).found {
            Ok(_) => assert!(is_there, "{name}"),
            Err(diagnosis) => {
                assert!(!is_there && diagnosis.wrong.contains("no blocklist `band`"), "{diagnosis:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_setting_that_is_not_there_is_named_and_what_nobody_needs_is_not_looked_at() {
    let starter = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter/campaign.toml");
    let mut campaign = Campaign::read(&starter).unwrap();
    let all = services(&[("AZURE_OPENAI_ENDPOINT", "https://nobody.invalid"), ("AZURE_OPENAI_API_KEY", "a-key")]);
    assert!(examine(&all, Some(&campaign)).await.is_empty());
    campaign.providers.generation = WriterName::Openai;
    let found = examine(&all, Some(&campaign)).await.remove(0).found.unwrap_err();
    assert!(found.wrong.contains("OPENAI_BASE_URL") && found.remedy.contains("OPENAI_BASE_URL"), "{found:?}");
    campaign.providers.generation = WriterName::AzureOpenai;
    let found = examine(&all, Some(&campaign)).await.remove(0).found.unwrap_err();
    assert!(found.remedy.contains("AZURE_OPENAI_DEPLOYMENT"), "{found:?}");
}
