//! What a run leaves behind, recomputed from the files by other means than the program's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use cpo::{
    agents::segmentation::Model,
    domain::customer::{Shard, ShardId},
    store::table,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{Folder, cpo, files_below, json, stderr, stdout};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/samples");

/// The sample campaign, run once for all tests, in the folder that Cargo keeps for them.
struct Run {
    folder: PathBuf,
    summary: Value,
}

static DEMO: LazyLock<Run> = LazyLock::new(|| {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("verified");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).unwrap();
    let (campaign, customers) = (format!("{SAMPLES}/campaign.toml"), format!("{SAMPLES}/customers.csv"));
    let arguments = ["run", &campaign, "--customers", &customers, "--format", "json"];
    let summary = json(&cpo(&out, &arguments));
    Run { folder: out.join("out/campaigns/winter-table"), summary }
});

impl Run {
    fn json(&self, name: &str) -> Value {
        read_json(&self.folder.join(name))
    }
}

fn read_json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A row by column; a column without a value is absent.
type Row = BTreeMap<String, String>;

/// All tables of a folder, in order.
fn tables(folder: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for file in files_below(folder) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(file).unwrap()).unwrap().build().unwrap();
        for batch in reader.map(Result::unwrap) {
            let first = rows.len();
            rows.resize(first + batch.num_rows(), Row::new());
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                let texts = arrow_cast::cast(column, &arrow_schema::DataType::Utf8).unwrap();
                let texts = arrow_array::cast::AsArray::as_string::<i32>(&texts).clone();
                for (row, text) in texts.iter().enumerate() {
                    rows[first + row].extend(text.map(|text| (field.name().clone(), text.to_owned())));
                }
            }
        }
    }
    rows
}

/// What must become of the sample's customers, by the words of its campaign file.
#[derive(Default)]
struct Expected {
    read: u64,
    /// Lines.
    quarantined: BTreeSet<u64>,
    duplicates: u64,
    /// By id: line and reason.
    suppressed: BTreeMap<String, (u64, String)>,
    contactable: BTreeMap<String, Row>,
}

fn expected() -> Expected {
    let list = fs::read_to_string(format!("{SAMPLES}/suppressed.csv")).unwrap();
    let listed: BTreeSet<&str> = list.lines().skip(1).collect();
    let mut expected = Expected::default();
    let mut rows: BTreeMap<String, Vec<(u64, Row)>> = BTreeMap::new();
    let mut file = csv::Reader::from_path(format!("{SAMPLES}/customers.csv")).unwrap();
    for (line, row) in (2..).zip(file.deserialize::<Row>()) {
        let row = row.unwrap();
        expected.read += 1;
        let age_fits = row["age"].parse().is_ok_and(|age: u32| age <= 130);
        if row["customer_id"].is_empty() || !age_fits || row["orders_12m"].parse::<u32>().is_err() {
            expected.quarantined.insert(line);
        } else {
            rows.entry(row["customer_id"].clone()).or_default().push((line, row));
        }
    }
    for (customer, rows) in rows {
        expected.duplicates += rows.len() as u64 - 1;
        let refusal = |row: &Row| {
            if listed.contains(customer.as_str()) {
                Some("on the suppression list")
            } else if row["marketing_opt_in"] != "yes" {
                Some("no consent")
            } else {
                (row["email_opt_in"] != "yes" && row["sms_opt_in"] != "yes").then_some("no permitted channel")
            }
        };
        let own = refusal(&rows[0].1).map(str::to_owned);
        let other =
            || rows.iter().find_map(|(_, row)| Some(format!("another row of this customer: {}", refusal(row)?)));
        match own.or_else(other) {
            Some(reason) => drop(expected.suppressed.insert(customer, (rows[0].0, reason))),
            None => {
                let mut kept = rows[0].1.clone();
                for channel in ["email_opt_in", "sms_opt_in"] {
                    if rows.iter().any(|(_, row)| row[channel] != "yes") {
                        kept.insert(channel.to_owned(), "no".to_owned());
                    }
                }
                expected.contactable.insert(customer, kept);
            }
        }
    }
    expected
}

