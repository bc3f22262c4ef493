//! Close: ledger, audit and report of all that the stages before it recorded.
//!
//! Whatever is written here depends on the records and the instance alone, not on who did what when, so doing it again
//! gives the same. After a rewind another pass replaces it.

use std::{collections::BTreeMap, pin::pin};

use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};

use super::{
    Job, Output, Trouble,
    collect::Collected,
    deliver::Delivered,
    design::Designed,
    folder::to_json,
    generate::Drafted,
    ingest::Admitted,
    personalize::{self, Personalized},
    release::Released,
};
use crate::{
    agents::{
        experimentation::{deliveries::Tally, design::Design},
        generation::messages::{self, Counts},
        retrieval::Retrieved,
    },
    audit::{self, Recorder, Written},
    config::{Campaign, campaign::TrackerName},
    domain::{
        attribute::CONSENT,
        customer::ShardId,
        digest::Digest,
        money::Usd,
        variant::{Usage, Variant},
        verdict::Decision,
    },
    orchestration::{
        close::{self, Finished},
        finished::{Frozen, Variants},
        layout,
        ledger::{Entry, Ledger},
        record::Outcome,
        stage::Stage,
        summary::{self, CustomerCounts, VariantCounts},
        tracking,
    },
    report::{FailedItem, FileEntry, PersonalMessages, Tracking},
    store::BlobPath,
};

/// The run in numbers, see [`Summary`](summary::Summary).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// Of the audit.
    pub root: Digest,
    pub customers: CustomerCounts,
    pub segments: Vec<(String, u64)>,
    pub variants: VariantCounts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<Counts>,
    pub arms: Vec<(String, u64)>,
    pub cost_usd: Usd,
    pub warnings: Vec<String>,
}

pub async fn perform(job: Job<'_>) -> Result<Output, Trouble> {
    let (context, records, folder) = (job.context, job.records, job.folder());
    // Before anything is looked at: what a later pass writes from newer records, this one does not replace.
    let standing = folder.standing(documents()).await?;
    let campaign = &context.start.campaign;
    let admitted = context.admitted(records).await?;
    let designed = context.designed(records).await?;
    let model = context.model(records).await?;
    let library = context.content(records).await?;
    let collected: Collected = records.output(Stage::Collect.into(), 0).await?;
    let released: Released = records.output(Stage::Release.into(), 0).await?;
    let frozen: Frozen = folder.get_json(&admitted.campaign).await?;
    let design: Design = folder.get_json(&designed.design).await?;
    let retrieved: Vec<Retrieved> = folder.get_json(&collected.passages).await?;
    let Variants { variants, .. } = folder.get_json(&released.variants).await?;
    let answers = Answers::read(job).await?;
    let personal = Personal::read(job).await?;
    let deliveries = Deliveries::read(job, admitted).await?;

    let cap = campaign.budget.max_usd;
    let reserved = records.instance.budget.reserved;
    let contactable = admitted.ingested.contactable;
    let ledger = Ledger::new(answers.entries, designed.estimate.clone(), cap, reserved, contactable);
    let mut files = Files { recorder: Recorder::new(records.run.campaign.clone()), listed: Vec::new() };
    let model_file = super::fit::model(context, records).await?;
    files.add_all(admitted, &model_file, designed, &collected, &released);
    let what = "every message for one customer with claims, sources and verdict";
    files.add_tables(CONTENT, layout::MESSAGES, what, &personal.files);
    files.add_tables(DELIVERIES, layout::DELIVERIES, "what becomes of every customer", &deliveries.tables);
    let written = folder.replace(&standing, layout::blob(layout::LEDGER), to_json(&ledger)?).await?;
    files.add(LEDGER, "what every provider call cost", &written);
    let (root, audit) = audit::documents(&files.recorder);
    for (path, bytes) in audit {
        folder.replace(&standing, path, bytes).await?;
    }

    let report = Finished {
        frozen: &frozen,
        content: library,
        date: context.date,
        customer_file: context.start.customers.name(),
        ingested: &admitted.ingested,
        model,
        segments: &designed.segments,
        profiles: &designed.profiles,
        overlaps: designed.overlaps.clone(),
        retrieved: &retrieved,
        variants: &variants,
        design: &design,
        deliveries: &deliveries.tally,
        undelivered: deliveries.undelivered(),
        personal: personal.report(campaign),
        failures: answers.failures.into_iter().chain(deliveries.failures.iter().cloned()).collect(),
        ledger: &ledger,
        timings: summary::timings(records.instance),
        files: files.listed,
        tracking: tracking(job),
    }
    .report();
    let html = report.html().map_err(|error| Trouble::Defect(error.into()))?;
    let told = folder.replace(&standing, layout::blob(layout::REPORT_JSON), to_json(&report)?).await?;
    folder.replace(&standing, layout::blob(layout::REPORT_HTML), html.into_bytes()).await?;
    if campaign.providers.tracking != TrackerName::None {
        // The stage's opening: doing it again notes the same.
        let stage = records.instance.stage(job.item.step);
        let at = stage.map_or(records.instance.updated, |stage| stage.opened);
        tracking::owe(records.blobs, records.instance, told.sha256, at).await?;
    }
    job.workshop.settle_within(tracking::AT_CLOSE).await;

    let customers = CustomerCounts::of(&admitted.ingested, &deliveries.tally, deliveries.undelivered());
    let mut warnings = Vec::new();
    if context.attributes.get(CONSENT).is_none() {
        warnings.push(close::legal_basis(campaign));
    }
    warnings.extend(library.strangers(context.date, model.segments()));
    warnings.extend(close::withheld(&retrieved));
    warnings.extend(summary::held(customers.held, &variants));
    warnings.extend(design.warnings.iter().cloned());
    let closed = Closed {
        root: root.root,
        customers,
        segments: designed.profiles.iter().map(|profile| (profile.name.to_string(), profile.customers)).collect(),
        variants: VariantCounts::of(&variants),
        personal: personal.counts,
        arms: summary::reached_per_arm(&design, &deliveries.tally),
        cost_usd: ledger.total_usd,
        warnings,
    };
    Output::new(None, Usage::default(), &closed)
}

