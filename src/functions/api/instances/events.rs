//! Events for a campaign: a person's decision.

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Declined, Known, Message,
    operations::{ask, event_of},
    parsed,
};
use crate::{
    domain::{
        decision::{Approved, Decision, Schema},
        digest::Digest,
        id::VariantId,
    },
    functions::{App, extract::Path, invocation::Invocation},
    orchestration::instance::{Approval, Request},
};

/// The event that a campaign waits for. Others come to nothing.
pub const APPROVAL: &str = "approval";

/// Bytes of a name: an instance keeps no more.
const LONGEST_NAME: usize = 256;

/// A person's decision on the messages that wait at the gate: the input of the event `approval`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// Of the messages that were looked at: `customStatus.gate.digest`.
    #[schema(value_type = String)]
    digest: Digest,
    /// What is not approved is blocked.
    #[schema(value_type = Value)]
    approve: Approve,
    /// Who decides.
    by: String,
    note: Option<String>,
}

/// `"all"`, `"none"` or a list of ids.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Approve {
    Word(Word),
    Only(Vec<VariantId>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    All,
    None,
}

const EXPECTED: &str = "The event `approval` takes {\"digest\": .., \"approve\": [ids] | \"all\" | \"none\", \"by\": name, \"note\": text}";

/// Raises an event. The event `approval` decides on the messages that wait for a person; it may come before they do.
#[utoipa::path(
    post, path = "/api/instances/{instanceId}/raiseEvent/{eventName}", tag = "durable", operation_id = "raiseEvent",
    params(
        ("instanceId" = String, Path, description = "The campaign's id."),
        ("eventName" = String, Path, description = "`approval`; any other is taken and comes to nothing."),
    ),
    request_body = Decided,
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
    let bytes = serde_json::to_vec(&decision).expect("a decision is plain data");
    let kept = app.engine.keep_input(&instance.campaign, bytes).await?;
    let approval = Approval { digest: decision.digest, decision: kept, by: decision.by };
    ask(&app.engine, &instance, event, Request::Decide { approval }).await?;
    Ok(StatusCode::ACCEPTED)
}

fn decision(input: Value) -> Result<Decision, Declined> {
    let declined = |why: &str| Declined::because(StatusCode::BAD_REQUEST, EXPECTED, why);
    let decided: Decided = serde_json::from_value(input).map_err(|error| declined(&error.to_string()))?;
    if decided.by.trim().is_empty() || decided.by.len() > LONGEST_NAME || decided.by.chars().any(char::is_control) {
        return Err(declined("`by` names a person in 1 to 256 bytes without control characters"));
    }
    let approved = match decided.approve {
        Approve::Word(Word::All) => Approved::All,
        Approve::Word(Word::None) => Approved::Only(Vec::new()),
        Approve::Only(ids) => Approved::Only(ids),
    };
    Ok(Decision { schema: Schema::V1, digest: decided.digest, approved, by: decided.by, note: decided.note })
}
