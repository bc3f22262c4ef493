//! Documents: what is wrong with them, and what becomes of those that are recalled.

use serde_json::{Value, json};

use crate::support::{Served, campaign, customers};

/// Takes in what the queue of events holds.
async fn hear(served: &Served) {
    let store = &served.app.engine.store;
    let queue = cpo::orchestration::engine::Engine::storage_event_queue();
    loop {
        let deliveries = store.queues.receive(&queue, 32, std::time::Duration::from_secs(30)).await.unwrap();
        if deliveries.is_empty() {
            return;
        }
        for delivery in deliveries {
            served.app.engine.storage_event_message(&delivery.body).await.unwrap();
            store.queues.delete(&delivery).await.unwrap();
        }
    }
}

fn ids(file: &Value) -> Vec<&str> {
    file["documents"].as_array().unwrap().iter().map(|document| document["id"].as_str().unwrap()).collect()
}

fn recall() -> Value {
    json!({ "by": "Ada Lovelace", "reason": "the price was wrong" })
}

/// One whose words some message of the starter campaign quotes.
async fn cited(served: &Served, id: &str) -> String {
    let path = cpo::store::BlobPath::new(format!("campaigns/{id}/1/variants.json")).unwrap();
    let variants: Value =
        serde_json::from_slice(&served.app.engine.store.blobs.get(&path).await.unwrap().bytes).unwrap();
    let claims =
        variants["variants"].as_array().unwrap().iter().flat_map(|variant| variant["claims"].as_array().unwrap());
    let passage = claims.map(|claim| claim["citation"]["passage"].as_str().unwrap()).next().unwrap();
    passage.split('#').next().unwrap().to_owned()
}

