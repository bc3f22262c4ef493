//! Ingest from the outside: files in, shards and lists out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use cpo::{
    Error,
    config::campaign::Campaign,
    domain::{
        customer::{Column, SOURCE_LINE, Shard},
        problem::Problem,
    },
    ingest::{Ingest, Ingested, Outputs, Refusal, SHARD_ROWS, Summary, Suppression},
};
use proptest::prelude::*;

/// A campaign of which only channels and `[customers]` matter.
fn campaign(channels: &str, customers: &str) -> Campaign {
    let source = format!(
        r#"
[campaign]
id = "spring"
name = "Spring"
locales = ["en"]
channels = {channels}
[customers]
{customers}
[segmentation]
method = "rules"
[[segmentation.rules]]
name = "Everyone"
[generation]
[experiment]
primary_metric = "conversion"
control = 0.25
[[experiment.arms]]
name = "friendly"
tone = "friendly"
"#
    );
    Campaign::parse(&source, Path::new("campaign.toml")).unwrap()
}

struct Run {
    ingested: Ingested,
    shards: Vec<Shard>,
    quarantine: Vec<[String; 3]>,
    suppressed: Vec<[String; 3]>,
}

impl Run {
    fn ids(&self) -> Vec<String> {
        self.shards.iter().flat_map(|shard| shard.customer_ids().iter().flatten().map(str::to_owned)).collect()
    }

    fn without_lines(&self) -> Vec<RecordBatch> {
        let strip = |shard: &Shard| {
            let mut rows = shard.rows.clone();
            rows.remove_column(rows.schema().index_of(SOURCE_LINE).unwrap());
            rows
        };
        self.shards.iter().map(strip).collect()
    }
}

fn records(csv: &[u8]) -> Vec<[String; 3]> {
    let record = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record.unwrap();
        [0, 1, 2].map(|field| record[field].to_owned())
    };
    csv::Reader::from_reader(csv).records().map(record).collect()
}

fn run(file: &Path, campaign: &Campaign, suppression: &Suppression) -> Result<Run, Error> {
    let scratch = tempfile::tempdir().unwrap();
    let attributes = campaign.attributes();
    let (mut quarantine, mut suppressed, mut shards) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = 0;
    let ingested = Ingest {
        file,
        customers: &campaign.customers,
        attributes: &attributes,
        channels: &campaign.campaign.channels,
        suppression,
        scratch: scratch.path(),
        shard_rows: cpo::ingest::SHARD_ROWS,
    }
    .run(Outputs {
        quarantine: &mut quarantine,
        suppressed: &mut suppressed,
        shards: &mut |shard| {
            shards.push(shard);
            Ok(())
        },
        progress: &mut |read, total| {
            assert!(read >= last && total.is_none_or(|total| read <= total));
            last = read;
        },
    });
    if ingested.is_err() {
        assert!(shards.is_empty(), "a shard was made of a file that is refused");
    }
    let ingested = ingested?;
    assert_eq!(ingested.read, ingested.quarantined + ingested.suppressed + ingested.duplicates + ingested.contactable);
    let (quarantine, suppressed) = (records(&quarantine), records(&suppressed));
    assert_eq!(quarantine.len() as u64, ingested.quarantined);
    assert_eq!(suppressed.len() as u64, ingested.suppressed);
    assert_eq!(ingested.suppressed_by_reason.values().sum::<u64>(), ingested.suppressed);
    assert_eq!(shards.iter().map(Shard::len).sum::<usize>() as u64, ingested.contactable);
    assert_eq!(shards.len(), ingested.shards as usize);
    assert!(shards.iter().all(|shard| shard.customer_ids().iter().is_sorted()));
    let json = serde_json::to_vec(&ingested).unwrap();
    assert_eq!(serde_json::from_slice::<Ingested>(&json).unwrap(), ingested, "what is kept of it is the whole of it");
    Ok(Run { ingested, shards, quarantine, suppressed })
}

