//! The starter campaign, item by item: a driver plays the state machine in place of queues and workers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, civil::date};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::{
    Error,
    agents::experimentation::deliveries::Table,
    audit,
    domain::digest::Digest,
    orchestration::{
        decide::{self, Input},
        instance::{self, Budget, ENGINE, Group, Status},
        item::ItemSchema,
        layout, names,
        plan::Plan,
        record::{self, Outcome, Record, Tombstone},
        stage::Step,
        start::Start,
        summary::{self, Summary},
    },
    store::{BlobPath, Files, Memory, Precondition, table},
};

fn starter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter")
}

/// The starter campaign with some of its file's text replaced.
fn plan(edits: &[(&str, &str)]) -> Result<Plan, Error> {
    let mut text = std::fs::read_to_string(starter().join("campaign.toml")).unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("campaign.toml");
    std::fs::write(&file, text).unwrap();
    Plan::read(&file, Some(&starter().join("content")), |_| Some(date(2026, 11, 22)))
}

/// How the driver does the items of a stage.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    InOrder,
    Backwards,
    /// Every item again after its record is there.
    Twice,
}

struct Driver {
    store: Store,
    workshop: Workshop,
    instance: Instance,
    manner: Manner,
    now: Timestamp,
    /// Items that are given up.
    fails: fn(Step, u32) -> bool,
    _scratch: TempDir,
}

impl Driver {
    async fn new(edits: &[(&str, &str)], shard_rows: u32, manner: Manner) -> Self {
        let (start, library) = plan(edits).unwrap().start(&starter().join("customers.csv")).unwrap();
        Self::with(Start { shard_rows, ..start }, library, Providers::default(), manner).await
    }

    async fn with(start: Start, library: Vec<u8>, providers: Providers, manner: Manner) -> Self {
        let store = Memory::default().store();
        let campaign = start.campaign.campaign.id.clone();
        let json = serde_json::to_vec(&start).unwrap();
        let digest = Digest::of(&json);
        for (digest, bytes) in [(digest, json), (start.library, library)] {
            store.blobs.put(&names::input(&campaign, digest), bytes, Precondition::None).await.unwrap();
        }
        let now = Timestamp::UNIX_EPOCH;
        let instance = Instance {
            schema: instance::Schema::V1,
            engine: ENGINE,
            campaign,
            version: 1,
            generation: 1,
            start: digest,
            policy: start.policy(),
            status: Status::Running,
            created: now,
            updated: now,
            stages: Vec::new(),
            plan: None,
            gate: None,
            approvals: Vec::new(),
            budget: Budget::default(),
            outbox: Vec::new(),
            events: Vec::new(),
            taken: Vec::new(),
            previous: None,
            commit: Uuid::nil(),
        };
        let scratch = tempfile::tempdir().unwrap();
        Self {
            workshop: Workshop::new(store.clone(), scratch.path().join("scratch"), providers),
            store,
            instance: decide::start(instance, now),
            manner,
            now,
            fails: |_, _| false,
            _scratch: scratch,
        }
    }

    fn run(&self) -> Run {
        Run { campaign: self.instance.campaign.clone(), generation: self.instance.generation }
    }

    fn item(&self, step: Step, index: u32) -> Item {
        let stage = self.instance.stage(step).unwrap();
        Item {
            schema: ItemSchema::V1,
            campaign: self.instance.campaign.clone(),
            generation: 1,
            step,
            index,
            attempt: stage.attempt,
            allowance: stage.allowance,
            version: self.instance.version,
            expected: 0,
        }
    }

    async fn perform(&self, step: Step, index: u32) -> Result<Output, Trouble> {
        self.workshop.perform(&self.item(step, index), &self.instance).await.map_err(|setback| setback.trouble)
    }

    /// As far as it goes without a person.
    async fn play(&mut self) {
        while self.instance.status == Status::Running {
            let Some(step) = self.instance.open_stages().map(|stage| stage.step).next() else { return };
            self.play_stage(step).await.unwrap_or_else(|trouble| panic!("{step}: {trouble}"));
        }
    }

