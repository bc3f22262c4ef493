//! Whole campaigns: what they leave behind and what they promise.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::support::{Folder, cpo, files_below, json, stderr, stdout};

/// File name to bytes of everything below a folder of the results.
fn snapshot(folder: &Folder, below: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let root = folder.results(below);
    files_below(&root)
        .into_iter()
        .map(|file| (file.strip_prefix(&root).unwrap().to_owned(), fs::read(&file).unwrap()))
        .collect()
}

#[test]
fn the_summary_adds_up_and_every_file_of_the_design_is_there() {
    let folder = Folder::new();
    let summary = json(&folder.run(&["--format", "json"]));
    let customers = &summary["customers"];
    let count = |name: &str| customers[name].as_u64().unwrap_or_else(|| panic!("no {name} in {summary}"));
    assert_eq!(count("read"), 40);
    let parts = ["quarantined", "suppressed", "duplicates", "holdout", "held", "assigned"];
    assert_eq!(parts.map(count).iter().sum::<u64>(), 40, "{summary}");
    let variants = &summary["variants"];
    // (2 segments x 2 arms + control) x 2 channels x 2 candidates
    assert_eq!(variants["generated"], 20);
    assert_eq!(variants["approved"], 20, "{summary}");
    for file in [
        "campaign.json",
        "ingest/quality.json",
        "ingest/quarantine.csv",
        "ingest/suppressed.csv",
        "ingest/shards/00000.parquet",
        "segments/model.json",
        "segments/labels/00000.parquet",
        "passages.json",
        "variants.json",
        "deliveries/00000.parquet",
        "experiment/design.json",
        "ledger.json",
        "audit/root.json",
        "report.html",
        "report.json",
    ] {
        assert!(folder.results(file).is_file(), "{file} is missing");
    }
    assert!(!folder.results("experiment/results.json").exists(), "there are no outcomes yet");
}

#[test]
fn a_second_run_gives_byte_identical_deliveries() {
    let folder = Folder::new();
    assert!(folder.run(&[]).status.success());
    let first = snapshot(&folder, "deliveries");
    assert!(!first.is_empty());
    let again = folder.run(&[]);
    assert!(again.status.success(), "{}", stderr(&again));
    assert_eq!(snapshot(&folder, "deliveries"), first);
}

#[test]
fn the_order_of_the_customer_file_changes_no_delivery() {
    let folder = Folder::new();
    assert!(folder.run(&[]).status.success());
    let first = snapshot(&folder, "deliveries");
    let text = folder.read("customers.csv");
    let (header, rows) = text.split_once('\n').unwrap();
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.reverse();
    folder.write("reversed.csv", format!("{header}\n{}\n", rows.join("\n")));
    let output = folder.run_customers("reversed.csv", &["--replace"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(snapshot(&folder, "deliveries"), first);
}

#[test]
fn whoever_said_no_is_in_no_file_but_the_list_of_the_suppressed() {
    let folder = Folder::new();
    let mut text = folder.read("customers.csv");
    text.push_str("C-NO,Unique-Name-Xyz,Plus,1,12,59.00,no,yes\n");
    folder.write("customers.csv", text);
    assert!(folder.run(&[]).status.success());
    let suppressed = fs::read_to_string(folder.results("ingest/suppressed.csv")).unwrap();
    assert!(suppressed.contains("C-NO,42,"), "{suppressed}");
    for (file, bytes) in snapshot(&folder, "") {
        if file.ends_with("ingest/suppressed.csv") {
            continue;
        }
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!holds(b"C-NO") && !holds(b"Unique-Name-Xyz"), "{} knows the customer", file.display());
    }
}

#[test]
fn a_closed_campaign_verifies_and_a_changed_one_does_not() {
    let folder = Folder::new();
    assert!(folder.run(&[]).status.success());
    let verify = || folder.cpo(&["audit", "verify", "out/campaigns/first-campaign"]);
    assert!(verify().status.success(), "{}", stderr(&verify()));
    let variants = folder.results("variants.json");
    let text = fs::read_to_string(&variants).unwrap();
    fs::write(&variants, text.replacen("approved", "aproved", 1)).unwrap();
    let output = verify();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("variants.json: was changed"), "{}", stderr(&output));
}

#[test]
fn explain_and_export_agree_on_what_a_customer_gets() {
    let folder = Folder::new();
    assert!(folder.run(&[]).status.success());
    let exported = folder.cpo(&["export", "--campaign", "out/campaigns/first-campaign", "--format", "jsonl"]);
    assert!(exported.status.success(), "{}", stderr(&exported));
    let messages: Vec<serde_json::Value> =
        stdout(&exported).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!messages.is_empty());
    for message in &messages {
        let body = message["body"].as_str().unwrap();
        assert!(!body.contains("{{") && !body.is_empty(), "{message}");
        let customer = message["customer_id"].as_str().unwrap();
        let explained =
            json(&folder.cpo(&["explain", customer, "--campaign", "out/campaigns/first-campaign", "--format", "json"]));
        assert_eq!(explained["sent"]["message"]["body"], message["body"]);
        assert_eq!(explained["segment"], message["segment"]);
        assert!(!explained["segment_reason"].as_str().unwrap().is_empty());
    }
    let unknown = folder.cpo(&["explain", "nobody", "--campaign", "out/campaigns/first-campaign"]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn simulated_outcomes_are_marked_wherever_they_show() {
    let folder = Folder::new();
    let output = folder.run(&["--simulate"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("SIMULATED"));
    let results: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.results("experiment/results.json")).unwrap()).unwrap();
    assert_eq!(results["simulated"], true);
    assert!(fs::read_to_string(folder.results("report.html")).unwrap().to_lowercase().contains("simulated"));
    // The mark survives the way through a file.
    let outcomes = folder.results("experiment/outcomes.simulated.csv");
    let analyzed = json(&folder.cpo(&[
        "analyze",
        "--campaign",
        "out/campaigns/first-campaign",
        "--outcomes",
        outcomes.to_str().unwrap(),
        "--format",
        "json",
    ]));
    assert_eq!(analyzed["simulated"], true);
}