/// Where the run will be found: it is sent after the report.
fn tracking(job: Job<'_>) -> Option<Tracking> {
    if job.context.start.campaign.providers.tracking == TrackerName::None {
        return None;
    }
    let server = job.workshop.providers.services.mlflow().ok()?;
    Some(tracking::place(&server, job.records.instance))
}

const PLAN: &str = "plan";
const INGEST: &str = "ingest";
const SEGMENTS: &str = "segments";
const EXPERIMENT: &str = "experiment";
const CONTENT: &str = "content";
const DELIVERIES: &str = "deliveries";
const LEDGER: &str = "ledger";

/// All that a close writes.
fn documents() -> impl Iterator<Item = BlobPath> {
    let segments = [INGEST, PLAN, SEGMENTS, EXPERIMENT, CONTENT, DELIVERIES, LEDGER];
    let others = [layout::LEDGER, audit::ROOT, layout::REPORT_JSON, layout::REPORT_HTML];
    segments.into_iter().map(audit::segment_path).chain(others.map(layout::blob))
}

/// What the providers answered, in all attempts.
#[derive(Default)]
struct Answers {
    entries: Vec<Entry>,
    failures: Vec<FailedItem>,
}

impl Answers {
    async fn read(job: Job<'_>) -> Result<Self, Trouble> {
        let mut answers = Self::default();
        for stage in [Stage::Retrieve, Stage::Generate, Stage::Screen, Stage::Personalize] {
            answers.add(job, stage).await?;
        }
        Ok(answers)
    }

    /// One entry for each provider. Of an item, the attempt that was done counts, or else the last.
    async fn add(&mut self, job: Job<'_>, stage: Stage) -> Result<(), Trouble> {
        let present = match stage {
            Stage::Generate => job.providers()?.writer.name().to_owned(),
            Stage::Personalize => personalize::paid(&job.context.start.campaign, job.providers()?),
            _ => stage.to_string(),
        };
        let mut usages: BTreeMap<String, Usage> = BTreeMap::new();
        let mut failed = BTreeMap::new();
        let mut records = pin!(job.records.attempts(stage.into()).await?);
        while let Some(record) = records.try_next().await? {
            let provider = match (&record.result, stage) {
                (Outcome::Done { output, .. }, Stage::Generate) => {
                    let Drafted { writer, .. } = serde_json::from_str(output.get())?;
                    writer
                }
                _ => present.clone(),
            };
            *usages.entry(provider).or_default() += record.usage;
            match record.result {
                Outcome::Failed(tombstone) => failed.insert(record.index, Some(tombstone.reason)),
                Outcome::Done { .. } => failed.insert(record.index, None),
            };
        }
        let writes = matches!(stage, Stage::Generate | Stage::Personalize);
        let is_told = |usage: &Usage| writes || *usage != Usage::default();
        let entry = |(provider, usage)| Entry { stage: stage.to_string(), provider, usage };
        self.entries.extend(usages.into_iter().filter(|(_, usage)| is_told(usage)).map(entry));
        let failure = |(item, reason): (u32, Option<String>)| {
            Some(FailedItem { stage: stage.to_string(), item, reason: reason?, customers: 0 })
        };
        self.failures.extend(failed.into_iter().filter_map(failure));
        Ok(())
    }
}

/// What was written for single customers.
struct Personal {
    /// `None`: the campaign has no such messages.
    counts: Option<Counts>,
    files: Vec<Written>,
    examples: Vec<Variant>,
}

impl Personal {
    /// Of those that are approved, and of the others.
    const EXAMPLES: usize = 4;

