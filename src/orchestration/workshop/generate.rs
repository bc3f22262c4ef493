//! Generate: a variant's draft.

use serde::{Deserialize, Serialize};

use super::{Job, Output, Setback, answered, retrieve, screen};
use crate::{
    agents::generation::{Brief, Source},
    domain::variant::Draft,
    orchestration::stage::Agent,
    providers::Meter,
};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drafted {
    /// Name and version.
    pub writer: String,
    pub draft: Answer,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Written(Draft),
    /// Asking again would give the same. The cell falls back.
    Refused(String),
}

pub async fn perform(job: Job<'_>) -> Result<Output, Setback> {
    let (context, records) = (job.context, job.records);
    let campaign = &context.start.campaign;
    let segments = &context.designed(records).await?.segments;
    let task = job.pick(context.tasks(records).await?)?;
    let retrieved = retrieve::for_cell(job, &task.cell).await?;
    let library = context.content(records).await?;
    let source = |(document, passage)| Source { document, passage };
    let sources: Vec<_> = retrieved.hits.iter().filter_map(|hit| library.passage(&hit.passage).map(source)).collect();
    let gate = screen::gate(job, &retrieved).await?;
    let brief = Brief {
        cell: &task.cell,
        segment: segments.iter().find(|segment| Some(&segment.name) == task.cell.segment.as_ref()),
        customer: None,
        tone: &task.tone,
        campaign_name: &campaign.campaign.name,
        date: context.date,
        sources: &sources,
        brand: &campaign.generation.brand,
        slots: &campaign.generation.slots,
        candidate: task.candidate,
        seed: campaign.generation.seed,
        review: &|draft| gate.check_text(&task.cell, draft),
    };
    let writer = &job.providers()?.writer;
    let meter = Meter::new(job.item.allowance);
    let draft = match answered(Agent::Generate, &job.workshop.limits.writer, writer.write(&brief, &meter)).await {
        Ok(draft) => Answer::Written(draft),
        Err(error) if error.is_final() => Answer::Refused(error.to_string()),
        Err(error) => return Err(Setback { trouble: error.into(), usage: meter.spent() }),
    };
    Ok(Output::new(None, meter.spent(), &Drafted { writer: writer.name().to_owned(), draft })?)
}
