//! The management API of Durable Functions, over campaigns: an instance is a campaign, its id the campaign's.
//!
//! Existing pollers and clients work unchanged: codes, headers, names of fields and their order are those of the real
//! one, as it was recorded; `docs/durable-api.md` lists where this one differs, and why. So answers here are no problem
//! details, unless something broke.

mod events;
mod history;
mod list;
mod operations;
mod parameters;
mod purge;
mod restart;
mod start;
mod status;

use axum::{
    Json,
    extract::DefaultBodyLimit,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::any,
};
use serde::Serialize;
use serde_json::Value;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};

use crate::{
    domain::id::CampaignId,
    functions::{App, origin::json, refusal::Refusal},
    orchestration::{
        client::ClientError,
        engine::Engine,
        instance::{Instance, Status},
        intake::{self, Pending},
    },
    store,
};

/// Bytes of a campaign file or a decision: far more than either needs.
const LARGEST_BODY: usize = 4 << 20;

/// The one function that can be started.
const FUNCTION: &str = "campaign";

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(nothing_else(routes!(start::start)))
        .routes(nothing_else(routes!(start::start_as)))
        .routes(nothing_else(routes!(list::list, purge::purge_many)))
        .routes(nothing_else(routes!(status::status, purge::purge)))
        .routes(nothing_else(routes!(events::raise_event)))
        .routes(nothing_else(routes!(operations::terminate)))
        .routes(nothing_else(routes!(operations::suspend)))
        .routes(nothing_else(routes!(operations::resume)))
        .routes(nothing_else(routes!(operations::rewind)))
        .routes(nothing_else(routes!(restart::restart)))
        .route("/api/orchestrators", any(nothing))
        .route("/api/orchestrators/{functionName}/{instanceId}/{*rest}", any(nothing))
        .route("/api/instances/{instanceId}/{operation}", any(nothing))
        .route("/api/instances/{instanceId}/{operation}/{*rest}", any(nothing))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
}

/// A method that a path does not have is no path at all: the real one knows neither 405 nor HEAD.
fn nothing_else((schemas, paths, methods): UtoipaMethodRouter<App>) -> UtoipaMethodRouter<App> {
    (schemas, paths, methods.head(nothing).fallback(nothing))
}

async fn nothing() -> Declined {
    Declined::Unknown
}

/// What is known under an id.
#[derive(Debug)]
enum Known {
    Begun(Box<Instance>),
    Pending(Box<Pending>),
}

impl Known {
    /// What is no campaign's id is no campaign's.
    async fn find(engine: &Engine, id: &str) -> Result<Self, Declined> {
        let campaign = CampaignId::new(id).map_err(|_| Declined::Unknown)?;
        match Self::look_up(engine, &campaign).await? {
            Some(known) => Ok(known),
            None => Err(Declined::Unknown),
        }
    }

    async fn look_up(engine: &Engine, campaign: &CampaignId) -> Result<Option<Self>, store::Error> {
        if let Some(held) = engine.load(campaign).await? {
            return Ok(Some(Self::Begun(held.instance.into())));
        }
        Ok(intake::pending(engine, campaign).await?.map(|pending| Self::Pending(pending.into())))
    }

    fn campaign(&self) -> &CampaignId {
        match self {
            Self::Begun(instance) => &instance.campaign,
            Self::Pending(pending) => &pending.campaign.campaign.id,
        }
    }

    fn runtime_status(&self) -> RuntimeStatus {
        match self {
            Self::Begun(instance) => (&instance.status).into(),
            Self::Pending(_) => RuntimeStatus::Pending,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
enum RuntimeStatus {
    Pending,
    /// At a gate too.
    Running,
    Suspended,
    Completed,
    Failed,
    Terminated,
}

impl RuntimeStatus {
    fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Terminated)
    }
}

impl From<&Status> for RuntimeStatus {
    fn from(status: &Status) -> Self {
        match status {
            Status::Running => Self::Running,
            Status::Suspended { .. } => Self::Suspended,
            Status::Completed => Self::Completed,
            Status::Failed { .. } => Self::Failed,
            Status::Terminated { .. } => Self::Terminated,
        }
    }
}

/// How a call ends that is not answered as it was asked.
#[derive(Debug)]
enum Declined {
    /// There is no such campaign, path or method: 404 without a body.
    Unknown,
    /// It has ended: 410 without a body.
    Ended,
    /// `{"Message": ..}`, and what more is known.
    Message { status: StatusCode, message: String, more: Option<String> },
    /// A bare text as JSON.
    Text { status: StatusCode, text: String },
    /// Something broke.
    Broken(Refusal),
}

impl Declined {
    fn message(status: StatusCode, message: impl Into<String>) -> Self {
        Self::Message { status, message: message.into(), more: None }
    }

    fn because(status: StatusCode, message: impl Into<String>, more: impl ToString) -> Self {
        Self::Message { status, message: message.into(), more: Some(more.to_string()) }
    }

    /// Where an id is taken.
    fn exists(status: RuntimeStatus) -> String {
        format!("An Orchestration instance with the status {status:?} already exists.")
    }
}

/// As the real one writes it.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "PascalCase")]
struct Message {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception_message: Option<String>,
}

impl IntoResponse for Declined {
    fn into_response(self) -> Response {
        match self {
            Self::Unknown => StatusCode::NOT_FOUND.into_response(),
            Self::Ended => StatusCode::GONE.into_response(),
            Self::Message { status, message, more } => json(status, &Message { message, exception_message: more }),
            Self::Text { status, text } => json(status, &text),
            Self::Broken(refusal) => refusal.into_response(),
        }
    }
}

impl From<ClientError> for Declined {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unknown(_) => Self::Unknown,
            ClientError::Store(error) => error.into(),
            error => Self::Broken(error.into()),
        }
    }
}

impl From<store::Error> for Declined {
    fn from(error: store::Error) -> Self {
        match error {
            // What an instance names is gone only with it: somebody purged it since it was looked up.
            store::Error::NotFound { .. } => Self::Unknown,
            error => Self::Broken(error.into()),
        }
    }
}

impl From<crate::Error> for Declined {
    fn from(error: crate::Error) -> Self {
        Self::Broken(error.into())
    }
}

/// The body as JSON.
fn parsed(body: &[u8]) -> Result<Value, Declined> {
    let parsed: Result<Json<Value>, _> = Json::from_bytes(body);
    parsed
        .map(|Json(value)| value)
        .map_err(|error| Declined::because(StatusCode::BAD_REQUEST, "Invalid JSON content", error.body_text()))
}
