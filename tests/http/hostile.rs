//! No sequence of calls, valid or hostile, is answered with a server error, panics, or breaks a campaign.

use std::sync::{LazyLock, OnceLock};

use axum::{
    body::Body,
    http::{Method, Request},
};
use cpo::{
    audit,
    domain::id::CampaignId,
    orchestration::{engine::Held, instance::Status, names, turn::run_of},
    store::{BlobPath, Files, Memory, Precondition},
};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use crate::support::{Served, encoded};

/// Campaigns that are there before the first call: one waits for a person, one is complete.
struct Seed {
    blobs: Vec<(BlobPath, Vec<u8>)>,
    digest: String,
    variants: Vec<String>,
    /// As `/api/openapi.json` tells of it.
    description: Value,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

static SEED: LazyLock<Seed> = LazyLock::new(|| {
    // A runtime of its own thread: whoever asks first may be in one.
    std::thread::spawn(|| runtime().block_on(seed())).join().unwrap()
});

async fn seed() -> Seed {
    let served = Served::in_memory();
    served.complete("done").await;
    served.waiting("waits").await;
    let queue = served.get("/api/campaigns/waits/variants?decision=needs_review").await.is(200).json();
    let id = |variant: &Value| variant["id"].as_str().unwrap().to_owned();
    let store = &served.app.engine.store.blobs;
    let mut blobs = Vec::new();
    for path in store.list(None).await.unwrap() {
        blobs.push((path.clone(), store.get(&path).await.unwrap().bytes));
    }
    Seed {
        blobs,
        digest: queue["gate"]["digest"].as_str().unwrap().to_owned(),
        variants: queue["items"].as_array().unwrap().iter().map(id).collect(),
        description: served.get("/api/openapi.json").await.is(200).json(),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Call(Call),
    /// What is under way goes on as far as it goes.
    Work,
}

#[derive(Debug, Clone)]
struct Call {
    method: Method,
    uri: String,
    kind: Option<&'static str>,
    key: Option<String>,
    body: Vec<u8>,
}

/// A segment of a path or a value of a query, percent-encoded.
fn name() -> BoxedStrategy<String> {
    let known =
        select(vec!["done", "waits", "nobody", "C-00001", "approval", "campaign", "all", "needs_review", "1", "0"]);
    let hostile = select(vec![
        "..",
        "%2e%2e",
        "%00",
        "a%2Fb",
        "a%252Fb",
        "%5C",
        "%FF",
        "%C3%A4",
        "%F0%9F%92%A3",
        "-1",
        "1e400",
        "null",
        "99999999999999999999",
        "%20",
        "CON",
        "%0d%0aX:1",
        "{id}",
        "*",
    ]);
    prop_oneof![
        8 => known.prop_map(str::to_owned),
        4 => hostile.prop_map(|name| name.replace(['{', '}'], "%7B")),
        1 => any::<String>().prop_map(|text| encoded(&text)),
        1 => Just("x".repeat(10_000)),
    ]
    .boxed()
}

/// Everything that the description calls a property or a parameter, and some that it does not.
fn words() -> Vec<String> {
    fn collect(value: &Value, words: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(properties) = fields.get("properties").and_then(Value::as_object) {
                    words.extend(properties.keys().cloned());
                }
                if let (Some(name), Some(_)) = (fields.get("name").and_then(Value::as_str), fields.get("in")) {
                    words.push(name.to_owned());
                }
                fields.values().for_each(|field| collect(field, words));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, words)),
            _ => {}
        }
    }
    let mut words = vec!["x".to_owned(), "code".to_owned(), String::new()];
    collect(&SEED.description, &mut words);
    // This one asks for a server error.
    words.retain(|word| !word.eq_ignore_ascii_case("returnInternalServerErrorOnFailure"));
    words.sort();
    words.dedup();
    words
}

fn words_of_the_api() -> impl Strategy<Value = String> {
    static WORDS: OnceLock<Vec<String>> = OnceLock::new();
    select(WORDS.get_or_init(words).as_slice())
}

fn leaf() -> BoxedStrategy<Value> {
    let known =
        ["all", "none", "Ada", "done", "waits", "outcomes/done/x.csv", "../x", "a\0b", "customers/../x", "friendly"];
    let known = known.iter().map(|text| Value::from(*text)).chain([
        Value::from(SEED.digest.clone()),
        Value::from(SEED.variants.clone()),
        json!([]),
        json!({}),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(-0.5),
        Value::Null,
    ]);
    prop_oneof![6 => select(known.collect::<Vec<_>>()), 1 => any::<String>().prop_map(Value::from), 1 => any::<bool>().prop_map(Value::from)]
        .boxed()
}

