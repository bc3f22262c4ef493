//! What the recording does not show, or tells in one line only.

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use cpo::{
    domain::id::CampaignId,
    orchestration::instance::{Happened, Status},
};
use futures::future::join_all;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::world::{self, HOST, State, World};

struct Answer {
    status: StatusCode,
    token: Option<String>,
    body: Value,
}

async fn send(world: &World, request: Request<Body>) -> Answer {
    let response = world.call(request).await;
    let status = response.status();
    let token = response.headers().get("x-ms-continuation-token").map(|token| token.to_str().unwrap().to_owned());
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Answer { status, token, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
}

async fn get(world: &World, path: &str) -> Answer {
    send(world, Request::get(path).header("host", HOST).body(Body::empty()).unwrap()).await
}

/// A call under an invocation's id.
async fn post(world: &World, path: &str, body: &Value, invocation: &str) -> Answer {
    let request = Request::post(path)
        .header("host", HOST)
        .header("content-type", "application/json")
        .header("x-azure-functions-invocationid", invocation);
    send(world, request.body(Body::from(body.to_string())).unwrap()).await
}

fn id(id: &str) -> CampaignId {
    CampaignId::new(id).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_host_sends_again_is_done_once_and_answered_as_before() {
    let world = World::new().await;
    let nothing = Value::Null;
    for (name, state, operation) in [
        ("a", State::Running, "terminate"),
        ("b", State::Running, "suspend"),
        ("c", State::Suspended, "resume"),
        ("d", State::Failed, "rewind"),
        ("e", State::Completed, "restart?restartWithNewInstanceId=false"),
    ] {
        world.bring(&id(name), state, "").await;
        let path = format!("/api/instances/{name}/{operation}");
        for _ in 0..4 {
            let answer = post(&world, &path, &nothing, &format!("call-{name}")).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{path}");
        }
        let events = world.engine.events(&id(name), 0).await.unwrap();
        let mine = |what: &Happened| match what {
            Happened::Took { id, .. } | Happened::Refused { id, .. } => id.as_str() == format!("call-{name}"),
            _ => false,
        };
        assert_eq!(events.iter().filter(|event| mine(&event.what)).count(), 1, "{path}: {events:#?}");
    }
    // Another call is another wish.
    let again = post(&world, "/api/instances/a/terminate", &nothing, "another").await;
    assert_eq!(again.status, StatusCode::GONE);
    let copies = [0, 1].map(|_| post(&world, "/api/instances/a/restart", &nothing, "copy"));
    let [first, second] = <[Answer; 2]>::try_from(join_all(copies).await).ok().unwrap();
    assert_eq!(first.body, second.body);
    let copy = id(first.body["id"].as_str().unwrap());
    assert_eq!(world.state(&copy).await, Some(State::Running));
    let told = get(&world, &format!("/api/instances/{copy}")).await.body;
    assert_eq!(told["input"]["campaign"]["id"], copy.as_str());
}

#[tokio::test(start_paused = true)]
async fn of_starts_at_once_those_with_the_same_inputs_start_one_campaign_and_others_are_refused() {
    let world = World::new().await;
    let path = "/api/orchestrators/campaign/spring";
    let specs = [world::spec("spring", "one"), world::spec("spring", "two")];
    let starts = (0..8).map(|start| post(&world, path, &specs[usize::from(start > 5)], "start"));
    let answers = join_all(starts).await;
    let mut codes: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    codes.sort_unstable();
    assert!(codes == [202, 202, 202, 202, 202, 202, 409, 409] || codes == [202, 202, 409, 409, 409, 409, 409, 409]);
    let begun: Vec<&Answer> = answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).collect();
    assert!(begun.iter().all(|answer| answer.body == begun[0].body));
    assert_eq!(world.engine.campaigns().await.unwrap(), [id("spring")]);
    // Whoever follows the link finds it, with what it was started with.
    let link = begun[0].body["statusQueryGetUri"].as_str().unwrap().strip_prefix(&format!("http://{HOST}")).unwrap();
    let told = get(&world, link).await;
    assert_eq!((told.status, &told.body["runtimeStatus"]), (StatusCode::ACCEPTED, &"Running".into()));
    // A start under other inputs stays refused when it has ended, and the same one is the same campaign.
    world.bring(&id("spring"), State::Completed, "").await;
    let input = &told.body["input"];
    let same = post(&world, path, input, "again").await;
    assert_eq!(same.status, StatusCode::ACCEPTED, "{}", same.body);
    assert_eq!(world.state(&id("spring")).await, Some(State::Completed));
}

#[tokio::test(start_paused = true)]
async fn pages_hold_a_hundred_and_their_tokens_lead_through_all_of_them_once() {
    let world = World::new().await;
    let names: Vec<String> = (0..105).map(|number| format!("pg-{number:03}")).collect();
    for name in &names {
        world.bring(&id(name), State::Running, "").await;
    }
    let first = get(&world, "/api/instances?instanceIdPrefix=pg-").await;
    assert_eq!((first.body.as_array().unwrap().len(), first.token.is_some()), (100, true));
    for top in [1, 7, 100, 105, 1_000] {
        let (mut found, mut token) = (Vec::new(), None::<String>);
        loop {
            let mut request = Request::get(format!("/api/instances?runtimeStatus=Running&top={top}&showInput=false"));
            if let Some(token) = &token {
                request = request.header("x-ms-continuation-token", token);
            }
            let page = send(&world, request.body(Body::empty()).unwrap()).await;
            let ids = page.body.as_array().unwrap().iter().map(|item| item["instanceId"].as_str().unwrap().to_owned());
            let before = found.len();
            found.extend(ids);
            assert!(found.len() > before && found.len() - before <= top);
            token = page.token;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(found, names, "{top}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_approval_opens_the_gate_for_what_was_looked_at_and_nothing_else() {
    let world = World::new().await;
    let campaign = id("spring");
    world.gate(&campaign);
    world.bring(&campaign, State::Running, "").await;
    world.work_to_gate(&campaign).await;
    let told = get(&world, "/api/instances/spring?showHistory=true").await;
    assert_eq!(told.status, StatusCode::ACCEPTED);
    let gate = &told.body["customStatus"]["gate"];
    assert_eq!((gate["needs_review"].as_u64(), gate["digest"].clone()), (Some(1), json!(world::waiting())));
    let waits = told.body["historyEvents"].as_array().unwrap().last().unwrap();
    assert_eq!(waits["Data"], "1 messages wait for a person's decision");

    let path = "/api/instances/spring/raiseEvent/approval";
    let good = world::approval();
    let with = |key: &str, value: Value| {
        let mut decision = good.clone();
        decision[key] = value;
        decision
    };
    for bad in [
        json!({}),
        json!("all"),
        with("digest", json!("not one")),
        with("approve", json!("some")),
        with("approve", json!([1])),
        with("by", json!(" ")),
        with("by", json!("a\nb")),
        with("by", json!("x".repeat(257))),
        with("extra", json!(1)),
    ] {
        let answer = post(&world, path, &bad, "bad").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
        assert!(answer.body["Message"].as_str().unwrap().contains("approval"), "{}", answer.body);
    }
    // Taken, and it opens nothing.
    let of_others = with("digest", json!(cpo::domain::digest::Digest::of("other variants")));
    assert_eq!(post(&world, path, &of_others, "others").await.status, StatusCode::ACCEPTED);
    assert!(world.engine.held(&campaign).await.unwrap().instance.gate.is_some());
    assert_eq!(post(&world, path, &with("approve", json!([])), "mine").await.status, StatusCode::ACCEPTED);
    let instance = world.engine.held(&campaign).await.unwrap().instance;
    assert!(instance.gate.is_none());
    world.work(&campaign, false).await;
    assert_eq!(world.engine.held(&campaign).await.unwrap().instance.status, Status::Completed);
    assert_eq!(post(&world, path, &good, "late").await.status, StatusCode::GONE);
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_its_file_and_can_be_withdrawn() {
    let world = World::new().await;
    let mut spec = world::spec("spring", "one");
    spec["inputs"]["customers"] = "customers/later.csv".into();
    for _ in 0..2 {
        assert_eq!(post(&world, "/api/orchestrators/campaign", &spec, "start").await.status, StatusCode::ACCEPTED);
    }
    let told = get(&world, "/api/instances/spring").await;
    assert_eq!((told.status, &told.body["runtimeStatus"]), (StatusCode::ACCEPTED, &"Pending".into()));
    assert_eq!(told.body["customStatus"]["waitsFor"], json!(["customers/later.csv"]));
    assert_eq!(get(&world, "/api/instances?runtimeStatus=Pending").await.body.as_array().unwrap().len(), 1);
    let withdrawn = post(&world, "/api/instances/spring/terminate", &Value::Null, "end").await;
    assert_eq!(withdrawn.status, StatusCode::ACCEPTED);
    assert_eq!(get(&world, "/api/instances/spring").await.status, StatusCode::NOT_FOUND);
    // The next one begins with the file.
    post(&world, "/api/orchestrators/campaign", &spec, "start").await;
    world.put("customers/later.csv", b"customer_id\n1\n".to_vec()).await;
    assert_eq!(post(&world, "/api/orchestrators/campaign", &spec, "start").await.status, StatusCode::ACCEPTED);
    assert_eq!(world.state(&id("spring")).await, Some(State::Running));
}

/// Calls of any kind, some of them nonsense, in any order.
#[tokio::test(start_paused = true)]
async fn no_sequence_of_calls_breaks_anything() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let world = World::new().await;
    let mut pick = |choices: &[&str]| -> String { choices[random.random_range(0..choices.len())].to_owned() };
    for step in 0..600 {
        let name = pick(&["a", "b", "c", "UP", "..", "%2e%2e", "a%2Fb", "%00", "%ff", "x%20y", "{*rest}"]);
        let operation = pick(&[
            "",
            "",
            "",
            "/terminate",
            "/suspend",
            "/resume",
            "/rewind",
            "/restart",
            "/raiseEvent/approval",
            "/raiseEvent/%ff",
            "/raiseEvent",
            "/explode/a/b/c",
        ]);
        let query = pick(&[
            "",
            "",
            "?reason=%00%ff",
            "?restartWithNewInstanceId=false",
            "?showHistory=true&showHistoryOutput=true",
            "?top=18446744073709551616&createdTimeFrom=9999-12-31T23:59:59.999Z",
            "?timeout=1e308&pollingInterval=-1e308",
            "?timeout=0.2&pollingInterval=0.1",
            "?createdTimeFrom=-009999-01-01&runtimeStatus=,,Completed",
            "?code=%0d%0aX: y",
            "?x=\u{7f}\u{e9}",
        ]);
        let method = pick(&["GET", "GET", "POST", "POST", "POST", "DELETE", "PUT", "HEAD", "BREW"]);
        let path = match pick(&["instance", "instance", "instance", "start", "list"]).as_str() {
            "instance" => format!("/api/instances/{name}{operation}{query}"),
            "start" => format!("/api/orchestrators/campaign/{name}{query}"),
            _ => format!("/api/Instances/{query}"),
        };
        let spec = world::spec(&name, "one").to_string();
        let approval = world::approval().to_string();
        let body = pick(&["", "{", "null", &spec, &approval, "[[[[[[", "\u{0}", "{\"campaign\":{\"id\":7}}"]);
        let token = pick(&["", "", "YQ==", "/w==", "\u{7f}"]);
        let host = pick(&[HOST, "127.0.0.1:1", "a b", "[::1", ""]);
        let request = Request::builder()
            .method(method.as_str())
            .uri(path.replace(": ", ":"))
            .header("content-type", "application/json")
            .header("x-forwarded-host", pick(&["evil.example", "a/b", "\t"]));
        let request =
            [("host", host), ("x-ms-continuation-token", token)].into_iter().fold(request, |request, (name, value)| {
                match axum::http::HeaderValue::from_bytes(value.as_bytes()) {
                    Ok(value) => request.header(name, value),
                    Err(_) => request,
                }
            });
        let Ok(request) = request.body(Body::from(body.clone())) else { continue };
        let status = send(&world, request).await.status;
        assert!(!status.is_server_error(), "seed {seed}, step {step}: {method} {path} {body:?}: {status}");
        let to = pick(&["", "", "work", "fail"]);
        let known = world.engine.campaigns().await.unwrap();
        if let (Some(known), false) = (known.first(), to.is_empty()) {
            world.work(known, to == "fail").await;
        }
    }
}
