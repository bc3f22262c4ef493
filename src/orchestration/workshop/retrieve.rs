//! Retrieve: the passages that a segment's messages may draw on.

use std::{collections::BTreeSet, path::Path};

use super::{Job, Output, Setback, Trouble, answered, cells};
use crate::{
    agents::retrieval::{Hit, Query, Retrieved},
    domain::{id::PassageId, problem::Problem, variant::Cell},
    orchestration::stage::{Agent, Stage},
    providers::Meter,
};

/// A segment for which nothing may be said stops the campaign here, before anything is generated.
pub async fn perform(job: Job<'_>) -> Result<Output, Setback> {
    let context = job.context;
    let query = job.pick(context.queries(job.records).await?)?.clone();
    let meter = Meter::new(job.item.allowance);
    let hits = found(job, &query, &meter).await?;
    let attacked = match attacked(job, &hits, &meter).await {
        Ok(attacked) => attacked,
        Err(setback) => {
            context.found().insert((job.item.attempt, job.item.index), hits);
            return Err(setback);
        }
    };
    let (withheld, hits): (Vec<Hit>, _) = hits.into_iter().partition(|hit| attacked.contains(&hit.passage));
    let withheld = withheld.into_iter().map(|hit| hit.passage).collect();
    let Query { text, audience, channel, locale, .. } = query;
    let retrieved = Retrieved { segment: audience, channel, locale, query: text, hits, withheld };
    if retrieved.hits.is_empty() {
        return Err(Trouble::Problems(vec![missing(&retrieved, &context.start.content_folder)]).into());
    }
    Ok(Output::new(None, meter.spent(), &retrieved)?)
}

/// What the index says, now or when it was asked before.
async fn found(job: Job<'_>, query: &Query, meter: &Meter) -> Result<Vec<Hit>, Setback> {
    let before = job.context.found().remove(&(job.item.attempt, job.item.index));
    if let Some(hits) = before {
        return Ok(hits);
    }
    let index = job.context.index(job).await?;
    let hits = answered(Agent::Retrieve, &job.workshop.limits.retriever, index.retrieve(query, meter)).await;
    hits.map_err(|error| Setback { trouble: error.into(), usage: meter.spent() })
}

/// The passages that no prompt may hold. Without shields nobody looks for them.
async fn attacked(job: Job<'_>, hits: &[Hit], meter: &Meter) -> Result<BTreeSet<PassageId>, Setback> {
    let Some(shields) = &job.providers()?.shields else { return Ok(BTreeSet::new()) };
    let library = job.context.content(job.records).await?;
    let passages: Vec<_> = hits.iter().filter_map(|hit| library.passage(&hit.passage)).collect();
    let attacked = answered(Agent::Screen, &job.workshop.limits.screen, shields.attacked_passages(&passages, meter));
    attacked.await.map_err(|error| Setback { trouble: error.into(), usage: meter.spent() })
}

/// What was found for a cell's messages.
pub async fn for_cell(job: Job<'_>, cell: &Cell) -> Result<Retrieved, Trouble> {
    let queries = job.context.queries(job.records).await?;
    let index = (0..).zip(queries).find(|(_, query)| cells::is_for(query, cell)).map(|(index, _)| index);
    let index = index.ok_or_else(|| Trouble::Defect("nothing was asked for a cell".into()))?;
    job.records.output(Stage::Retrieve.into(), index).await
}

fn missing(answer: &Retrieved, content: &Path) -> Problem {
    let whom = answer
        .segment
        .as_ref()
        .map_or_else(|| "everybody (the control message)".to_owned(), |segment| format!("segment `{segment}`"));
    if let Some(withheld) = answer.withheld.first() {
        return Problem::new(
            format!(
                "all content for {whom} on {} in {} is withheld, `{withheld}` first: Prompt Shields takes it for attacks \
                 on a language model",
                answer.channel, answer.locale
            ),
            "look at its documents and reword or withdraw them; if they are harmless, set `prompt_shields = false` in \
             [safety.content_safety]",
        )
        .in_file(content);
    }
    Problem::new(
        format!("there is no approved content for {whom} on {} in {}", answer.channel, answer.locale),
        "add a document, or set status, approved_on, validity, audience, channels and locales so that one applies \
         on the campaign's date",
    )
    .in_file(content)
}
