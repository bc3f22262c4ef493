//! A campaign from a customer file to a report, in one process.
//!
//! Stages follow one another; within a stage shards or cells are worked on side by side. A run that fails or dies
//! leaves what an earlier run made (see [`workspace`](super::workspace)).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use jiff::{Zoned, civil::Date};
use serde::{Serialize, Serializer};

use crate::{
    Error,
    agents::{
        experimentation::{
            assign::Assigner,
            deliver::Delivering,
            deliveries::{Counts, Tally},
            design::Design,
        },
        generation::{Writer as _, composer::{self, Composer}},
        retrieval::full_text::FullText,
        safety::{Lexicon, SlotScreen},
        segmentation::{self, Model, labels},
    },
    audit::{self, Recorder, Written},
    domain::{
        digest::Digest,
        problem::Problem,
        segment::SegmentProfile,
        variant::{Usage, Variant},
        verdict::Decision,
    },
    ingest::{Ingest, IngestError, Ingested},
    orchestration::{
        cells::{self, Desk},
        close, finished::{self, Frozen, Variants}, layout,
        ledger::{Entry, Ledger},
        plan::Plan,
        progress::{Event, Progress, Stage, Timing},
        shards, workspace::Workspace,
    },
    store::{Files, table},
};

/// What a run is asked to do.
#[derive(Debug)]
pub struct Inputs {
    pub campaign_file: PathBuf,
    pub customers: PathBuf,
    /// Instead of the campaign file's `content.path`.
    pub content: Option<PathBuf>,
    /// `campaigns/<id>/` is made in it.
    pub out: PathBuf,
    /// Whether a run of the same id but other inputs may be replaced.
    pub replace: bool,
    pub simulate: bool,
}

/// What a run made, in numbers.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub campaign: String,
    pub customers: CustomerCounts,
    #[serde(serialize_with = "as_object")]
    pub segments: Vec<(String, u64)>,
    pub variants: VariantCounts,
    /// Customers to whom a message of the arm, or the control message in its place, goes out.
    #[serde(serialize_with = "as_object")]
    pub arms: Vec<(String, u64)>,
    pub cost_usd: f64,
    pub seconds: f64,
    pub report: PathBuf,
    pub stages: Vec<Timing>,
    pub warnings: Vec<String>,
    /// In words; only where outcomes were invented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulated_decision: Option<String>,
}

/// They add up: `read` is the sum of the others.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CustomerCounts {
    pub read: u64,
    pub quarantined: u64,
    pub suppressed: u64,
    pub duplicates: u64,
    pub holdout: u64,
    pub held: u64,
    pub assigned: u64,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct VariantCounts {
    pub generated: u64,
    pub approved: u64,
    pub blocked: u64,
    pub needs_review: u64,
}

impl VariantCounts {
    fn of(variants: &[Variant]) -> Self {
        let count =
            |decision| variants.iter().filter(|variant| variant.verdict.decision == decision).count() as u64;
        Self {
            generated: variants.len() as u64,
            approved: count(Decision::Approved),
            blocked: count(Decision::Blocked),
            needs_review: count(Decision::NeedsReview),
        }
    }
}

