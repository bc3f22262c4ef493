//! Steering a campaign: its end, its pause, another try.
//!
//! The host sends a call without a body again when its connection drops. What is asked is named by the invocation, so
//! that it is done once, and the same call again is told what it was told before.

use axum::{extract::State, http::StatusCode};

use super::{Declined, Known, Message, RuntimeStatus, parameters::Parameters};
use crate::{
    domain::{digest::Digest, id::CampaignId},
    functions::{App, extract::Path, invocation::Invocation},
    orchestration::{
        client::Answer,
        engine::Engine,
        instance::{EventId, Instance, Request},
        intake,
    },
};

/// Bytes of a reason: an instance keeps no more.
const LONGEST_REASON: usize = 256;

/// Ends a campaign for good. What it has made stays until it is purged.
#[utoipa::path(
    post, path = "/api/instances/{instanceId}/terminate", tag = "durable", operation_id = "terminate",
    params(
        ("instanceId" = String, Path, description = "The campaign's id."),
        ("reason" = Option<String>, Query, description = "Kept in its history."),
    ),
    responses(
        (status = 202, description = "Asked for."),
        (status = 404, description = "There is no such campaign."),
        (status = 410, description = "It has ended already."),
    )
)]
pub async fn terminate(
    State(app): State<App>,
    Path(id): Path<String>,
    parameters: Parameters,
    invocation: Invocation,
) -> Result<StatusCode, Declined> {
    match Known::find(&app.engine, &id).await? {
        Known::Begun(instance) => {
            steer(&app.engine, &instance, &invocation, Request::Terminate { reason: reason(&parameters) }).await
        }
        Known::Pending(pending) => {
            intake::withdraw(&app.engine, &pending.campaign.campaign.id).await?;
            Ok(StatusCode::ACCEPTED)
        }
    }
}

/// Begins nothing new until the campaign is resumed. What is under way is finished and kept.
#[utoipa::path(
    post, path = "/api/instances/{instanceId}/suspend", tag = "durable", operation_id = "suspend",
    params(
        ("instanceId" = String, Path, description = "The campaign's id."),
        ("reason" = Option<String>, Query, description = "Kept in its history."),
    ),
    responses(
        (status = 202, description = "Asked for."),
        (status = 404, description = "There is no such campaign."),
        (status = 409, description = "It has not begun: terminating it withdraws its start.", body = Message),
        (status = 410, description = "It has ended."),
    )
)]
pub async fn suspend(
    State(app): State<App>,
    Path(id): Path<String>,
    parameters: Parameters,
    invocation: Invocation,
) -> Result<StatusCode, Declined> {
    let instance = Known::find(&app.engine, &id).await?.begun()?;
    if RuntimeStatus::from(&instance.status) == RuntimeStatus::Suspended {
        return Ok(StatusCode::ACCEPTED);
    }
    steer(&app.engine, &instance, &invocation, Request::Suspend { reason: reason(&parameters) }).await
}

/// Goes on with a suspended campaign.
#[utoipa::path(
    post, path = "/api/instances/{instanceId}/resume", tag = "durable", operation_id = "resume",
    params(
        ("instanceId" = String, Path, description = "The campaign's id."),
        ("reason" = Option<String>, Query, description = "Kept in its history."),
    ),
    responses(
        (status = 202, description = "Asked for."),
        (status = 404, description = "There is no such campaign."),
        (status = 409, description = "It has not begun: it begins by itself.", body = Message),
        (status = 410, description = "It has ended."),
    )
)]
pub async fn resume(
    State(app): State<App>,
    Path(id): Path<String>,
    parameters: Parameters,
    invocation: Invocation,
) -> Result<StatusCode, Declined> {
    let instance = Known::find(&app.engine, &id).await?.begun()?;
    if RuntimeStatus::from(&instance.status) == RuntimeStatus::Running {
        return Ok(StatusCode::ACCEPTED);
    }
    steer(&app.engine, &instance, &invocation, Request::Resume { reason: reason(&parameters) }).await
}

/// Does again what failed, and only that.
#[utoipa::path(
    post, path = "/api/instances/{instanceId}/rewind", tag = "durable", operation_id = "rewind",
    params(
        ("instanceId" = String, Path, description = "The campaign's id."),
        ("reason" = Option<String>, Query, description = "Kept in its history."),
    ),
    responses(
        (status = 202, description = "Asked for."),
        (status = 404, description = "There is no such campaign.", body = String, content_type = "application/json"),
        (status = 412, description = "It has not failed, or in a way that another try does not mend.", body = String, content_type = "application/json"),
    )
)]
pub async fn rewind(
    State(app): State<App>,
    Path(id): Path<String>,
    parameters: Parameters,
    invocation: Invocation,
) -> Result<StatusCode, Declined> {
    let known = match Known::find(&app.engine, &id).await {
        Err(Declined::Unknown) => {
            // The real one writes that dollar sign.
            let text = format!("No orchestration with instance ID \"${id}\" found.");
            return Err(Declined::Text { status: StatusCode::NOT_FOUND, text });
        }
        known => known?,
    };
    let event = event_of(&invocation);
    if known.has_taken(&event) {
        return Ok(StatusCode::ACCEPTED);
    }
    let status = known.runtime_status();
    let failed = match known {
        Known::Begun(instance) if status == RuntimeStatus::Failed => instance,
        _ => {
            let text = format!(
                "This orchestration has status {status:?}, but only orchestrations in the \"Failed\" state can be rewound."
            );
            return Err(Declined::Text { status: StatusCode::PRECONDITION_FAILED, text });
        }
    };
    match ask(&app.engine, &failed, event, Request::Rewind { reason: reason(&parameters) }).await? {
        Answer::Refused { why } => Err(Declined::Text { status: StatusCode::PRECONDITION_FAILED, text: why }),
        Answer::Taken | Answer::Later => Ok(StatusCode::ACCEPTED),
    }
}