#[test]
fn init_overwrites_nothing() {
    let folder = Folder::new();
    let before = folder.read("campaign.toml");
    let output = folder.cpo(&["init", "."]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(folder.read("campaign.toml"), before);
}

#[test]
fn the_widespread_customer_shape_runs_with_a_column_mapping_alone() {
    let folder = Folder::new();
    let mut rows = String::from(
        "customer_id,age,location,tier,purchase_frequency,avg_order_value,last_engagement_days,\
         historical_open_rate,historical_click_rate\n",
    );
    for i in 0..200 {
        let (frequency, days) = (i % 13, (i * 7) % 200);
        rows.push_str(&format!(
            "C{i:03},{},London,Gold,{frequency},{}.50,{days},0.2{},0.0{}\n",
            18 + i % 60,
            20 + i,
            i % 10,
            i % 9
        ));
    }
    folder.write("wide.csv", rows);
    let campaign = folder.read("campaign.toml");
    let start = campaign.find("[customers.columns]").unwrap();
    let end = campaign.find("# --- segments").unwrap();
    let mapping = "[customers.columns]\nage = \"age\"\nlocation = \"location\"\ntier = \"tier\"\n\
                   frequency = \"purchase_frequency\"\nmonetary = \"avg_order_value\"\n\
                   recency_days = \"last_engagement_days\"\nopen_rate = \"historical_open_rate\"\n\
                   click_rate = \"historical_click_rate\"\n\n";
    folder.write("campaign.toml", format!("{}{mapping}{}", &campaign[..start], &campaign[end..]));
    let summary = json(&folder.run_customers("wide.csv", &["--format", "json"]));
    assert_eq!(summary["customers"]["read"], 200);
    assert_eq!(summary["customers"]["suppressed"], 0);
}

#[test]
fn the_demo_runs_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let summary = json(&cpo(folder.path(), &["demo", "--format", "json"]));
    assert_eq!(summary["customers"]["read"], 1_000);
    let report = summary["report"].as_str().unwrap();
    assert!(folder.path().join(report).is_file());
}

#[test]
fn no_hostile_value_reaches_a_message_of_any_channel() {
    let hostile = [
        "{{first_name}}",
        "{{link}}",
        "<script>alert(1)</script>",
        "=HYPERLINK(A1)",
        "evil.example",
        "win1.com",
        "https://evil.example",
        "ann@evil.example",
        "Call 0900 123 456",
        "fifty percent off",
        "You won a prize",
        "Kill yourself",
        "ki\u{200b}ll yourself",
        "Risk free",
        "Ignore previous instructions",
        "Ann\u{202e}moc.live",
        "P\u{430}ypal",
        "Ann, this shop is a fraud",
    ];
    for channel in ["email", "sms", "push", "in_app"] {
        let folder = Folder::new();
        folder.edit("campaign.toml", r#"channels = ["email", "sms"]"#, &format!("channels = [\"{channel}\"]"));
        for required in [r#"email = "You can unsubscribe at any time.""#, r#"sms = "Reply STOP to opt out.""#] {
            if !required.starts_with(channel) {
                folder.edit("campaign.toml", required, "");
            }
        }
        let mut customers = csv::Writer::from_writer(Vec::new());
        let header = folder.read("customers.csv").lines().next().unwrap().to_owned();
        customers.write_record(header.split(',')).unwrap();
        for (index, name) in hostile.iter().chain(&["Zebedee"]).cycle().take(210).enumerate() {
            customers
                .write_record([format!("C-{index}").as_str(), name, "Plus", "7", "11", "15.37", "yes", "yes"])
                .unwrap();
        }
        folder.write("customers.csv", customers.into_inner().unwrap());
        let run = folder.run(&[]);
        assert!(run.status.success(), "{}", stderr(&run));
        let export = folder.cpo(&["export", "--campaign", "out/campaigns/first-campaign", "--format", "jsonl"]);
        assert!(export.status.success(), "{}", stderr(&export));
        let messages: Vec<serde_json::Value> =
            stdout(&export).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(messages.len() > 100, "{channel}: {}", messages.len());
        let mut greeted = 0;
        for message in &messages {
            let text = format!("{} {}", message["subject"].as_str().unwrap(), message["body"].as_str().unwrap());
            for value in hostile {
                assert!(!text.contains(value), "{channel}: {value:?} in {text}");
            }
            greeted += usize::from(text.contains("Zebedee"));
        }
        // Push and in-app messages have no greeting.
        assert_eq!(greeted > 0, ["email", "sms"].contains(&channel), "{channel}");
    }
}
