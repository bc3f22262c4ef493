//! What each call does.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{Method, Request},
};
use cpo::{
    agents::experimentation::{analysis::Results, deliveries::Table},
    orchestration::{deliveries, finished::RunFiles, turn::run_of},
};
use serde_json::{Value, json};

use crate::support::{Answer, Served, encoded};

async fn files(served: &Served, id: &str) -> RunFiles {
    let held = served.app.engine.held(&id.parse().unwrap()).await.unwrap();
    RunFiles::Store { blobs: served.app.engine.store.blobs.clone(), run: run_of(&held.instance) }
}

/// Customer, arm and status of everybody.
async fn delivered(served: &Served, id: &str) -> BTreeMap<String, [String; 4]> {
    let mut rows = BTreeMap::new();
    let collect = |_, table: &Table| {
        for row in table.rows() {
            let told = [row.segment, row.arm, row.status, row.variant.unwrap_or_default()];
            rows.insert(row.customer.to_owned(), told.map(str::to_owned));
        }
        Ok(())
    };
    deliveries::for_each(&files(served, id).await, collect).await.unwrap();
    assert!(rows.len() > 20);
    rows
}

#[tokio::test]
async fn a_person_decides_on_what_they_saw_once_and_only_that_goes_out() {
    let served = Served::in_memory();
    let campaign = served.waiting("gated").await;
    let queue = "/api/campaigns/gated/variants?decision=needs_review";
    let (all, gate) = (served.pages(queue, 3).await, served.get(queue).await.is(200).json()["gate"].take());
    assert_eq!(Value::from(all.len()), gate["needs_review"]);
    assert!(all.iter().all(|variant| variant["claims"].is_array() && variant["usage"]["cost_usd"].is_number()));
    let chosen = &all[1]["id"];

    let approvals = "/api/campaigns/gated/approvals";
    let decision = json!({ "digest": gate["digest"], "approve": [chosen], "by": "Ada" });
    let with = |field: &str, value: Value| {
        let mut changed = decision.clone();
        changed[field] = value;
        changed
    };
    served.post(approvals, &with("digest", "0".repeat(64).into())).await.refused(409, "other_variants");
    for (field, value) in [("approve", json!(["nobody's"])), ("by", json!("")), ("by", json!("a\nb")), ("x", json!(1))]
    {
        served.post(approvals, &with(field, value)).await.is(422);
    }
    let decided = served.post(approvals, &decision).await.is(200).json();
    assert_eq!(decided, json!({ "campaign": "gated", "approved": 1, "blocked": all.len() - 1 }));
    // The host sends again what may have been lost.
    assert_eq!(served.post(approvals, &decision).await.is(200).json(), decided);
    served.post(approvals, &with("approve", json!("all"))).await.refused(409, "nothing_waits");

    served.work(&campaign).await;
    assert_eq!(served.post(approvals, &decision).await.is(200).json(), decided);
    let released = served.pages("/api/campaigns/gated/variants", 100).await;
    let approved: Vec<&Value> =
        released.iter().filter(|variant| variant["verdict"]["decision"] == "approved").collect();
    assert_eq!(approved.iter().map(|variant| &variant["id"]).collect::<Vec<_>>(), [chosen]);
    assert!(served.pages(queue, 5).await.is_empty());
    let sent = delivered(&served, "gated").await;
    assert!(sent.values().all(|[.., variant]| variant.is_empty() || chosen == variant));
}

#[tokio::test]
async fn every_customer_is_explained_as_they_were_delivered() {
    let served = Served::in_memory();
    served.complete("done").await;
    let explain =
        async |customer: &str| served.get(&format!("/api/campaigns/done/customers/{}", encoded(customer))).await;
    for (customer, [segment, arm, status, variant]) in delivered(&served, "done").await {
        let told = explain(&customer).await.is(200).json();
        let expected = json!([customer, "planned", segment, arm, status]);
        assert_eq!(json!([told["customer"], told["outcome"], told["segment"], told["arm"], told["status"]]), expected);
        assert_eq!(told["sent"]["variant"].as_str().unwrap_or_default(), variant);
        assert!(told["words"].as_str().unwrap().contains(&arm), "{told}");
    }
    let suppressed = files(&served, "done").await.bytes(&"ingest/suppressed.csv".to_owned().try_into().unwrap()).await;
    let suppressed = String::from_utf8(suppressed.unwrap()).unwrap();
    let suppressed: Vec<&str> = suppressed.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert!(!suppressed.is_empty());
    for customer in suppressed {
        assert_eq!(explain(customer).await.is(200).json()["outcome"], "suppressed");
    }
    for stranger in ["nobody", "../done", "C\0", " ", "ä", &"x".repeat(10_000)] {
        explain(stranger).await.is(404);
    }
}