fn segment(customer: &Row) -> &'static str {
    let number = |column: &str| customer[column].parse::<u32>().unwrap();
    let (orders, days) = (number("orders_12m"), number("days_since_order"));
    match customer["favourite"].as_str() {
        _ if customer["tier"] == "Gold" && orders >= 4 => "Gold Regulars",
        _ if orders <= 1 && days <= 90 => "New Friends",
        _ if days > 180 => "Resting Customers",
        "bakeware" => "Bakers",
        "tea" => "Tea Drinkers",
        _ => "Table Setters",
    }
}

/// The Python lines of the assignment's documentation.
fn point(salt: &str, segment: &str, customer: &str) -> f64 {
    let mut bytes = Vec::new();
    for text in ["cpo/assign/1", salt, segment, customer] {
        bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    let first: [u8; 8] = Sha256::digest(bytes)[..8].try_into().unwrap();
    (u64::from_be_bytes(first) >> 11) as f64 / 2f64.powi(53)
}

fn counted<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeMap<T, u64> {
    let mut counts = BTreeMap::new();
    items.into_iter().for_each(|item| *counts.entry(item).or_default() += 1);
    counts
}

fn numbers(object: &Value) -> BTreeMap<&str, u64> {
    object.as_object().unwrap().iter().map(|(name, count)| (name.as_str(), count.as_u64().unwrap())).collect()
}

#[test]
fn every_row_of_the_customer_file_is_counted_once_and_as_the_campaign_file_says() {
    let expected = expected();
    let (suppressed, contactable) = (expected.suppressed.len() as u64, expected.contactable.len() as u64);
    let quarantined = expected.quarantined.len() as u64;
    let rows = DEMO.json("ingest/quality.json")["rows"].clone();
    let counts = [
        ("read", expected.read),
        ("quarantined", quarantined),
        ("suppressed", suppressed),
        ("duplicates", expected.duplicates),
        ("contactable", contactable),
    ];
    assert_eq!(numbers(&rows), counts.into());
    // What the sample is made to show must be in it.
    assert!(counts.iter().all(|(_, count)| *count > 0), "{counts:?}");

    let lines = |name: &str| csv::Reader::from_path(DEMO.folder.join(name)).unwrap().into_deserialize::<Row>();
    let bad: BTreeSet<u64> = lines("ingest/quarantine.csv").map(|row| row.unwrap()["line"].parse().unwrap()).collect();
    assert_eq!(bad, expected.quarantined);
    let listed: BTreeMap<_, _> = lines("ingest/suppressed.csv")
        .map(|row| row.unwrap())
        .map(|row| (row["customer_id"].clone(), (row["line"].parse().unwrap(), row["reason"].clone())))
        .collect();
    assert_eq!(listed, expected.suppressed);

    let shards: Vec<_> = tables(&DEMO.folder.join("ingest/shards"));
    assert_eq!(
        shards.iter().map(|row| &row["customer_id"]).collect::<Vec<_>>(),
        Vec::from_iter(expected.contactable.keys())
    );

    let deliveries = tables(&DEMO.folder.join("deliveries"));
    let statuses = counted(deliveries.iter().map(|row| row["status"].as_str()));
    let status = |name: &str| statuses.get(name).copied().unwrap_or(0);
    let summary = [
        ("read", expected.read),
        ("quarantined", quarantined),
        ("suppressed", suppressed),
        ("duplicates", expected.duplicates),
        ("holdout", status("holdout")),
        ("held", status("held")),
        ("assigned", status("assigned") + status("fallback")),
    ];
    assert_eq!(numbers(&DEMO.summary["customers"]), summary.into());
    assert_eq!(summary[1..].iter().map(|(_, count)| count).sum::<u64>(), expected.read);
    let funnel = &DEMO.json("report.json")["funnel"];
    for (name, count) in summary {
        let told = match &funnel[name] {
            Value::Array(reasons) => reasons.iter().map(|reason| reason["customers"].as_u64().unwrap()).sum(),
            count => count.as_u64().unwrap(),
        };
        assert_eq!(told + if name == "assigned" { status("fallback") } else { 0 }, count, "{name}");
    }
}

#[test]
fn every_customers_segment_arm_channel_variant_and_message_follow_from_the_published_rules() {
    let expected = expected().contactable;
    let design = DEMO.json("experiment/design.json");
    let variants = DEMO.json("variants.json")["variants"].as_array().unwrap().clone();
    let campaign = DEMO.json("campaign.json")["campaign"].clone();
    let fallback = |slot: &str| campaign["generation"]["slots"][slot]["fallback"].as_str().unwrap().to_owned();
    let exported = cpo(Path::new("."), &["export", "--format", "jsonl", "--campaign", DEMO.folder.to_str().unwrap()]);
    let exported: BTreeMap<String, Value> = stdout(&exported)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|message| (message["customer_id"].as_str().unwrap().to_owned(), message))
        .collect();
    let labels = tables(&DEMO.folder.join("segments/labels"));
    let deliveries = tables(&DEMO.folder.join("deliveries"));
    assert_eq!((labels.len(), deliveries.len()), (expected.len(), expected.len()));

    let (mut cells, mut sent, mut hostile) = (Vec::new(), 0, 0);
    for ((id, customer), (label, delivery)) in expected.iter().zip(labels.iter().zip(&deliveries)) {
        assert_eq!((&label["customer_id"], &delivery["customer_id"]), (id, id));
        let segment = segment(customer);
        assert_eq!((label["segment"].as_str(), delivery["segment"].as_str()), (segment, segment), "{id}");

        let point = point(design["salt"].as_str().unwrap(), segment, id);
        let mut end = 0.0;
        let arm = design["arms"].as_array().unwrap().iter().find(|arm| {
            end += arm["share"].as_f64().unwrap();
            point < end
        });
        let arm = arm.unwrap()["name"].as_str().unwrap();
        assert_eq!(delivery["arm"], arm, "{id}");
        cells.push((segment, arm));
        if arm == "holdout" {
            assert!(!delivery.contains_key("variant") && !exported.contains_key(id));
            continue;
        }

        let permits = |channel: &str| customer[&format!("{channel}_opt_in")] == "yes";
        let preferred = customer["preferred_channel"].as_str();
        let channel =
            if permits(preferred) { preferred } else { ["email", "sms"].into_iter().find(|c| permits(c)).unwrap() };
        assert_eq!(delivery["channel"], channel, "{id}");
        let in_cell = |variant: &&Value| {
            let cell = &variant["cell"];
            let of_segment = if arm == "control" { cell["segment"].is_null() } else { cell["segment"] == segment };
            of_segment
                && cell["arm"] == arm
                && cell["channel"] == channel
                && variant["verdict"]["decision"] == "approved"
        };
        let variant = variants.iter().find(in_cell).unwrap();
        assert_eq!(variant["id"].as_str(), delivery.get("variant").map(String::as_str), "{id}");

        // Names in the sample are letters, blanks, hyphens and apostrophes, or somebody's mischief.
        let name = customer["first_name"].as_str();
        let is_name = !name.contains([':', '.', '<', '=', '(']) && !name.contains("instructions");
        hostile += u32::from(!is_name);
        let name = if name.is_empty() || !is_name { fallback("first_name") } else { name.to_owned() };
        let fill = |text: &Value| {
            let text = text.as_str().unwrap_or_default();
            text.replace("{{first_name}}", &name).replace("{{link}}", &fallback("link"))
        };
        let message = &exported[id];
        assert_eq!(message["body"], fill(&variant["message"]["body"]), "{id}");
        assert_eq!(message["subject"], fill(&variant["message"]["subject"]), "{id}");
        sent += 1;
    }
    assert_eq!(exported.len(), sent);
    assert!(hostile > 0, "the sample has hostile names");

    let report = DEMO.json("report.json");
    let assigned: BTreeMap<_, _> = report["assigned"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| {
            ((cell["segment"].as_str().unwrap(), cell["arm"].as_str().unwrap()), cell["customers"].as_u64().unwrap())
        })
        .filter(|(_, customers)| *customers > 0)
        .collect();
    assert_eq!(assigned, counted(cells.iter().copied()));
    assert_eq!(numbers(&DEMO.summary["segments"]), counted(cells.iter().map(|(segment, _)| *segment)));
    let arms = counted(cells.iter().map(|(_, arm)| *arm).filter(|arm| *arm != "holdout"));
    assert_eq!(numbers(&DEMO.summary["arms"]), arms);
}

