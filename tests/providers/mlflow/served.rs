//! Campaigns of the app: nobody waits for a close then, and outcomes come over HTTP.

use std::{fs, path::Path, sync::Arc};

use cpo::{
    orchestration::{engine::Engine, layout, names},
    store::{BlobPath, Memory, Store},
};
use serde_json::{Value, json};

use super::{
    campaigns::{Folder, beside, cpo, nobody, stderr, the_one, warnings},
    fake::Fake,
    front::{Backend, Front},
};
use crate::{app::App, azurite};

fn settings(url: String) -> [(&'static str, String); 1] {
    [("MLFLOW_TRACKING_URI", url)]
}

async fn served() -> (Arc<Fake>, Front) {
    let fake: Arc<Fake> = Arc::default();
    let front = Front::start(Backend::Fake(Arc::clone(&fake))).await;
    (fake, front)
}

async fn owed(store: &Store) -> Vec<BlobPath> {
    store.blobs.list(Some(&BlobPath::new(names::TRACKING).unwrap())).await.unwrap()
}

async fn report_of(store: &Store) -> Value {
    let path = BlobPath::new(format!("campaigns/spring/1/{}", layout::REPORT_JSON)).unwrap();
    serde_json::from_slice(&store.blobs.get(&path).await.unwrap().bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweep_sends_what_no_close_could_and_adds_what_outcomes_over_the_api_say_to_the_same_run() {
    let ((fake, front), store) = (served().await, Memory::default().store());
    let (app, without) = (App::on(&store, &settings(front.url())), App::on(&store, &settings(nobody())));
    without.run("spring", "[providers]\ntracking = \"mlflow\"\n").await;
    without.engine.sweep().await.unwrap();
    assert!(fake.runs("spring").is_empty() && !owed(&store).await.is_empty());
    drop(without);

    app.engine.sweep().await.unwrap();
    let before = the_one(fake.runs("spring"));
    assert_eq!((before.status.as_str(), owed(&store).await), ("FINISHED", Vec::new()));
    let campaign = app.get("/api/campaigns/spring").await;
    let tracking =
        json!({ "server": front.url(), "experiment": "spring", "tag": before.tags["cpo_run"], "run_id": before.id });
    assert_eq!(campaign["tracking"], tracking);
    let report = report_of(&store).await;
    assert_eq!((&report["tracking"]["tag"], &report["tracking"]["run_id"]), (&tracking["tag"], &Value::Null));
    assert!(!before.metrics.keys().any(|name| name.starts_with("results.")));

    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter/customers.csv");
    let customers = fs::read_to_string(starter).unwrap();
    let ids = customers.lines().skip(1).filter_map(|line| line.split(',').next());
    let rows: String = ids.enumerate().map(|(number, id)| format!("{id},{}\n", number % 2)).collect();
    app.ask("POST", "/api/campaigns/spring/outcomes", "text/csv", format!("customer_id,conversion\n{rows}")).await;
    let (queue, queues) = (Engine::storage_event_queue(), &store.queues);
    while let Some(event) = queues.receive(&queue, 1, std::time::Duration::from_secs(60)).await.unwrap().pop() {
        app.engine.storage_event_message(&event.body).await.unwrap();
        queues.delete(&event).await.unwrap();
    }
    assert!(!owed(&store).await.is_empty(), "the call that brings outcomes waits for no server");
    app.engine.sweep().await.unwrap();

    let after = the_one(fake.runs("spring"));
    assert_eq!((&after.id, &after.params), (&before.id, &before.params));
    assert_eq!(owed(&store).await, Vec::new());
    assert_eq!(after.tags["cpo_simulated"], "false");
    let results = app.get("/api/campaigns/spring/results").await;
    assert!(results["customers"].as_u64() > Some(0), "{results:#}");
    assert_eq!(after.metrics["results.customers"].last().unwrap().0, results["customers"].as_f64().unwrap());
    assert!(fake.files(&after).contains_key("experiment/results.json"));
    assert_eq!(report_of(&store).await["tracking"], tracking, "by now it is known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulated_results_of_a_run_in_an_account_are_told_in_its_run_and_leave_the_account_as_it_is() {
    let (fake, front) = served().await;
    let (folder, account) = (Arc::new(Folder::new()), azurite::account());
    let run = async |url: String| {
        let (folder, account) = (Arc::clone(&folder), account.clone());
        beside(move || {
            let campaign = folder.campaign("first");
            let run = ["run", &campaign, "--customers", "customers.csv", "--format", "json"];
            let run = [&run[..], &["--storage", &account, "--simulate"]].concat();
            cpo(&folder.path(""), &[("MLFLOW_TRACKING_URI", &url)], &run)
        })
        .await
    };
    let away = run(nobody()).await;
    assert_eq!(warnings(&away).len(), 1, "{}", stderr(&away));
    assert!(fake.runs("first").is_empty());

    let again = run(front.url()).await;
    assert_eq!(warnings(&again), [""; 0]);
    let told = the_one(fake.runs("first"));
    assert_eq!((told.tags["cpo_simulated"].as_str(), told.status.as_str()), ("true", "FINISHED"));
    assert_eq!(fake.files(&told)["report.html"], folder.digest("first", "report.html"));
    let store = cpo::store::Azure::open(&account).unwrap().store();
    assert_eq!(owed(&store).await, Vec::new());
    let results = BlobPath::new(format!("campaigns/first/1/{}", layout::RESULTS)).unwrap();
    assert!(matches!(store.blobs.get(&results).await, Err(cpo::store::Error::NotFound { .. })));
}