/// Asks it of a campaign that has not ended.
async fn steer(
    engine: &Engine,
    instance: &Instance,
    invocation: &Invocation,
    request: Request,
) -> Result<StatusCode, Declined> {
    let event = event_of(invocation);
    if instance.taken.contains(&event) {
        return Ok(StatusCode::ACCEPTED);
    }
    if instance.status.is_final() {
        return Err(Declined::Ended);
    }
    match ask(engine, instance, event, request).await? {
        // Somebody else's request came first: either it has ended by that, or it is as it was to be.
        Answer::Refused { .. } if engine.held(&instance.campaign).await?.instance.status.is_final() => {
            Err(Declined::Ended)
        }
        _ => Ok(StatusCode::ACCEPTED),
    }
}

/// Asks, and has it decided on.
pub async fn ask(engine: &Engine, instance: &Instance, event: EventId, request: Request) -> Result<Answer, Declined> {
    engine.request(&instance.campaign, event.clone(), request).await?;
    Ok(engine.answer(&instance.campaign, &event, instance.version).await?)
}

/// What is asked by an invocation, however often it is sent.
pub fn event_of(invocation: &Invocation) -> EventId {
    EventId::new(invocation.id.as_str()).unwrap_or_else(|_| {
        EventId::new(Digest::of(&invocation.id).to_string()).expect("64 hexadecimal digits are an event's id")
    })
}

/// As much of it as an instance can keep, on one line.
fn reason(parameters: &Parameters) -> String {
    let text = parameters.text("reason").unwrap_or_default();
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text[..text.floor_char_boundary(LONGEST_REASON)].to_owned()
}

impl Known {
    pub(super) fn has_taken(&self, event: &EventId) -> bool {
        matches!(self, Self::Begun(instance) if instance.taken.contains(event))
    }

    /// Of what has not begun, nothing can be asked but its end.
    fn begun(self) -> Result<Box<Instance>, Declined> {
        match self {
            Self::Begun(instance) => Ok(instance),
            Self::Pending(_) => {
                let message = "The campaign waits for its files, and begins when they are there. To withdraw its start, terminate it.";
                Err(Declined::message(StatusCode::CONFLICT, message))
            }
        }
    }
}

/// A campaign's id for a copy of it that a call asks for: the same call again asks for the same copy.
pub fn copy_of(campaign: &CampaignId, invocation: &Invocation) -> CampaignId {
    let mark = &Digest::of(&invocation.id).to_string()[..12];
    let room = campaign.as_str().len().min(63 - 1 - mark.len());
    let base = campaign.as_str()[..room].trim_end_matches('-');
    CampaignId::new(format!("{base}-{mark}"))
        .expect("a part of an id, a hyphen and digits are an id of at most 63 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_an_id_of_its_own_that_the_same_call_gives_again() {
        for id in ["spring".to_owned(), "x".repeat(63), format!("{}-{}", "x".repeat(49), "y".repeat(13))] {
            let campaign = CampaignId::new(id).unwrap();
            let call = |id: &str| Invocation { id: id.to_owned() };
            let copy = copy_of(&campaign, &call("one"));
            assert_ne!(copy, campaign);
            assert_eq!(copy, copy_of(&campaign, &call("one")));
            assert_ne!(copy, copy_of(&campaign, &call("two")));
        }
    }

    #[test]
    fn any_invocation_names_its_request() {
        let long = Invocation { id: "not an id / at all ".repeat(9) };
        assert_eq!(event_of(&long), event_of(&long));
        let id = "b1946ac9-0f1c-4a5e-9c86-0f2f4c5e6d7a";
        assert_eq!(event_of(&Invocation { id: id.to_owned() }).as_str(), id);
    }

    #[test]
    fn a_reason_is_cut_to_what_an_instance_keeps() {
        let long = format!("a\nb{}", "é".repeat(200));
        let query: String = form_urlencoded::byte_serialize(long.as_bytes()).collect();
        let parameters = Parameters::of(&format!("Reason={query}"));
        let kept = reason(&parameters);
        assert!(kept.starts_with("a bé") && (255..=256).contains(&kept.len()), "{kept}");
        assert!(!Request::Terminate { reason: kept }.is_too_long());
    }
}
