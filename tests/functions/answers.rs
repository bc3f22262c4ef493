//! The double makes of each recorded answer what the real host made of it.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::double::{
    function::Function,
    outcome::{Answer, Ending, Outcome},
};

#[derive(Deserialize)]
struct Line {
    id: String,
    bindings: String,
    answer: Recorded,
    host: Value,
}

#[derive(Deserialize)]
struct Recorded {
    status: u16,
    headers: Vec<(String, String)>,
    body: Option<String>,
    body_length: usize,
}

/// The functions with which the answers were recorded.
fn function(bindings: &str) -> Function {
    let outputs = match bindings {
        "probe" => {
            json!([{"name": "res", "type": "http"}, {"name": "q", "type": "queue"}, {"name": "b", "type": "blob"}])
        }
        "bin" => json!([
            {"name": "res", "type": "http"},
            {"name": "q", "type": "queue", "dataType": "binary"},
            {"name": "b", "type": "blob", "dataType": "binary"},
        ]),
        "ret" => json!([{"name": "$return", "type": "http"}, {"name": "q", "type": "queue"}]),
        "qret" => json!([{"name": "res", "type": "http"}, {"name": "$return", "type": "queue"}]),
        other => panic!("there is no function {other}"),
    };
    let mut bindings = vec![json!({"name": "req", "type": "httpTrigger", "direction": "in"})];
    for mut output in outputs.as_array().unwrap().clone() {
        output["direction"] = json!("out");
        bindings.push(output);
    }
    serde_json::from_value(json!({"bindings": bindings})).unwrap()
}

/// Those too long to be written down were recorded by their length: one long message, and a blob beside it in one case.
fn long_body(length: usize, beside: &str) -> String {
    let around = r#"{"Outputs": {"q": [""]}}"#.len() + beside.len();
    format!(r#"{{"Outputs": {{"q": ["{}"]{beside}}}}}"#, "x".repeat(length - around))
}

fn shown(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(_) if bytes.len() > 10_000 => json!({"bytes": bytes.len()}),
        Ok(text) => json!({"text": text}),
        Err(_) => json!({"base64": STANDARD.encode(bytes)}),
    }
}

#[test]
fn each_recorded_answer_ends_as_it_did_on_the_real_host() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/functions-host/answers.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    let mut wrong = Vec::new();
    for line in text.lines() {
        let Line { id, bindings, answer, host } = serde_json::from_str(line).unwrap();
        let body = answer.body.unwrap_or_else(|| {
            let beside =
                if id == "partial-queue-too-big" { r#", "b": "a blob beside it, never finished""# } else { "" };
            long_body(answer.body_length, beside)
        });
        assert_eq!(body.len(), answer.body_length, "{id}");
        let answer = Answer { status: answer.status, headers: answer.headers, body: body.into_bytes() };
        let outcome = Outcome::of(&function(&bindings), &answer);
        let given = json!({
            "hung": outcome.ending == Ending::Hung,
            "client_status": outcome.reply.status,
            "client_headers": outcome.reply.headers,
            "client_body": shown(&outcome.reply.body),
            "queue_messages": outcome.messages.iter().map(|(_, body)| shown(body)).collect::<Vec<_>>(),
            "blob": outcome.blobs.get("b").map(|bytes| shown(bytes)),
        });
        if given != host {
            wrong.push(format!("{id}:\n  given {given}\n  host  {host}"));
        }
    }
    assert_eq!(text.lines().count(), 130);
    assert!(wrong.is_empty(), "{} of 130:\n{}", wrong.len(), wrong.join("\n"));
}