fn as_object<S: Serializer>(counts: &[(String, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().map(|(name, count)| (name, count)))
}

/// Runs a campaign to its end and puts its results in the place of an earlier run's.
pub async fn run(inputs: Inputs, watcher: &(dyn Fn(Event) + Sync)) -> Result<Summary, Error> {
    let since = Instant::now();
    let plan = Plan::read(&inputs.campaign_file, inputs.content.as_deref())?;
    let workspace = Workspace::claim(&inputs.out, &plan.campaign.campaign.id)?;
    let earlier = finished::frozen(workspace.target()).ok();
    let plan = plan.dated(earlier.as_ref());
    if !inputs.replace {
        same_inputs(&plan, None, earlier.as_ref(), workspace.target())?;
    }
    let mut run = Run {
        recorder: Recorder::new(plan.campaign.campaign.id.clone()),
        plan: Arc::new(plan),
        store: workspace.staging(),
        progress: Progress::new(watcher),
        files: Vec::new(),
    };
    let ingested = run.ingest(&inputs.customers)?;
    if !inputs.replace {
        same_inputs(&run.plan, Some(ingested.digest), earlier.as_ref(), workspace.target())?;
    }
    let frozen = run.freeze(&ingested).await?;
    let model = Arc::new(run.fit(ingested.shards).await?);
    let tally = run.label(ingested.shards, &model).await?;
    let profiles = tally.profiles(&model);
    let design = run.design(&model, &profiles).await?;
    let retrieved = run.retrieve(&model).await?;
    let variants = run.write_and_judge(&model, &retrieved).await?;
    let deliveries = run.deliver(ingested.shards, &model, &variants).await?;
    let ledger = run.settle(&variants, ingested.contactable).await?;
    let closing = run.progress.start(Stage::Close, 0);
    let root = audit::write(&run.recorder, &run.store).await;
    let root = root.map_err(|error| Error::failed("the audit cannot be written", error))?;
    let mut report = Finished {
        plan: &run.plan,
        frozen: &frozen,
        customer_file: &inputs.customers,
        ingested: &ingested,
        segments: model.segments(),
        profiles: &profiles,
        notes: tally.notes(&model),
        retrieved: &retrieved,
        variants: &variants,
        design: &design,
        deliveries: &deliveries,
        ledger: &ledger,
        timings: run.progress.timings(),
        files: run.files,
    }
    .report();
    if inputs.simulate {
        let outcomes = run.store.file(&layout::blob(layout::OUTCOMES));
        let results = outcomes::simulate(run.store.root(), &run.plan.campaign, &design, &outcomes)?;
        outcomes::write_results(&run.store, &results).await?;
        report.results = Some(results);
    }
    close::write_report(&report, &run.store).await?;
    let target = workspace.commit().map_err(|error| Error::failed("the results cannot take their place", error))?;
    closing.finish(format!("audit root {}", root.root.short()));

    let mut warnings = Vec::new();
    if run.plan.attributes.get(CONSENT).is_none() {
        warnings.push(close::legal_basis(&run.plan));
    }
    warnings.extend(design.warnings.iter().cloned());
    Ok(Summary {
        campaign: run.plan.campaign.campaign.id.to_string(),
        customers: customer_counts(&ingested, &deliveries),
        segments: profiles.iter().map(|profile| (profile.name.to_string(), profile.customers)).collect(),
        variants: VariantCounts::of(&variants),
        arms: arm_counts(&design, &deliveries),
        cost_usd: ledger.total_usd.dollars(),
        seconds: since.elapsed().as_secs_f64(),
        report: target.join(layout::REPORT_HTML),
        stages: run.progress.timings(),
        warnings,
        simulated_decision: report.results.as_ref().map(|results| results.decision.to_string()),
    })
}

/// A run under way.
struct Run<'a> {
    plan: Arc<Plan>,
    store: Files,
    progress: Progress<'a>,
    recorder: Recorder,
    /// What the report lists.
    files: Vec<FileEntry>,
}

impl Run<'_> {
    fn ingest(&mut self, customers: &Path) -> Result<Ingested, Error> {
        let size = std::fs::metadata(customers).map_or(0, |metadata| metadata.len());
        let running = self.progress.start(Stage::Ingest, size);
        let ingested = read_customers(&self.plan, customers, &self.store, &running)?;
        if ingested.contactable == 0 {
            return Err(nobody_left(&ingested, customers).into());
        }
        running.finish(format!(
            "{} rows: {} may be contacted, {} suppressed, {} quarantined, {} duplicates",
            ingested.read, ingested.contactable, ingested.suppressed, ingested.quarantined, ingested.duplicates
        ));
        Ok(ingested)
    }
}

fn nobody_left(ingested: &Ingested, customers: &Path) -> Problem {
    let reasons: Vec<String> =
        ingested.suppressed_by_reason.iter().map(|(reason, count)| format!("{reason}: {count}")).collect();
    Problem::new(
        format!(
            "none of the {} customers may be contacted ({})",
            ingested.read,
            if reasons.is_empty() { "no row is good".to_owned() } else { reasons.join("; ") }
        ),
        "check the consent columns and the suppression list that the campaign file names",
    )
    .in_file(customers)
}