#[test]
fn every_claim_stands_in_its_message_and_every_quote_in_its_passage_to_the_character() {
    let files: BTreeSet<String> = files_below(Path::new(&format!("{SAMPLES}/content")))
        .iter()
        .map(|file| sha256(fs::read(file).unwrap()))
        .collect();
    let report = DEMO.json("report.json");
    let mut passages = BTreeMap::new();
    for document in report["sources"]["used"].as_array().unwrap() {
        assert!(files.contains(document["digest"].as_str().unwrap()), "{}", document["id"]);
        let mut end = 0;
        for passage in document["passages"].as_array().unwrap() {
            let text = passage["text"].as_str().unwrap();
            let range = [&passage["start"], &passage["end"]].map(|place| place.as_u64().unwrap() as usize);
            assert!(range[0] >= end && range[1] - range[0] == text.chars().count(), "{}", passage["id"]);
            end = range[1];
            assert_eq!(passage["version"], sha256(text));
            passages.insert(passage["id"].as_str().unwrap(), passage);
        }
    }
    let part = |text: &Value, of: &Value| -> String {
        let place = |name: &str| of[name].as_u64().unwrap() as usize;
        text.as_str().unwrap().chars().skip(place("start")).take(place("end") - place("start")).collect()
    };
    let variants = DEMO.json("variants.json");
    let mut claims = 0;
    for variant in variants["variants"].as_array().unwrap() {
        for claim in variant["claims"].as_array().unwrap() {
            let field = &variant["message"][claim["span"]["field"].as_str().unwrap()];
            assert_eq!(claim["text"], part(field, &claim["span"]), "{}", variant["id"]);
            let citation = &claim["citation"];
            let passage = passages[citation["passage"].as_str().unwrap()];
            assert_eq!(citation["version"], passage["version"]);
            assert_eq!(citation["quote"], part(&passage["text"], citation), "{}", variant["id"]);
            claims += 1;
        }
    }
    assert!(claims > 100, "{claims}");
}

