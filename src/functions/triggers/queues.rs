//! The queues of campaigns, agents and files. What is true of messages here is true of them everywhere: they are hints, each is
//! handled at least once, and one that fails comes again.

use axum::{body::Bytes, extract::State};
use serde::Deserialize;
use tracing::Span;

use crate::{
    domain::id::CampaignId,
    functions::{
        App,
        envelope::{Done, Envelope, Failed, QueueMessage},
    },
    orchestration::stage::Step,
};

/// The binding's name.
pub(super) const MESSAGE: &str = "message";

/// Takes a campaign's turn.
pub(super) async fn take_turn(State(app): State<App>, body: Bytes) -> Result<Done, Failed> {
    let (message, about) = read(&body)?;
    app.engine.orchestrate_message(&message.body).await?;
    Ok(Done::saying(about))
}

/// Hears of files that came, changed or went, as Event Grid tells or we do: hints too.
pub(super) async fn hear_of_files(State(app): State<App>, body: Bytes) -> Result<Done, Failed> {
    let (message, about) = read(&body)?;
    app.engine.storage_event_message(&message.body).await?;
    Ok(Done::saying(about))
}

/// Works on an item. What a busy provider or store puts off the engine has sent for later, and it is handled here.
pub(super) async fn work(State(app): State<App>, body: Bytes) -> Result<Done, Failed> {
    let (message, about) = read(&body)?;
    app.engine.work(&message.body, message.deliveries).await?;
    Ok(Done::saying(about))
}

/// An item whose every try has failed, even with the process: its stage goes on without it.
pub(super) async fn give_up(State(app): State<App>, body: Bytes) -> Result<Done, Failed> {
    let (message, about) = read(&body)?;
    app.engine.give_up(&message.body).await?;
    Ok(Done::saying(about))
}

/// A hint that nobody needs: the sweeper finds what it was about.
pub(super) async fn set_aside(body: Bytes) -> Result<Done, Failed> {
    let (message, about) = read(&body)?;
    tracing::error!(id = message.id, bytes = message.body.len(), "a message failed in every try, and is dropped");
    Ok(Done::saying(about))
}

/// The message, and what it is about in words. Every line of the log says the latter too.
fn read(body: &[u8]) -> Result<(QueueMessage, String), Failed> {
    /// What may stand in any of the messages, of whatever version.
    #[derive(Default, Deserialize)]
    struct About {
        campaign: Option<CampaignId>,
        step: Option<Step>,
        index: Option<u32>,
        attempt: Option<u32>,
    }

    let message = Envelope::parse(body)?.queue_message(MESSAGE)?;
    let about: About = serde_json::from_slice(&message.body).unwrap_or_default();
    let (campaign, step) = (about.campaign.map(|id| id.to_string()), about.step.map(|step| step.to_string()));
    let span = Span::current();
    span.record("campaign", &campaign);
    span.record("stage", &step);
    span.record("item", about.index);
    span.record("attempt", about.attempt);
    span.record("delivery", message.deliveries);
    let campaign = campaign.map(|id| format!("campaign {id}"));
    let item = step.zip(about.index).map(|(step, index)| format!("{step} {index}"));
    let words: Vec<_> = campaign.into_iter().chain(item).chain([format!("delivery {}", message.deliveries)]).collect();
    Ok((message, words.join(", ")))
}
