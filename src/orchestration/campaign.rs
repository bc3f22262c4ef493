//! A campaign from a customer file to a report, in one process.
//!
//! Stages follow one another; within a stage shards or cells are worked on side by side. A run that fails or dies
//! leaves what an earlier run made (see [`workspace`](super::workspace)).

use std::{
    fs::File,
    io::{self, BufReader, BufWriter},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use serde::Serialize;

use super::{
    cells::{self, Desk},
    close::{self, Finished},
    finished::{self, Frozen, Variants},
    layout,
    ledger::{Entry, Ledger},
    plan::Plan,
    progress::{Event, Progress},
    results, shards,
    stage::Stage,
    summary::{self, CustomerCounts, Summary, VariantCounts},
    work,
    workspace::Workspace,
};
use crate::{
    Error,
    agents::{
        experimentation::{deliver::Delivering, deliveries::Tally as DeliveryTally, design::Design, words},
        generation::{Writer as _, composer::Composer, phrases},
        retrieval::{Retrieved, full_text::FullText},
        safety::Lexicon,
        segmentation::{Model, Next, Profile, Tally as SegmentTally, labels},
    },
    audit::{self, Recorder, Written},
    domain::{
        attribute::CONSENT,
        digest::Digest,
        money::Usd,
        problem::Problem,
        segment::{Segment, SegmentProfile},
        variant::{Usage, Variant},
    },
    ingest::{Ingest, Ingested, Outputs, SHARD_ROWS},
    report::FileEntry,
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

/// Runs a campaign to its end and puts its results in the place of an earlier run's.
pub async fn run(inputs: Inputs, watcher: &(dyn Fn(Event) + Sync)) -> Result<Summary, Error> {
    let since = Instant::now();
    let plan = Plan::read(&inputs.campaign_file, inputs.content.as_deref(), |campaign| {
        // What replaces the earlier run is judged for its own day: an offer may have ended since.
        if inputs.replace {
            return None;
        }
        let folder = inputs.out.join(layout::CAMPAIGNS).join(campaign.campaign.id.as_str());
        finished::frozen(&folder).ok()?.campaign.campaign.date
    })?;
    let workspace = Workspace::claim(&inputs.out, &plan.campaign.campaign.id)?;
    let earlier = finished::frozen(workspace.target()).ok();
    if !inputs.replace {
        same_inputs(&plan, None, earlier.as_ref(), workspace.target())?;
    }
    let progress = Progress::new(watcher);
    let mut run = Run {
        plan: &plan,
        store: workspace.staging(),
        progress: &progress,
        recorder: Recorder::new(plan.campaign.campaign.id.clone()),
        files: Vec::new(),
    };
    let ingested = run.ingest(&inputs.customers)?;
    if !inputs.replace {
        same_inputs(&plan, Some(ingested.digest), earlier.as_ref(), workspace.target())?;
    }
    let frozen = run.freeze(&ingested).await?;
    let model = Arc::new(run.fit(ingested.shards).await?);
    let tally = run.label(ingested.shards, &model).await?;
    // A segment without customers needs no messages.
    let (segments, profiles): (Vec<Segment>, Vec<SegmentProfile>) = model
        .segments()
        .iter()
        .cloned()
        .zip(tally.profiles(&model))
        .filter(|(_, profile)| profile.customers > 0)
        .unzip();
    let design = run.design(&profiles).await?;
    let retrieved = run.retrieve(&segments).await?;
    let variants = run.write_and_judge(&segments, &retrieved).await?;
    let deliveries = run.deliver(ingested.shards, &model, &variants).await?;
    let ledger = run.settle(&variants, ingested.contactable).await?;
    let closing = progress.start(Stage::Close, 0);
    let (root, documents) = audit::documents(&run.recorder);
    for (path, bytes) in documents {
        run.store.put(&path, &bytes).map_err(|error| Error::failed("the audit cannot be written", error))?;
    }
    let mut report = Finished {
        frozen: &frozen,
        library: &plan.content,
        date: plan.date,
        customer_file: &inputs.customers,
        ingested: &ingested,
        model: &model,
        segments: &segments,
        profiles: &profiles,
        overlaps: tally.overlaps(&model),
        retrieved: &retrieved,
        variants: &variants,
        design: &design,
        deliveries: &deliveries,
        undelivered: 0,
        failures: Vec::new(),
        ledger: &ledger,
        timings: progress.timings(),
        files: run.files,
    }
    .report();
    if inputs.simulate {
        let simulated = results::simulate(run.store.root(), &design)?;
        results::write(run.store.root(), &simulated)?;
        report.results = Some(simulated);
    }
    close::write_report(&report, &run.store)?;
    let target = workspace.commit().map_err(|error| Error::failed("the results cannot take their place", error))?;
    closing.finish(format!("audit root {}", root.root.short()));

    let mut warnings = Vec::new();
    if plan.attributes.get(CONSENT).is_none() {
        warnings.push(close::legal_basis(&plan.campaign));
    }
    warnings.extend(plan.content.strangers(plan.date, model.segments()));
    let counts = CustomerCounts::of(&ingested, &deliveries, 0);
    warnings.extend(summary::held(counts.held, &variants));
    warnings.extend(design.warnings.iter().cloned());
    Ok(Summary {
        campaign: plan.campaign.campaign.id.to_string(),
        customers: counts,
        segments: profiles.iter().map(|profile| (profile.name.to_string(), profile.customers)).collect(),
        variants: VariantCounts::of(&variants),
        arms: summary::reached_per_arm(&design, &deliveries),
        cost_usd: ledger.total_usd.dollars(),
        seconds: since.elapsed().as_secs_f64(),
        report: target.join(layout::REPORT_HTML),
        stages: progress.timings(),
        warnings,
        simulated_decision: report.results.as_ref().map(|results| results.decision.in_words()),
    })
}

/// A run under way.
struct Run<'a> {
    plan: &'a Plan,
    store: Files,
    progress: &'a Progress<'a>,
    recorder: Recorder,
    /// What the report lists.
    files: Vec<FileEntry>,
}

impl Run<'_> {
    fn ingest(&mut self, customers: &Path) -> Result<Ingested, Error> {
        let size = std::fs::metadata(customers).map_or(0, |metadata| metadata.len());
        let running = self.progress.start(Stage::Ingest, size);
        let mut quarantine = self.create(layout::QUARANTINE)?;
        let mut suppressed = self.create(layout::SUPPRESSED)?;
        let mut written = Vec::new();
        let (store, mut read) = (self.store.clone(), 0);
        let ingest = Ingest {
            file: customers,
            customers: &self.plan.campaign.customers,
            attributes: &self.plan.attributes,
            channels: &self.plan.campaign.campaign.channels,
            suppression: &self.plan.suppression,
            scratch: self.store.root(),
            shard_rows: SHARD_ROWS,
        };
        let runtime = tokio::runtime::Handle::current();
        // Ingest has threads of its own and blocks this one until it is done.
        let ingested = tokio::task::block_in_place(|| {
            ingest.run(Outputs {
                quarantine: &mut quarantine,
                suppressed: &mut suppressed,
                shards: &mut |shard| {
                    let (bytes, sha256) = shards::encoded(&shard.rows)
                        .map_err(|error| Error::failed("a shard cannot be encoded", error))?;
                    let path = layout::table(layout::SHARDS, shard.id);
                    written.push(runtime.block_on(shards::put(&store, path, bytes, sha256))?);
                    Ok(())
                },
                progress: &mut |done, _| {
                    running.advance(done - read);
                    read = done;
                },
            })
        })?;
        let flushed = io::Write::flush(&mut quarantine).and_then(|()| io::Write::flush(&mut suppressed));
        flushed.map_err(|error| Error::failed("the lists of bad and suppressed rows cannot be written", error))?;
        if ingested.contactable == 0 {
            return Err(nobody_left(&ingested, customers).into());
        }
        self.record_file("ingest", layout::QUARANTINE, "rows that could not be used, with line, column and reason")?;
        self.record_file("ingest", layout::SUPPRESSED, "customers who may not be contacted, with the reason")?;
        self.record_tables("ingest", layout::SHARDS, "customers who may be contacted", written);
        running.finish(format!(
            "{} rows: {} may be contacted, {} suppressed, {} quarantined, {} duplicates",
            words::count(ingested.read),
            words::count(ingested.contactable),
            words::count(ingested.suppressed),
            words::count(ingested.quarantined),
            words::count(ingested.duplicates)
        ));
        Ok(ingested)
    }

    /// `campaign.json` and `ingest/quality.json`: from here on the run's inputs are fixed.
    async fn freeze(&mut self, ingested: &Ingested) -> Result<Frozen, Error> {
        let frozen = Frozen {
            schema: "campaign/1".to_owned(),
            digest: self.plan.digest()?,
            campaign: self.plan.campaign.clone(),
            content: self.plan.content_digest,
            customers: ingested.digest,
            suppression: self.plan.suppression.sha256(),
            engine: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.put_json("plan", layout::CAMPAIGN, "the frozen campaign file and the digests of its inputs", &frozen)
            .await?;
        self.put_json("ingest", layout::QUALITY, "every column of the customer file, described", &ingested.quality)
            .await?;
        Ok(frozen)
    }

    /// Profiles the shards as often as the method needs.
    async fn fit(&mut self, shard_count: u32) -> Result<Model, Error> {
        let mut next = self.plan.segmentation.clone().start();
        let mut passes = 0;
        let running = self.progress.start(Stage::Profile, u64::from(shard_count));
        let model = loop {
            let fitter = match next {
                Next::Pass(fitter) => Arc::new(fitter),
                Next::Model(model) => break model,
            };
            passes += 1;
            let profile = |id| {
                let (fitter, store) = (Arc::clone(&fitter), self.store.clone());
                async move {
                    let bytes = shards::load(&store, layout::SHARDS, id).await?;
                    shards::compute("a shard cannot be profiled", move || {
                        Ok(fitter.profile(&shards::decode(id, bytes)?))
                    })
                    .await
                }
            };
            let merged = shards::reduce(shard_count, &running, profile, Profile::merge).await?;
            let profile = merged.unwrap_or_else(|| fitter.empty());
            let fitter = Arc::into_inner(fitter).expect("the workers that shared the fitter have ended");
            next = fitter.advance(profile);
        };
        running.finish(match passes {
            0 => "nothing to fit: rules need no profile".to_owned(),
            1 => "1 pass over the customers".to_owned(),
            passes => format!("{passes} passes over the customers"),
        });
        self.put_json("segments", layout::MODEL, "how customers are put into segments", &model).await?;
        Ok(model)
    }

    async fn label(&mut self, shard_count: u32, model: &Arc<Model>) -> Result<SegmentTally, Error> {
        let running = self.progress.start(Stage::Label, u64::from(shard_count));
        let labelled = shards::map(shard_count, &running, |id| {
            let (model, store) = (Arc::clone(model), self.store.clone());
            async move {
                let bytes = shards::load(&store, layout::SHARDS, id).await?;
                let (tally, (bytes, sha256)) = shards::compute("a shard cannot be labelled", move || {
                    let shard = shards::decode(id, bytes)?;
                    let labels = model.label(&shard);
                    let mut tally = SegmentTally::default();
                    tally.add(&model, &shard, &labels);
                    Ok((tally, shards::encoded(&labels::to_table(&shard, &labels, model.segments())?)?))
                })
                .await?;
                Ok((tally, shards::put(&store, layout::table(layout::LABELS, id), bytes, sha256).await?))
            }
        })
        .await?;
        let mut tally = SegmentTally::default();
        let mut written = Vec::with_capacity(labelled.len());
        for (shard, file) in labelled {
            tally.merge(shard);
            written.push(file);
        }
        self.record_tables("segments", layout::LABELS, "every customer's segment and why", written);
        running.finish(format!("{} segments", model.segments().len()));
        Ok(tally)
    }

    async fn design(&mut self, populated: &[SegmentProfile]) -> Result<Design, Error> {
        let segments: Vec<_> = populated.iter().map(|profile| (profile.name.clone(), profile.customers)).collect();
        let design = Design::plan(&self.plan.campaign, &segments);
        self.put_json("experiment", layout::DESIGN, "what the test can and cannot find out", &design).await?;
        Ok(design)
    }

    async fn retrieve(&mut self, segments: &[Segment]) -> Result<Vec<Retrieved>, Error> {
        let queries = work::cells::queries(&self.plan.campaign, segments);
        let running = self.progress.start(Stage::Retrieve, queries.len() as u64);
        let index = FullText::new(&self.plan.content, self.plan.date)
            .map_err(|error| Error::failed("the content cannot be indexed", error))?;
        let retrieved = cells::retrieve(queries, &index, &self.plan.content_folder, &running).await?;
        running.finish(format!(
            "{} of {} documents usable on {}",
            self.plan.content.usable(self.plan.date).count(),
            self.plan.content.documents().len(),
            self.plan.date
        ));
        self.put_json("content", layout::PASSAGES, "the passages each segment's messages may draw on", &retrieved)
            .await?;
        Ok(retrieved)
    }

    async fn write_and_judge(&mut self, segments: &[Segment], retrieved: &[Retrieved]) -> Result<Vec<Variant>, Error> {
        let campaign = &self.plan.campaign;
        let tasks = work::cells::tasks(campaign, segments);
        let phrases = phrases::phrase_book(campaign);
        let desk = Desk {
            campaign,
            date: self.plan.date,
            segments,
            content: &self.plan.content,
            retrieved,
            phrases: &phrases,
        };
        let total = tasks.len() as u64;
        let running = self.progress.start(Stage::Generate, total);
        let drafts = cells::generate(&tasks, desk, &Composer, &running).await;
        running.finish(format!("{total} variants by {}", Composer.name()));

        let running = self.progress.start(Stage::Screen, total);
        let variants = cells::screen(tasks, drafts, desk, Composer.name(), &Lexicon::default(), &running).await;
        let counts = VariantCounts::of(&variants);
        running.finish(format!(
            "{} approved, {} blocked, {} for review",
            counts.approved, counts.blocked, counts.needs_review
        ));
        let document = Variants::new(variants, None);
        self.put_json("content", layout::VARIANTS, "every variant with claims, sources and verdicts", &document)
            .await?;
        Ok(document.variants)
    }

    async fn deliver(
        &mut self,
        shard_count: u32,
        model: &Arc<Model>,
        variants: &[Variant],
    ) -> Result<DeliveryTally, Error> {
        let running = self.progress.start(Stage::Deliver, u64::from(shard_count));
        let delivering = Arc::new(Delivering::new(&self.plan.campaign, model.segments(), variants));
        let delivered = shards::map(shard_count, &running, |id| {
            let (delivering, model, store) = (Arc::clone(&delivering), Arc::clone(model), self.store.clone());
            async move {
                let (customers, labels) =
                    (shards::load(&store, layout::SHARDS, id).await?, shards::load(&store, layout::LABELS, id).await?);
                let (tally, (bytes, sha256)) = shards::compute("a shard cannot be delivered", move || {
                    let shard = shards::decode(id, customers)?;
                    let segments = labels::segments_of(&table::decode(labels)?, model.segments())?;
                    let (rows, tally) = delivering.deliver(&shard, &segments)?;
                    Ok((tally, shards::encoded(&rows)?))
                })
                .await?;
                Ok((tally, shards::put(&store, layout::table(layout::DELIVERIES, id), bytes, sha256).await?))
            }
        })
        .await?;
        let mut tally = DeliveryTally::default();
        let mut written = Vec::with_capacity(delivered.len());
        for (shard, file) in delivered {
            tally.merge(shard);
            written.push(file);
        }
        self.record_tables("deliveries", layout::DELIVERIES, "what becomes of every customer", written);
        let total = tally.total();
        running.finish(format!(
            "{} assigned, {} holdout, {} held",
            words::count(total.assigned + total.fallback),
            words::count(total.holdout),
            words::count(total.held)
        ));
        Ok(tally)
    }

    async fn settle(&mut self, variants: &[Variant], customers: u64) -> Result<Ledger, Error> {
        let mut usage = Usage::default();
        variants.iter().for_each(|variant| usage += variant.usage);
        let entries =
            vec![Entry { stage: Stage::Generate.as_str().to_owned(), provider: Composer.name().to_owned(), usage }];
        let ledger = Ledger::new(entries, self.plan.campaign.budget.max_usd, Usd::ZERO, customers);
        self.put_json("ledger", layout::LEDGER, "what every provider call cost", &ledger).await?;
        Ok(ledger)
    }

    fn create(&self, name: &str) -> Result<BufWriter<File>, Error> {
        let file = self.store.file(&layout::blob(name));
        let folder = file.parent().expect("the layout's files are in folders");
        let made = std::fs::create_dir_all(folder).and_then(|()| File::create(&file));
        made.map(BufWriter::new).map_err(|error| Error::failed(format!("{name} cannot be written"), error))
    }

    async fn put_json(&mut self, segment: &str, name: &str, what: &str, value: &impl Serialize) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(value)
            .map_err(|error| Error::failed(format!("{name} cannot be written"), error))?;
        let sha256 = Digest::of(&bytes);
        let written = shards::put(&self.store, layout::blob(name), bytes, sha256).await?;
        self.list(what, &written);
        self.recorder.record(segment, written);
        Ok(())
    }

    /// A file that was written by others.
    fn record_file(&mut self, segment: &str, name: &str, what: &str) -> Result<(), Error> {
        let path = layout::blob(name);
        let digest = File::open(self.store.file(&path))
            .and_then(|file| Ok((file.metadata()?.len(), Digest::of_reader(&mut BufReader::new(file))?)));
        let (bytes, sha256) = digest.map_err(|error| Error::failed(format!("{name} cannot be read back"), error))?;
        let written = Written { path, bytes, sha256 };
        self.list(what, &written);
        self.recorder.record(segment, written);
        Ok(())
    }

    /// The tables of all shards; the report lists the folder's first few.
    fn record_tables(&mut self, segment: &str, folder: &str, what: &str, tables: Vec<Written>) {
        const LISTED: usize = 3;
        for (position, written) in tables.iter().enumerate().take(LISTED) {
            let more = tables.len() - LISTED.min(tables.len());
            let what = match position + 1 {
                LISTED if more > 0 => format!("{what} (and {more} more tables in {folder}/)"),
                _ => what.to_owned(),
            };
            self.list(&what, written);
        }
        tables.into_iter().for_each(|written| self.recorder.record(segment, written));
    }

    fn list(&mut self, what: &str, written: &Written) {
        self.files.push(FileEntry {
            path: written.path.to_string(),
            what: what.to_owned(),
            bytes: written.bytes,
            digest: written.sha256,
        });
    }
}

