//! Steering a campaign from the command line, in an output folder and in a storage account.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
};

use serde_json::Value;

use crate::{
    azurite,
    support::{Folder, cpo, files_below, json, stderr, stdout},
};

const CAMPAIGN: &str = "first-campaign";

/// `cpo instance VERB first-campaign`, with more arguments.
fn instance(folder: &Folder, verb: &str, more: &[&str]) -> Output {
    folder.cpo(&[&["instance", verb, CAMPAIGN], more].concat())
}

fn status(folder: &Folder) -> Value {
    json(&instance(folder, "status", &["--format", "json"]))
}

/// Refused as bad input, with a message that says so and what to do.
fn refused(output: &Output, said: &str) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains(said) && message.contains("fix: "), "`{said}` is not in: {message}");
    assert!(output.stdout.is_empty(), "{}", stdout(output));
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    stdout(output)
}

/// A campaign whose every message waits for a person.
fn waiting() -> Folder {
    let folder = Folder::new();
    folder.edit("campaign.toml", "\"when_flagged\"", "\"always\"");
    let ended = json(&folder.run(&["--format", "json"]));
    assert_eq!((&ended["campaign"], &ended["waiting"]["needs_review"]), (&CAMPAIGN.into(), &20.into()), "{ended}");
    folder
}

/// File name to bytes of a folder's files.
fn snapshot(root: PathBuf) -> BTreeMap<PathBuf, Vec<u8>> {
    let relative = |file: &PathBuf| file.strip_prefix(&root).unwrap().to_owned();
    files_below(&root).iter().map(|file| (relative(file), fs::read(file).unwrap())).collect()
}