    async fn play_stage(&mut self, step: Step) -> Result<(), Trouble> {
        let planned = self.instance.stage(step).unwrap().planned;
        let mut indices: Vec<u32> = (0..planned).collect();
        if self.manner == Manner::Backwards {
            indices.reverse();
        }
        let (mut total, mut fact) = (Group::default(), None);
        for index in indices {
            let result = if (self.fails)(step, index) {
                total.failed += 1;
                Outcome::Failed(Tombstone { reason: "the worker died".to_owned(), problems: Vec::new() })
            } else {
                let Output { fact: told, usage, value } = self.perform(step, index).await?;
                total += Group { done: 1, failed: 0, cost: usage.cost_usd };
                fact = told.clone();
                Outcome::Done { fact: told, output: value }
            };
            let attempt = self.instance.stage(step).unwrap().attempt;
            let at = self.now;
            let written =
                Record { schema: record::Schema::V1, step, index, attempt, at, usage: Usage::default(), result };
            let (blobs, run) = (self.store.blobs.as_ref(), self.run());
            let stored = record::write(blobs, &run, written).await.unwrap();
            if self.manner == Manner::Twice && stored.is_done() {
                let before = self.files().await;
                let again = self.perform(step, index).await?;
                let Outcome::Done { output, fact } = stored.result else { unreachable!() };
                assert_eq!((again.value.get(), again.fact), (output.get(), fact), "{step} {index}");
                assert_eq!(self.files().await, before, "{step} {index}");
            }
        }
        self.now += jiff::SignedDuration::from_secs(1);
        self.learn(Input::Group { step, group: 0, total, fact });
        Ok(())
    }

    fn learn(&mut self, input: Input) {
        self.instance = decide::decide(&self.instance, self.now, &[input]).unwrap();
    }

    /// The run's folder.
    async fn files(&self) -> BTreeMap<BlobPath, Vec<u8>> {
        let folder = self.run().folder();
        let mut files = BTreeMap::new();
        for path in self.store.blobs.list(Some(&folder)).await.unwrap() {
            let name = BlobPath::new(&path.as_str()[folder.as_str().len() + 1..]).unwrap();
            files.insert(name, self.store.blobs.get(&path).await.unwrap().bytes);
        }
        files
    }

    async fn summary(&self) -> Summary {
        summary::of(&self.store, &self.instance).await.unwrap()
    }
}

/// What becomes of each customer, whatever shard they are in.
fn deliveries(files: &BTreeMap<BlobPath, Vec<u8>>) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for (_, bytes) in files.iter().filter(|(path, _)| path.as_str().starts_with(layout::DELIVERIES)) {
        let table = Table::new(&table::decode(bytes.clone()).unwrap()).unwrap();
        for row in table.rows() {
            assert_eq!(rows.insert(row.customer.to_owned(), format!("{row:?}")), None, "a customer is there twice");
        }
    }
    rows
}

/// Verifies the audit of the run's files as somebody does who has downloaded them.
fn verified(files: &BTreeMap<BlobPath, Vec<u8>>) -> Digest {
    let folder = tempfile::tempdir().unwrap();
    let copy = Files::new(folder.path());
    files.iter().for_each(|(path, bytes)| copy.put(path, bytes).unwrap());
    let known = |path: &str| path.starts_with("audit/") || path.starts_with("report.");
    let root = audit::verify(&copy, &copy.list(None).unwrap(), known);
    root.unwrap_or_else(|mismatches| panic!("{mismatches:?}")).root
}

fn add_up(summary: &Summary) {
    let customers = summary.customers;
    let ended = customers.quarantined
        + customers.suppressed
        + customers.duplicates
        + customers.holdout
        + customers.held
        + customers.assigned
        + customers.undelivered;
    assert_eq!(ended, customers.read);
}

const RULES: &[(&str, &str)] = &[];
const RFM: &[(&str, &str)] = &[("method = \"rules\"", "method = \"rfm\""), (REGULARS, ""), (EVERYONE_ELSE, "")];
const KMEANS: &[(&str, &str)] = &[("method = \"rules\"", "method = \"kmeans\""), (REGULARS, ""), (EVERYONE_ELSE, "")];
const REGULARS: &str = r#"[[segmentation.rules]]           # the first rule that matches decides; the last needs no condition
name = "Regulars"
when = "frequency >= 4.0 && recency_days <= 60.0"
description = "order often and ordered lately""#;
const EVERYONE_ELSE: &str = r#"[[segmentation.rules]]
name = "Everyone else""#;

#[tokio::test]
async fn deliveries_do_not_depend_on_shards_order_or_repetition() {
    for edits in [RULES, RFM, KMEANS] {
        let mut whole = Driver::new(edits, 8_192, Manner::InOrder).await;
        whole.play().await;
        assert_eq!(whole.instance.status, Status::Completed);
        let expected = deliveries(&whole.files().await);
        assert!(!expected.is_empty());
        for shard_rows in [1, 4, 7] {
            let mut outcomes = Vec::new();
            for manner in [Manner::InOrder, Manner::Backwards, Manner::Twice] {
                let mut driver = Driver::new(edits, shard_rows, manner).await;
                driver.play().await;
                let files = driver.files().await;
                assert_eq!(deliveries(&files), expected);
                add_up(&driver.summary().await);
                outcomes.push((verified(&files), files));
            }
            assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "{shard_rows} customers a shard");
        }
    }
}