/// The recursion of RFC 6962, 2.1.
fn tree_hash(leaves: &[Vec<u8>]) -> Vec<u8> {
    match leaves {
        [] => Sha256::digest([]).to_vec(),
        [leaf] => Sha256::digest([&[0], leaf.as_slice()].concat()).to_vec(),
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Sha256::digest([vec![1], tree_hash(left), tree_hash(right)].concat()).to_vec()
        }
    }
}

#[test]
fn the_audit_the_checksums_and_the_inputs_digests_are_what_anybody_computes() {
    let root = DEMO.json("audit/root.json");
    let (mut leaves, mut covered) = (Vec::new(), BTreeMap::new());
    for head in root["segments"].as_array().unwrap() {
        let name = head["name"].as_str().unwrap();
        let start = format!("{}|{name}", root["campaign"].as_str().unwrap());
        let mut chain = Sha256::digest(start).to_vec();
        let segment = DEMO.json(&format!("audit/segments/{name}.json"));
        let entries = segment["entries"].as_array().unwrap();
        for entry in entries {
            let path = entry["path"].as_str().unwrap();
            let bytes = fs::read(DEMO.folder.join(path)).unwrap();
            assert_eq!((entry["bytes"].as_u64(), &entry["sha256"]), (Some(bytes.len() as u64), &sha256(&bytes).into()));
            chain = Sha256::digest([chain, path.into(), vec![0], unhex(&sha256(&bytes))].concat()).to_vec();
            assert_eq!(entry["chain"], hex(&chain));
            covered.insert(path.to_owned(), sha256(&bytes));
        }
        assert_eq!((&head["head"], head["entries"].as_u64()), (&hex(&chain).into(), Some(entries.len() as u64)));
        leaves.push([name.as_bytes(), &[0], &chain, &(entries.len() as u64).to_be_bytes()].concat());
    }
    assert_eq!(root["root"], hex(&tree_hash(&leaves)));

    let html = fs::read_to_string(DEMO.folder.join("report.html")).unwrap().replace("&#x2f;", "/");
    let (_, block) = html.split_once("<pre>\n").unwrap();
    let sums: BTreeMap<String, String> = block
        .lines()
        .map_while(|line| line.split_once("  "))
        .map(|(digest, path)| (path.to_owned(), digest.to_owned()))
        .collect();
    assert_eq!(sums, covered);
    let uncovered: Vec<_> = files_below(&DEMO.folder)
        .into_iter()
        .map(|file| file.strip_prefix(&DEMO.folder).unwrap().to_str().unwrap().to_owned())
        .filter(|path| !covered.contains_key(path) && !path.starts_with("audit/"))
        .collect();
    assert_eq!(uncovered, [".state.sqlite", "report.html", "report.json"]);

    let frozen = DEMO.json("campaign.json");
    for (name, file) in [("customers", "customers.csv"), ("suppression", "suppressed.csv")] {
        assert_eq!(frozen[name], sha256(fs::read(format!("{SAMPLES}/{file}")).unwrap()), "{name}");
    }
}

