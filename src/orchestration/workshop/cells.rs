//! What there is to do for a campaign's segments. Nothing here sees a customer.

use crate::{
    agents::{generation::phrases::NEUTRAL, retrieval::Query},
    config::Campaign,
    domain::{experiment::CONTROL, id::ArmName, segment::Segment, variant::Cell},
};

/// One query per segment and for everybody, per channel and locale.
pub fn queries(campaign: &Campaign, segments: &[Segment]) -> Vec<Query> {
    let audiences = segments.iter().map(Some).chain([None]);
    let mut queries = Vec::new();
    for segment in audiences {
        let words: Vec<&str> = segment
            .into_iter()
            .flat_map(|segment| segment.keywords.iter().map(String::as_str))
            .chain([campaign.campaign.name.as_str()])
            .collect();
        for channel in &campaign.campaign.channels {
            for locale in &campaign.campaign.locales {
                queries.push(Query {
                    text: words.join(" "),
                    audience: segment.map(|segment| segment.name.clone()),
                    channel: *channel,
                    locale: locale.clone(),
                    limit: campaign.content.passages,
                });
            }
        }
    }
    queries
}

/// Whether what the query finds is for the cell's messages.
pub fn is_for(query: &Query, cell: &Cell) -> bool {
    query.audience == cell.segment && query.channel == cell.channel && query.locale == cell.locale
}

/// One variant to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub cell: Cell,
    pub tone: String,
    pub candidate: usize,
}

/// Every variant of the campaign: segment x arm x channel x locale x candidate, then the control message's.
pub fn tasks(campaign: &Campaign, segments: &[Segment]) -> Vec<Task> {
    let control = ArmName::new(CONTROL).expect("`control` is an arm's name");
    let cells = segments
        .iter()
        .flat_map(|segment| {
            campaign.experiment.arms.iter().map(|arm| (Some(segment.name.clone()), arm.name.clone(), arm.tone.as_str()))
        })
        .chain([(None, control, NEUTRAL)]);
    let mut tasks = Vec::new();
    for (segment, arm, tone) in cells {
        for channel in &campaign.campaign.channels {
            for locale in &campaign.campaign.locales {
                let cell =
                    Cell { segment: segment.clone(), arm: arm.clone(), channel: *channel, locale: locale.clone() };
                for candidate in 0..campaign.generation.candidates {
                    tasks.push(Task { cell: cell.clone(), tone: tone.to_owned(), candidate });
                }
            }
        }
    }
    tasks
}
