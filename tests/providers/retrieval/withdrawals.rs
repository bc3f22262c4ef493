//! What leaves the search index when a document is recalled or a campaign is purged, whatever becomes of the service and
//! of the process that was asked.

use std::collections::BTreeSet;

use cpo::{
    orchestration::names,
    store::{BlobPath, Memory, Store},
};
use serde_json::{Value, json};

use super::stand_in::StandIn;
use crate::{app::App, mlflow::nobody};

const SEARCHED: &str = "[providers]\nretrieval = \"azure_search\"\n";

fn settings(url: String) -> [(&'static str, String); 2] {
    [("AZURE_SEARCH_ENDPOINT", url), ("AZURE_SEARCH_API_KEY", "the-key".to_owned())]
}

/// Documents that the index has passages of.
fn indexed(search: &StandIn) -> BTreeSet<String> {
    let of = |passage: &Value| passage["document"].as_str().unwrap().to_owned();
    search.documents().iter().map(of).collect()
}

async fn notes(store: &Store) -> Vec<BlobPath> {
    store.blobs.list(Some(&BlobPath::new(names::WITHDRAWALS).unwrap())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recalled_document_leaves_the_index_when_the_service_is_back_whoever_was_asked() {
    let (search, store) = (StandIn::start().await, Memory::default().store());
    let (app, without) = (App::on(&store, &settings(search.server.url())), App::on(&store, &settings(nobody())));
    app.run("spring", SEARCHED).await;
    let before = indexed(&search);
    assert!(before.len() > 2 && before.contains("delivery"), "{before:?}");

    let why = json!({ "by": "Ada Lovelace", "reason": "the price was wrong" });
    let told = without.post("/api/content/delivery/recall", &why).await;
    assert_eq!(told["document"], "delivery");
    without.engine.sweep().await.unwrap();
    assert_eq!(indexed(&search), before, "the service was down");
    drop(without);

    app.engine.sweep().await.unwrap();
    let mut after = before;
    after.remove("delivery");
    assert_eq!(indexed(&search), after);

    // Nothing is owed any more, and nobody is asked.
    assert_eq!(notes(&store).await, []);
    let asked = search.server.requests().len();
    app.engine.sweep().await.unwrap();
    assert_eq!(search.server.requests().len(), asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purged_campaign_s_library_leaves_the_index_unless_another_campaign_uses_it() {
    let (search, store) = (StandIn::start().await, Memory::default().store());
    let (app, without) = (App::on(&store, &settings(search.server.url())), App::on(&store, &settings(nobody())));
    app.run("spring", SEARCHED).await;
    app.run("summer", SEARCHED).await;
    app.run("plain", "").await;
    let before = indexed(&search);

    app.delete("/api/instances/plain").await;
    app.delete("/api/instances/spring").await;
    app.engine.sweep().await.unwrap();
    assert_eq!(indexed(&search), before, "another campaign has the same library");
    assert_eq!(notes(&store).await, []);

    app.delete("/api/instances/summer").await;
    without.engine.sweep().await.unwrap();
    assert_eq!(indexed(&search), before, "the service was down");
    app.engine.sweep().await.unwrap();
    assert_eq!(indexed(&search), BTreeSet::new());
    assert_eq!(notes(&store).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_was_purged_and_started_anew_keeps_its_library_until_it_is_purged_again() {
    let (search, store) = (StandIn::start().await, Memory::default().store());
    let app = App::on(&store, &settings(search.server.url()));
    app.run("spring", SEARCHED).await;
    let before = indexed(&search);
    app.delete("/api/instances/spring").await;
    assert_ne!(notes(&store).await, []);
    app.run("spring", SEARCHED).await;
    app.engine.sweep().await.unwrap();
    assert_eq!(indexed(&search), before);
    app.delete("/api/instances/spring").await;
    app.engine.sweep().await.unwrap();
    assert_eq!(indexed(&search), BTreeSet::new());
}
