//! The same campaign again: as another one, or in its own place.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

use super::{
    Declined, Known, Message,
    operations::{ask, copy_of, event_of},
    parameters::Parameters,
    start::Wait,
    status::{Input, InstanceStatus, start_of},
};
use crate::{
    domain::id::CampaignId,
    functions::{
        App,
        extract::Path,
        invocation::Invocation,
        origin::{Management, Origin},
    },
    orchestration::{
        client::Answer,
        engine::Engine,
        instance::{Instance, Request},
        intake, names,
    },
};

/// Starts a copy of the campaign under an id of its own, or, where `restartWithNewInstanceId` is false, the campaign
/// itself anew. It reads the same files and is judged for the same day.
#[utoipa::path(
    post, path = "/api/instances/{instanceId}/restart", tag = "durable", operation_id = "restart",
    params(
        ("instanceId" = String, Path, description = "The campaign's id."),
        ("restartWithNewInstanceId" = Option<bool>, Query, description = "True where absent."),
        ("timeout" = Option<f64>, Query, description = "With `pollingInterval`: how many seconds to wait for its end."),
        ("pollingInterval" = Option<f64>, Query, description = "Seconds."),
    ),
    responses(
        (status = 200, description = "It ended in time: its output, or its status where it has none.", body = InstanceStatus),
        (status = 202, description = "Begun.", body = Management),
        (status = 400, description = "There is no such campaign.", body = Message),
        (status = 409, description = "It has not ended: terminate it, or ask for a copy.", body = Message),
    )
)]
pub async fn restart(
    State(app): State<App>,
    Path(id): Path<String>,
    parameters: Parameters,
    origin: Origin,
    invocation: Invocation,
) -> Result<Response, Declined> {
    let wait = Wait::asked(&parameters)?;
    let known = match Known::find(&app.engine, &id).await {
        Err(Declined::Unknown) => {
            let message = "InstanceId does not match a valid orchestration instance.";
            let more = format!("No instance with ID '{id}' was found. (Parameter 'instanceId')");
            return Err(Declined::because(StatusCode::BAD_REQUEST, message, more));
        }
        known => known?,
    };
    let begun = if parameters.flag("restartwithnewinstanceid", true) {
        copy(&app.engine, known, &invocation).await?
    } else {
        anew(&app.engine, known, &invocation).await?
    };
    match wait {
        Some(wait) => wait.for_end(&app.engine, &begun, &parameters, &origin).await,
        None => Ok(origin.management(&begun).into_response()),
    }
}

async fn copy(engine: &Engine, known: Known, invocation: &Invocation) -> Result<CampaignId, Declined> {
    match known {
        Known::Begun(instance) => {
            let mut start = start_of(engine, &instance).await?;
            let library = engine.store.blobs.get(&names::input(&instance.campaign, start.documents)).await?.bytes;
            let id = copy_of(&instance.campaign, invocation);
            start.campaign.campaign.id = id.clone();
            engine.start(&start, library).await?;
            Ok(id)
        }
        Known::Pending(pending) => {
            let id = copy_of(&pending.campaign.campaign.id, invocation);
            let mut campaign = pending.campaign;
            campaign.campaign.id = id.clone();
            let spec = serde_json::to_value(Input::of_pending(&campaign, &pending.inputs));
            intake::start(engine, spec.expect("a campaign is plain data"), None).await?;
            Ok(id)
        }
    }
}

async fn anew(engine: &Engine, known: Known, invocation: &Invocation) -> Result<CampaignId, Declined> {
    let (event, status) = (event_of(invocation), known.runtime_status());
    let not_ended = || {
        let message = "A non-terminal instance with this instance ID already exists.";
        Declined::because(StatusCode::CONFLICT, message, Declined::exists(status))
    };
    if let Known::Begun(instance) = &known
        && known.has_taken(&event)
    {
        return Ok(instance.campaign.clone());
    }
    let Known::Begun(instance) = known else { return Err(not_ended()) };
    if !status.is_final() {
        return Err(not_ended());
    }
    let Instance { campaign, start, policy, .. } = &*instance;
    match ask(engine, &instance, event, Request::Restart { start: *start, policy: *policy }).await? {
        Answer::Refused { .. } => Err(not_ended()),
        Answer::Taken | Answer::Later => Ok(campaign.clone()),
    }
}
