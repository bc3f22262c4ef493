//! Personalize: a message for each customer of a shard whom an arm reaches.
//!
//! Whoever's message is not approved gets their segment's, which was released before. A message is kept as soon as it is
//! judged, see [`spent`]: whoever does the item after a death, a put-off or a rewind pays for nothing twice, and the
//! first one that was kept of a customer counts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    time::Duration,
};

use arrow_schema::ArrowError;
use futures::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{
    Job, Output, Setback, TURN, Trouble, answered, compute, design::ASKED, label, providers::Chosen, put_off, retrieve,
    screen,
};
use crate::{
    agents::{
        experimentation::deliver::Delivering,
        generation::{
            Brief, Source,
            fields::{self, Fields, FieldsOf},
            messages::{self, Counts, PersonalMessage},
        },
        retrieval::Retrieved,
    },
    audit,
    config::Campaign,
    domain::{
        customer::{Shard, ShardId},
        id::DocumentId,
        money::Usd,
        variant::{Cell, Draft, Usage, Variant},
        verdict::Verdict,
    },
    ingest::PERSONAL_SHARD_ROWS,
    orchestration::{engine::ITEM_TIME, layout, recalls, spent, stage::Agent},
    providers::{ErrorKind, Meter, ProviderError},
    telemetry,
};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Personalized {
    pub counts: Counts,
    pub messages: audit::Written,
}

/// What is kept of a customer's message.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    schema: KeptSchema,
    /// Of the shard.
    row: u32,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum KeptSchema {
    #[serde(rename = "kept/1")]
    V1,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    /// The screen had no verdict yet.
    Draft(Written),
    Judged(Variant),
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    writer: String,
    draft: Draft,
}

/// Customers under way together; how many of their questions are, the providers' limiters say.
const TOGETHER: usize = PERSONAL_SHARD_ROWS;

/// Of an item's time, so much is left for a shard after it has waited for its turn. What is not done by then is left for
/// the next try; what was asked and not answered counts as paid.
const ENOUGH: Duration = ITEM_TIME.saturating_sub(Duration::from_secs(80));

/// What a customer's message may cost at most.
pub fn most(campaign: &Campaign, providers: &Chosen) -> Usd {
    providers.writer.most() + (providers.screen.most() + shielded(campaign, providers)).times(ASKED)
}

/// What it costs to look for attacks in what is told of a customer, if all of it is as long as can be.
pub fn shielded(campaign: &Campaign, providers: &Chosen) -> Usd {
    let longest = "x".repeat(fields::MAX_CHARS);
    let texts = vec![longest.as_str(); campaign.generation.fields.len()];
    providers.shields.as_ref().map_or(Usd::ZERO, |shields| shields.most_of(&texts))
}

pub async fn perform(job: Job<'_>) -> Result<Output, Setback> {
    let free = tokio::time::timeout(TURN, job.workshop.limits.desks.acquire());
    let Ok(_desk) = free.await else { return Err(put_off("all shards that are in hand are slow".to_owned()).into()) };
    let desk = Desk::open(job).await?;
    let mut kept = KeptSoFar::read(job).await?;
    let left: Vec<&Addressee> = desk.addressees.iter().filter(|one| !kept.judged.contains_key(&one.row)).collect();
    let mut wasted = Usage::default();
    if !left.is_empty() {
        let share = job.item.allowance.shared_by(left.len() as u32);
        let tries = left.into_iter().map(|to| desk.write(to, kept.drafts.remove(&to.row), share)).collect::<Vec<_>>();
        let mut tries = stream::iter(tries).buffer_unordered(TOGETHER).ready_chunks(TOGETHER);
        let mut trouble: Option<Trouble> = None;
        while let Some(ended) = tries.next().await {
            let mut lines = Vec::with_capacity(ended.len());
            for Try { usage, kept, failed } in ended {
                match kept {
                    Some(kept) => lines.push((usage, kept)),
                    None => wasted += usage,
                }
                trouble = trouble.into_iter().chain(failed).max_by_key(urgency);
            }
            if let Err(error) = spent::keep(job.records.blobs, job.item, &lines).await {
                let usage = lines.iter().fold(wasted, |sum, (usage, _)| sum.and(*usage));
                return Err(Setback { trouble: error.into(), usage });
            }
            for (usage, kept) in &lines {
                telemetry::metrics().spent(job.item.step.stage.as_str(), usage);
                if let What::Judged(variant) = &kept.what {
                    telemetry::metrics().variant_judged(variant.verdict.decision);
                }
            }
        }
        if let Some(trouble) = trouble {
            return Err(Setback { trouble, usage: wasted });
        }
        kept = KeptSoFar::read(job).await.map_err(|trouble| Setback { trouble, usage: wasted })?;
    }
    let personalized = desk.put(kept.judged).await.map_err(|trouble| Setback { trouble, usage: wasted })?;
    Ok(Output::new(None, wasted, &personalized)?)
}

