//! Personalize: a message for each customer of a shard whom an arm reaches.
//!
//! Whoever's message is not approved gets their segment's, which was released before. A message is kept as soon as it is
//! judged, see [`spent`]: whoever does the item after a death, a put-off or a rewind pays for nothing twice, and the
//! first one that was kept of a customer counts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
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
    config::{Campaign, campaign::ScreenName},
    domain::{
        channel::Channel,
        customer::{Shard, ShardId},
        digest::Digest,
        id::{DocumentId, Locale, SegmentName},
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

impl Kept {
    fn new(to: &Addressee, what: What) -> Self {
        Self { schema: KeptSchema::V1, row: to.row, what }
    }
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
    /// There will be no message. `attempt`: for want of allowance, of which the next attempt has its own.
    Refused {
        why: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
    },
    /// There may be one the next time.
    Nothing {
        /// Why it failed, if it was not just put off.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
        /// Whether there is no attack in what is told of the customer, as far as anybody looks.
        is_clean: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    writer: String,
    draft: Draft,
}

/// Customers under way together; how many of their questions are, the providers' limiters say.
const TOGETHER: usize = PERSONAL_SHARD_ROWS;

/// Of a shard's customers, so few are given up when their questions have failed so often: the others must not wait for
/// them. Where more fail it is the provider, and the item fails.
const FEW: usize = PERSONAL_SHARD_ROWS / 8;
const MOST_FAILURES: u32 = 3;

/// Of an item's time, so much is left for a shard after it has waited for its turn. What is not done by then is left for
/// the next try; what was asked and not answered counts as paid.
const ENOUGH: Duration = ITEM_TIME.saturating_sub(Duration::from_secs(80));

/// Who is paid for the messages: their writer, and a service that judges them.
pub fn paid(campaign: &Campaign, providers: &Chosen) -> String {
    let writer = providers.writer.name();
    match campaign.providers.safety {
        ScreenName::Embedded => writer.to_owned(),
        ScreenName::AzureContentSafety => format!("{writer}, azure_content_safety"),
    }
}

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
    let left: Vec<&Addressee> = desk.addressees.iter().filter(|one| !kept.is_through(one)).collect();
    let (mut trouble, mut has_advanced): (Option<Trouble>, bool) = (None, false);
    if !left.is_empty() {
        // A provider that answers nobody is one thing; one that has answered all but these few is another.
        let are_few = left.len() <= FEW && !kept.through.is_empty();
        let share = job.item.allowance.shared_by(left.len() as u32);
        let tries: Vec<_> = left.into_iter().map(|to| desk.write(to, kept.take(to, are_few), share)).collect();
        let mut tries = stream::iter(tries).buffer_unordered(TOGETHER).ready_chunks(TOGETHER);
        // What a broken store does not take now it may take when all calls have ended: none is cut off for it.
        let mut untold: Vec<spent::Line> = Vec::new();
        let blobs = job.records.blobs;
        while let Some(ended) = tries.next().await {
            for Try { usage, kept, failed } in ended {
                telemetry::metrics().spent(job.item.step.stage.as_str(), &usage);
                if let What::Judged(variant) = &kept.what {
                    telemetry::metrics().variant_judged(variant.verdict.decision);
                }
                let is_news = usage != Usage::default() || !matches!(kept.what, What::Nothing { failed: None, .. });
                if is_news {
                    untold.push(spent::Line::keeping(usage, &kept));
                }
                has_advanced |= !matches!(kept.what, What::Nothing { .. });
                trouble = trouble.into_iter().chain(failed).max_by_key(urgency);
            }
            if spent::keep(blobs, job.item, &untold).await.is_ok() {
                untold.clear();
            }
        }
        if let Err(error) = spent::keep(blobs, job.item, &untold).await {
            let usage = untold.iter().fold(Usage::default(), |sum, line| sum.and(line.usage()));
            return Err(Setback { trouble: error.into(), usage });
        }
        kept = KeptSoFar::read(job).await?;
    }
    match trouble {
        // A try that got somewhere is none of those that an item is given up after.
        Some(Trouble::Provider(error)) if has_advanced => {
            let kind = match error.kind {
                ErrorKind::Throttled { retry_after } => ErrorKind::Throttled { retry_after },
                _ => ErrorKind::Throttled { retry_after: None },
            };
            return Err(Trouble::Provider(ProviderError { kind, ..error }).into());
        }
        Some(trouble) => return Err(trouble.into()),
        None => {}
    }
    Ok(Output::new(None, Usage::default(), &desk.put(kept).await?)?)
}

/// What somebody must mend comes before what is tried again, and this before what is only put off.
fn urgency(trouble: &Trouble) -> u8 {
    match trouble {
        Trouble::Problems(_) => 2,
        Trouble::Provider(ProviderError { kind: ErrorKind::Throttled { .. }, .. }) => 0,
        _ => 1,
    }
}

/// What tries so far have kept of the item: of each customer what came first, so that two workers who had it at once make
/// the same of it.
#[derive(Default)]
struct KeptSoFar {
    /// The message with its verdict, or why there is none.
    through: BTreeMap<u32, Result<Variant, String>>,
    begun: BTreeMap<u32, Begun>,
}

/// How far a customer's message has come.
#[derive(Default)]
struct Begun {
    is_clean: bool,
    written: Option<Written>,
    /// How often it failed, and why the last time.
    failed: u32,
    why: String,
    /// Whether it is given up if it has failed too often.
    may_be_given_up: bool,
}

impl KeptSoFar {
    async fn read(job: Job<'_>) -> Result<Self, Trouble> {
        let item = job.item;
        let all = spent::kept(job.records.blobs, job.records.run, item.step, item.index, item.attempt).await?;
        let mut kept = Self::default();
        for Kept { row, what, .. } in all {
            let begun = kept.begun.entry(row).or_default();
            match what {
                What::Draft(written) => drop(begun.written.get_or_insert(written)),
                What::Judged(variant) => drop(kept.through.entry(row).or_insert(Ok(variant))),
                What::Refused { attempt: Some(attempt), .. } if attempt < item.attempt => {}
                What::Refused { why, .. } => drop(kept.through.entry(row).or_insert(Err(why))),
                What::Nothing { failed, is_clean } => {
                    begun.is_clean |= is_clean;
                    if let Some(why) = failed {
                        (begun.failed, begun.why) = (begun.failed + 1, why);
                    }
                }
            }
        }
        Ok(kept)
    }

    fn is_through(&self, to: &Addressee) -> bool {
        self.through.contains_key(&to.row)
    }

    fn take(&mut self, to: &Addressee, may_be_given_up: bool) -> Begun {
        Begun { may_be_given_up, ..self.begun.remove(&to.row).unwrap_or_default() }
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
    kept: Kept,
    failed: Option<Trouble>,
}

/// All that a shard's messages are written with.
struct Desk<'a> {
    job: Job<'a>,
    providers: &'a Chosen,
    addressees: Vec<Addressee>,
    unknown: u64,
    retrieved: HashMap<(Option<SegmentName>, Channel, Locale), Retrieved>,
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
            if let Entry::Vacant(place) = retrieved.entry(found_for(cell)) {
                place.insert(retrieve::for_cell(job, cell).await?);
            }
        }
        let recalled = recalls::of(records.blobs).await?;
        Ok(Self { job, providers: job.providers()?, addressees, unknown, retrieved, recalled, until })
    }

    async fn write(&self, to: &Addressee, mut begun: Begun, share: Usd) -> Try {
        if begun.may_be_given_up && begun.failed >= MOST_FAILURES {
            let why = format!("given up after {} tries: {}", begun.failed, begun.why);
            let kept = Kept::new(to, What::Refused { why, attempt: None });
            return Try { usage: Usage::default(), kept, failed: None };
        }
        let had_draft = begun.written.is_some();
        let meter = Meter::new(share);
        let (what, failed) = match self.judged(to, &mut begun, &meter).await {
            Ok(what) => (what, None),
            Err(trouble) => {
                let what = match begun.written {
                    Some(written) if !had_draft => What::Draft(written),
                    _ => {
                        let failed = (urgency(&trouble) > 0).then(|| trouble.to_string());
                        What::Nothing { failed, is_clean: begun.is_clean }
                    }
                };
                (what, Some(trouble))
            }
        };
        Try { usage: meter.spent(), kept: Kept::new(to, what), failed }
    }

    /// The message with its verdict, or why there will be none. On trouble `begun` says how far it has come.
    async fn judged(&self, to: &Addressee, begun: &mut Begun, meter: &Meter) -> Result<What, Trouble> {
        if begun.written.is_none() {
            if !begun.is_clean && self.is_attack(to, meter).await? {
                let why = "what is known of the customer holds an attack on a language model".to_owned();
                return Ok(What::Refused { why, attempt: None });
            }
            begun.is_clean = true;
            match self.drafted(to, meter).await {
                Ok(draft) => {
                    let writer = self.providers.writer.name().to_owned();
                    begun.written = Some(Written { writer, draft });
                }
                Err(Trouble::Provider(error)) if error.is_final() => return Ok(self.refused(&error)),
                Err(trouble) => return Err(trouble),
            }
        }
        let Some(Written { writer, draft }) = &begun.written else { return Err(Trouble::Defect("no draft".into())) };
        let message = Digest::of_json(&(&to.cell, &draft.message, &draft.claims))?;
        let verdicts = self.job.context.verdicts();
        let verdict = match verdicts.of(message) {
            Some(verdict) => verdict,
            None => {
                let gate = screen::gate(self.job, self.retrieved(&to.cell)).await?;
                let verdict = self.asked(Agent::Screen, gate.judge(&to.cell, draft, meter)).await?;
                verdicts.remember(message, &verdict);
                verdict
            }
        };
        Ok(What::Judged(self.variant(to, writer.clone(), draft.clone(), verdict)))
    }

    /// A writer's reasons may repeat what it was told: they are not kept.
    fn refused(&self, error: &ProviderError) -> What {
        match error.kind {
            ErrorKind::OverAllowance => {
                let why = format!("{}: the allowance was used up", error.provider);
                What::Refused { why, attempt: Some(self.job.item.attempt) }
            }
            _ => What::Refused {
                why: format!("{}: it gave no message that could be used", error.provider),
                attempt: None,
            },
        }
    }

    async fn is_attack(&self, to: &Addressee, meter: &Meter) -> Result<bool, Trouble> {
        let Some(shields) = &self.providers.shields else { return Ok(false) };
        let texts: Vec<&str> = to.fields.values().filter_map(Value::as_str).collect();
        Ok(!self.asked(Agent::Screen, shields.attacks(&texts, meter)).await?.is_empty())
    }

    async fn drafted(&self, to: &Addressee, meter: &Meter) -> Result<Draft, Trouble> {
        let (context, records) = (self.job.context, self.job.records);
        let campaign = &context.start.campaign;
        let library = context.content(records).await?;
        let retrieved = self.retrieved(&to.cell);
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

    fn variant(&self, to: &Addressee, writer: String, draft: Draft, verdict: Verdict) -> Variant {
        let Draft { message, claims, usage } = draft;
        let id = to.cell.personal_id(ShardId(self.job.item.index), to.row);
        Variant { id, cell: to.cell.clone(), message, claims, verdict, writer, usage }
    }

    fn retrieved(&self, cell: &Cell) -> &Retrieved {
        &self.retrieved[&found_for(cell)]
    }

    /// The shard's messages, as they were kept.
    async fn put(&self, mut kept: KeptSoFar) -> Result<Personalized, Trouble> {
        let mut counts = Counts { unknown: self.unknown, ..Counts::default() };
        let mut messages = Vec::with_capacity(self.addressees.len());
        for to in &self.addressees {
            let variant = match kept.through.remove(&to.row) {
                Some(Ok(variant)) => variant,
                Some(Err(why)) => {
                    let writer = self.providers.writer.name().to_owned();
                    self.variant(to, writer, Draft::nothing(), screen::unwritten(why))
                }
                None => return Err(Trouble::Defect("a customer was left out".into())),
            };
            counts.add(&variant.verdict);
            let (schema, customer_id) = (messages::Schema::V1, to.customer.clone());
            messages.push(PersonalMessage { schema, customer_id, variant });
        }
        let lines = messages::to_lines(&messages)?;
        // Who comes late, from an attempt before this one, may know other messages: those that are recorded stay.
        let Job { item, records, .. } = self.job;
        if let Ok(Ok(recorded)) = records.result::<Personalized>(item.step, item.index).await {
            return Ok(recorded);
        }
        let path = layout::lines(layout::MESSAGES, ShardId(item.index));
        let messages = self.job.folder().put(path, lines.into()).await?;
        Ok(Personalized { counts, messages })
    }
}

/// What a cell's messages draw on does not depend on its arm.
fn found_for(cell: &Cell) -> (Option<SegmentName>, Channel, Locale) {
    (cell.segment.clone(), cell.channel, cell.locale.clone())
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
