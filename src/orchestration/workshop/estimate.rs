//! What the questions of a campaign will cost, from what it counts and what its providers say of one question.

use jiff::civil::Date;

use super::providers::Chosen;
use crate::{
    agents::retrieval::Retriever,
    config::{
        Campaign,
        campaign::{RetrieverName, ScreenName},
    },
    domain::{estimate::StageEstimate, money::Usd},
    orchestration::{instance::Plan, stage::Stage},
    providers::Forecast,
};

/// Their `most_usd` add up to what the plan reserves. `shielded_once`: what it costs to look at every passage once for
/// attacks on a model; what several queries find is looked at once by each process.
pub fn stages(
    campaign: &Campaign,
    segments: usize,
    plan: &Plan,
    providers: &Chosen,
    retriever: &dyn Retriever,
    shielded_once: Usd,
    prices_read_on: Date,
) -> Vec<StageEstimate> {
    let (channels, locales) = (campaign.campaign.channels.len(), campaign.campaign.locales.len());
    let (arms, candidates) = (campaign.experiment.arms.len(), campaign.generation.candidates);
    let ways = format!("x {} x {}", counted(channels, "channel"), counted(locales, "locale"));
    let queries = format!(
        "({} and everybody) {ways} = {}",
        counted(segments, "segment"),
        if plan.queries == 1 { "1 query".to_owned() } else { format!("{} queries", plan.queries) }
    );
    let messages = format!(
        "({} x {} and the control message) {ways} x {} = {}",
        counted(segments, "segment"),
        counted(arms, "arm"),
        counted(candidates, "candidate"),
        counted(plan.variants as usize, "message")
    );
    let retriever_name = match campaign.providers.retrieval {
        RetrieverName::Embedded => "embedded",
        RetrieverName::AzureSearch => "azure_search",
    };
    let screen_name = match campaign.providers.safety {
        ScreenName::Embedded => "embedded",
        ScreenName::AzureContentSafety => "azure_content_safety",
    };
    let allowances = plan.allowances;
    let (writer, screen) = (&providers.writer, &providers.screen);
    let stage = |stage: Stage, provider: &str, questions: u32, most: Usd, forecast, counts: String| {
        let Forecast { expected, once, assumes } = forecast;
        let expected_usd = (expected.times(questions) + once).min(most);
        let priced = (expected_usd > Usd::ZERO).then(|| format!("prices as read on {prices_read_on}"));
        StageEstimate {
            stage: stage.to_string(),
            provider: provider.to_owned(),
            questions,
            expected_usd,
            most_usd: most,
            assumes: [counts].into_iter().chain(assumes).chain(priced).collect(),
        }
    };
    let mut retrieval = retriever.forecast();
    if shielded_once > Usd::ZERO {
        retrieval.once = retrieval.once + shielded_once;
        retrieval.assumes.push("each passage looked at once by Prompt Shields".to_owned());
    }
    vec![
        stage(
            Stage::Retrieve,
            retriever_name,
            plan.queries,
            allowances.retrieve.times(plan.queries),
            retrieval,
            queries,
        ),
        stage(
            Stage::Generate,
            writer.name(),
            plan.variants,
            allowances.generate.times(plan.variants),
            writer.forecast(),
            messages,
        ),
        stage(
            Stage::Screen,
            screen_name,
            plan.variants,
            allowances.screen.times(plan.variants),
            screen.forecast(),
            "one verdict for each message".to_owned(),
        ),
    ]
}

fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}
