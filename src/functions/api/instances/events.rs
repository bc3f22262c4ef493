//! Events for a campaign: a person's decision.

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use serde_json::Value;

use super::{Declined, Known, Message, operations::event_of, parsed};
use crate::{
    domain::decision::Decision,
    functions::{App, api::variants::Approval, extract::Path, invocation::Invocation},
};

/// The event that a campaign waits for. Others come to nothing.
pub const APPROVAL: &str = "approval";

const EXPECTED: &str = "The event `approval` takes {\"digest\": .., \"approve\": [ids] | \"all\" | \"none\", \"by\": name, \"note\": text}";

/// Raises an event. The event `approval` decides on the messages that wait for a person; it may come before they do.
#[utoipa::path(
    post, path = "/api/instances/{instanceId}/raiseEvent/{eventName}", tag = "durable", operation_id = "raiseEvent",
    params(
        ("instanceId" = String, Path, description = "The campaign's id."),
        ("eventName" = String, Path, description = "`approval`; any other is taken and comes to nothing."),
    ),
    request_body = Approval,
    responses(
        (status = 202, description = "Taken."),
        (status = 400, description = "It is no JSON, or no decision.", body = Message),
        (status = 404, description = "There is no such campaign."),
        (status = 409, description = "There is nothing to decide on before the campaign has begun.", body = Message),
        (status = 410, description = "The campaign has ended."),
    )
)]
pub async fn raise_event(
    State(app): State<App>,
    Path((id, name)): Path<(String, String)>,
    invocation: Invocation,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Declined> {
    let known = Known::find(&app.engine, &id).await?;
    let event = event_of(&invocation);
    if known.has_taken(&event) {
        return Ok(StatusCode::ACCEPTED);
    }
    if known.runtime_status().is_final() {
        return Err(Declined::Ended);
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let message = "Only application/json request content is supported";
        return Err(Declined::message(StatusCode::BAD_REQUEST, message));
    }
    let input = parsed(&body)?;
    if !name.eq_ignore_ascii_case(APPROVAL) {
        return Ok(StatusCode::ACCEPTED);
    }
    let decision = decision(input)?;
    let Known::Begun(instance) = known else {
        let message = "The campaign waits for its files: there is nothing to decide on yet.";
        return Err(Declined::message(StatusCode::CONFLICT, message));
    };
    app.engine.put_decision(&instance, &decision, event).await?;
    Ok(StatusCode::ACCEPTED)
}

fn decision(input: Value) -> Result<Decision, Declined> {
    let declined = |why: String| Declined::because(StatusCode::BAD_REQUEST, EXPECTED, why);
    let approval: Approval = serde_json::from_value(input).map_err(|error| declined(error.to_string()))?;
    approval.decision().map_err(|problem| declined(problem.to_string()))
}