fn json_value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((words_of_the_api(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn body() -> BoxedStrategy<Vec<u8>> {
    let approve = prop_oneof![
        Just(json!("all")),
        Just(json!("none")),
        prop::sample::subsequence(SEED.variants.clone(), 0..3).prop_map(Value::from)
    ];
    let approval = approve.prop_map(|approve| json!({ "digest": SEED.digest, "approve": approve, "by": "Ada" }));
    let rows = prop::collection::vec((0..60_u32, 0..3_u8), 0..20).prop_map(|rows| {
        let rows = rows.iter().map(|(customer, value)| format!("C-{customer:05},{value}\n"));
        format!("customer_id,conversion\n{}", rows.collect::<String>()).into_bytes()
    });
    let broken = select(vec![
        "",
        "{",
        "[1,",
        "{\"by\":1,\"by\":2}",
        "nul",
        "\u{feff}{}",
        "\"\\ud800\"",
        "customer_id\n\"",
        "PAR1",
    ]);
    prop_oneof![
        4 => approval.prop_map(|json| json.to_string().into_bytes()),
        4 => json_value().prop_map(|json| json.to_string().into_bytes()),
        3 => rows,
        1 => broken.prop_map(|text| text.as_bytes().to_vec()),
        1 => Just(b"[".repeat(50_000)),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
    .boxed()
}

fn call() -> impl Strategy<Value = Step> {
    let mut targets: Vec<(String, Option<String>)> = vec![("/api".into(), None), ("/api/{id}/{x}".into(), None)];
    for (path, item) in SEED.description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            // Mostly as it is meant, now and then with any method.
            targets.extend([0; 3].map(|_| (path.clone(), Some(method.to_uppercase()))));
            targets.push((path.clone(), None));
        }
    }
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];
    let kinds =
        ["application/json", "application/json; charset=utf-8", "text/csv", "text/plain", "application/toml", "x"];
    let query = prop::collection::vec((words_of_the_api(), name()), 0..3);
    (
        select(targets),
        select(methods.to_vec()),
        prop::collection::vec(name(), 4),
        prop_oneof![2 => Just(Vec::new()), 1 => query],
        prop::option::weighted(0.9, select(kinds.to_vec())),
        prop::option::weighted(0.2, "[ -~]{0,80}"),
        body(),
    )
        .prop_map(|((path, meant), any_method, names, query, kind, key, body)| {
            let mut names = names.into_iter();
            let segments = path.split('/').map(|segment| match segment.starts_with('{') {
                true => names.next().unwrap_or_default(),
                false => segment.to_owned(),
            });
            let path = segments.collect::<Vec<_>>().join("/");
            let query: Vec<String> = query.iter().map(|(key, value)| format!("{}={value}", encoded(key))).collect();
            Step::Call(Call {
                method: meant.as_deref().unwrap_or(any_method).parse().unwrap(),
                uri: if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) },
                kind,
                key,
                body,
            })
        })
}

async fn check(served: &Served, call: Call) -> Result<(), TestCaseError> {
    let mut request = Request::builder().method(call.method.clone()).uri(&call.uri);
    if let Some(kind) = call.kind {
        request = request.header("content-type", kind);
    }
    if let Some(key) = &call.key {
        request = request.header("idempotency-key", key);
    }
    let answer = served.call(request.body(Body::from(call.body.clone())).unwrap()).await;
    prop_assert!(answer.status.as_u16() < 500, "{call:?}: {answer:?}");
    // Durable clients know refusals of another shape.
    let is_durable = ["/api/instances", "/api/orchestrators"].iter().any(|path| call.uri.starts_with(path));
    if answer.status.as_u16() >= 400 && !is_durable && call.method != Method::HEAD {
        let kind = answer.headers.get("content-type").map(|kind| kind.as_bytes());
        prop_assert_eq!(kind, Some(b"application/problem+json".as_slice()), "{:?}: {:?}", call, answer);
        prop_assert_eq!(&answer.json()["status"], &Value::from(answer.status.as_u16()));
    }
    Ok(())
}

/// Those that have no gate before them go on until they are at rest; what they leave is whole.
async fn check_campaigns(served: &Served) {
    let engine = &served.app.engine;
    for campaign in engine.campaigns().await.unwrap() {
        served.work(&campaign).await;
        let Held { instance, .. } = engine.held(&campaign).await.unwrap();
        let state = engine.store.blobs.get(&names::instance(&campaign)).await.unwrap();
        assert!(state.bytes.len() <= 64 << 10, "{campaign}: {} bytes", state.bytes.len());
        engine.status(&campaign).await.unwrap();
        if instance.status == Status::Completed {
            let files = cpo::orchestration::finished::RunFiles::Store {
                blobs: engine.store.blobs.clone(),
                run: run_of(&instance),
            };
            let folder = tempfile::tempdir().unwrap();
            let copy = Files::new(folder.path());
            for path in files.list(None).await.unwrap() {
                copy.put(&path, &files.bytes(&path).await.unwrap()).unwrap();
            }
            let known = ["audit/", "report.", "experiment/results.json", "exposures/"];
            let is_known = |path: &str| known.iter().any(|known| path.starts_with(known));
            let verified = audit::verify(&copy, &copy.list(None).unwrap(), is_known);
            verified.unwrap_or_else(|mismatches| panic!("{campaign}: {mismatches:?}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_calls_ends_in_a_server_error_or_a_broken_campaign(
        steps in prop::collection::vec(prop_oneof![30 => call(), 1 => Just(Step::Work)], 1..60)
    ) {
        runtime().block_on(async {
            let store = Memory::default().store();
            for (path, bytes) in &SEED.blobs {
                store.blobs.put(path, bytes.clone(), Precondition::Absent).await.unwrap();
            }
            let served = Served::over(store);
            for step in steps {
                match step {
                    Step::Call(call) => check(&served, call).await?,
                    Step::Work => {
                        let waits: CampaignId = "waits".parse().unwrap();
                        if served.app.engine.load(&waits).await.unwrap().is_some() {
                            served.work(&waits).await;
                        }
                    }
                }
            }
            check_campaigns(&served).await;
            Ok::<_, TestCaseError>(())
        })?;
    }
}