fn nobody_left(ingested: &Ingested, customers: &Path) -> Problem {
    let reasons: Vec<String> =
        ingested.suppressed_by_reason.iter().map(|(reason, count)| format!("{reason}: {count}")).collect();
    let reasons = if reasons.is_empty() { "no row is good".to_owned() } else { reasons.join("; ") };
    Problem::new(
        format!("none of the {} customers may be contacted ({reasons})", ingested.read),
        "check the consent columns and the suppression list that the campaign file names",
    )
    .in_file(customers)
}

/// An id stands for one set of inputs: what has been run under it is not replaced by something else unasked.
fn same_inputs(plan: &Plan, customers: Option<Digest>, earlier: Option<&Frozen>, folder: &Path) -> Result<(), Error> {
    let Some(earlier) = earlier else { return Ok(()) };
    let changed = if plan.digest()? != earlier.digest {
        "campaign file"
    } else if plan.content_digest != earlier.content {
        "content"
    } else if plan.suppression.sha256() != earlier.suppression {
        "suppression list"
    } else if customers.is_some_and(|customers| customers != earlier.customers) {
        "customer file"
    } else {
        return Ok(());
    };
    Err(Problem::new(
        format!("this campaign id was run before with another {changed}"),
        "give the campaign a new id, or replace the earlier run with --replace",
    )
    .in_file(folder)
    .at_field("campaign.id")
    .into())
}
