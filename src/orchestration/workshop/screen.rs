//! Screen: a variant's verdict. Nothing disappears: what could not be written is a blocked variant that says why.

use super::{Job, Output, Setback, Trouble, answered, cells, generate, retrieve};
use crate::{
    agents::{retrieval::Retrieved, safety::Gate},
    domain::{
        variant::{Draft, Variant},
        verdict::{Decision, Finding, Rule, Verdict},
    },
    orchestration::stage::{Agent, Stage},
    providers::Meter,
    telemetry,
};

pub async fn perform(job: Job<'_>) -> Result<Output, Setback> {
    let (context, records) = (job.context, job.records);
    let task = job.pick(context.tasks(records).await?)?;
    let meter = Meter::new(job.item.allowance);
    let variant = match written(job, job.item.index).await? {
        Written::Nothing { writer, why } => blocked(task, Draft::nothing(), writer, why),
        Written::Draft { writer, draft } => {
            let retrieved = retrieve::for_cell(job, &task.cell).await?;
            let gate = gate(job, &retrieved).await?;
            let judged = gate.judge(&task.cell, &draft, &meter);
            let verdict = answered(Agent::Screen, &job.workshop.limits.screen, judged).await;
            let verdict = verdict.map_err(|error| Setback { trouble: error.into(), usage: meter.spent() })?;
            variant(task, draft, writer, verdict)
        }
    };
    telemetry::metrics().variant_judged(variant.verdict.decision);
    Ok(Output::new(None, meter.spent(), &variant)?)
}

/// What judges a cell's drafts; `retrieved` is what was found for the cell.
pub async fn gate<'a>(job: Job<'a>, retrieved: &'a Retrieved) -> Result<Gate<'a>, Trouble> {
    let context = job.context;
    let campaign = &context.start.campaign;
    Ok(Gate {
        content: context.content(job.records).await?,
        date: context.date,
        allowed: &retrieved.hits,
        phrases: &context.phrases,
        brand: &campaign.generation.brand,
        slots: &campaign.generation.slots,
        safety: &campaign.safety,
        screen: job.providers()?.screen.as_ref(),
    })
}

/// What the screen could not judge, with its draft where there is one.
pub async fn not_judged(job: Job<'_>, index: u32, task: &cells::Task, why: String) -> Result<Variant, Trouble> {
    let (writer, draft) = match written(job, index).await? {
        Written::Nothing { writer, .. } => (writer, Draft::nothing()),
        Written::Draft { writer, draft } => (writer, draft),
    };
    Ok(blocked(task, draft, writer, why))
}

/// What generate left.
enum Written {
    Draft { writer: String, draft: Draft },
    Nothing { writer: String, why: String },
}

async fn written(job: Job<'_>, index: u32) -> Result<Written, Trouble> {
    let nobody = || Ok::<_, Trouble>(job.providers()?.writer.name().to_owned());
    Ok(match job.records.result(Stage::Generate.into(), index).await? {
        Err(tombstone) => Written::Nothing { writer: nobody()?, why: tombstone.reason },
        Ok(generate::Drafted { writer, draft: generate::Answer::Refused(why) }) => Written::Nothing { writer, why },
        Ok(generate::Drafted { writer, draft: generate::Answer::Written(draft) }) => Written::Draft { writer, draft },
    })
}

fn blocked(task: &cells::Task, draft: Draft, writer: String, why: String) -> Variant {
    variant(task, draft, writer, unwritten(why))
}

/// The verdict on what nobody could write, or judge.
pub fn unwritten(why: String) -> Verdict {
    let finding =
        Finding { rule: Rule::CheckFailed, blocks: true, span: None, text: String::new(), passage: None, why };
    Verdict { decision: Decision::Blocked, findings: vec![finding], severities: None }
}

fn variant(task: &cells::Task, draft: Draft, writer: String, verdict: Verdict) -> Variant {
    Variant {
        id: task.cell.variant_id(task.candidate),
        cell: task.cell.clone(),
        message: draft.message,
        claims: draft.claims,
        verdict,
        writer,
        usage: draft.usage,
    }
}