/// What somebody must mend comes before what is tried again, and this before what is only put off.
fn urgency(trouble: &Trouble) -> u8 {
    match trouble {
        Trouble::Problems(_) => 2,
        Trouble::Provider(ProviderError { kind: ErrorKind::Throttled { .. }, .. }) => 0,
        _ => 1,
    }
}

/// What tries so far have kept of the item: of each customer the first.
struct KeptSoFar {
    judged: BTreeMap<u32, Variant>,
    drafts: BTreeMap<u32, Written>,
}

impl KeptSoFar {
    async fn read(job: Job<'_>) -> Result<Self, Trouble> {
        let item = job.item;
        let all = spent::kept(job.records.blobs, job.records.run, item.step, item.index, item.attempt).await?;
        let mut kept = Self { judged: BTreeMap::new(), drafts: BTreeMap::new() };
        for Kept { row, what, .. } in all {
            match what {
                What::Judged(variant) => drop(kept.judged.entry(row).or_insert(variant)),
                What::Draft(written) => drop(kept.drafts.entry(row).or_insert(written)),
            }
        }
        Ok(kept)
    }
}

/// A customer to write to.
struct Addressee {
    row: u32,
    customer: String,
    cell: Cell,
    fields: Fields,
}

/// Those of a shard, and how many more an arm reaches of whom nothing is known that may be told.
fn addressees(
    delivering: &Delivering,
    shard: &Shard,
    segments: &[u16],
    names: &BTreeSet<String>,
) -> Result<(Vec<Addressee>, u64), ArrowError> {
    let fields = FieldsOf::new(shard, names)?;
    let (mut addressees, mut unknown) = (Vec::new(), 0);
    for (row, cell) in delivering.reached(shard, segments) {
        let fields = fields.of(row);
        if fields.is_empty() {
            unknown += 1;
            continue;
        }
        // A shard has fewer rows than an u32 counts.
        addressees.push(Addressee {
            row: row as u32,
            customer: shard.customer_ids().value(row).to_owned(),
            cell,
            fields,
        });
    }
    Ok((addressees, unknown))
}

/// What became of a customer's message for now.
struct Try {
    usage: Usage,
    kept: Option<Kept>,
    failed: Option<Trouble>,
}

/// All that a shard's messages are written with.
struct Desk<'a> {
    job: Job<'a>,
    providers: &'a Chosen,
    addressees: Vec<Addressee>,
    unknown: u64,
    retrieved: HashMap<Cell, Retrieved>,
    /// Nothing is written from these any more.
    recalled: BTreeSet<DocumentId>,
    /// From then on nothing is waited for.
    until: Instant,
}

impl<'a> Desk<'a> {
    async fn open(job: Job<'a>) -> Result<Self, Trouble> {
        let until = Instant::now() + ENOUGH;
        let (context, records) = (job.context, job.records);
        let delivering = context.delivering(records, &BTreeSet::new()).await?;
        let (shard, segments) = label::labelled(job, ShardId(job.item.index)).await?;
        let names = context.start.campaign.generation.fields.clone();
        let found = compute(move || Ok(addressees(&delivering, &shard, &segments, &names)?));
        let (addressees, unknown) = found.await?;
        let mut retrieved = HashMap::new();
        for Addressee { cell, .. } in &addressees {
            if !retrieved.contains_key(cell) {
                retrieved.insert(cell.clone(), retrieve::for_cell(job, cell).await?);
            }
        }
        let recalled = recalls::of(records.blobs).await?;
        Ok(Self { job, providers: job.providers()?, addressees, unknown, retrieved, recalled, until })
    }

    async fn write(&self, to: &Addressee, written: Option<Written>, share: Usd) -> Try {
        let meter = Meter::new(share);
        let mut draft = written;
        let result = self.judged(to, &mut draft, &meter).await;
        let (what, failed) = match result {
            Ok(variant) => (Some(What::Judged(variant)), None),
            // What was known before is kept already.
            Err(trouble) => (draft.filter(|_| meter.spent() != Usage::default()).map(What::Draft), Some(trouble)),
        };
        let kept = what.map(|what| Kept { schema: KeptSchema::V1, row: to.row, what });
        Try { usage: meter.spent(), kept, failed }
    }

    /// The message with its verdict. On trouble `written` holds the draft, as soon as there is one.
    async fn judged(&self, to: &Addressee, written: &mut Option<Written>, meter: &Meter) -> Result<Variant, Trouble> {
        if written.is_none() {
            match self.drafted(to, meter).await {
                Ok(draft) => {
                    let writer = self.providers.writer.name().to_owned();
                    *written = Some(Written { writer, draft });
                }
                Err(Trouble::Provider(error)) if error.is_final() => return Ok(self.refused(to, error.to_string())),
                Err(trouble) => return Err(trouble),
            }
        }
        let Some(Written { writer, draft }) = &*written else { return Err(Trouble::Defect("no draft".into())) };
        let gate = screen::gate(self.job, &self.retrieved[&to.cell]).await?;
        let verdict = self.asked(Agent::Screen, gate.judge(&to.cell, draft, meter)).await?;
        Ok(self.variant(to, writer.clone(), draft.clone(), verdict))
    }