/// Saves the checksums as the report says, and verifies afterwards as the report's reader would.
#[test]
fn the_reports_way_to_verify_does_not_break_the_audit() {
    let folder = Folder::new();
    assert!(folder.run(&[]).status.success());
    fs::write(folder.results("SHA256SUMS"), "").unwrap();
    let verified = folder.cpo(&["audit", "verify", "out/campaigns/first-campaign"]);
    assert!(verified.status.success(), "{}", stderr(&verified));
}

#[test]
fn explain_tells_of_everybody_what_the_files_say() {
    let folder = DEMO.folder.to_str().unwrap();
    let explain =
        |customer: &str| json(&cpo(Path::new("."), &["explain", customer, "--campaign", folder, "--format", "json"]));
    let labels = tables(&DEMO.folder.join("segments/labels"));
    let deliveries = tables(&DEMO.folder.join("deliveries"));
    for (label, delivery) in labels.iter().zip(&deliveries).step_by(53) {
        let told = explain(&delivery["customer_id"]);
        assert_eq!(told["segment_reason"], label["reason"]);
        for column in ["segment", "arm", "status", "channel", "locale", "reason"] {
            assert_eq!(told.get(column).and_then(Value::as_str), delivery.get(column).map(String::as_str), "{column}");
        }
        assert_eq!(told["sent"]["variant"].as_str(), delivery.get("variant").map(String::as_str));
    }
    for (customer, (line, reason)) in expected().suppressed.into_iter().step_by(41) {
        let told = explain(&customer);
        assert_eq!((&told["line"], &told["reason"]), (&line.to_string().into(), &reason.into()), "{customer}");
    }
}

