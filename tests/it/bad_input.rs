//! Every bad input ends with exit code 2, a message that names file, line and remedy, and nothing half-written.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use crate::support::{Folder, stderr};

/// Runs the spoilt folder and checks what must always hold; `said` are parts of the message.
fn refused(folder: &Folder, customers: &str, said: &[&str]) {
    let output = folder.run_customers(customers, &[]);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for part in said {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    assert!(message.contains("fix: "), "no remedy in: {message}");
    assert!(output.stdout.is_empty(), "a result was printed");
    assert_eq!(folder.written(), Vec::<std::path::PathBuf>::new(), "something was left behind");
}

fn customers(bytes: impl AsRef<[u8]>, said: &[&str]) {
    let folder = Folder::new();
    folder.write("bad.csv", bytes);
    refused(&folder, "bad.csv", said);
}

fn campaign_file(from: &str, to: &str, said: &[&str]) {
    let folder = Folder::new();
    folder.edit("campaign.toml", from, to);
    refused(&folder, "customers.csv", said);
}

/// The 1-based line of `text` in the starter's campaign file, as messages write it.
fn line_of(text: &str) -> String {
    let position = Folder::new().read("campaign.toml").lines().position(|line| line.contains(text)).unwrap();
    format!("campaign.toml:{}", position + 1)
}

#[test]
fn an_empty_customer_file() {
    customers("", &["bad.csv", "empty"]);
}

#[test]
fn a_header_and_no_customer() {
    let header = Folder::new().read("customers.csv").lines().next().unwrap().to_owned();
    customers(header + "\n", &["bad.csv", "no customer"]);
}

#[test]
fn the_wrong_delimiter() {
    let folder = Folder::new();
    folder.edit("campaign.toml", "# delimiter = \";\"", "delimiter = \";\"");
    refused(&folder, "customers.csv", &["customers.csv:1", "delimiter", "divided by \",\""]);
}

#[test]
fn binary_junk() {
    let junk: Vec<u8> = (0..20_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    customers(junk, &["bad.csv"]);
}

#[test]
fn a_line_of_a_gigabyte_is_refused_after_its_first_mebibyte() {
    let folder = Folder::new();
    let header = folder.read("customers.csv").lines().next().unwrap().to_owned();
    let mut run = Command::new(env!("CARGO_BIN_EXE_cpo"))
        .current_dir(folder.path(""))
        .args(["run", "campaign.toml", "--customers", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = run.stdin.take().unwrap();
    writeln!(input, "{header}").unwrap();
    let chunk = vec![b'a'; 1 << 16];
    // The program stops reading long before the end, which breaks the pipe.
    let taken = (0..1 << 14).take_while(|_| input.write_all(&chunk).is_ok()).count();
    drop(input);
    let output = run.wait_with_output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("/dev/stdin:2") && message.contains("1 MiB") && message.contains("fix: "), "{message}");
    assert!(taken < 1 << 10, "{taken} chunks of 64 KiB were read");
    assert_eq!(folder.written(), Vec::<std::path::PathBuf>::new(), "something was left behind");
}

#[test]
fn a_gigabyte_of_zeros() {
    let folder = Folder::new();
    // Sparse: it takes no room on the disk.
    fs::File::create(folder.path("bad.csv")).unwrap().set_len(1 << 30).unwrap();
    refused(&folder, "bad.csv", &["bad.csv:1", "binary"]);
}

#[test]
fn a_quote_that_is_never_closed() {
    let folder = Folder::new();
    let mut text = folder.read("customers.csv").replacen("C-003", "\"C-003", 1);
    let row = text.lines().last().unwrap().to_owned() + "\n";
    text.push_str(&row.repeat(60_000));
    folder.write("bad.csv", text);
    refused(&folder, "bad.csv", &["bad.csv:4", "1 MiB"]);
}

#[test]
fn a_mapped_column_that_is_not_there() {
    let folder = Folder::new();
    let text = folder.read("customers.csv").replacen("orders_12m", "orders", 1);
    folder.write("bad.csv", text);
    refused(&folder, "bad.csv", &["bad.csv:1", "orders_12m", "orders"]);
}

#[test]
fn a_mapping_to_nothing() {
    campaign_file("monetary = \"avg_order_value\"", "monetary = \"\"", &["customers.columns.monetary"]);
}

#[test]
fn too_many_bad_rows() {
    let folder = Folder::new();
    let text = folder.read("customers.csv").replace(",yes,yes", ",perhaps,yes");
    folder.write("bad.csv", text);
    refused(&folder, "bad.csv", &["bad.csv", "max_bad_share", "marketing_opt_in", "line 4"]);
}

#[test]
fn a_file_cut_short() {
    let folder = Folder::new();
    let mut gzip = Vec::new();
    let mut encoder = flate2::write::GzEncoder::new(&mut gzip, flate2::Compression::default());
    encoder.write_all(folder.read("customers.csv").repeat(50).as_bytes()).unwrap();
    encoder.finish().unwrap();
    folder.write("bad.csv.gz", &gzip[..gzip.len() / 2]);
    refused(&folder, "bad.csv.gz", &["bad.csv.gz", "cut short"]);
}

#[test]
fn no_customer_file_and_no_campaign_file() {
    let folder = Folder::new();
    refused(&folder, "missing.csv", &["missing.csv"]);
    fs::remove_file(folder.path("campaign.toml")).unwrap();
    refused(&folder, "customers.csv", &["campaign.toml", "cpo init"]);
}

#[test]
fn a_rule_that_can_never_match() {
    let line = line_of("when = \"frequency");
    campaign_file(
        "frequency >= 4.0 && recency_days <= 60.0",
        "frequency >= 4.0 && frequency < 4.0",
        &[&line, "Regulars", "can never"],
    );
}

#[test]
fn a_rule_that_earlier_rules_leave_nothing_to() {
    let folder = Folder::new();
    folder.edit(
        "campaign.toml",
        "[[segmentation.rules]]\nname = \"Everyone else\"",
        "[[segmentation.rules]]\nname = \"Frequent\"\nwhen = \"frequency >= 6.0 && recency_days < 30.0\"\n\n\
         [[segmentation.rules]]\nname = \"Everyone else\"",
    );
    refused(&folder, "customers.csv", &["campaign.toml:", "Frequent", "Regulars"]);
}

#[test]
fn overlapping_rules_where_they_are_refused() {
    let folder = Folder::new();
    folder.edit("campaign.toml", "overlap = \"first_wins\"", "overlap = \"refuse\"");
    folder.edit(
        "campaign.toml",
        "[[segmentation.rules]]\nname = \"Everyone else\"",
        "[[segmentation.rules]]\nname = \"Big baskets\"\nwhen = \"monetary > 50.0\"\n\n\
         [[segmentation.rules]]\nname = \"Everyone else\"",
    );
    refused(&folder, "customers.csv", &["campaign.toml:", "Big baskets", "Regulars"]);
}

#[test]
fn a_rule_about_an_unknown_attribute_or_of_the_wrong_type() {
    let line = line_of("when = \"frequency");
    campaign_file("frequency >= 4.0", "freqency >= 4.0", &[&line, "Regulars", "freqency", "frequency"]);
    campaign_file("frequency >= 4.0", "tier >= 4.0", &[&line, "Regulars", "tier", "text"]);
    campaign_file("frequency >= 4.0", "frequency >= ", &[&line, "Regulars"]);
}

#[test]
fn no_approved_content() {
    let folder = Folder::new();
    for file in ["house-blend.md", "brewing-guide.md", "delivery.md"] {
        folder.edit(&format!("content/{file}"), "status: approved", "status: draft");
    }
    // What is left is for the regulars alone.
    refused(&folder, "customers.csv", &["no approved content", "Everyone else"]);

    folder.edit("content/regulars-refill.md", "status: approved", "status: draft");
    refused(&folder, "customers.csv", &["content", "approved"]);

    for file in fs::read_dir(folder.path("content")).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    refused(&folder, "customers.csv", &["content"]);
}

#[test]
fn nobody_who_may_be_contacted() {
    let folder = Folder::new();
    let ids: String = (1..=40).map(|i| format!("C-{i:03}\n")).collect();
    folder.write("suppressed.csv", ids);
    folder.edit("campaign.toml", "# suppression", "suppression");
    refused(&folder, "customers.csv", &["customers.csv", "suppression list"]);
}

#[test]
fn an_output_folder_that_cannot_be_written() {
    let folder = Folder::new();
    folder.write("out", "a file where a folder should be");
    let output = folder.run(&[]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("fix: "), "{}", stderr(&output));
    assert_eq!(folder.read("out"), "a file where a folder should be");
}

#[test]
fn an_unknown_key_or_a_value_of_the_wrong_type() {
    let line = line_of("max_bad_share");
    campaign_file("max_bad_share", "max_bad_shares", &[&line, "max_bad_shares"]);
    let line = line_of("control = 0.30");
    campaign_file("control = 0.30", "control = 1.5", &[&line, "0 to 1"]);
}

#[test]
fn an_unknown_tone() {
    let line = line_of("tone = \"concise\"");
    campaign_file("tone = \"concise\"", "tone = \"piratical\"", &[&line, "piratical", "friendly"]);
}

#[test]
fn another_campaign_file_under_the_same_id() {
    let folder = Folder::new();
    assert!(folder.run(&[]).status.success());
    let before = fs::read(folder.results("variants.json")).unwrap();
    folder.edit("campaign.toml", "control = 0.30", "control = 0.20");
    let output = folder.run(&[]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("--replace"), "{}", stderr(&output));
    assert_eq!(fs::read(folder.results("variants.json")).unwrap(), before);
    assert!(folder.run(&["--replace"]).status.success());
}

#[test]
fn a_date_as_toml_writes_it() {
    let folder = Folder::new();
    folder.edit("campaign.toml", "# date = \"2026-11-22\"", "date = 2026-11-22");
    assert!(folder.run(&[]).status.success());
}

#[test]
fn a_campaign_file_without_an_end_or_not_in_utf_8() {
    let folder = Folder::new();
    #[cfg(unix)]
    {
        let output = folder.cpo(&["run", "/dev/zero", "--customers", "customers.csv"]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    }
    let text = folder.read("campaign.toml").replace("Autumn", "Fr\u{fc}hling");
    folder.write("campaign.toml", text.chars().map(|c| c as u8).collect::<Vec<_>>());
    refused(&folder, "customers.csv", &[&line_of("name = \"Autumn"), "UTF-8"]);
}

#[test]
fn a_first_customer_in_the_place_of_the_header() {
    let folder = Folder::new();
    let text = folder.read("customers.csv");
    let (_, rows) = text.split_once('\n').unwrap();
    folder.write("bad.csv", rows);
    refused(&folder, "bad.csv", &["bad.csv:1", "none of the mapped columns", "header"]);
    let message = stderr(&folder.run_customers("bad.csv", &[]));
    assert!(rows.lines().next().unwrap().split(',').all(|value| !message.contains(&format!("`{value}`"))), "{message}");
}

#[test]
fn outcomes_without_a_header_or_of_other_customers() {
    let folder = Folder::new();
    assert!(folder.run(&[]).status.success());
    for (outcomes, said) in
        [("C-003,1\nC-004,0\n", "header"), ("customer_id,conversion\nX-003,1\n", "none of the customers")]
    {
        folder.write("outcomes.csv", outcomes);
        let campaign = folder.results("");
        let output =
            folder.cpo(&["analyze", "--outcomes", "outcomes.csv", "--campaign", &campaign.display().to_string()]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(said) && !stderr(&output).contains("-003"), "{}", stderr(&output));
        assert!(!folder.results("experiment/results.json").exists());
    }
}

#[test]
fn deliveries_that_are_missing_are_not_taken_for_none() {
    let folder = Folder::new();
    assert!(folder.run(&[]).status.success());
    fs::remove_file(folder.results("deliveries/00000.parquet")).unwrap();
    let output = folder.cpo(&["export", "--campaign", &folder.results("").display().to_string()]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("missing"), "{}", stderr(&output));
}

/// A link to it: if the program put a file in its place, that would be the link's.
#[cfg(unix)]
#[test]
fn an_export_to_a_device_leaves_the_device() {
    let folder = Folder::new();
    assert!(folder.run(&[]).status.success());
    std::os::unix::fs::symlink("/dev/stdout", folder.path("link")).unwrap();
    let output = folder.cpo(&["export", "--campaign", &folder.results("").display().to_string(), "--output", "link"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout.starts_with(b"customer_id,"), "nothing came through");
    assert!(folder.path("link").is_symlink());
}

#[test]
fn a_threshold_that_blocks_everything() {
    let line = line_of("name = \"Harbour Coffee\"");
    campaign_file("hate = 2", "hate = 0", &[&line, "harm screen"]);
}

#[test]
fn customers_who_get_nothing_are_said_to_and_why() {
    let folder = Folder::new();
    folder.edit("campaign.toml", "\"when_flagged\"", "\"always\"");
    assert!(folder.run(&[]).status.success());
    let decided = folder.cpo(&["instance", "approve", "first-campaign", "--none", "--by", "Ada"]);
    assert!(decided.status.success(), "{}", stderr(&decided));
    let summary = crate::support::json(&folder.run(&["--format", "json"]));
    assert_eq!(summary["customers"]["assigned"], 0);
    let warning = summary["warnings"][0].as_str().unwrap();
    assert!(warning.contains("customers are held") && warning.contains("Ada did not approve"), "{warning}");
}
