//! What all clients have in common: one call over a real connection, its tries, its faults.

use std::{
    collections::BTreeSet,
    env, io,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use cpo::providers::{
    Credential, ErrorKind, ProviderError,
    service::{Call, Fault, Service},
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tracing_subscriber::fmt::format::FmtSpan;

use crate::scripted::{Reply, Scripted};

const KEY: &str = "k3y-that-nobody-may-see";
const CUSTOMER: &str = "ada@example.org";

fn service(url: &str) -> Service {
    Service::new("test", url, Credential::key("api-key", KEY).unwrap()).unwrap()
}

/// With something of a customer's in it.
fn call() -> Call {
    Call::post("ask", "questions").query("api-version", "1").json(&json!({"customer": CUSTOMER}))
}

fn good() -> Reply {
    Reply::json(200, &json!({"n": 1}))
}

#[derive(Debug, PartialEq)]
struct Seen {
    requests: usize,
    kind: ErrorKind,
    may_have_cost: bool,
}

async fn fault_of(reply: Reply) -> (Seen, Fault) {
    let server = Scripted::in_turn([reply]).await;
    let fault = service(&server.url()).ask::<Value>(&call()).await.unwrap_err();
    let Fault { kind, may_have_cost, .. } = fault;
    (Seen { requests: server.requests().len(), kind, may_have_cost }, fault)
}

#[tokio::test]
async fn what_surely_was_not_done_is_tried_three_times_and_everything_else_once() {
    let throttled = |ms: Option<u64>| ErrorKind::Throttled { retry_after: ms.map(Duration::from_millis) };
    let large = Reply::json(200, &json!("x".repeat(10 << 20)));
    let (unavailable, misconfigured, rejected) =
        (ErrorKind::Unavailable, ErrorKind::Misconfigured, ErrorKind::Rejected);
    let cells = [
        (Reply::empty(400), 1, rejected, false),
        (Reply::empty(401), 1, misconfigured, false),
        (Reply::empty(403), 1, misconfigured, false),
        (Reply::empty(404), 1, misconfigured, false),
        (Reply::empty(408), 1, unavailable, true),
        (Reply::empty(409), 3, unavailable, false),
        (Reply::empty(413), 1, rejected, false),
        (Reply::empty(429), 1, throttled(None), false),
        (Reply::empty(429).header("retry-after", "2"), 1, throttled(Some(2_000)), false),
        (Reply::empty(429).header("retry-after-ms", "20"), 1, throttled(Some(20)), false),
        (Reply::empty(429).header("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), 1, throttled(Some(0)), false),
        (Reply::empty(500), 1, unavailable, true),
        (Reply::empty(503), 3, unavailable, false),
        (Reply::empty(503).header("retry-after", "2"), 1, throttled(Some(2_000)), false),
        (Reply::empty(502), 1, unavailable, true),
        (Reply::empty(504), 1, unavailable, true),
        (Reply::reset(), 1, unavailable, true),
        (good().half(), 1, unavailable, true),
        (good().reset_midway(), 1, unavailable, true),
        (Reply::new(200, "text/html", "<p>Welcome</p>"), 1, unavailable, true),
        (large, 1, unavailable, true),
        (Reply::new(200, "application/json", b"{\"n\": \"\xff\"}"), 1, unavailable, true),
    ];
    let cells = cells.map(async |(reply, requests, kind, may_have_cost)| {
        let name = format!("{reply:?}").chars().take(120).collect::<String>();
        let (seen, fault) = fault_of(reply).await;
        assert_eq!(seen, Seen { requests, kind, may_have_cost }, "{name}: {fault:?}");
    });
    futures::future::join_all(cells).await;
}

#[tokio::test]
async fn a_call_that_was_not_done_at_first_is_done_by_the_next_try() {
    let server = Scripted::in_turn([Reply::empty(503), Reply::empty(409), good()]).await;
    assert_eq!(service(&server.url()).ask::<Value>(&call()).await.unwrap(), json!({"n": 1}));
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/questions?api-version=1"));
        assert_eq!(request.json(), json!({"customer": CUSTOMER}));
        assert_eq!(request.header("api-key"), Some(KEY));
    }
}

#[tokio::test]
async fn a_refused_connection_cost_nothing_and_says_where() {
    let nobody = Scripted::nobody().await;
    let fault = service(&nobody.url()).send(&call()).await.unwrap_err();
    assert_eq!((fault.kind, fault.may_have_cost, fault.status), (ErrorKind::Unavailable, false, None));
    assert!(fault.message.contains("127.0.0.1 cannot be reached"), "{}", fault.message);
}

/// Time passes when nothing else happens: so nothing may be under way when it is stopped.
#[tokio::test]
async fn silence_ends_with_the_time_of_the_call_and_may_have_cost() {
    let server = Scripted::in_turn([Reply::never()]).await;
    let service = service(&server.url());
    let call = call().within(Duration::from_secs(60));
    let asked = tokio::spawn(async move { service.send(&call).await });
    server.arrived(1).await;
    tokio::time::pause();
    let fault = asked.await.unwrap().unwrap_err();
    assert_eq!((fault.kind, fault.may_have_cost, server.requests().len()), (ErrorKind::Unavailable, true, 1));
    assert_eq!(fault.message, "ask: no answer within 60s");
}

#[tokio::test]
async fn the_time_of_a_call_is_that_of_all_its_tries() {
    let server = Scripted::in_turn([Reply::empty(503), Reply::never()]).await;
    let began = tokio::time::Instant::now();
    let service = service(&server.url());
    let call = call().within(Duration::from_secs(60));
    let asked = tokio::spawn(async move { service.send(&call).await });
    server.arrived(2).await;
    tokio::time::pause();
    asked.await.unwrap().unwrap_err();
    let took = began.elapsed();
    assert!(took < Duration::from_millis(60_050), "{took:?}");
}

#[tokio::test]
async fn a_wait_that_would_end_too_late_is_not_begun() {
    let server = Scripted::in_turn([Reply::empty(503)]).await;
    let within = Duration::from_millis(100);
    let fault = service(&server.url()).send(&call().within(within)).await.unwrap_err();
    // As slow as this machine may be, no second try fits.
    assert!(server.requests().len() < 2);
    assert_eq!(fault.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn who_does_not_answer_is_left_alone_and_who_refuses_is_not() {
    let server = Scripted::in_turn([Reply::empty(503)]).await;
    let down = service(&server.url());
    let mut kinds = Vec::new();
    for _ in 0..4 {
        kinds.push(down.send(&call()).await.unwrap_err().kind);
    }
    let is_put_off = |kind: &ErrorKind| matches!(kind, ErrorKind::Throttled { retry_after: Some(_) });
    assert_eq!(kinds.iter().map(is_put_off).collect::<Vec<_>>(), [false, false, true, true], "{kinds:?}");
    assert_eq!(server.requests().len(), 8);

    let server = Scripted::in_turn([Reply::empty(400)]).await;
    let refuses = service(&server.url());
    for _ in 0..12 {
        assert_eq!(refuses.send(&call()).await.unwrap_err().kind, ErrorKind::Rejected);
    }
    assert_eq!(server.requests().len(), 12);
}

#[tokio::test]
async fn nobody_is_followed_elsewhere_with_the_key() {
    let elsewhere = Scripted::in_turn([good()]).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/questions", elsewhere.url());
        let (seen, fault) = fault_of(Reply::empty(status).header("location", &location)).await;
        assert_eq!(seen, Seen { requests: 1, kind: ErrorKind::Misconfigured, may_have_cost: false });
        assert!(!fault.message.contains(&location), "{}", fault.message);
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn calls_share_connections_and_one_that_breaks_after_the_request_is_not_sent_again() {
    let server = Scripted::start(|request| if request.number == 20 { Reply::reset() } else { good() }).await;
    let service = service(&server.url());
    for _ in 0..20 {
        service.send(&call()).await.unwrap();
    }
    // This one goes out on a connection that was good until now.
    let fault = service.send(&call()).await.unwrap_err();
    assert_eq!((fault.kind, fault.may_have_cost), (ErrorKind::Unavailable, true));
    let requests = server.requests();
    let connections: BTreeSet<_> = requests.iter().map(|request| request.connection).collect();
    assert_eq!((requests.len(), connections.len()), (21, 1));
}

#[tokio::test]
async fn calls_at_once_do_not_wait_for_each_other() {
    let server = Scripted::in_turn([good().held()]).await;
    let service = Arc::new(service(&server.url()));
    let calls: Vec<_> = (0..24)
        .map(|_| {
            let service = Arc::clone(&service);
            tokio::spawn(async move { service.send(&call()).await.map(drop) })
        })
        .collect();
    server.arrived(24).await;
    server.release();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

/// All that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_line_and_no_message_holds_a_key_or_anything_of_a_customers() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_writer(move || writer.clone())
        .finish();
    // Where it is the only one in the process, a line that another thread comes by first is off for good.
    let second = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(io::sink).finish();
    let _second = tracing::Dispatch::new(second);
    let _logging = tracing::subscriber::set_default(subscriber);
    let mut told = String::new();
    for status in [200, 400, 401, 403, 404, 409, 429, 500, 503] {
        let message = format!("{KEY} may not ask for {CUSTOMER}");
        // What it says of the set-up is told, so there it says nothing of the customer.
        let message = if matches!(status, 401 | 403 | 404) { KEY.to_owned() } else { message };
        let body = json!({"error": {"code": "not allowed", "message": message}, "n": CUSTOMER});
        let server = Scripted::in_turn([Reply::json(status, &body).header("x-request-id", "r-1")]).await;
        let service = service(&server.url());
        let call = call();
        told.push_str(&format!("{service:?} {call:?} "));
        match service.ask::<u8>(&call).await {
            Ok(_) => panic!("no answer is a number"),
            Err(fault) => told.push_str(&format!("{fault:?} {:?} ", ProviderError::from(fault.clone()))),
        }
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("provider_call") && log.contains("is tried again"), "{log}");
    for (what, text) in [("log", &log), ("messages", &told)] {
        assert!(!text.contains(KEY) && !text.contains(CUSTOMER), "{what}: {text}");
    }
}

/// Trusts the test's certificate only: so it is a process of its own.
#[tokio::test]
async fn where_http_2_is_offered_all_calls_share_one_connection_and_others_are_not_trusted() {
    const URL: &str = "CPO_TEST_HTTP2";
    if let Ok(url) = env::var(URL) {
        let service = Arc::new(service(&url));
        let ask = || async {
            let answer: Value = service.ask(&call()).await.unwrap();
            answer
        };
        ask().await;
        let answers = futures::future::join_all((0..20).map(|_| ask())).await;
        assert!(answers.iter().all(|answer| answer["version"] == "2.0"), "{answers:?}");
        assert!(answers.iter().all(|answer| answer["connections"] == 1), "{answers:?}");
        return;
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let [certificate, key] = ["localhost.pem", "localhost.key"].map(|name| tests.join("azurite").join(name));
    let mut server = tokio::process::Command::new("node")
        .arg(tests.join("providers/http2.js"))
        .args([&certificate, &key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("these tests need Node.js 20 or later as `node` on the PATH");
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).await.unwrap();
    let url = format!("https://127.0.0.1:{}", port.trim());
    let mut child = Command::new(env::current_exe().unwrap());
    child.args([
        "--exact",
        "service::where_http_2_is_offered_all_calls_share_one_connection_and_others_are_not_trusted",
    ]);
    let output = child.env(URL, &url).env("SSL_CERT_FILE", &certificate).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    let fault = service(&url).send(&call()).await.unwrap_err();
    assert_eq!((fault.kind, fault.may_have_cost), (ErrorKind::Misconfigured, false), "{fault:?}");
}