/// A file of outcomes: these customers, each with the value.
fn csv<'a>(customers: impl IntoIterator<Item = (&'a String, u8)>) -> String {
    let rows = customers.into_iter().map(|(customer, value)| format!("{customer},{value}\n"));
    format!("customer_id,conversion\n{}", rows.collect::<String>())
}

async fn results(served: &Served, id: &str) -> Results {
    serde_json::from_slice(&served.get(&format!("/api/campaigns/{id}/results")).await.is(200).body).unwrap()
}

#[tokio::test]
async fn files_of_outcomes_add_up_and_the_newest_row_of_a_customer_counts() {
    let served = Served::in_memory();
    served.complete("one").await;
    let customers: Vec<String> = delivered(&served, "one").await.into_keys().collect();
    served.get("/api/campaigns/one/results").await.refused(404, "no_results");
    let before = served.get("/api/campaigns/one/report").await.is(200);
    let bring = async |id: &str, file: String| {
        served.post_as(&format!("/api/campaigns/{id}/outcomes"), "text/csv; charset=utf-8", file).await
    };
    let (first, second) = customers.split_at(12);
    let first = csv(first.iter().map(|customer| (customer, 0)));
    let answer = bring("one", first.clone()).await.is(202);
    assert_eq!(answer.header("location"), "/api/campaigns/one/results");
    let one = results(&served, "one").await;
    // The second file has customers of the first, too: what became of them later.
    let second: Vec<(&String, u8)> = second.iter().map(|customer| (customer, 1)).chain([(&customers[0], 1)]).collect();
    bring("one", csv(second.clone())).await.is(202);
    let both = results(&served, "one").await;
    assert_ne!(both, one);
    // An earlier file again, as a message that comes twice: nothing changes.
    bring("one", first).await.is(202);
    assert_eq!(results(&served, "one").await, both);
    let report = served.get("/api/campaigns/one/report").await.is(200);
    assert_eq!(report.header("content-type"), "text/html; charset=utf-8");
    assert_ne!(report.body, before.body);
    let told = served.get("/api/campaigns/one/files/report.json").await.is(200).json()["results"].take();
    assert_eq!(serde_json::from_value::<Results>(told).unwrap(), both);

    served.complete("whole").await;
    let value = |customer: &String| second.iter().find(|(known, _)| *known == customer).map_or(0, |(_, value)| *value);
    bring("whole", csv(customers.iter().map(|customer| (customer, value(customer))))).await.is(202);
    let whole = results(&served, "whole").await;
    assert_eq!(whole.customers, both.customers);
    let counts = |results: &Results| -> Vec<(String, u64, Option<f64>)> {
        let arm = |arm: &cpo::agents::experimentation::analysis::ArmResult| {
            (arm.arm.clone(), arm.customers, arm.metrics.first().map(|metric| metric.total))
        };
        results.arms.iter().map(arm).collect()
    };
    let total = |results: &Results| counts(results).iter().filter_map(|(.., total)| *total).sum::<f64>();
    // Two campaigns assign by salts of their own: what they share is who did what.
    assert_eq!((total(&both), total(&whole)), (second.len() as f64, second.len() as f64));
}

