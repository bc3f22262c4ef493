//! What is a function of its arguments; calls of servers are in `tests/providers`.

use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::json;

use super::*;

const KEY: &str = "k3y-0123456789";

fn key() -> Credential {
    Credential::key("api-key", KEY).unwrap()
}

fn headers(headers: &[(&'static str, &str)]) -> HeaderMap {
    let header = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    headers.iter().map(header).collect()
}

#[test]
fn a_key_travels_by_https_or_not_beyond_this_machine() {
    for address in
        ["https://a.example", "https://a.example/v1/", "http://127.0.0.1:8080", "http://[::1]/v1", "http://localhost"]
    {
        assert!(parse(address, &key()).is_ok(), "{address}");
    }
    let insecure = [
        "http://a.example",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://127.0.0.1.a.example",
        "http://localhost.a.example",
        "http://[::ffff:10.0.0.1]",
        "ftp://127.0.0.1",
        "file:///etc/hosts",
    ];
    for address in insecure {
        assert_eq!(parse(address, &key()), Err(InvalidAddress::Insecure), "{address}");
    }
    assert!(parse("http://10.0.0.1", &Credential::Nobody).is_ok());
    for address in
        ["https://user@a.example", "https://:secret@a.example", "https://a.example?code=1", "https://a.example#a"]
    {
        assert_eq!(parse(address, &key()), Err(InvalidAddress::TooMuch), "{address}");
    }
    for address in ["", "a.example", "https://"] {
        assert!(matches!(parse(address, &key()), Err(InvalidAddress::NotUrl(_))), "{address}");
    }
}

#[test]
fn how_long_to_wait_is_read_from_whatever_says_it_most_precisely() {
    let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    let ms = Duration::from_millis;
    for (said, expected) in [
        (&[][..], None),
        (&[("retry-after", "7")], Some(ms(7_000))),
        (&[("retry-after", " 0.5 ")], Some(ms(500))),
        (&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], Some(ms(30_000))),
        // It has passed.
        (&[("retry-after", "Sun, 06 Nov 1994 08:49:07 GMT")], Some(ms(0))),
        (&[("retry-after", "7"), ("retry-after-ms", "1500")], Some(ms(1_500))),
        (&[("x-ms-retry-after-ms", "20")], Some(ms(20))),
        // The others still say it.
        (&[("retry-after-ms", "soon"), ("retry-after", "2")], Some(ms(2_000))),
        (&[("retry-after", "soon")], None),
        (&[("retry-after", "-1")], None),
        (&[("retry-after", "NaN")], None),
        (&[("retry-after", "inf")], None),
        (&[("retry-after", "1e30")], None),
        (&[("retry-after", "1e9")], Some(LONGEST_RETRY_AFTER)),
        (&[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")], Some(LONGEST_RETRY_AFTER)),
        (&[("retry-after", "\u{e9}")], None),
    ] {
        let headers = headers(said);
        assert_eq!(retry_after(|name| headers.get(name)?.to_str().ok(), now), expected, "{said:?}");
    }
}

#[test]
fn codes_and_request_ids_are_names_and_never_sentences() {
    for (value, expected) in [
        (json!("content_filter"), Some("content_filter")),
        (json!("429"), Some("429")),
        (json!(429), Some("429")),
        (json!("no customer ada@example.org"), None),
        (json!("a\nb"), None),
        (json!(""), None),
        (json!("a".repeat(65)), None),
        (json!(null), None),
        (json!({"a": 1}), None),
    ] {
        assert_eq!(code(&value).as_deref(), expected, "{value}");
    }
    let id = |value: &str| request_id(&headers(&[("x-request-id", value)])).map(str::to_owned);
    assert_eq!(id("0f-9a_b.c"), Some("0f-9a_b.c".to_owned()));
    for value in ["a b", "", "<b>", "\u{e9}", &"a".repeat(65)] {
        assert_eq!(id(value), None, "{value}");
    }
}

#[test]
fn waits_double_and_none_is_longer_than_the_longest_or_half_as_short() {
    for tried in 1..12 {
        let most = (FIRST_WAIT * 2_u32.pow(tried - 1)).min(LONGEST_WAIT);
        let waits: Vec<_> = (0..50).map(|_| wait(tried)).collect();
        assert!(waits.iter().all(|wait| (most / 2..=most).contains(wait)), "{tried}: {waits:?}");
        assert!(waits.iter().any(|wait| *wait != waits[0]), "they do not come back together");
    }
}

fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Answer {
    let headers = headers(&[("content-type", content_type)]);
    let status = StatusCode::from_u16(status).unwrap();
    Answer { service: "test", operation: "ask", status, headers, body: body.into() }
}

#[derive(Debug, PartialEq, Deserialize)]
struct Shape {
    count: u32,
}

#[test]
fn an_answer_is_json_of_the_expected_shape_or_none_and_nothing_of_it_is_told() {
    for content_type in
        ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/problem+json"]
    {
        assert_eq!(answer(200, content_type, r#"{"more": 1, "count": 3}"#).json(), Ok(Shape { count: 3 }));
    }
    let wrong: [(&str, &[u8]); 8] = [
        ("text/html", br#"{"count": 3}"#),
        ("", br#"{"count": 3}"#),
        ("application/json", b""),
        ("application/json", br#"{"count": 3"#),
        ("application/json", br#"{"count": 3} ada@example.org"#),
        ("application/json", br#"{"count": "ada@example.org"}"#),
        ("application/json", br#"{"ada@example.org": 3}"#),
        ("application/json", b"{\"count\": 3, \"name\": \"\xff\"}"),
    ];
    for (content_type, body) in wrong {
        let shown = String::from_utf8_lossy(body);
        let fault = answer(200, content_type, body).json::<Shape>().expect_err(&shown);
        assert_eq!((fault.kind, fault.may_have_cost), (ErrorKind::Unavailable, true), "{shown}");
        assert!(!format!("{fault:?}").contains("ada"), "{fault:?}");
    }
}

#[test]
fn what_a_service_says_of_a_refusal_is_told_where_it_is_about_nobody() {
    let service = Service::new("test", "https://a.example", key()).unwrap();
    let told = |call: Call, status: u16, body: Value| {
        service.refused(&call, &answer(status, "application/json", body.to_string())).message
    };
    let error = |message: &str| json!({"error": {"code": "bad", "message": message}});
    let call = || Call::post("ask", "path");
    let about = error("Ada Lovelace is no\nnumber");
    assert_eq!(told(call(), 400, about.clone()), "ask: 400 Bad Request, bad");
    assert_eq!(told(call().public(), 400, about), "ask: 400 Bad Request, bad: Ada Lovelace is no number");
    assert!(told(call(), 404, error("no deployment")).contains("no deployment"));
    // Some repeat the key that they do not take.
    for status in [401, 403, 400] {
        let repeated = told(call().public(), status, error(&format!("{KEY} is not welcome")));
        assert!(!repeated.contains(KEY), "{repeated}");
    }
    assert!(!told(call().public(), 401, error("eyJhbGciOi is not welcome")).contains("eyJ"));
}

#[test]
fn each_status_says_what_is_to_be_done_and_whether_it_may_have_been() {
    let service = Service::new("test", "https://a.example", key()).unwrap();
    let refused = |status, body: Value| {
        let fault = service.refused(&Call::get("ask", ""), &answer(status, "application/json", body.to_string()));
        assert_eq!(fault.status.map(|status| status.as_u16()), Some(status));
        (fault.kind, fault.may_have_cost)
    };
    let throttled = ErrorKind::Throttled { retry_after: None };
    for (kind, may_have_cost, statuses) in [
        (ErrorKind::Rejected, false, &[400_u16, 412, 413, 414, 422, 451][..]),
        (ErrorKind::Misconfigured, false, &[301, 302, 307, 308, 401, 402, 403, 404, 405, 407, 410, 415, 421, 501]),
        (ErrorKind::Unavailable, false, &[409, 425, 503, 529]),
        (ErrorKind::Unavailable, true, &[408, 500, 502, 504, 520, 524, 599]),
        (throttled, false, &[429]),
    ] {
        for status in statuses {
            assert_eq!(refused(*status, Value::Null), (kind, may_have_cost), "{status}");
        }
    }
    // Waiting gives no credit.
    let no_credit = json!({"error": {"code": "insufficient_quota"}});
    assert_eq!(refused(429, no_credit), (ErrorKind::Misconfigured, false));
}

#[test]
fn whoever_prints_a_call_an_answer_or_a_fault_shows_nothing_of_what_was_said() {
    let service = Service::new("test", "https://a.example", key()).unwrap();
    let call = Call::post("ask", "customers/ada").query("name", "ada").json(&json!({"name": "ada"}));
    let answer = answer(400, "application/json", r#"{"error": {"message": "ada"}}"#);
    let fault = service.refused(&call, &answer);
    assert_eq!(fault.body["error"]["message"], "ada");
    let shown = format!("{service:?} {call:?} {answer:?} {fault:?}");
    assert!(!shown.contains("ada") && !shown.contains(KEY), "{shown}");
}