fn run_bytes(name: &str, bytes: &[u8], campaign: &Campaign) -> Result<Run, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    run(&path, campaign, &Suppression::default())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// As two members or frames, one after the other.
fn in_two(compress: fn(&[u8]) -> Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    let (first, second) = bytes.split_at(bytes.len() / 3);
    [compress(first), compress(second)].concat()
}

fn shared_data(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data")).join(name);
    let found = path.try_exists().unwrap_or(false);
    if !found {
        eprintln!("skipped: ../shared/data/{name} is not there");
    }
    found.then_some(path)
}

// --- every row is counted once, and nobody who refuses is in a shard ---

const PEOPLE: &str = r#"
id = "id"
max_bad_share = 1.0
[customers.columns]
age = "age"
consent = "ok"
suppressed = "stop"
"#;

#[derive(Debug, Clone)]
struct Person {
    id: u8,
    age: &'static str,
    consent: &'static str,
    stop: &'static str,
    surplus_field: bool,
}

fn person() -> impl Strategy<Value = Person> {
    let age = prop::sample::select(vec!["30", "30", "30", "", "131", "old", "1,5", "\u{1}"]);
    let consent = prop::sample::select(vec!["true", "true", "true", "Yes", "no", "", "perhaps"]);
    let stop = prop::sample::select(vec!["", "", "false", "0", "1", "?"]);
    let surplus_field = prop::bool::weighted(0.1);
    (0u8..12, age, consent, stop, surplus_field).prop_map(|(id, age, consent, stop, surplus_field)| Person {
        id,
        age,
        consent,
        stop,
        surplus_field,
    })
}

/// What must come of people, decided the plain way.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    quarantined: u64,
    duplicates: u64,
    suppressed: BTreeSet<String>,
    contactable: BTreeSet<String>,
}

fn expected(people: &[Person]) -> Expected {
    let mut expected = Expected::default();
    let mut rows: BTreeMap<String, (u64, bool)> = BTreeMap::new();
    for person in people {
        let has_id = person.id > 0;
        let bad_age = !["30", ""].contains(&person.age);
        let unreadable = person.consent == "perhaps" || person.stop == "?";
        let bad = person.surplus_field || !has_id || bad_age || unreadable;
        let refuses = !["true", "Yes"].contains(&person.consent) || ["1", "?"].contains(&person.stop);
        expected.quarantined += u64::from(bad);
        if !person.surplus_field && has_id {
            let (good, refused) = rows.entry(format!("c{}", person.id)).or_default();
            *good += u64::from(!bad);
            *refused |= refuses;
        }
    }
    for (id, (good, refused)) in rows {
        if good > 0 {
            expected.duplicates += good - 1;
            if refused { &mut expected.suppressed } else { &mut expected.contactable }.insert(id);
        }
    }
    expected
}

proptest! {
    #[test]
    fn every_row_is_counted_once_and_no_row_of_a_contactable_customer_refuses(
        people in prop::collection::vec(person(), 1..60)
    ) {
        let mut text = "id,age,ok,stop,other\n".to_owned();
        for Person { id, age, consent, stop, surplus_field } in &people {
            let id = if *id > 0 { format!("c{id}") } else { " ".to_owned() };
            let surplus = if *surplus_field { ",x" } else { "" };
            text.push_str(&format!("{id},\"{age}\",{consent},{stop},x{surplus}\n"));
        }
        let expected = expected(&people);
        let result = run_bytes("c.csv", text.as_bytes(), &campaign("[\"email\"]", PEOPLE));
        if expected.quarantined == people.len() as u64 {
            prop_assert!(matches!(result, Err(Error::Input(_))));
            return Ok(());
        }
        let run = result.unwrap();
        prop_assert_eq!(run.ingested.read, people.len() as u64);
        prop_assert_eq!(&expected, &Expected {
            quarantined: run.ingested.quarantined,
            duplicates: run.ingested.duplicates,
            suppressed: run.suppressed.iter().map(|[id, ..]| id.clone()).collect(),
            contactable: run.ids().into_iter().collect(),
        });
    }
}