    async fn read(job: Job<'_>) -> Result<Self, Trouble> {
        let step = Stage::Personalize.into();
        let mut all = Self { counts: None, files: Vec::new(), examples: Vec::new() };
        if job.records.instance.stage(step).is_none() {
            return Ok(all);
        }
        let mut counts = Counts::default();
        let mut results = pin!(job.records.results::<Personalized>(step));
        for item in 0.. {
            let Some(result) = results.try_next().await? else { break };
            match result {
                Ok(Personalized { counts: of_shard, messages }) => {
                    counts.merge(of_shard);
                    if all.files.len() < Self::EXAMPLES {
                        let messages = messages::from_lines(&job.folder().get(&messages).await?)?;
                        all.examples(messages.into_iter().map(|message| message.variant));
                    }
                    all.files.push(messages);
                }
                Err(_) => {
                    // As below: nobody may take it for the shard's messages.
                    let lines = layout::lines(layout::MESSAGES, ShardId(item));
                    job.records.blobs.delete(&job.records.run.file(&lines)).await?;
                }
            }
        }
        all.counts = Some(counts);
        Ok(all)
    }

    fn examples(&mut self, variants: impl Iterator<Item = Variant>) {
        let is_approved = |variant: &Variant| variant.verdict.decision == Decision::Approved;
        for variant in variants {
            let alike = self.examples.iter().filter(|example| is_approved(example) == is_approved(&variant));
            let is_new = self.examples.iter().all(|example| example.message != variant.message);
            if is_new && alike.count() < Self::EXAMPLES {
                self.examples.push(variant);
            }
        }
    }

    fn report(&self, campaign: &Campaign) -> Option<PersonalMessages> {
        let fields = campaign.generation.fields.iter().cloned().collect();
        let (counts, examples) = (self.counts.clone()?, self.examples.clone());
        Some(PersonalMessages { fields, counts, examples })
    }
}

/// What became of the customers.
#[derive(Default)]
struct Deliveries {
    tally: Tally,
    tables: Vec<Written>,
    failures: Vec<FailedItem>,
}

impl Deliveries {
    async fn read(job: Job<'_>, admitted: &Admitted) -> Result<Self, Trouble> {
        let mut all = Self::default();
        let mut results = pin!(job.records.results::<Delivered>(Stage::Deliver.into()));
        let mut left = admitted.ingested.contactable;
        for item in 0.. {
            let Some(result) = results.try_next().await? else { break };
            let customers = left.min(u64::from(job.context.start.shard_rows));
            left -= customers;
            match result {
                Ok(Delivered { tally, table }) => {
                    all.tally.merge(tally);
                    all.tables.push(table);
                }
                Err(tombstone) => {
                    // An attempt that died may have left a table, which nobody may take for a delivery.
                    let table = layout::table(layout::DELIVERIES, ShardId(item));
                    job.records.blobs.delete(&job.records.run.file(&table)).await?;
                    let stage = Stage::Deliver.to_string();
                    all.failures.push(FailedItem { stage, item, reason: tombstone.reason, customers });
                }
            }
        }
        Ok(all)
    }

    fn undelivered(&self) -> u64 {
        self.failures.iter().map(|failed| failed.customers).sum()
    }
}

/// The run's files: all for the audit, most for the report's list.
struct Files {
    recorder: Recorder,
    listed: Vec<FileEntry>,
}

impl Files {
    /// What comes before the customers' messages, in the order of the stages.
    fn add_all(
        &mut self,
        admitted: &Admitted,
        model: &Written,
        designed: &Designed,
        collected: &Collected,
        released: &Released,
    ) {
        self.add(INGEST, "rows that could not be used, with line, column and reason", &admitted.quarantine);
        self.add(INGEST, "customers who may not be contacted, with the reason", &admitted.suppressed);
        self.add_tables(INGEST, layout::SHARDS, "customers who may be contacted", &admitted.shards);
        self.add(PLAN, "the frozen campaign file and the digests of its inputs", &admitted.campaign);
        self.add(PLAN, "the documents as they were", &admitted.content);
        self.add(INGEST, "every column of the customer file, described", &admitted.quality);
        self.add(SEGMENTS, "how customers are put into segments", model);
        self.add_tables(SEGMENTS, layout::LABELS, "every customer's segment and why", &designed.labels);
        self.add(EXPERIMENT, "what the test can and cannot find out", &designed.design);
        self.add(CONTENT, "the passages each segment's messages may draw on", &collected.passages);
        self.add(CONTENT, "every variant with claims, sources and verdicts", &released.variants);
    }

    fn add(&mut self, segment: &str, what: &str, written: &Written) {
        self.list(what, written);
        self.recorder.record(segment, written.clone());
    }

    /// The tables of all shards; the report lists the folder's first few.
    fn add_tables(&mut self, segment: &str, folder: &str, what: &str, tables: &[Written]) {
        const LISTED: usize = 3;
        for (position, written) in tables.iter().enumerate().take(LISTED) {
            let more = tables.len() - LISTED.min(tables.len());
            let what = match position + 1 {
                LISTED if more > 0 => format!("{what} (and {more} more tables in {folder}/)"),
                _ => what.to_owned(),
            };
            self.list(&what, written);
        }
        tables.iter().for_each(|written| self.recorder.record(segment, written.clone()));
    }

    fn list(&mut self, what: &str, written: &Written) {
        self.listed.push(FileEntry {
            path: written.path.to_string(),
            what: what.to_owned(),
            bytes: written.bytes,
            digest: written.sha256,
        });
    }
}