#[tokio::test]
async fn outcomes_that_cannot_be_analysed_are_refused_by_line_and_leave_nothing() {
    let served = Served::in_memory();
    served.waiting("early").await;
    served.complete("done").await;
    let uri = "/api/campaigns/done/outcomes";
    let good = "customer_id,conversion\nstranger,1\n";
    served.post_as("/api/campaigns/early/outcomes", "text/csv", good).await.refused(409, "not_complete");
    served.post_as("/api/campaigns/nobody/outcomes", "text/csv", good).await.refused(404, "unknown_campaign");
    served.post_as(uri, "application/zip", good).await.refused(415, "unsupported_media_type");
    let bad = "customer_id,conversion\nC-1,1\nC-2,secret\n";
    let refused = served.post_as(uri, "text/csv", bad).await.refused(422, "invalid_input").json();
    let problem = &refused["errors"][0];
    assert_eq!((&problem["line"], &problem["field"]), (&3.into(), &"conversion".into()), "{refused}");
    assert!(problem["file"].as_str().unwrap().starts_with("outcomes/done/"), "{refused}");
    assert!(!refused.to_string().contains("secret"));
    served.post_as(uri, "text/csv", good).await.refused(422, "invalid_input");
    served.post_as(uri, "text/csv", "").await.refused(422, "invalid_input");
    for upload in ["outcomes/early/x.csv", "outcomes/done", "outcomes/done/../early/x", "customers/x", "", "\0"] {
        served.post(uri, &json!({ "upload": upload })).await.is(422);
    }
    served.post(uri, &json!({ "upload": "outcomes/done/not-there.csv" })).await.is(422);
    let left = served.app.engine.store.blobs.list(Some(&"outcomes".to_owned().try_into().unwrap())).await.unwrap();
    assert_eq!(left, []);
    served.get("/api/campaigns/done/results").await.refused(404, "no_results");
}

#[tokio::test]
async fn a_campaigns_own_files_are_shown_and_no_others() {
    let served = Served::in_memory();
    served.complete("done").await;
    served.waiting("early").await;
    let files = files(&served, "done").await;
    let expected: Vec<String> = files.list(None).await.unwrap().iter().map(ToString::to_string).collect();
    let listed = served.pages("/api/campaigns/done/files", 7).await;
    assert_eq!(listed.iter().map(|file| file["path"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    for path in &expected {
        let answer = served.get(&format!("/api/campaigns/done/files/{path}")).await.is(200);
        assert_eq!(answer.body, files.bytes(&path.clone().try_into().unwrap()).await.unwrap());
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    for path in
        ["nothing", "ingest", "../1/ledger.json", "%2e%2e/1/ledger.json", "..%2F1%2Fledger.json", "a%00b", "%5c"]
    {
        served.get(&format!("/api/campaigns/done/files/{path}")).await.is(404);
    }
    assert!(
        served
            .pages("/api/campaigns/early/files", 100)
            .await
            .iter()
            .all(|file| { !file["path"].as_str().unwrap().starts_with("deliveries/") })
    );
}

#[tokio::test]
async fn what_is_not_a_call_of_the_api_is_refused_with_problem_details() {
    let served = Served::in_memory();
    served.waiting("gated").await;
    let send = async |method: Method, uri: &str, kind: &str, body: &str| -> Answer {
        let request = Request::builder().method(method).uri(uri).header("content-type", kind);
        served.call(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    let (json, approvals) = ("application/json", "/api/campaigns/gated/approvals");
    let answer = send(Method::DELETE, approvals, json, "").await.refused(405, "no_such_method");
    assert_eq!(answer.header("allow"), "POST");
    send(Method::GET, "/api/nothing", json, "").await.refused(404, "no_such_route");
    send(Method::GET, "/api/campaigns/NOT%20AN%20ID/variants", json, "").await.refused(404, "unknown_name");
    send(Method::GET, "/api/campaigns/%FF/variants", json, "").await.is(404);
    send(Method::POST, approvals, "text/plain", "{}").await.refused(415, "unsupported_media_type");
    send(Method::POST, approvals, json, "{").await.refused(400, "invalid_body");
    send(Method::POST, approvals, json, "{}").await.refused(422, "invalid_body");
    send(Method::POST, approvals, json, &"[".repeat(100_000)).await.is(400);
    send(Method::POST, approvals, json, &format!("\"{}\"", "x".repeat(4 << 20))).await.refused(413, "too_large");
    let doubled = r#"{"by":"a","by":"b","digest":"","approve":"all"}"#;
    send(Method::POST, approvals, json, doubled).await.is(422);
    for query in ["unknown=1", "top=0", "top=1001", "top=-1", "top=1&top=2", "decision=maybe"] {
        served.get(&format!("/api/campaigns/gated/variants?{query}")).await.refused(400, "invalid_query");
    }
    served.get("/api/campaigns/gated/variants?after=nobody").await.is(422);
    let head = send(Method::HEAD, "/api/campaigns/gated/variants?code=key", json, "").await.is(200);
    assert!(head.body.is_empty());
}
