//! From an upload to a campaign that is complete.

use axum::{body::Body, http::Request};
use cpo::store::BlobPath;
use serde_json::{Value, json};

use crate::{
    azurite,
    support::{Served, campaign, customers, documents},
};

/// A path that an upload could give.
const LATER: &str = "customers/0199aaaa-0000-7000-8000-000000000000/later.csv";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_uploaded_and_started_completes() {
    let served = Served::embedded();
    served.upload_content("autumn").await;
    let path = served.upload("customers", "customers.csv", &customers()).await;
    assert!(served.folder.path().join("data").join(&path).is_file(), "it is not kept in memory");

    let answer = served.post("/api/campaigns", &campaign("spring", &path)).await.is(202);
    assert_eq!(answer.json()["status"], "running");
    let location = answer.header("location");
    assert!(location.starts_with("http://") && location.contains("/api/instances/spring?"), "{location}");
    assert_eq!(answer.header("retry-after"), "10");
    let done = served.with_host(served.until("spring", "completed")).await;

    let customers = &done["counts"]["customers"];
    assert_eq!(customers["read"], 40);
    let parts = ["quarantined", "suppressed", "duplicates", "holdout", "held", "assigned"];
    assert_eq!(parts.iter().map(|part| customers[part].as_u64().unwrap()).sum::<u64>(), 40);
    assert!(customers["assigned"].as_u64() > Some(0));
    assert!(done["stages"].as_array().unwrap().iter().all(|stage| stage["planned"] == stage["done"]));

    // Started again it is what it was; with anything else it is refused.
    let again = served.post("/api/campaigns", &campaign("spring", &path)).await;
    assert_eq!(again.is(202).json()["status"], "completed");
    let mut other = campaign("spring", &path);
    other["experiment"]["alpha"] = 0.01.into();
    served.post("/api/campaigns", &other).await.refused(409, "other_inputs");
    let second = served.upload("customers", "customers.csv", b"customer_id\nC-1\n").await;
    served.post("/api/campaigns", &campaign("spring", &second)).await.refused(409, "other_inputs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_in_toml_is_the_same_campaign() {
    let served = Served::in_memory();
    served.upload_content("autumn").await;
    let path = served.upload("customers", "customers.csv", &customers()).await;
    let mut json = campaign("spring", &path);
    served.post("/api/campaigns", &json).await.is(202).json();
    json.as_object_mut().unwrap().remove("inputs");
    let start = async |query: &str, text: String| {
        let request = Request::post(format!("/api/campaigns{query}")).header("content-type", "application/toml");
        served.call(request.header("idempotency-key", "another").body(Body::from(text)).unwrap()).await
    };
    let text = toml::to_string(&json).unwrap();
    start(&format!("?customers={path}"), text.clone()).await.is(202).json();
    assert_eq!(start("", text.clone()).await.fields(), ["inputs"]);
    let wrong = start(&format!("?customers={path}"), text.replace("alpha", "alfa")).await;
    let wrong = wrong.refused(422, "invalid_input");
    assert!(wrong.json()["errors"][0]["line"].as_u64() > Some(1), "{:#}", wrong.json());
    let campaigns = served.get("/api/campaigns").await.is(200).json();
    assert_eq!(campaigns["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_before_its_upload_begins_when_the_file_arrives() {
    let served = Served::embedded();
    served.upload_content("autumn").await;
    let spec = campaign("spring", LATER);
    let begun = served.post("/api/campaigns", &spec).await.is(202).json();
    assert_eq!((begun["status"].as_str(), begun["waits_for"][0].as_str()), (Some("pending"), Some(LATER)));
    assert_eq!(served.post("/api/campaigns", &spec).await.is(202).json()["status"], "pending");
    let mut other = spec.clone();
    other["campaign"]["name"] = "Another".into();
    served.post("/api/campaigns", &other).await.refused(409, "other_inputs");
    assert_eq!(served.get("/api/campaigns").await.is(200).json()["items"][0]["status"], "pending");

    served.put(&format!("/api/uploads/{LATER}"), customers()).await.is(201).json();
    // Nobody asks for it again: the event does.
    served.with_host(served.until("spring", "completed")).await;
    assert_eq!(served.get("/api/campaigns").await.is(200).json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_event_costs_time_and_no_campaign() {
    let served = Served::in_memory();
    served.upload_content("autumn").await;
    served.post("/api/campaigns", &campaign("spring", LATER)).await.is(202).json();
    let path = BlobPath::new(LATER).unwrap();
    let blobs = &served.app.engine.store.blobs;
    blobs.put(&path, customers(), cpo::store::Precondition::None).await.unwrap();
    served.app.engine.sweep().await.unwrap();
    assert_eq!(served.get("/api/campaigns/spring").await.is(200).json()["status"], "running");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_an_account_files_go_around_the_app() {
    let served = Served::on_account(&azurite::account());
    cpo::tls::set_up();
    let http = reqwest::Client::new();
    let send = async |place: &Value, bytes: Vec<u8>| {
        let headers = place["headers"].as_object().unwrap();
        let request = http.put(place["url"].as_str().unwrap()).body(bytes);
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(name, value.as_str().unwrap()))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    for (name, bytes) in documents() {
        assert_eq!(send(&served.place("content", &format!("autumn/{name}")).await, bytes).await, 201);
    }
    let place = served.place("customers", "Kunden März.csv").await;
    let path = place["path"].as_str().unwrap().to_owned();
    served.post("/api/campaigns", &campaign("spring", &path)).await.is(202).json();
    assert_eq!(send(&place, customers()).await, 201);

    // The address is good for writing this one blob, and for nothing else.
    let url = place["url"].as_str().unwrap();
    assert_eq!(http.get(url).send().await.unwrap().status(), 403);
    assert_eq!(http.delete(url).send().await.unwrap().status(), 403);
    let elsewhere = url.replacen("/customers/", "/content/", 1);
    let stolen = json!({ "url": elsewhere, "headers": place["headers"] });
    assert_eq!(send(&stolen, b"x".to_vec()).await, 403);

    // In the place of Event Grid.
    served.app.engine.announce_file(&BlobPath::new(path).unwrap()).await.unwrap();
    served.with_host(served.until("spring", "completed")).await;
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_is_kept() {
    let served = Served::in_memory();
    served.upload_content("autumn").await;
    let spoilt = |spoil: &dyn Fn(&mut Value)| {
        let mut spec = campaign("spring", LATER);
        spoil(&mut spec);
        spec
    };
    for (spec, field) in [
        (
            spoilt(&|spec| spec["inputs"]["customers"] = "customers/../content/autumn/delivery.md".into()),
            "inputs.customers",
        ),
        (spoilt(&|spec| spec["inputs"]["customers"] = "content/autumn/delivery.md".into()), "inputs.customers"),
        (spoilt(&|spec| spec["inputs"]["customers"] = "customers/%2e%2e/a.csv".into()), "inputs.customers"),
        (spoilt(&|spec| spec["inputs"]["suppression"] = "instances/spring/instance.json".into()), "inputs.suppression"),
        (spoilt(&|spec| spec["inputs"] = json!({ "customers": LATER, "x": 1 })), "inputs"),
        (spoilt(&|spec| drop(spec.as_object_mut().unwrap().remove("inputs"))), "inputs"),
        (spoilt(&|spec| spec["content"]["path"] = "../customers".into()), "content.path"),
        (spoilt(&|spec| spec["campaign"]["id"] = "../spring".into()), "campaign.id"),
        (spoilt(&|spec| spec["campaign"]["colour"] = "red".into()), "campaign.colour"),
        (spoilt(&|spec| spec["segmentation"]["rules"][0]["when"] = "nobody > 1".into()), "segmentation.rules[0].when"),
        (spoilt(&|spec| spec["customers"]["suppression"] = "list.csv".into()), "inputs.suppression"),
    ] {
        let answer = served.post("/api/campaigns", &spec).await.refused(422, "invalid_input");
        assert_eq!(answer.fields(), [field], "{:#}", answer.json());
    }
    let empty = spoilt(&|spec| spec["content"]["path"] = "winter".into());
    let answer = served.post("/api/campaigns", &empty).await;
    assert!(answer.json()["detail"].as_str().unwrap().contains("no document"), "{:#}", answer.json());
    served.post("/api/campaigns", &json!([1])).await.refused(422, "invalid_input");
    let text = Request::post("/api/campaigns").header("content-type", "text/plain").body(Body::from("{}")).unwrap();
    served.call(text).await.refused(415, "unsupported_media_type");
    assert_eq!(served.get("/api/campaigns").await.is(200).json()["items"], json!([]));
    served.get("/api/campaigns/spring").await.refused(404, "unknown_campaign");
}

#[tokio::test]
async fn pages_have_every_campaign_once() {
    let served = Served::in_memory();
    served.upload_content("autumn").await;
    for id in ["e", "a", "c", "b", "d"] {
        served.post("/api/campaigns", &campaign(id, LATER)).await.is(202).json();
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = served.get(&format!("/api/campaigns?top=2{after}")).await.is(200).json();
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|campaign| campaign["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    assert_eq!(served.get("/api/campaigns?top=0").await.fields(), ["top"]);
    assert_eq!(served.get("/api/campaigns?top=101").await.fields(), ["top"]);
    served.get("/api/campaigns?size=1").await.refused(400, "invalid_query");
}
