//! What the questions of a campaign will cost, from what it counts and what its providers say of one question.

use jiff::civil::Date;

use super::{personalize, providers::Chosen};
use crate::{
    agents::retrieval::Retriever,
    config::{
        Campaign,
        campaign::{RetrieverName, ScreenName},
    },
    domain::{estimate::StageEstimate, money::Usd, segment::SegmentProfile},
    orchestration::{instance::Plan, stage::Stage},
    providers::Forecast,
};

/// Their `most_usd` add up to what the plan reserves. `shielded_once`: what it costs to look at every passage once for
/// attacks on a model; what several queries find is looked at once by each process.
pub fn stages(
    campaign: &Campaign,
    profiles: &[SegmentProfile],
    plan: &Plan,
    providers: &Chosen,
    retriever: &dyn Retriever,
    shielded_once: Usd,
    prices_read_on: Date,
) -> Vec<StageEstimate> {
    let segments = profiles.len();
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
    let mut stages = vec![
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
    ];
    if plan.personal > 0 {
        let (of_writer, of_screen) = (writer.forecast(), screen.forecast());
        let shielded = personalize::shielded(campaign, providers);
        let experiment = &campaign.experiment;
        let reached = (1.0 - experiment.control.get() - experiment.holdout.get()).max(0.0);
        let customers: u64 = profiles.iter().map(|profile| profile.customers).sum();
        let messages = (customers as f64 * reached).round() as u32;
        let counts = format!(
            "{} may be contacted, of whom arms reach {:.0} %: {}, each written and judged; at most all of them",
            counted(customers as usize, "customer"),
            reached * 100.0,
            counted(messages as usize, "message")
        );
        let forecast = Forecast {
            expected: of_writer.expected + of_screen.expected + shielded,
            once: Usd::ZERO,
            assumes: of_writer.assumes.into_iter().chain(of_screen.assumes).collect(),
        };
        let most = allowances.personalize.times(plan.personal);
        let paid = personalize::paid(campaign, providers);
        stages.push(stage(Stage::Personalize, &paid, messages, most, forecast, counts));
    }
    stages
}

fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}