#[test]
fn a_customer_is_refused_by_any_row_and_told_so() {
    let text = "id,age,ok,stop\na,1,true,\nb,2,true,\na,3,no,\nb,x,maybe,\nc,4,,\nd,5,yes,\nd,6,yes,\n";
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    std::fs::write(&list, "e\nd\n").unwrap();
    let path = folder.path().join("c.csv");
    std::fs::write(&path, text).unwrap();
    let run = run(&path, &campaign("[\"email\"]", PEOPLE), &Suppression::read(&list).unwrap())
        .unwrap_or_else(|e| panic!("{e}"));
    let mut suppressed = run.suppressed.clone();
    suppressed.sort();
    assert_eq!(
        suppressed,
        [
            ["a", "2", "another row of this customer: no consent"],
            ["b", "3", "another row of this customer: consent could not be read"],
            ["c", "6", "consent not recorded"],
            ["d", "7", "on the suppression list"],
        ]
        .map(|record| record.map(str::to_owned))
    );
    assert_eq!(run.quarantine, [["5", "age", "not a number; ok: not true or false"].map(str::to_owned)]);
    assert_eq!(run.ingested.duplicates, 2);
    assert_eq!(run.ingested.suppressed_by_reason[&Refusal::OnSuppressionList], 1);
    assert!(run.shards.is_empty());
}

#[test]
fn a_channel_that_one_row_refuses_is_not_permitted_in_the_row_that_is_kept() {
    let columns = "id = \"id\"\n[customers.columns]\nconsent_email = \"mail\"\nconsent_sms = \"sms\"\n";
    let text = "id,mail,sms\na,1,1\na,0,1\nb,0,1\nb,1,0\nc,,1\nd,0,\n";
    let run = run_bytes("c.csv", text.as_bytes(), &campaign("[\"email\", \"sms\"]", columns))
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(run.ids(), ["a", "c"]);
    let (Some(Column::Boolean(mail)), Some(Column::Boolean(sms))) =
        (run.shards[0].column("consent_email"), run.shards[0].column("consent_sms"))
    else {
        panic!("consent is boolean")
    };
    assert_eq!(mail.iter().collect::<Vec<_>>(), [Some(false), None]);
    assert_eq!(sms.iter().collect::<Vec<_>>(), [Some(true), Some(true)]);
    let mut refused: Vec<_> = run.suppressed.iter().map(|[id, _, reason]| (id.as_str(), reason.as_str())).collect();
    refused.sort_unstable();
    assert_eq!(refused, [("b", "another row of this customer: no permitted channel"), ("d", "no permitted channel")]);
}

// --- one content, one result ---

const ALL_TYPES: &str = r#"
id = "id"
[customers.columns]
trips = { column = "trips", type = "integer" }
spend = { column = "spend", type = "number" }
member = { column = "member", type = "boolean" }
city = "city"
since = { column = "since", type = "date" }
"#;

struct Table {
    ids: Vec<String>,
    trips: Vec<Option<i64>>,
    spend: Vec<Option<f64>>,
    member: Vec<Option<bool>>,
    city: Vec<Option<String>>,
    since: Vec<Option<i32>>,
}

fn table(rows: i64) -> Table {
    let some_of = |n: i64, of: i64| n % of != 0;
    Table {
        ids: (0..rows).map(|n| format!("k{:07}", (n * 7_919) % 10_000_019)).collect(),
        trips: (0..rows).map(|n| some_of(n, 11).then_some(n % 97 - 5)).collect(),
        spend: (0..rows).map(|n| some_of(n, 7).then_some(n as f64 / 8.0 - 3.1)).collect(),
        member: (0..rows).map(|n| some_of(n, 5).then_some(n % 3 == 0)).collect(),
        city: (0..rows).map(|n| some_of(n, 13).then(|| format!("Bad \"Zell\", {}\u{e9}", n % 31))).collect(),
        since: (0..rows).map(|n| some_of(n, 17).then_some((n % 20_000) as i32 - 1_000)).collect(),
    }
}

fn day(days: i32) -> String {
    (jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(days)).to_string()
}