#[test]
fn only_what_a_person_approved_is_sent_and_the_rest_is_blocked_in_their_name() {
    let folder = waiting();
    let review = json(&instance(&folder, "review", &["--format", "json"]));
    let variants = review["variants"].as_array().unwrap();
    assert_eq!(variants.len(), 20);
    let approved = variants.iter().map(|variant| variant["id"].as_str().unwrap());
    let approved = approved.filter(|id| id.contains("control / email")).min().unwrap();
    let text = done(&instance(&folder, "review", &[]));
    for variant in variants {
        let body = variant["message"]["body"].as_str().unwrap();
        assert!(
            text.contains(variant["id"].as_str().unwrap()) && text.contains(body.lines().next().unwrap()),
            "{text}"
        );
    }
    refused(&instance(&folder, "approve", &["--variant", "nobody's", "--by", "Ada"]), "no variant `nobody's` waits");
    let answer = done(&instance(&folder, "approve", &["--variant", approved, "--by", "Ada", "--note", "short"]));
    assert!(answer.contains("1 approved, 19 blocked"), "{answer}");

    let summary = json(&folder.run(&["--format", "json"]));
    assert_eq!((&summary["variants"]["approved"], &summary["variants"]["blocked"]), (&1.into(), &19.into()));
    let results = "out/campaigns/first-campaign";
    let exported = done(&folder.cpo(&["export", "--campaign", results, "--format", "jsonl"]));
    let messages = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let sent: BTreeSet<String> = messages.map(|message| message["variant"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sent, BTreeSet::from([approved.to_owned()]));
    let kept: Value = serde_json::from_slice(&fs::read(folder.results("variants.json")).unwrap()).unwrap();
    assert_eq!((&kept["decision"]["by"], &kept["decision"]["note"]), (&"Ada".into(), &"short".into()));
    for variant in kept["variants"].as_array().unwrap().iter().filter(|variant| variant["id"] != approved) {
        let findings = variant["verdict"]["findings"].as_array().unwrap();
        assert!(findings.iter().any(|finding| finding["why"] == "Ada did not approve it"), "{variant}");
    }
}

#[test]
fn there_is_no_decision_on_what_nobody_can_have_seen() {
    let folder = Folder::new();
    refused(&instance(&folder, "approve", &["--all", "--by", "Ada"]), "there is no campaign");
    done(&folder.run(&[]));
    refused(&instance(&folder, "approve", &["--all", "--by", "Ada"]), "nothing of it waits for a decision");
    assert!(done(&instance(&folder, "review", &[])).contains("It is complete"));
    let neither = instance(&folder, "approve", &["--by", "Ada"]);
    assert_eq!(neither.status.code(), Some(2), "neither all nor some nor none: {}", stdout(&neither));
}

#[test]
fn a_suspended_campaign_goes_on_when_it_is_resumed_or_run_again() {
    let folder = waiting();
    let answer = done(&instance(&folder, "suspend", &["--reason", "prices change"]));
    assert!(answer.contains("suspended (prices change)"), "{answer}");
    refused(&instance(&folder, "suspend", &[]), "only a running campaign can be suspended");
    done(&instance(&folder, "resume", &[]));
    assert_eq!(status(&folder)["status"]["is"], "running");
    assert_eq!(status(&folder)["refused"][0]["why"], "only a running campaign can be suspended");
    assert!(done(&instance(&folder, "status", &[])).contains("refused"));

    done(&instance(&folder, "suspend", &[]));
    done(&instance(&folder, "approve", &["--all", "--by", "Ada"]));
    let suspended = status(&folder);
    assert_eq!(suspended["status"]["is"], "suspended");
    assert!(suspended["gate"].is_object(), "a decision opens nothing while all is suspended: {suspended}");
    let summary = json(&folder.run(&["--format", "json"]));
    assert_eq!(summary["variants"]["approved"], 20);
    assert_eq!(status(&folder)["status"]["is"], "completed");
}

#[test]
fn a_terminated_campaign_stays_until_it_is_purged_and_only_an_ended_one_is() {
    let folder = waiting();
    refused(&instance(&folder, "purge", &["--yes"]), "has not ended");
    assert_eq!(instance(&folder, "purge", &[]).status.code(), Some(2), "without --yes");
    done(&instance(&folder, "terminate", &["--reason", "no budget"]));
    for verb in ["resume", "rewind", "terminate"] {
        assert_eq!(instance(&folder, verb, &[]).status.code(), Some(2), "{verb}");
    }
    let listed = done(&folder.cpo(&["instance", "list"]));
    assert!(listed.contains(CAMPAIGN) && listed.contains("terminated (no budget)"), "{listed}");
    done(&instance(&folder, "purge", &["--yes"]));
    assert_eq!(folder.written(), Vec::<PathBuf>::new());
    refused(&instance(&folder, "status", &[]), "there is no campaign");
}

#[test]
fn an_unknown_campaign_is_answered_with_those_that_there_are() {
    let folder = waiting();
    refused(&folder.cpo(&["instance", "status", "other"]), "name one of those that there are: first-campaign");
    refused(&folder.cpo(&["instance", "status", "other", "--out", "elsewhere"]), "there is none at all");
    refused(&folder.cpo(&["instance", "list", "--storage", "nonsense"]), "connection string");
}

#[test]
fn a_run_under_way_can_be_looked_at_but_not_purged_or_doubled() {
    let folder = waiting();
    done(&instance(&folder, "terminate", &[]));
    let lock = File::options().write(true).open(folder.path("out/campaigns/.first-campaign.lock")).unwrap();
    lock.lock().unwrap();
    refused(&instance(&folder, "purge", &["--yes"]), "another run of this campaign is under way");
    refused(&folder.run(&[]), "another run of this campaign is under way");
    assert_eq!(status(&folder)["status"]["is"], "terminated");
    drop(lock);
    done(&instance(&folder, "purge", &["--yes"]));
}

#[test]
fn a_complete_campaign_run_again_does_nothing_and_says_the_same() {
    let folder = Folder::new();
    let mut first = json(&folder.run(&["--format", "json"]));
    let before = snapshot(folder.results(""));
    let times = |folder: &Folder| -> Vec<_> {
        let files = files_below(&folder.results(""));
        files
            .iter()
            .filter(|file| !file.ends_with(".state.sqlite"))
            .map(|file| file.metadata().unwrap().modified().unwrap())
            .collect()
    };
    let written = times(&folder);
    let mut again = json(&folder.run(&["--format", "json"]));
    assert_eq!((first["run"].as_str(), again["run"].as_str()), (Some("whole"), Some("earlier")));
    for summary in [&mut first, &mut again] {
        summary.as_object_mut().unwrap().retain(|key, _| key != "seconds" && key != "run");
    }
    assert_eq!(again, first);
    assert_eq!(times(&folder), written);
    let mut after = snapshot(folder.results(""));
    let state = PathBuf::from(".state.sqlite");
    after.insert(state.clone(), before[&state].clone());
    assert_eq!(after, before);
}

#[test]
fn an_id_stands_for_its_inputs_until_they_are_replaced() {
    let complete = Folder::new();
    done(&complete.run(&[]));
    for (folder, when) in [(complete, "run before"), (waiting(), "left unfinished")] {
        let before = snapshot(folder.path("out/campaigns"));
        folder.edit("campaign.toml", "\"Harbour Coffee\"", "\"Harbour Tea\"");
        refused(&folder.run(&[]), &format!("{when} with another campaign file"));
        folder.edit("campaign.toml", "\"Harbour Tea\"", "\"Harbour Coffee\"");
        folder.write("customers.csv", folder.read("customers.csv").replacen(",yes,", ",no,", 1));
        refused(&folder.run(&[]), &format!("{when} with another customer file"));
        let kept = snapshot(folder.path("out/campaigns"));
        let outputs = |files: &BTreeMap<PathBuf, Vec<u8>>| {
            let mut files = files.clone();
            files.retain(|file, _| !file.to_string_lossy().contains(".state.sqlite"));
            files
        };
        assert_eq!(outputs(&kept), outputs(&before));
        done(&folder.run(&["--replace"]));
        assert_eq!(status(&folder)["refused"], Value::Array(Vec::new()));
        let now = done(&folder.run(&[]));
        assert!(!now.contains("another"), "{now}");
    }
}

/// `cpo dev --worker`; ended with the test whatever happens.
struct Worker(Child);

impl Worker {
    fn start(account: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cpo"))
            .args(["dev", "--worker", "--storage", account])
            .env_remove("CPO_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let worker = Self(child);
        assert!(lines.any(|line| line.contains("at work")), "the worker ended");
        // Whatever it says later must not fill the pipe.
        thread::spawn(move || lines.for_each(drop));
        worker
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_campaign_in_a_storage_account_gives_the_deliveries_of_a_local_one_byte_for_byte() {
    let local = Folder::new();
    let local_summary = json(&local.run(&["--format", "json"]));
    let account = azurite::account();
    let mut worker = Worker::start(&account);
    let shared = Folder::new();
    let storage = ["--storage", account.as_str()];
    let summary = json(&shared.run(&[&storage[..], &["--format", "json"]].concat()));
    for part in ["customers", "segments", "variants", "arms"] {
        assert_eq!(summary[part], local_summary[part], "{part}");
    }
    let deliveries = snapshot(local.results("deliveries"));
    assert!(!deliveries.is_empty());
    assert_eq!(snapshot(shared.results("deliveries")), deliveries);
    done(&shared.cpo(&["audit", "verify", "out/campaigns/first-campaign"]));

    // Elsewhere the same command brings the same results, and another one is refused.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(elsewhere.path().join("content")).unwrap();
    for (name, bytes) in snapshot(shared.path("content")) {
        fs::write(elsewhere.path().join("content").join(name), bytes).unwrap();
    }
    for name in ["campaign.toml", "customers.csv"] {
        fs::copy(shared.path(name), elsewhere.path().join(name)).unwrap();
    }
    let run = [&["run", "campaign.toml", "--customers", "customers.csv"], &storage[..]].concat();
    done(&cpo(elsewhere.path(), &run));
    assert_eq!(snapshot(elsewhere.path().join("out/campaigns/first-campaign/deliveries")), deliveries);
    shared.write("customers.csv", shared.read("customers.csv").replacen(",yes,", ",no,", 1));
    refused(&shared.run(&storage), "with another customer file");

    assert!(done(&shared.cpo(&[&["instance", "list"], &storage[..]].concat())).contains("complete"));
    done(&instance(&shared, "purge", &[&storage[..], &["--yes"]].concat()));
    refused(&instance(&shared, "status", &storage), "there is none at all");
    assert!(worker.0.try_wait().unwrap().is_none(), "the worker does not end by itself");
    if cfg!(unix) {
        assert!(Command::new("kill").arg(worker.0.id().to_string()).status().unwrap().success());
        assert!(worker.0.wait().unwrap().success(), "asked to end, it ends in order");
    }
}

#[test]
fn bad_input_leaves_nothing_behind_in_a_storage_account() {
    let account = azurite::account();
    let folder = Folder::new();
    let customers = folder.read("customers.csv").replace(",yes,", ",no,");
    let header = customers.lines().next().unwrap();
    folder.write("nobody.csv", format!("{header}\nC-1,Ann,Plus,7,11,15.37,no,no\n"));
    let storage = ["--storage", account.as_str()];
    refused(&folder.run_customers("nobody.csv", &storage), "none of the 1 customers may be contacted");
    refused(&instance(&folder, "status", &storage), "there is none at all");
    assert_eq!(folder.written(), Vec::<PathBuf>::new());
}
