//! What is taken, where it goes, and what is told of it.

use std::convert::Infallible;

use axum::{body::Body, http::Request};
use bytes::Bytes;
use futures::stream;
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::json;

use crate::support::{Served, customers};

#[tokio::test]
async fn a_file_is_told_by_its_columns_and_never_by_its_values() {
    let served = Served::in_memory();
    let path = served.upload("customers", "Our list.csv", &customers()).await;
    let found = served.get(&format!("/api/uploads/{path}")).await.is(200).json();
    assert_eq!(
        (found["format"].as_str(), found["delimiter"].as_str(), found["whole"].as_bool()),
        (Some("csv"), Some(","), Some(true))
    );
    assert_eq!(found["rows"], 40);
    let names: Vec<_> =
        found["columns"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"customer_id") && names.contains(&"marketing_opt_in"), "{names:?}");
    let text = String::from_utf8(customers()).unwrap();
    let told = found.to_string();
    for value in text.lines().skip(1).filter_map(|line| line.split(',').nth(1)).filter(|value| value.len() > 2) {
        assert!(!told.contains(&format!("\"{value}\"")), "{value}");
    }
    let unknown = "/api/uploads/customers/0199aaaa-0000-7000-8000-000000000000/a.csv";
    served.get(unknown).await.refused(404, "unknown_file");
}

#[tokio::test]
async fn a_large_file_is_streamed_and_only_its_beginning_is_looked_at() {
    let served = Served::embedded();
    let place = served.place("customers", "large.csv").await;
    let row = Bytes::from("C-00001,Ada,12\n".repeat(4_096));
    let chunks = (0..64).map(move |chunk| {
        Ok::<_, Infallible>(if chunk == 0 { Bytes::from("customer_id,name,orders\n") } else { row.clone() })
    });
    let answer = served.put(place["url"].as_str().unwrap(), Body::from_stream(stream::iter(chunks))).await;
    let answer = answer.is(201);
    let bytes = answer.json()["bytes"].as_u64().unwrap();
    assert_eq!(bytes, 24 + 63 * 4_096 * 15);
    let found = served.get(answer.headers["location"].to_str().unwrap()).await.is(200).json();
    assert_eq!((found["whole"].as_bool(), found["bytes"].as_u64()), (Some(false), Some(bytes)));
    assert!((60_000..71_000).contains(&found["rows"].as_u64().unwrap()));
    let left = std::fs::read_dir(&*served.app.scratch).unwrap().count();
    assert_eq!(left, 0, "nothing is left in the scratch folder");
}

#[tokio::test]
async fn a_customer_file_is_never_replaced_and_content_is() {
    let served = Served::embedded();
    let place = served.place("customers", "a.csv").await;
    let url = place["url"].as_str().unwrap();
    served.put(url, "customer_id\n1\n").await.is(201).json();
    served.put(url, "customer_id\n2\n").await.refused(409, "already_uploaded");
    served.upload("content", "autumn/a.md", b"One.").await;
    served.upload("content", "autumn/a.md", b"Two.").await;
    assert_eq!(served.get("/api/uploads/content/autumn/a.md").await.is(200).json()["bytes"], 4);
}

#[tokio::test]
async fn a_body_that_is_no_file_is_not_kept() {
    let served = Served::embedded();
    let place = served.place("customers", "a.csv").await;
    let url = place["url"].as_str().unwrap();
    let request = |name: &str, value: &str, body: Body| Request::put(url).header(name, value).body(body).unwrap();
    served.put(url, "").await.refused(400, "empty_body");
    let form = request("content-type", "multipart/form-data; boundary=x", "x".into());
    served.call(form).await.refused(415, "form");
    let huge = request("content-length", &(6u64 << 30).to_string(), "x".into());
    served.call(huge).await.refused(413, "too_large");
    let broken = stream::iter([Ok(Bytes::from("customer_id\n")), Err(std::io::Error::other("gone"))]);
    served.put(url, Body::from_stream(broken)).await.refused(400, "cut_off");
    served.get(url).await.refused(404, "unknown_file");
    let wrong = served.post("/api/uploads", &json!({ "kind": "customers", "name": "a.exe" })).await;
    assert_eq!(wrong.refused(422, "invalid_input").fields(), ["name"]);
    let unknown = served.post("/api/uploads", &json!({ "kind": "customers", "name": "a.csv", "public": true })).await;
    assert_eq!(unknown.status, 422);
}

/// Whatever a client writes into an address: it gets an answer that is not ours to be ashamed of, and nothing lands
/// outside of the containers for uploads.
#[test]
fn no_name_leads_out_of_its_container() {
    let part = prop::sample::select(vec![
        "customers",
        "content",
        "outcomes",
        "instances",
        "spring",
        "..",
        ".",
        "%2e%2e",
        "%2F",
        "%5C",
        "%00",
        "a.csv",
        "a.md",
        "b.md",
        "%252e%252e",
        "0199aaaa-0000-7000-8000-000000000000",
        ".state.sqlite",
        "",
        "%F0%9F%92%A9",
        "C:",
        "~",
        "a%20b.md",
    ]);
    let path = prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let served = Served::embedded();
    let run = TestRunner::default().run(&path, |path| {
        let answer = runtime.block_on(served.put(&format!("/api/uploads/{path}"), "x"));
        prop_assert!(!answer.status.is_server_error(), "{}: {:?}", path, answer);
        let names = runtime.block_on(served.app.engine.store.blobs.list(None)).unwrap();
        for name in names {
            let container = name.as_str().split('/').next().unwrap();
            prop_assert!(["customers", "content", "outcomes"].contains(&container), "{} has made {}", path, name);
        }
        let top: Vec<_> =
            std::fs::read_dir(served.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        prop_assert_eq!(top.len(), 2, "{:?}", top);
        Ok(())
    });
    run.unwrap();
}
