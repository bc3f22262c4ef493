//! Starting a campaign as an orchestration.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

use super::{
    Declined, FUNCTION, Known, Message, RuntimeStatus,
    parameters::Parameters,
    parsed,
    status::{InstanceStatus, Show},
};
use crate::{
    domain::id::CampaignId,
    functions::{
        App,
        extract::Path,
        origin::{Management, Origin, json},
        refusal::Refusal,
    },
    orchestration::{
        client::ClientError,
        engine::Engine,
        intake::{self, IntakeError, Started},
    },
};

/// The longest that a call waits for a campaign's end: below the 230 seconds after which Azure's front end gives up.
const LONGEST_WAIT: Duration = Duration::from_secs(200);
const SHORTEST_POLL: Duration = Duration::from_millis(100);

/// Starts the campaign of the body, under its own id.
#[utoipa::path(
    post, path = "/api/orchestrators/{functionName}", tag = "durable", operation_id = "startOrchestration",
    params(
        ("functionName" = String, Path, description = "`campaign`: there is no other."),
        ("timeout" = Option<f64>, Query, description = "With `pollingInterval`: how many seconds to wait for its end."),
        ("pollingInterval" = Option<f64>, Query, description = "Seconds."),
    ),
    request_body(content = Object, description = "A campaign file as JSON, and `inputs`: what it reads.", content_type = "application/json"),
    responses(
        (status = 200, description = "It ended in time: its output, or its status where it has none.", body = InstanceStatus),
        (status = 202, description = "Started, or started before with the same inputs.", body = Management),
        (status = 400, description = "No campaign can be made of it.", body = Message),
        (status = 404, description = "There is no such function.", body = Message),
        (status = 409, description = "The id stands for other inputs.", body = Message),
    )
)]
pub async fn start(
    State(app): State<App>,
    Path(function): Path<String>,
    parameters: Parameters,
    origin: Origin,
    body: Bytes,
) -> Result<Response, Declined> {
    begin(&app, &function, None, &parameters, &origin, &body).await
}

/// Starts the campaign of the body under an id.
#[utoipa::path(
    post, path = "/api/orchestrators/{functionName}/{instanceId}", tag = "durable", operation_id = "startOrchestrationAs",
    params(
        ("functionName" = String, Path, description = "`campaign`: there is no other."),
        ("instanceId" = String, Path, description = "The campaign's id, if it names none itself; else the same."),
        ("timeout" = Option<f64>, Query, description = "With `pollingInterval`: how many seconds to wait for its end."),
        ("pollingInterval" = Option<f64>, Query, description = "Seconds."),
    ),
    request_body(content = Object, description = "A campaign file as JSON, and `inputs`: what it reads.", content_type = "application/json"),
    responses(
        (status = 200, description = "It ended in time: its output, or its status where it has none.", body = InstanceStatus),
        (status = 202, description = "Started, or started before with the same inputs.", body = Management),
        (status = 400, description = "No campaign can be made of it.", body = Message),
        (status = 404, description = "There is no such function.", body = Message),
        (status = 409, description = "The id stands for other inputs.", body = Message),
    )
)]
pub async fn start_as(
    State(app): State<App>,
    Path((function, id)): Path<(String, String)>,
    parameters: Parameters,
    origin: Origin,
    body: Bytes,
) -> Result<Response, Declined> {
    begin(&app, &function, Some(id), &parameters, &origin, &body).await
}

async fn begin(
    app: &App,
    function: &str,
    id: Option<String>,
    parameters: &Parameters,
    origin: &Origin,
    body: &[u8],
) -> Result<Response, Declined> {
    if !function.eq_ignore_ascii_case(FUNCTION) {
        let message = format!("There is no orchestrator function of this name: the only one is '{FUNCTION}'.");
        return Err(Declined::message(StatusCode::NOT_FOUND, message));
    }
    let id = id.map(CampaignId::new).transpose().map_err(|error| {
        Declined::because(StatusCode::BAD_REQUEST, "The instance id cannot be a campaign's id.", error)
    })?;
    let wait = Wait::asked(parameters)?;
    let started = match intake::start(&app.engine, parsed(body)?, id).await {
        Err(IntakeError::Client(ClientError::OtherInputs(campaign))) => {
            let status = Known::look_up(&app.engine, &campaign).await?.map(|known| known.runtime_status());
            let message = Declined::exists(status.unwrap_or(RuntimeStatus::Pending));
            return Err(Declined::message(StatusCode::CONFLICT, message));
        }
        started => started?,
    };
    let campaign = match started {
        Started::Begun(instance) => instance.campaign,
        Started::Pending(pending) => pending.campaign.campaign.id,
    };
    match wait {
        Some(wait) => wait.for_end(&app.engine, &campaign, parameters, origin).await,
        None => Ok(origin.management(&campaign).into_response()),
    }
}

/// That a call does not return before the campaign has ended, or for so long.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    at_most: Duration,
    between_looks: Duration,
}

impl Wait {
    /// Asked for by both numbers together.
    pub fn asked(parameters: &Parameters) -> Result<Option<Self>, Declined> {
        let (Some(at_most), Some(between_looks)) =
            (parameters.seconds("timeout"), parameters.seconds("pollinginterval"))
        else {
            return Ok(None);
        };
        if between_looks > at_most {
            let (at_most, between_looks) = (at_most.as_secs_f64(), between_looks.as_secs_f64());
            let message = format!("Total timeout {at_most} should be bigger than retry timeout {between_looks}");
            return Err(Declined::message(StatusCode::BAD_REQUEST, message));
        }
        let at_most = at_most.min(LONGEST_WAIT);
        Ok(Some(Self { at_most, between_looks: between_looks.clamp(SHORTEST_POLL, LONGEST_WAIT) }))
    }

    /// The output of a campaign that is complete in time, the status of one that ended otherwise, else where to ask.
    pub async fn for_end(
        self,
        engine: &Engine,
        campaign: &CampaignId,
        parameters: &Parameters,
        origin: &Origin,
    ) -> Result<Response, Declined> {
        let ended = tokio::time::timeout(self.at_most, async {
            loop {
                match Known::look_up(engine, campaign).await? {
                    Some(known) if known.runtime_status().is_final() => return Ok::<_, Declined>(known),
                    _ => tokio::time::sleep(self.between_looks).await,
                }
            }
        });
        let Ok(ended) = ended.await else { return Ok(origin.management(campaign).into_response()) };
        let status = InstanceStatus::of(engine, &ended?, Show::of(parameters)).await?;
        Ok(match status.runtime_status {
            RuntimeStatus::Completed => json(StatusCode::OK, &status.output),
            _ => json(StatusCode::OK, &status),
        })
    }
}

impl From<IntakeError> for Declined {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Input(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Self::because(
                    StatusCode::BAD_REQUEST,
                    "The input is no campaign that can be started.",
                    problems.join("; "),
                )
            }
            // A campaign that somebody purged in this very moment.
            IntakeError::Client(error) => Self::Broken(Refusal::from(error)),
        }
    }
}