impl Table {
    fn csv(&self) -> Vec<u8> {
        let mut writer = csv::WriterBuilder::new().delimiter(b';').from_writer(Vec::new());
        writer.write_record(["extra", "since", "id", "trips", "spend", "member", "city"]).unwrap();
        let text = |value: Option<String>| value.unwrap_or_default();
        for n in 0..self.ids.len() {
            let fields = [
                n.to_string(),
                text(self.since[n].map(day)),
                self.ids[n].clone(),
                text(self.trips[n].map(|v| v.to_string())),
                text(self.spend[n].map(|v| v.to_string())),
                text(self.member[n].map(|v| v.to_string())),
                text(self.city[n].clone()),
            ];
            writer.write_record(fields).unwrap();
        }
        writer.into_inner().unwrap()
    }

    fn jsonl(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for n in 0..self.ids.len() {
            let object = serde_json::json!({
                "id": self.ids[n], "trips": self.trips[n], "spend": self.spend[n], "member": self.member[n],
                "city": self.city[n], "since": self.since[n].map(day), "extra": {"row": n},
            });
            writeln!(lines, "{object}").unwrap();
        }
        lines
    }

    fn parquet(&self) -> Vec<u8> {
        let columns: [(&str, ArrayRef); 6] = [
            ("member", Arc::new(BooleanArray::from(self.member.clone()))),
            ("spend", Arc::new(Float64Array::from(self.spend.clone()))),
            ("id", Arc::new(StringArray::from(self.ids.clone()))),
            ("trips", Arc::new(Int64Array::from(self.trips.clone()))),
            ("city", Arc::new(StringArray::from(self.city.clone()))),
            ("since", Arc::new(Date32Array::from(self.since.clone()))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
        let mut bytes = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    fn reversed(mut self) -> Self {
        self.ids.reverse();
        self.trips.reverse();
        self.spend.reverse();
        self.member.reverse();
        self.city.reverse();
        self.since.reverse();
        self
    }
}

#[test]
fn the_same_customers_give_the_same_shards_in_every_format_compression_and_order() {
    let rows = 2 * SHARD_ROWS as i64 + 500;
    let campaign = campaign("[\"email\"]", ALL_TYPES);
    let files: [(&str, Vec<u8>); 3] =
        [("c.csv", table(rows).csv()), ("c.jsonl", table(rows).jsonl()), ("c.parquet", table(rows).parquet())];
    let reference = run_bytes("c.csv", &files[0].1, &campaign).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(reference.ingested.contactable, rows as u64);
    assert_eq!(reference.shards.iter().map(Shard::len).collect::<Vec<_>>(), [SHARD_ROWS, SHARD_ROWS, 500]);
    assert_eq!(reference.ingested.quality.file.unmapped, ["extra"]);
    assert_eq!(reference.ingested.quality.file.delimiter, Some(';'));

    let shards = reference.without_lines();
    for (name, bytes) in &files {
        // A name that says nothing: the content decides.
        for (name, bytes) in [
            ("customers", bytes.clone()),
            (name, gzip(bytes)),
            ("customers", in_two(gzip, bytes)),
            (name, in_two(zstd, bytes)),
        ] {
            let run = run_bytes(name, &bytes, &campaign).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(run.without_lines() == shards, "{name} gives other shards");
            assert_eq!(run.ingested.digest, cpo::domain::digest::Digest::of(&bytes));
        }
    }
    let reversed = run_bytes("c.csv", &table(rows).reversed().csv(), &campaign).unwrap_or_else(|e| panic!("{e}"));
    assert!(reversed.without_lines() == shards, "the order of the file matters");
    let first = |run: &Run| run.shards[0].source_lines().value(0);
    assert_eq!(first(&reversed) + first(&reference), rows as u64 + 3, "each customer keeps their own line");
}

#[test]
fn values_come_out_as_they_went_in() {
    let table = table(200);
    let run = run_bytes("c.csv", &table.csv(), &campaign("[\"email\"]", ALL_TYPES)).unwrap_or_else(|e| panic!("{e}"));
    let shard = &run.shards[0];
    for (row, (id, line)) in shard.customer_ids().iter().flatten().zip(shard.source_lines().values()).enumerate() {
        let n = table.ids.iter().position(|known| known == id).unwrap();
        assert_eq!(*line, n as u64 + 2);
        let get = |name| shard.column(name).unwrap();
        let (
            Column::Number(trips),
            Column::Number(spend),
            Column::Boolean(member),
            Column::Text(city),
            Column::Date(since),
        ) = (get("trips"), get("spend"), get("member"), get("city"), get("since"))
        else {
            panic!("a column has another type")
        };
        assert_eq!(trips.iter().nth(row).unwrap(), table.trips[n].map(|v| v as f64));
        assert_eq!(spend.iter().nth(row).unwrap(), table.spend[n]);
        assert_eq!(member.iter().nth(row).unwrap(), table.member[n]);
        assert_eq!(city.iter().nth(row).unwrap(), table.city[n].as_deref());
        assert_eq!(since.iter().nth(row).unwrap(), table.since[n]);
    }
}

#[test]
fn figures_beyond_every_number_are_left_out_and_the_others_kept() {
    let columns = "id = \"id\"\n[customers.columns]\nsum = { column = \"sum\", type = \"number\" }";
    let rows = b"id,sum\n1,1e308\n2,-1e308\n3,1e308\n";
    let run = run_bytes("c.csv", rows, &campaign("[\"email\"]", columns)).unwrap();
    let Some(Summary::Number { min, max, mean, standard_deviation }) = run.ingested.quality.columns[1].summary else {
        panic!("a sum is a number")
    };
    assert_eq!((min, max, mean, standard_deviation), (-1e308, 1e308, None, None));
}

#[test]
fn other_encodings_and_delimiters_read_alike() {
    let columns = "id = \"id\"\nencoding = \"windows-1252\"\n[customers.columns]\ncity = \"city\"\n";
    let run = run_bytes("c.csv", b"id\tcity\n1\tZ\xfcrich\n", &campaign("[\"email\"]", columns))
        .unwrap_or_else(|e| panic!("{e}"));
    let Some(Column::Text(city)) = run.shards[0].column("city") else { panic!("city is text") };
    assert_eq!(city.value(0), "Zürich");
    let utf_16: Vec<u8> = "\u{feff}id|city\n1|Zürich\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let columns = "id = \"id\"\n[customers.columns]\ncity = \"city\"\n";
    let run = run_bytes("c.csv", &utf_16, &campaign("[\"email\"]", columns)).unwrap_or_else(|e| panic!("{e}"));
    let Some(Column::Text(city)) = run.shards[0].column("city") else { panic!("city is text") };
    assert_eq!(city.value(0), "Zürich");
}

// --- bad input ---

fn problem(name: &str, bytes: &[u8], customers: &str) -> Problem {
    match run_bytes(name, bytes, &campaign("[\"email\"]", customers)) {
        Err(Error::Input(mut problems)) => {
            let problem = problems.remove(0);
            assert_eq!(problem.file.as_deref().and_then(Path::file_name), Some(name.as_ref()), "{problem}");
            assert!(!problem.remedy.is_empty());
            problem
        }
        Err(other) => panic!("{name}: not the input's fault: {other}"),
        Ok(_) => panic!("{name} is accepted"),
    }
}

#[test]
fn a_file_that_cannot_be_used_ends_in_a_message_with_its_place_and_remedy() {
    const TWO: &str = "id = \"id\"\n[customers.columns]\nage = \"age\"\n";
    const SEMICOLON: &str = "id = \"id\"\ndelimiter = \";\"\n[customers.columns]\nage = \"age\"\n";
    let junk: Vec<u8> = (0u32..4_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let good = b"id,age\na,1\nb,2\n".repeat(500);
    let (gz, zst) = (gzip(&good), zstd(&good));
    let parquet = table(50).parquet();
    let open_quote = [&b"id,age\na,1\nb,\"2\n"[..], &b"c,3\n".repeat(10)].concat();
    let long_line = [&b"id,age\na,1\n"[..], &vec![b'x'; 3 << 20]].concat();
    // Name, content, campaign; line, part of the message, part of the remedy.
    type Case<'a> = (&'a str, &'a [u8], &'a str, Option<u64>, &'a str, &'a str);
    let cases: &[Case<'_>] = &[
        ("empty.csv", b"", TWO, None, "the file is empty", "at least one customer"),
        ("blank.csv", b"\r\n\n  \n", TWO, None, "the file is empty", "at least one customer"),
        ("header.csv", b"id,age\n", TWO, None, "columns and no customers", "at least one"),
        ("delimiter.csv", b"id,age\na,1\n", SEMICOLON, Some(1), "looks divided by \",\"", "delimiter = \",\""),
        ("odd.csv", b"id^age\na^1\n", TWO, Some(1), "none of the mapped columns is here", "set `customers.delimiter`"),
        ("junk.csv", &junk, TWO, Some(1), "binary data", "CSV, JSON Lines or Parquet"),
        ("book.csv", b"PK\x03\x04rest", TWO, Some(1), "Excel workbook", "save it as CSV"),
        ("table.csv", &parquet, TWO, Some(1), "this is a Parquet file", "customers.format"),
        (
            "latin.csv",
            b"id,age,stra\xdfe\na,1,x\n",
            TWO,
            Some(1),
            "the header is not text in UTF-8",
            "customers.encoding",
        ),
        ("missing.csv", b"id,Age\na,1\n", TWO, Some(1), "no column `age`; it has `id`, `Age`", "did you mean `Age`"),
        (
            "headless.csv",
            b"a,1\nb,2\n",
            TWO,
            Some(1),
            "none of the mapped columns is here: `id`, `age`",
            "header before it",
        ),
        ("twice.csv", b"id,age,age\na,1,2\n", TWO, Some(1), "two columns are called `age`", "name of its own"),
        ("quote.csv", &open_quote, TWO, Some(3), "never closed", "close or double the quote"),
        ("line.csv", &long_line, TWO, Some(3), "longer than 1 MiB", "close or double the quote"),
        ("short.csv.gz", &gz[..gz.len() - 9], TWO, None, "gzip data ends too early", "copy or export"),
        ("short.csv.zst", &zst[..zst.len() - 9], TWO, None, "zstd data ends too early", "copy or export"),
        ("short.parquet", &parquet[..parquet.len() - 20], ALL_TYPES, None, "damaged or cut short", "export or copy"),
        ("not.parquet", b"id,age\na,1\n", TWO, None, "damaged or cut short", "customers.format"),
        ("array.json", b"[{\"id\": 1}]", TWO, Some(1), "one JSON array", "one object a line"),
        ("keys.jsonl", b"{\"id\": 1, \"Age\": 2}\n", TWO, None, "no column `age`", "did you mean `Age`"),
        ("bad.csv", b"id,age\na,x\nb,y\n", TWO, None, "2 of 2 rows are bad (100%, allowed are 1%)", "max_bad_share"),
    ];
    for &(name, bytes, customers, line, message, remedy) in cases {
        let problem = problem(name, bytes, customers);
        assert_eq!(problem.line, line, "{problem}");
        assert!(problem.message.contains(message), "{problem}");
        assert!(problem.remedy.contains(remedy), "{problem}");
    }
}

#[test]
fn a_path_that_is_no_file_is_the_inputs_fault() {
    let folder = tempfile::tempdir().unwrap();
    let campaign = campaign("[\"email\"]", "id = \"id\"\n");
    for path in [folder.path().to_owned(), folder.path().join("nothing.csv")] {
        let Err(Error::Input(problems)) = run(&path, &campaign, &Suppression::default()) else {
            panic!("{} is accepted", path.display())
        };
        assert_eq!(problems[0].file.as_ref(), Some(&path));
    }
}

#[test]
fn consent_of_a_type_that_has_no_yes_is_refused() {
    let columns = "id = \"id\"\n[customers.columns]\nconsent = { column = \"ok\", type = \"text\" }\n";
    let result = run_bytes("c.csv", b"id,ok\n1,true\n", &campaign("[\"email\"]", columns));
    let Err(Error::Input(problems)) = result else { panic!("textual consent is accepted") };
    assert_eq!(problems[0].field.as_deref(), Some("customers.columns.consent"));
}

#[test]
fn junk_stops_long_before_its_end_and_names_the_three_most_frequent_reasons() {
    let mut text = "id,age\n".to_owned();
    for n in 0..400_000 {
        text.push_str(match n % 8 {
            0 => "a,1\n",
            1 | 2 => "a,-1\n",
            3 => ",1\n",
            4 => "a,b,c\n",
            _ => "a,x\n",
        });
    }
    let problem = problem("c.csv", text.as_bytes(), "id = \"id\"\n[customers.columns]\nage = \"age\"\n");
    let read: u64 = problem.message.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!((10_000..30_000).contains(&read), "{problem}");
    let reasons: Vec<_> = problem.message.split_once("): ").unwrap().1.split("; ").collect();
    assert_eq!(reasons.len(), 3, "{problem}");
    assert!(reasons[0].starts_with("age: not a number (") && reasons[0].ends_with("first in line 7)"), "{problem}");
    assert!(reasons[1].starts_with("age: below the minimum of 0 ("), "{problem}");
    assert!(reasons[2].starts_with("id: no customer id ("), "{problem}");
}

#[test]
fn no_message_list_or_report_holds_the_value_that_is_wrong() {
    let secret = "ann@example.org";
    let text = format!("id,age,mail\n1,{secret},{secret}\n2,3,x\n{secret}\u{7},4,y\n{secret}\n");
    let text = text + &format!("7,8,{secret}\n").repeat(6);
    let columns = "id = \"id\"\nmax_bad_share = 0.9\n[customers.columns]\nage = \"age\"\nemail = \"mail\"\n";
    let run = run_bytes("c.csv", text.as_bytes(), &campaign("[\"email\"]", columns)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(run.ingested.quarantined, 3);
    let quality = serde_json::to_string(&run.ingested.quality).unwrap();
    assert!(!format!("{:?}{quality}", run.quarantine).contains(secret));
}

// --- real files ---

#[test]
fn hillstrom_reads_whole_with_row_numbers_for_ids() {
    let Some(path) = shared_data("hillstrom.csv") else { return };
    let columns = r##"
id = "#row"
[customers.columns]
recency_days = "recency"
history = "history"
zip_code = { column = "zip_code", values = ["Surburban", "Rural", "Urban"], required = true }
newbie = { column = "newbie", type = "boolean" }
channel = "channel"
"##;
    let run = run(&path, &campaign("[\"email\"]", columns), &Suppression::default()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((run.ingested.read, run.ingested.contactable), (64_000, 64_000));
    let ids: BTreeSet<u64> = run.ids().iter().map(|id| id.parse().unwrap()).collect();
    assert_eq!((ids.first(), ids.last(), ids.len()), (Some(&1), Some(&64_000), 64_000));
    let history = run.ingested.quality.columns.iter().find(|column| column.attribute == "history").unwrap();
    let Some(Summary::Number { min, max, mean, .. }) = history.summary else { panic!("history is a number") };
    assert_eq!((min, max), (29.99, 3345.93));
    assert!((mean.unwrap() - 242.085_656).abs() < 1e-5, "{mean:?}");
    assert_eq!(run.ingested.quality.file.unmapped.len(), 7);
}

#[test]
fn a_dirty_file_of_transactions_keeps_one_row_per_customer() {
    let Some(path) = shared_data("customers/online_retail.csv.gz") else { return };
    let columns = "id = \"CustomerID\"\nmax_bad_share = 0.3\n[customers.columns]\ncountry = \"Country\"\n\
                   quantity = { column = \"Quantity\", type = \"integer\" }\n";
    let run = run(&path, &campaign("[\"email\"]", columns), &Suppression::default()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(run.ingested.read, 541_909);
    assert_eq!(run.ingested.quarantined, 135_080);
    assert_eq!(run.ingested.contactable, 4_372);
    assert_eq!(File::open(&path).unwrap().metadata().unwrap().len(), run.ingested.quality.file.bytes);
}