/// What must not depend on how the customers were written down. Shards do: they name the line a customer stood on.
fn outcome(folder: &Folder) -> Vec<(PathBuf, Vec<u8>)> {
    let results =
        ["deliveries", "segments", "experiment", "variants.json", "passages.json"].map(|it| folder.results(it));
    let files = results.iter().flat_map(|path| if path.is_dir() { files_below(path) } else { vec![path.clone()] });
    files.map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// 12,000 customers, of whom more than a shard may be contacted, with every RFM value, one in nine of them missing.
fn shop() -> Vec<Row> {
    let row = |i: u64| {
        let value = |salt: u64, range: u64| ((16 * i + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % range;
        let days = if value(1, 9) == 0 { String::new() } else { value(2, 400).to_string() };
        [
            ("customer_id", format!("K-{i}")),
            ("first_name", ["Ann", "José", "", "李雷"][value(3, 4) as usize].to_owned()),
            ("days_since_order", days),
            ("orders_12m", value(4, 12).to_string()),
            ("avg_order_value", format!("{}.{:02}", value(5, 200), value(6, 100))),
            ("tier", ["Basic", "Plus"][value(7, 2) as usize].to_owned()),
            ("marketing_opt_in", ["yes", "yes", "yes", "no"][value(8, 4) as usize].to_owned()),
            ("sms_opt_in", ["yes", "no"][value(9, 2) as usize].to_owned()),
        ]
        .map(|(column, text)| (column.to_owned(), text))
        .into()
    };
    (0..12_000).map(row).collect()
}

fn csv_of(rows: &[Row], delimiter: u8) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    writer.write_record(rows[0].keys()).unwrap();
    rows.iter().for_each(|row| writer.write_record(row.values()).unwrap());
    writer.into_inner().unwrap()
}

fn with_method(method: &str) -> Folder {
    let folder = Folder::new();
    let campaign = folder.read("campaign.toml");
    let (before, rest) = campaign.split_once("[segmentation]").unwrap();
    let (_, after) = rest.split_once("[content]").unwrap();
    folder.write("campaign.toml", format!("{before}[segmentation]\n{method}\n[content]{after}"));
    folder
}

#[test]
fn order_and_format_of_the_customer_file_change_neither_model_nor_labels_nor_messages_nor_deliveries() {
    let rows = shop();
    let backwards: Vec<Row> = rows.iter().rev().cloned().collect();
    let jsonl: Vec<String> = rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect();
    for method in
        ["method = \"rfm\"", "method = \"kmeans\"\nmax_clusters = 3\nfeatures = [\"frequency\", \"monetary\"]"]
    {
        let folder = with_method(method);
        folder.write("all.csv", csv_of(&rows, b','));
        let output = folder.run_customers("all.csv", &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        let first = outcome(&folder);
        assert!(first.len() > 6, "more than one shard");
        folder.write("backwards.csv", csv_of(&backwards, b';'));
        folder.write("all.jsonl", jsonl.join("\n"));
        folder.write("all.csv.zst", zstd::encode_all(&csv_of(&rows, b'|')[..], 1).unwrap());
        for file in ["backwards.csv", "all.jsonl", "all.csv.zst"] {
            let output = folder.run_customers(file, &["--replace"]);
            assert!(output.status.success(), "{}", stderr(&output));
            assert!(outcome(&folder) == first, "{file} changed the outcome of {method}");
        }
    }
}

#[test]
fn a_model_read_back_from_its_file_labels_every_customer_alone_as_the_run_did() {
    for method in ["method = \"rfm\"", "method = \"kmeans\"\nmax_clusters = 3"] {
        let folder = with_method(method);
        folder.write("all.csv", csv_of(&shop(), b','));
        assert!(folder.run_customers("all.csv", &[]).status.success());
        let model: Model = serde_json::from_slice(&fs::read(folder.results("segments/model.json")).unwrap()).unwrap();
        let labels = tables(&folder.results("segments/labels"));
        let mut labels = labels.iter();
        for (id, file) in (0..).map(ShardId).zip(files_below(&folder.results("ingest/shards"))) {
            let rows = table::decode(fs::read(file).unwrap()).unwrap();
            for row in 0..rows.num_rows() {
                let label = labels.next().unwrap();
                let found = model.label(&Shard { id, rows: rows.slice(row, 1) });
                assert_eq!(model.segments()[usize::from(found.segments[0])].name.as_str(), label["segment"]);
                assert_eq!(found.reasons[found.reason_of[0] as usize], label["reason"]);
            }
        }
        assert_eq!(labels.next(), None);
    }
}

#[test]
fn another_suppression_list_is_another_input() {
    let folder = Folder::new();
    folder.edit("campaign.toml", "# suppression =", "suppression =");
    folder.write("suppressed.csv", "C-001\n");
    assert!(folder.run(&[]).status.success());
    assert!(folder.run(&[]).status.success(), "the same list is the same input");
    folder.write("suppressed.csv", "C-001\nC-002\n");
    let refused = folder.run(&[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("another suppression list"), "{}", stderr(&refused));
    assert!(folder.run(&["--replace"]).status.success());
}

/// The earlier run is made one of long ago; a campaign file without a date means today.
#[test]
fn a_replaced_run_is_judged_for_its_own_day() {
    let folder = Folder::new();
    assert!(folder.run(&[]).status.success());
    let date = || read_json(&folder.results("campaign.json"))["campaign"]["campaign"]["date"].clone();
    let today = date();
    let mut frozen = read_json(&folder.results("campaign.json"));
    frozen["campaign"]["campaign"]["date"] = "2001-02-03".into();
    fs::write(folder.results("campaign.json"), frozen.to_string()).unwrap();
    assert!(folder.run(&["--replace"]).status.success());
    assert!(date().as_str() >= today.as_str(), "{} instead of {today}", date());
}
