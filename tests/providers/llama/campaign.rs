//! A campaign that a real model writes.

use std::{fs, path::Path};

use cpo::{
    agents::{
        generation::phrases,
        retrieval::{Retrieved, library::Library},
        safety::{Gate, Lexicon},
    },
    config::Campaign,
    domain::{
        money::Usd,
        variant::{Draft, Usage, Variant},
        verdict::Decision,
    },
    providers::Meter,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::process::Command;

use super::{
    recorder::{Exchange, Recorder},
    server::Llama,
};

/// What the starter campaign has more than a small model needs: a second channel, segment, arm and candidate.
const EDITS: [(&str, &str); 6] = [
    ("channels = [\"email\", \"sms\"]", "channels = [\"sms\"]"),
    ("email = \"You can unsubscribe at any time.\"", ""),
    ("candidates = 2", "candidates = 1"),
    (
        r#"[[segmentation.rules]]           # the first rule that matches decides; the last needs no condition
name = "Regulars"
when = "frequency >= 4.0 && recency_days <= 60.0"
description = "order often and ordered lately"
"#,
        "",
    ),
    ("[[experiment.arms]]\nname = \"concise\"\ntone = \"concise\"\n", ""),
    ("# date = \"2026-11-22\"", "date = \"2026-11-22\""),
];

/// The less is read before the first word is written, the sooner it is.
const CONTENT: [(&str, &str, &str); 3] = [
    ("house-blend", "product", "House Blend is roasted every Tuesday and posted the day after."),
    ("brewing-guide", "guide", "Use 60 g of ground coffee for each litre of water when brewing filter coffee."),
    ("delivery", "policy", "Harbour Coffee posts every order within two working days."),
];

const MODEL: &str = r#"
[providers]
generation = "openai"

[generation.model]
name = "tiny"
temperature = 0.0
max_output_tokens = 300
repairs = 1
"#;

pub async fn cpo(folder: &Path, arguments: &[&str], settings: &[(&str, &str)]) {
    let done = Command::new(env!("CARGO_BIN_EXE_cpo"))
        .args(arguments)
        .current_dir(folder)
        .envs(settings.iter().copied())
        .output()
        .await
        .unwrap();
    let said = [done.stdout, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(done.status.success(), "{arguments:?}: {said}");
}

pub fn read<T: DeserializeOwned>(file: &Path) -> T {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// As far as our schemas go.
fn obeys(value: &Value, schema: &Value) -> bool {
    if let Some(any) = schema.get("anyOf") {
        return any.as_array().unwrap().iter().any(|schema| obeys(value, schema));
    }
    match schema["type"].as_str().unwrap() {
        "object" => value.as_object().is_some_and(|fields| {
            let properties = schema["properties"].as_object().unwrap();
            let required = schema["required"].as_array().unwrap();
            required.iter().all(|name| fields.contains_key(name.as_str().unwrap()))
                && fields.iter().all(|(name, value)| properties.get(name).is_some_and(|schema| obeys(value, schema)))
        }),
        "array" => value.as_array().is_some_and(|items| items.iter().all(|item| obeys(item, &schema["items"]))),
        "string" => {
            let is_listed = |values: &Value| values.as_array().unwrap().contains(value);
            value.is_string() && schema.get("enum").is_none_or(is_listed)
        }
        "null" => value.is_null(),
        other => panic!("no schema of ours has the type {other}"),
    }
}

/// Whether the answer came to its end, which it did by the schema.
fn is_whole(exchange: &Exchange) -> bool {
    let choice = &exchange.answer["choices"][0];
    if choice["finish_reason"] == "length" {
        return false;
    }
    let schema = &exchange.asked["response_format"]["json_schema"]["schema"];
    let text = choice["message"]["content"].as_str().unwrap();
    let said = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(obeys(&said, schema), "{text}\n{schema}");
    true
}

#[test]
fn an_answer_that_breaks_a_schema_is_found_out() {
    let text = serde_json::json!({"type": "string", "enum": ["a"]});
    let schema = serde_json::json!({"type": "object", "required": ["x"], "properties": {
        "x": {"type": "array", "items": text}, "y": {"anyOf": [text, {"type": "null"}]}}});
    for good in [r#"{"x": []}"#, r#"{"x": ["a", "a"], "y": null}"#, r#"{"x": [], "y": "a"}"#] {
        assert!(obeys(&serde_json::from_str(good).unwrap(), &schema), "{good}");
    }
    for bad in [r#"{}"#, r#"{"x": ["b"]}"#, r#"{"x": [], "y": 1}"#, r#"{"x": [], "z": "a"}"#, r#"{"x": "a"}"#, "[]"] {
        assert!(!obeys(&serde_json::from_str(bad).unwrap(), &schema), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a real model: docs/testing.md has the command"]
async fn a_campaign_written_by_a_real_model_says_only_what_its_sources_say() {
    let llama = tokio::task::spawn_blocking(Llama::writer).await.unwrap();
    let recorder = Recorder::before(&llama.url).await;
    let root = tempfile::tempdir().unwrap();
    cpo(root.path(), &["init", "spring"], &[]).await;
    let folder = root.path().join("spring");
    let file = folder.join("campaign.toml");
    let text = fs::read_to_string(&file).unwrap();
    let text = EDITS.into_iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    fs::write(&file, text + MODEL).unwrap();
    let documents = folder.join("content");
    fs::remove_dir_all(&documents).unwrap();
    fs::create_dir(&documents).unwrap();
    for (id, category, text) in CONTENT {
        let front = format!("title: {id}\ncategory: {category}\nstatus: approved\napproved_on: 2026-01-15");
        fs::write(documents.join(id).with_extension("md"), format!("---\n{front}\n---\n{text}\n")).unwrap();
    }
    let base = recorder.base();
    // One slot: a second call would wait while its time passes.
    let settings = [("OPENAI_BASE_URL", base.as_str()), ("CPO_CALLS", "1")];
    cpo(&folder, &["doctor", "campaign.toml"], &settings).await;
    let asked_by_doctor = recorder.exchanges().len();
    let (read_by_doctor, written_for_doctor) =
        (recorder.counted("prompt_tokens"), recorder.counted("completion_tokens"));
    cpo(&folder, &["run", "campaign.toml", "--customers", "customers.csv"], &settings).await;

    let exchanges = recorder.exchanges().split_off(asked_by_doctor);
    for Exchange { asked, status, answer } in &exchanges {
        assert_eq!(status.as_u16(), 200, "{answer}");
        let (turns, timings) = (asked["messages"].as_array().unwrap(), &answer["timings"]);
        println!(
            "read {} of {} tokens in {} ms, wrote {} in {} ms\n{}\n{}\n",
            timings["prompt_n"],
            answer["usage"]["prompt_tokens"],
            timings["prompt_ms"],
            timings["predicted_n"],
            timings["predicted_ms"],
            if turns.len() > 2 { turns.last().unwrap()["content"].as_str().unwrap() } else { "" },
            answer["choices"][0]["message"]["content"].as_str().unwrap()
        );
    }
    let whole = exchanges.iter().filter(|exchange| is_whole(exchange)).count();
    println!("{whole} of {} answers came to their end", exchanges.len());
    // What the prompts of two cells have in common, the rules at least, was read once.
    let firsts: Vec<_> = exchanges.iter().filter(|it| it.asked["messages"].as_array().unwrap().len() == 2).collect();
    let cached = firsts[1].answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert!(cached >= 500, "{cached}");

    let results = folder.join("out/campaigns/first-campaign");
    let judged: Value = read(&results.join("variants.json"));
    let variants: Vec<Variant> = serde_json::from_value(judged["variants"].clone()).unwrap();
    let retrieved: Vec<Retrieved> = read(&results.join("passages.json"));
    let campaign = Campaign::read(&file).unwrap();
    let content = Library::load(&documents).unwrap();
    let (phrases, screen) = (phrases::phrase_book(&campaign), Lexicon::default());
    let mut approved = 0;
    for variant in &variants {
        let Variant { id, writer, verdict, message, .. } = variant;
        println!("{id} {:?}\n{}\n{:?}\n", verdict.decision, message.body, verdict.findings);
        assert!(writer.starts_with("openai/tiny/prompt-"), "{writer}");
        if verdict.decision != Decision::Approved {
            assert!(verdict.findings.iter().any(|finding| !finding.why.is_empty()));
            continue;
        }
        approved += 1;
        assert!(!variant.claims.is_empty());
        let cell = &variant.cell;
        let is_for = |found: &&Retrieved| {
            (&found.segment, found.channel, &found.locale) == (&cell.segment, cell.channel, &cell.locale)
        };
        let gate = Gate {
            content: &content,
            date: campaign.campaign.date.unwrap(),
            allowed: &retrieved.iter().find(is_for).unwrap().hits,
            phrases: &phrases,
            brand: &campaign.generation.brand,
            slots: &campaign.generation.slots,
            safety: &campaign.safety,
            screen: &screen,
        };
        let draft = Draft { message: message.clone(), claims: variant.claims.clone(), usage: Usage::default() };
        let verdict = gate.judge(cell, &draft, &Meter::new(Usd::ZERO)).await.unwrap();
        assert_eq!((verdict.decision, verdict.findings), (Decision::Approved, Vec::new()));
    }
    println!("{approved} of {} messages approved", variants.len());
    assert_eq!(variants.len(), 2);

    let ledger: Value = read(&results.join("ledger.json"));
    let entries = ledger["entries"].as_array().unwrap();
    let written = entries.iter().find(|entry| entry["stage"] == "generate").unwrap();
    assert_eq!(written["requests"], exchanges.len());
    assert_eq!(written["input_tokens"], recorder.counted("prompt_tokens") - read_by_doctor);
    assert_eq!(written["output_tokens"], recorder.counted("completion_tokens") - written_for_doctor);
    // It runs here.
    assert_eq!(ledger["total_usd"], 0.0);
}