    async fn drafted(&self, to: &Addressee, meter: &Meter) -> Result<Draft, Trouble> {
        if let Some(shields) = &self.providers.shields {
            let texts: Vec<&str> = to.fields.values().filter_map(Value::as_str).collect();
            if !self.asked(Agent::Screen, shields.attacks(&texts, meter)).await?.is_empty() {
                let message = "what is known of the customer holds an attack on a language model".to_owned();
                let provider = "prompt_shields";
                return Err(ProviderError { provider, kind: ErrorKind::Rejected, message }.into());
            }
        }
        let (context, records) = (self.job.context, self.job.records);
        let campaign = &context.start.campaign;
        let library = context.content(records).await?;
        let retrieved = &self.retrieved[&to.cell];
        let sources = retrieved.hits.iter().filter_map(|hit| library.passage(&hit.passage));
        let sources: Vec<Source<'_>> = sources
            .filter(|(document, _)| !self.recalled.contains(&document.id))
            .map(|(document, passage)| Source { document, passage })
            .collect();
        let gate = screen::gate(self.job, retrieved).await?;
        let segments = &context.designed(records).await?.segments;
        let arm = campaign.experiment.arms.iter().find(|arm| arm.name == to.cell.arm);
        let arm = arm.ok_or_else(|| Trouble::Defect("a customer is in an arm that there is not".into()))?;
        let brief = Brief {
            cell: &to.cell,
            segment: segments.iter().find(|segment| Some(&segment.name) == to.cell.segment.as_ref()),
            customer: Some(&to.fields),
            tone: &arm.tone,
            campaign_name: &campaign.campaign.name,
            date: context.date,
            sources: &sources,
            brand: &campaign.generation.brand,
            slots: &campaign.generation.slots,
            candidate: 0,
            seed: campaign.generation.seed,
            review: &|draft| gate.check_text(&to.cell, draft),
        };
        // What was spent on looking for attacks is not the draft's.
        let before = meter.spent();
        let draft = self.asked(Agent::Generate, self.providers.writer.write(&brief, meter)).await?;
        Ok(Draft { usage: draft.usage.since(before), ..draft })
    }

    /// An answer, as long as there is time for one.
    async fn asked<T>(
        &self,
        agent: Agent,
        question: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, Trouble> {
        let limits = &self.job.workshop.limits;
        let limiter = if agent == Agent::Screen { &limits.screen } else { &limits.writer };
        let late = || put_off("the time for its shard was over".to_owned());
        if Instant::now() >= self.until {
            return Err(late().into());
        }
        match timeout_at(self.until, answered(agent, limiter, question)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(late().into()),
        }
    }

    /// Stands for a message that there will never be.
    fn refused(&self, to: &Addressee, why: String) -> Variant {
        self.variant(to, self.providers.writer.name().to_owned(), Draft::nothing(), screen::unwritten(why))
    }

    fn variant(&self, to: &Addressee, writer: String, draft: Draft, verdict: Verdict) -> Variant {
        let Draft { message, claims, usage } = draft;
        let id = to.cell.personal_id(ShardId(self.job.item.index), to.row);
        Variant { id, cell: to.cell.clone(), message, claims, verdict, writer, usage }
    }

    /// The shard's messages, as they were kept.
    async fn put(&self, mut judged: BTreeMap<u32, Variant>) -> Result<Personalized, Trouble> {
        let mut counts = Counts { unknown: self.unknown, ..Counts::default() };
        let mut messages = Vec::with_capacity(self.addressees.len());
        for Addressee { row, customer, .. } in &self.addressees {
            let variant = judged.remove(row);
            let variant = variant.ok_or_else(|| Trouble::Defect("a customer was left out".into()))?;
            counts.add(&variant.verdict);
            messages.push(PersonalMessage { schema: messages::Schema::V1, customer_id: customer.clone(), variant });
        }
        let path = layout::lines(layout::MESSAGES, ShardId(self.job.item.index));
        let lines = messages::to_lines(&messages)?;
        let messages = self.job.folder().put(path, lines.into()).await?;
        Ok(Personalized { counts, messages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_version_kept_is_still_read() {
        let json = include_str!("../../../tests/data/formats/kept-1.json");
        let kept: Kept = serde_json::from_str(json).unwrap();
        assert!(matches!(&kept.what, What::Judged(variant) if !variant.claims.is_empty()));
        assert_eq!(serde_json::to_string(&kept).unwrap(), json.trim_end());
    }
}
