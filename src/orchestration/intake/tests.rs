//! Starts without a host: what is kept, and what the same start is.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use serde_json::json;

use super::*;
use crate::{
    orchestration::{
        engine::Clock,
        workshop::{Providers, Workshop},
    },
    store::Memory,
};

const CUSTOMERS_FILE: &str = "customers/1/customers.csv";

struct Place {
    engine: Engine,
    /// Hours since the beginning of the test.
    hours: Arc<AtomicI64>,
}

impl Place {
    async fn new() -> Self {
        let store = Memory::default().store();
        let workshop = Workshop::new(store.clone(), std::env::temp_dir(), Providers::default());
        let hours = Arc::new(AtomicI64::new(0));
        let clock = Clock(Arc::new({
            let hours = Arc::clone(&hours);
            move || {
                let begin: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
                begin + jiff::SignedDuration::from_hours(hours.load(Ordering::Relaxed))
            }
        }));
        let place = Self { engine: Engine::new(store, Arc::new(workshop), clock), hours };
        let starter = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter/content");
        for entry in std::fs::read_dir(starter).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            place.put(&format!("content/{name}"), &std::fs::read(entry.path()).unwrap()).await;
        }
        place
    }

    async fn put(&self, path: &str, bytes: &[u8]) {
        let path = BlobPath::new(path).unwrap();
        self.engine.store.blobs.put(&path, bytes.to_vec(), Precondition::None).await.unwrap();
    }

    async fn start(&self, spec: &Value) -> Result<Started, IntakeError> {
        start(&self.engine, spec.clone(), None).await
    }

    async fn begun(&self, spec: &Value) -> Instance {
        match self.start(spec).await.unwrap() {
            Started::Begun(instance) => *instance,
            Started::Pending(pending) => panic!("{pending:?}"),
        }
    }
}

/// Without a date.
fn spec() -> Value {
    let text = include_str!("../../cli/starter/campaign.toml");
    let mut spec: Value = toml::from_str(text).unwrap();
    spec["inputs"] = json!({ "customers": CUSTOMERS_FILE });
    spec
}

fn is_other(started: &Result<Started, IntakeError>) -> bool {
    matches!(started, Err(IntakeError::Client(ClientError::OtherInputs(_))))
}

#[tokio::test]
async fn the_same_start_on_another_day_is_the_same_campaign() {
    let place = Place::new().await;
    place.put(CUSTOMERS_FILE, b"customer_id\n1\n").await;
    let first = place.begun(&spec()).await;
    place.hours.store(72, Ordering::Relaxed);
    assert_eq!(place.begun(&spec()).await.start, first.start);
    let mut dated = spec();
    dated["campaign"]["date"] = "2026-11-25".into();
    assert!(is_other(&place.start(&dated).await));
}

#[tokio::test]
async fn a_file_that_was_replaced_is_another_and_one_that_is_gone_contradicts_nothing() {
    let place = Place::new().await;
    place.put(CUSTOMERS_FILE, b"customer_id\n1\n").await;
    let first = place.begun(&spec()).await;
    place.put(CUSTOMERS_FILE, b"customer_id\n2\n").await;
    assert!(is_other(&place.start(&spec()).await));
    place.engine.store.blobs.delete(&BlobPath::new(CUSTOMERS_FILE).unwrap()).await.unwrap();
    assert_eq!(place.begun(&spec()).await.start, first.start);

    let place = Place::new().await;
    place.put(CUSTOMERS_FILE, b"customer_id\n1\n").await;
    place.begun(&spec()).await;
    place.put("content/delivery.md", b"---\nstatus: approved\napproved_on: 2026-01-01\n---\nOther words.").await;
    assert!(is_other(&place.start(&spec()).await));
}

#[tokio::test]
async fn a_suppression_list_is_part_of_the_start_and_is_waited_for() {
    let place = Place::new().await;
    place.put(CUSTOMERS_FILE, b"customer_id\n1\n").await;
    let mut listed = spec();
    listed["inputs"]["suppression"] = "customers/2/list.csv".into();
    match place.start(&listed).await.unwrap() {
        Started::Pending(pending) => assert_eq!(pending.waits_for[0].as_str(), "customers/2/list.csv"),
        Started::Begun(instance) => panic!("{instance:?}"),
    }
    assert!(is_other(&place.start(&spec()).await));

    place.put("customers/2/list.csv", b"1,2\n").await;
    let answer = place.start(&listed).await;
    assert!(matches!(&answer, Err(IntakeError::Input(problems)) if problems[0].line == Some(1)), "{answer:?}");
    // The sweeper meets the same, and keeps why.
    place.engine.sweep().await.unwrap();
    let id = CampaignId::new("first-campaign").unwrap();
    assert_eq!(pending(&place.engine, &id).await.unwrap().unwrap().problems.len(), 1);

    place.put("customers/2/list.csv", b"C-7\n").await;
    place.engine.sweep().await.unwrap();
    assert_eq!(pending(&place.engine, &id).await.unwrap(), None);
    let begun = place.begun(&listed).await;
    place.put("customers/2/list.csv", b"C-8\n").await;
    assert!(is_other(&place.start(&listed).await));
    assert_eq!(begun.campaign, id);
}

#[tokio::test]
async fn a_pending_start_whose_campaign_has_begun_is_removed() {
    let place = Place::new().await;
    place.start(&spec()).await.unwrap();
    let id = CampaignId::new("first-campaign").unwrap();
    let left_behind = place.engine.store.blobs.get(&names::pending(&id)).await.unwrap().bytes;
    place.put(CUSTOMERS_FILE, b"customer_id\n1\n").await;
    let instance = place.begun(&spec()).await;
    place.put(names::pending(&id).as_str(), &left_behind).await;
    place.engine.sweep().await.unwrap();
    assert_eq!(pending(&place.engine, &id).await.unwrap(), None);
    assert_eq!(place.begun(&spec()).await.start, instance.start);
}

#[tokio::test]
async fn a_start_that_was_given_up_does_not_begin() {
    let place = Place::new().await;
    place.start(&spec()).await.unwrap();
    let id = CampaignId::new("first-campaign").unwrap();
    assert!(withdraw(&place.engine, &id).await.unwrap());
    assert!(!withdraw(&place.engine, &id).await.unwrap());
    place.put(CUSTOMERS_FILE, b"customer_id\n1\n").await;
    place.engine.file_arrived(&BlobPath::new(CUSTOMERS_FILE).unwrap()).await.unwrap();
    assert!(place.engine.load(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn an_id_of_the_address_names_a_campaign_that_has_none_and_contradicts_no_other() {
    let place = Place::new().await;
    place.put(CUSTOMERS_FILE, b"customer_id\n1\n").await;
    let id = CampaignId::new("winter").unwrap();
    let mut nameless = spec();
    nameless["campaign"].as_object_mut().unwrap().remove("id");
    match start(&place.engine, nameless, Some(id.clone())).await.unwrap() {
        Started::Begun(instance) => assert_eq!(instance.campaign, id),
        Started::Pending(pending) => panic!("{pending:?}"),
    }
    let other = start(&place.engine, spec(), Some(id)).await;
    assert!(matches!(&other, Err(IntakeError::Input(problems)) if problems[0].field.as_deref() == Some("campaign.id")));
}