#[tokio::test]
async fn content_is_listed_with_what_is_wrong_with_it() {
    let served = Served::embedded();
    served.upload_content("autumn").await;
    served.upload("content", "autumn/broken.md", b"---\nstatus: perhaps\n---\nText.").await;
    hear(&served).await;
    let mut files = Vec::new();
    let mut after = String::new();
    loop {
        let page = served.get(&format!("/api/content?top=2{after}")).await.is(200).json();
        files.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(files.len(), 5);
    let (broken, whole): (Vec<_>, Vec<_>) = files.iter().partition(|file| file["file"] == "content/autumn/broken.md");
    assert!(broken[0]["problems"][0]["message"].as_str().unwrap().contains("perhaps"), "{:#}", broken[0]);
    for file in whole {
        assert_eq!((ids(file).len(), &file["problems"]), (1, &json!([])), "{file:#}");
        assert_eq!(file["documents"][0]["approval"], "approved");
    }
    // Heard again, it is not looked at again.
    let before = served.get("/api/content").await.is(200).json();
    served.app.engine.file_arrived(&cpo::store::BlobPath::new("content/autumn/broken.md").unwrap()).await.unwrap();
    assert_eq!(served.get("/api/content").await.is(200).json(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recall_tells_what_cites_the_document_and_keeps_it_out_of_what_follows() {
    let served = Served::in_memory();
    served.upload_content("autumn").await;
    let path = served.upload("customers", "customers.csv", &customers()).await;
    served.post("/api/campaigns", &campaign("before", &path)).await.is(202).json();
    served.with_host(served.until("before", "completed")).await;
    let document = cited(&served, "before").await;

    let told = served.post(&format!("/api/content/{document}/recall"), &recall()).await.is(200).json();
    let citing = &told["campaigns"][0];
    assert_eq!((citing["campaign"].as_str(), citing["ended"].as_bool()), (Some("before"), Some(true)));
    assert!(!citing["variants"].as_array().unwrap().is_empty() && citing["customers"].as_u64() > Some(0), "{told:#}");

    // The first to say so stays on record.
    let again = json!({ "by": "Somebody else", "reason": "I too" });
    let again = served.post(&format!("/api/content/{document}/recall"), &again).await.is(200).json();
    assert_eq!((&again["by"], &again["at"]), (&told["by"], &told["at"]));

    // The same start is still the same campaign; another one does not cite the document.
    served.post("/api/campaigns", &campaign("before", &path)).await.is(202).json();
    served.post("/api/campaigns", &campaign("after", &path)).await.is(202).json();
    served.with_host(served.until("after", "completed")).await;
    let again = served.post(&format!("/api/content/{document}/recall"), &recall()).await.is(200).json();
    assert_eq!(again["campaigns"].as_array().unwrap().len(), 1, "{again:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recall_while_people_look_blocks_what_they_then_approve() {
    let served = Served::in_memory();
    served.upload_content("autumn").await;
    let path = served.upload("customers", "customers.csv", &customers()).await;
    let mut spec = campaign("plain", &path);
    served.post("/api/campaigns", &spec).await.is(202).json();
    served.with_host(served.until("plain", "completed")).await;
    let document = cited(&served, "plain").await;

    spec = campaign("gated", &path);
    spec["safety"]["approval"] = "always".into();
    served.post("/api/campaigns", &spec).await.is(202).json();
    served.with_host(served.until("gated", "waiting")).await;
    served.post(&format!("/api/content/{document}/recall"), &recall()).await.is(200).json();
    approve(&served, "gated").await;
    let done = served.with_host(served.until("gated", "completed")).await;
    assert!(done["counts"]["variants"]["blocked"].as_u64() > Some(0), "{done:#}");
    let told = served.post(&format!("/api/content/{document}/recall"), &recall()).await.is(200).json();
    let gated = told["campaigns"].as_array().unwrap().iter().find(|citing| citing["campaign"] == "gated").unwrap();
    assert_eq!(gated["customers"], 0, "no message that cites it was planned: {gated:#}");
}

async fn approve(served: &Served, id: &str) {
    use cpo::{
        domain::{decision, id::CampaignId},
        orchestration::instance::{Approval, Request},
    };
    let (engine, campaign) = (&served.app.engine, CampaignId::new(id).unwrap());
    let digest = engine.held(&campaign).await.unwrap().instance.gate.unwrap().digest;
    let decision = decision::Decision {
        schema: decision::Schema::V1,
        digest,
        approved: decision::Approved::All,
        by: "Grace".to_owned(),
        note: None,
    };
    let kept = engine.keep_input(&campaign, serde_json::to_vec(&decision).unwrap()).await.unwrap();
    let approval = Approval { digest, decision: kept, by: "Grace".to_owned() };
    engine.ask(&campaign, Request::Decide { approval }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cited_document_that_is_deleted_or_no_longer_approved_counts_as_recalled() {
    let served = Served::embedded();
    served.upload_content("autumn").await;
    hear(&served).await;
    let path = served.upload("customers", "customers.csv", &customers()).await;
    served.post("/api/campaigns", &campaign("spring", &path)).await.is(202).json();
    served.with_host(served.until("spring", "completed")).await;
    let document = cited(&served, "spring").await;
    let file = cpo::store::BlobPath::new(format!("content/autumn/{document}.md")).unwrap();
    let recalled = async || cpo::orchestration::recalls::of(served.app.engine.store.blobs.as_ref()).await.unwrap();

    // One that nobody cites may come and go.
    served.upload("content", "autumn/new.md", b"---\nstatus: approved\napproved_on: 2026-01-01\n---\nNew.").await;
    hear(&served).await;
    let new = cpo::store::BlobPath::new("content/autumn/new.md").unwrap();
    served.app.engine.store.blobs.delete(&new).await.unwrap();
    served.app.engine.file_arrived(&new).await.unwrap();
    assert!(recalled().await.is_empty());

    // Nor does a slip of the pen recall anything.
    let good = served.app.engine.store.blobs.get(&file).await.unwrap().bytes;
    served.upload("content", &format!("autumn/{document}.md"), b"---\nstatus: [\n---\nText.").await;
    hear(&served).await;
    served.upload("content", &format!("autumn/{document}.md"), &good).await;
    hear(&served).await;
    assert!(recalled().await.is_empty());

    served.app.engine.store.blobs.delete(&file).await.unwrap();
    served.app.engine.file_arrived(&file).await.unwrap();
    assert_eq!(recalled().await.iter().map(|id| id.as_str()).collect::<Vec<_>>(), [document.as_str()]);
}

#[tokio::test]
async fn what_is_no_document_cannot_be_recalled() {
    let served = Served::embedded();
    served.upload("content", "a.jsonl", br#"{"document_id": "shop/a", "content": "A."}"#).await;
    for unknown in ["b", "..", "%2e%2e%2Finstances", "a%00", "%F0%9F%92%A9"] {
        let answer = served.post(&format!("/api/content/{unknown}/recall"), &recall()).await;
        assert_eq!(answer.status, 404, "{unknown}: {answer:?}");
    }
    for (field, body) in [
        ("by", json!({ "by": " ", "reason": "x" })),
        ("reason", json!({ "by": "x", "reason": "x".repeat(300) })),
        ("reason", json!({ "by": "x", "reason": "a\u{1b}[31m" })),
    ] {
        let answer = served.post("/api/content/shop%2Fa/recall", &body).await;
        assert_eq!(answer.refused(422, "invalid_input").fields(), [field]);
    }
    // Whether its event was heard or not, and as hosts encode it.
    for encoded in ["shop%2Fa", "shop%252Fa"] {
        let told = served.post(&format!("/api/content/{encoded}/recall"), &recall()).await.is(200).json();
        assert_eq!((told["document"].as_str(), &told["campaigns"]), (Some("shop/a"), &json!([])));
    }
}
