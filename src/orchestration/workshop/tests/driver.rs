//! Plays the state machine in place of queues and workers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, civil::date};
use serde::{Serialize, de::DeserializeOwned};
use tempfile::TempDir;

use crate::{
    Error,
    agents::experimentation::deliveries::Table,
    audit,
    domain::{digest::Digest, id::CampaignId, variant::Usage},
    orchestration::{
        decide::{self, Input},
        instance::{Envelope, EnvelopeSchema, EventId, Group, Instance, Request, Status},
        item::{Item, ItemSchema},
        layout,
        names::{self, Run},
        plan::Plan,
        record::{self, Outcome, Record, Tombstone},
        stage::{Stage, Step},
        start::Start,
        summary::{self, Summary},
        workshop::{Agents as _, Output, Providers, Records, Trouble, Workshop},
    },
    store::{BlobPath, Files, Memory, Precondition, Store, table},
};

pub fn starter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter")
}

/// The starter campaign with some of its file's text replaced.
pub fn plan(edits: &[(&str, &str)]) -> Result<Plan, Error> {
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
pub enum Manner {
    InOrder,
    Backwards,
    /// Every item again after its record is there.
    Twice,
}

pub struct Driver {
    pub store: Store,
    pub workshop: Workshop,
    pub instance: Instance,
    manner: Manner,
    now: Timestamp,
    /// Items that are given up.
    pub fails: fn(Step, u32) -> bool,
    _scratch: TempDir,
}

impl Driver {
    pub async fn new(edits: &[(&str, &str)], shard_rows: u32, manner: Manner) -> Self {
        let (start, library) = plan(edits).unwrap().start(&starter().join("customers.csv")).unwrap();
        Self::with(Start { shard_rows, ..start }, library, Providers::default(), manner).await
    }

    pub async fn with(start: Start, library: Vec<u8>, providers: Providers, manner: Manner) -> Self {
        Self::on(Memory::default().store(), start, library, providers, manner).await
    }

    pub async fn on(store: Store, start: Start, library: Vec<u8>, providers: Providers, manner: Manner) -> Self {
        let campaign = start.campaign.campaign.id.clone();
        let digest = put_input(&store, &campaign, serde_json::to_vec(&start).unwrap()).await;
        assert_eq!(put_input(&store, &campaign, library).await, start.documents);
        let now = Timestamp::UNIX_EPOCH;
        let scratch = tempfile::tempdir().unwrap();
        Self {
            workshop: Workshop::new(store.clone(), scratch.path().join("scratch"), providers),
            store,
            instance: decide::start(campaign, digest, start.policy(), now),
            manner,
            now,
            fails: |_, _| false,
            _scratch: scratch,
        }
    }

    pub fn run(&self) -> Run {
        Run { campaign: self.instance.campaign.clone(), generation: self.instance.generation }
    }

    pub fn item(&self, step: Step, index: u32) -> Item {
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
            sent: None,
        }
    }

    pub async fn perform(&self, step: Step, index: u32) -> Result<Output, Trouble> {
        self.workshop.perform(&self.item(step, index), &self.instance).await.map_err(|setback| setback.trouble)
    }

    pub async fn output<T: DeserializeOwned>(&self, step: Step, index: u32) -> T {
        let records = Records { blobs: self.store.blobs.as_ref(), run: &self.run(), instance: &self.instance };
        records.output(step, index).await.unwrap()
    }

    /// As far as it goes without a person.
    pub async fn play(&mut self) {
        while self.instance.status == Status::Running {
            let Some(step) = self.instance.open_stages().map(|stage| stage.step).next() else { return };
            self.play_stage(step).await.unwrap_or_else(|trouble| panic!("{step}: {trouble}"));
        }
    }

    /// Until a stage is open.
    pub async fn play_until(&mut self, stage: Stage) {
        while self.instance.stage(stage.into()).is_none() {
            let step = self.instance.open_stages().map(|stage| stage.step).next().unwrap();
            self.play_stage(step).await.unwrap_or_else(|trouble| panic!("{step}: {trouble}"));
        }
    }

    pub async fn play_stage(&mut self, step: Step) -> Result<(), Trouble> {
        let planned = self.instance.stage(step).unwrap().planned;
        let mut indices: Vec<u32> = (0..planned).collect();
        if self.manner == Manner::Backwards {
            indices.reverse();
        }
        let (mut total, mut fact) = (Group::default(), None);
        for index in indices {
            // What an earlier attempt did stays.
            let records = Records { blobs: self.store.blobs.as_ref(), run: &self.run(), instance: &self.instance };
            if let Ok(record) = records.get(step, index).await
                && record.is_done()
            {
                total.done += 1;
                continue;
            }
            let usage;
            let result = if (self.fails)(step, index) {
                total.failed += 1;
                usage = Usage::default();
                Outcome::Failed(Tombstone { reason: "the worker died".to_owned(), problems: Vec::new() })
            } else {
                let output = self.perform(step, index).await?;
                total += Group { done: 1, failed: 0, cost: output.usage.cost_usd };
                fact = output.fact.clone();
                usage = output.usage;
                Outcome::Done { fact: output.fact, output: output.value }
            };
            let attempt = self.instance.stage(step).unwrap().attempt;
            let at = self.now;
            let written = Record { schema: record::Schema::V1, step, index, attempt, at, usage, result };
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

    pub fn ask(&mut self, request: Request) {
        let envelope = Envelope { schema: EnvelopeSchema::V1, id: EventId::next(), request };
        self.learn(Input::Request(envelope));
    }

    /// Stores an input of the campaign, as a client does.
    pub async fn put_input(&self, value: &impl Serialize) -> Digest {
        put_input(&self.store, &self.instance.campaign, serde_json::to_vec(value).unwrap()).await
    }

    pub fn learn(&mut self, input: Input) {
        self.instance = decide::decide(&self.instance, self.now, &[input]).unwrap();
    }

    /// The run's folder.
    pub async fn files(&self) -> BTreeMap<BlobPath, Vec<u8>> {
        let folder = self.run().folder();
        let mut files = BTreeMap::new();
        for path in self.store.blobs.list(Some(&folder)).await.unwrap() {
            let name = BlobPath::new(&path.as_str()[folder.as_str().len() + 1..]).unwrap();
            files.insert(name, self.store.blobs.get(&path).await.unwrap().bytes);
        }
        files
    }

    pub async fn summary(&self) -> Summary {
        summary::of(&self.store, &self.instance).await.unwrap()
    }
}

async fn put_input(store: &Store, campaign: &CampaignId, bytes: Vec<u8>) -> Digest {
    let digest = Digest::of(&bytes);
    store.blobs.put(&names::input(campaign, digest), bytes, Precondition::None).await.unwrap();
    digest
}

/// What becomes of each customer, whatever shard they are in.
pub fn deliveries(files: &BTreeMap<BlobPath, Vec<u8>>) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for (_, bytes) in files.iter().filter(|(path, _)| path.as_str().starts_with(layout::DELIVERIES)) {
        let table = Table::new(&table::decode(bytes.clone()).unwrap()).unwrap();
        for row in table.rows() {
            assert_eq!(rows.insert(row.customer.to_owned(), format!("{row:?}")), None, "a customer is there twice");
        }
    }
    rows
}

/// The run's folder as somebody has it who downloads it.
pub fn downloaded(files: &BTreeMap<BlobPath, Vec<u8>>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = Files::new(folder.path());
    files.iter().for_each(|(path, bytes)| copy.put(path, bytes).unwrap());
    folder
}

/// That the files are what their audit says.
pub fn verified(files: &BTreeMap<BlobPath, Vec<u8>>) -> Digest {
    let folder = downloaded(files);
    let copy = Files::new(folder.path());
    let known = |path: &str| path.starts_with("audit/") || path.starts_with("report.");
    let root = audit::verify(&copy, &copy.list(None).unwrap(), known);
    root.unwrap_or_else(|mismatches| panic!("{mismatches:?}")).root
}

/// Nobody and no time is counted twice or not at all.
pub fn add_up(summary: &Summary) {
    let customers = summary.customers;
    let ended = customers.quarantined
        + customers.suppressed
        + customers.duplicates
        + customers.holdout
        + customers.held
        + customers.assigned
        + customers.undelivered;
    assert_eq!(ended, customers.read);
    let timed: f64 = summary.stages.iter().map(|timing| timing.seconds).sum();
    assert!(timed > 0.0 && timed <= summary.seconds, "{timed} of {}", summary.seconds);
}
