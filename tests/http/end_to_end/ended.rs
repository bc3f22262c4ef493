//! What an outsider has of a campaign that has ended, held against what was handed in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use cpo::agents::experimentation::deliveries::Table;
use serde_json::{Value, json};

use super::{PERSON, input::Input};

/// All that an outsider has of a campaign that has ended.
pub struct Ended {
    pub approved: String,
    pub declined: Vec<String>,
    pub output: Value,
    pub history: Vec<Value>,
    pub results: Value,
    pub files: BTreeMap<String, Vec<u8>>,
    /// Items that are done: before the gate, and in all.
    pub done: [u64; 2],
}

impl Ended {
    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.files[name]).unwrap()
    }

    /// Without how long it took, and what the customers' upload was called: that has a name of its own each time.
    fn told(&self) -> Value {
        let mut told = json!({ "output": self.output, "results": self.results, "report": self.json("report.json") });
        told["output"]["seconds"].take();
        told["output"]["stages"].take();
        told["report"]["timings"].take();
        told["report"]["data_quality"]["file"].take();
        told
    }

    /// That it gave the same as another one. Of the files only the reports may differ, and of them what is said above.
    pub fn assert_same(&self, other: &Self) {
        assert_eq!(self.files.keys().collect::<Vec<_>>(), other.files.keys().collect::<Vec<_>>());
        let others = self.files.iter().filter(|(name, bytes)| other.files[*name] != **bytes).map(|(name, _)| name);
        let others: Vec<_> = others.filter(|name| !name.starts_with("report.")).collect();
        assert!(others.is_empty(), "others are {others:?}");
        let (here, there) = (self.told(), other.told());
        for (what, told) in here.as_object().unwrap() {
            for (name, value) in told.as_object().unwrap() {
                assert!(*value == there[what][name], "{what}: another {name}");
            }
        }
        assert_eq!(self.done, other.done);
    }

    pub fn deliveries(&self) -> Vec<Table> {
        let tables = self.files.iter().filter(|(name, _)| name.starts_with("deliveries/"));
        tables.map(|(_, bytes)| Table::new(&cpo::store::table::decode(bytes.clone()).unwrap()).unwrap()).collect()
    }

    /// Everybody is accounted for once, in whatever is asked.
    pub fn check_customers(&self, input: &Input) {
        let counts = &self.output["customers"];
        let count = |name: &str| counts[name].as_u64().unwrap() as usize;
        assert_eq!(
            ["read", "quarantined", "duplicates", "suppressed"].map(count),
            [input.read, input.quarantined, input.duplicates, input.suppressed.len()]
        );
        let planned = input.planned.len();
        assert_eq!(count("holdout") + count("held") + count("assigned"), planned, "{counts}");
        let (mut delivered, mut arms) = (BTreeMap::new(), BTreeMap::<String, u64>::new());
        let tables = self.deliveries();
        assert!(tables.len() > 1, "one shard");
        for row in tables.iter().flat_map(Table::rows) {
            let segment = delivered.insert(row.customer.to_owned(), row.segment.to_owned());
            assert_eq!(segment, None, "{} is delivered to twice", row.customer);
            *arms.entry(row.arm.to_owned()).or_default() += 1;
        }
        assert!(delivered == input.planned, "others than planned");
        let suppressed = String::from_utf8(self.files["ingest/suppressed.csv"].clone()).unwrap();
        let suppressed: Vec<_> = suppressed.lines().skip(1).map(|row| row.split(',').next().unwrap()).collect();
        assert!(
            suppressed.len() == input.suppressed.len() && suppressed.iter().all(|id| input.suppressed.contains(*id))
        );

        let told: BTreeMap<_, _> = self.results["arms"]
            .as_array()
            .unwrap()
            .iter()
            .map(|arm| (arm["arm"].as_str().unwrap().to_owned(), arm["customers"].as_u64().unwrap()))
            .collect();
        assert_eq!((told, &self.results["customers"]), (arms, &planned.into()));
        let totals = self.results["arms"].as_array().unwrap().iter();
        let total: f64 = totals.map(|arm| arm["metrics"][0]["total"].as_f64().unwrap()).sum();
        assert_eq!(total, input.outcomes().1 as f64);
    }

    /// Of what was flagged the one that a person approved goes out, and who that was is on record.
    pub fn check_decision(&self) {
        let variants = self.json("variants.json");
        let decision = &variants["decision"];
        assert_eq!((&decision["by"], &decision["approved"]["only"]), (&PERSON.into(), &json!([self.approved])));
        let verdict = |id: &str| {
            let of = |variant: &&Value| variant["id"] == id;
            variants["variants"].as_array().unwrap().iter().find(of).unwrap()["verdict"].clone()
        };
        assert_eq!(verdict(&self.approved)["decision"], "approved");
        for id in &self.declined {
            let verdict = verdict(id);
            let why = verdict["findings"].as_array().unwrap().last().unwrap();
            assert_eq!((&verdict["decision"], &why["rule"]), (&json!("blocked"), &json!("declined")));
            assert!(why["why"].as_str().unwrap().contains(PERSON), "{why}");
        }
        let tables = self.deliveries();
        let sent: BTreeSet<&str> = tables.iter().flat_map(Table::rows).filter_map(|row| row.variant).collect();
        assert!(sent.iter().all(|id| verdict(id)["decision"] == "approved"), "{sent:?}");
        let cell = tables.iter().flat_map(Table::rows).filter(|row| (row.segment, row.arm) == ("Regulars", "friendly"));
        let cell: BTreeSet<_> = cell.map(|row| row.variant).collect();
        assert_eq!(cell, BTreeSet::from([Some(self.approved.as_str())]));

        let raised: Vec<&Value> = self.history.iter().filter(|event| event["EventType"] == "EventRaised").collect();
        let said: Vec<Value> =
            raised.iter().map(|event| serde_json::from_str(event["Input"].as_str().unwrap()).unwrap()).collect();
        assert!(!said.is_empty() && said.iter().all(|said| said["by"] == PERSON), "{raised:?}");
    }

    /// The files prove themselves, away from the app.
    pub fn check_audit(&self) {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in &self.files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let mut verify = Command::new(env!("CARGO_BIN_EXE_cpo"));
        let verified = verify.args(["audit", "verify"]).arg(folder.path()).output().unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
}
