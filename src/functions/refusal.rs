//! How a call ends that is not answered: problem details (RFC 9457) with a stable code, and what to do about it.

use axum::{
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use crate::{
    domain::problem::Problem,
    orchestration::{client::ClientError, intake::IntakeError, outcomes::OutcomesError, review::ReviewError},
    store,
};

/// Never holds a secret or a customer's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    /// Stays the same from version to version.
    code: &'static str,
    detail: String,
    /// Each with the field at fault and what to do.
    errors: Vec<Problem>,
    retry_after: Option<u64>,
}

/// Problem details (RFC 9457)
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refusal)]
struct Details<'a> {
    /// `urn:cpo:problem:<code>`
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    /// Stays the same from version to version.
    code: &'a str,
    detail: &'a str,
    /// Each with the field at fault and what to do.
    #[serde(skip_serializing_if = "<[Problem]>::is_empty")]
    errors: &'a [Problem],
}

impl PartialSchema for Refusal {
    fn schema() -> RefOr<Schema> {
        Details::schema()
    }
}

impl ToSchema for Refusal {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Details::schemas(schemas);
    }
}

impl Refusal {
    /// `code` in snake case.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// The same call is worth another try after so many seconds.
    pub fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    pub fn errors(&self) -> &[Problem] {
        &self.errors
    }
}

/// What the caller gave cannot be worked with.
impl From<Vec<Problem>> for Refusal {
    fn from(errors: Vec<Problem>) -> Self {
        let detail = match errors.as_slice() {
            [problem] => problem.message.clone(),
            problems => format!("{} things are wrong", problems.len()),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_input", detail) }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        vec![problem].into()
    }
}

impl From<crate::Error> for Refusal {
    fn from(error: crate::Error) -> Self {
        match error {
            crate::Error::Input(problems) => problems.into(),
            crate::Error::Failed { what, source } => match source.downcast::<store::Error>() {
                Ok(error) => (*error).into(),
                Err(source) => {
                    tracing::error!(%what, %source, "a call failed");
                    Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", what)
                }
            },
        }
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        let detail = error.to_string();
        match error {
            ClientError::Unknown(_) => Self::not_found("unknown_campaign", detail),
            ClientError::OtherInputs(_) => Self::new(StatusCode::CONFLICT, "other_inputs", detail),
            ClientError::NotEnded(_) => Self::new(StatusCode::CONFLICT, "not_ended", detail),
            ClientError::Store(error) => error.into(),
        }
    }
}

impl From<ReviewError> for Refusal {
    fn from(error: ReviewError) -> Self {
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, error.to_string());
        match error {
            ReviewError::NothingWaits(..) => conflict("nothing_waits"),
            ReviewError::OtherVariants(_) => conflict("other_variants"),
            ReviewError::Refused(_) => conflict("refused"),
            ReviewError::Unknown(problem) => problem.at_field("approve").into(),
            ReviewError::Client(error) => error.into(),
            ReviewError::Failed(error) => error.into(),
        }
    }
}

impl From<OutcomesError> for Refusal {
    fn from(error: OutcomesError) -> Self {
        match error {
            OutcomesError::NotComplete(_) => Self::new(StatusCode::CONFLICT, "not_complete", error.to_string()),
            OutcomesError::NoFile(_) => {
                Problem::new(error.to_string(), "put the file there first").at_field("upload").into()
            }
            OutcomesError::Problems(problems) => problems.into(),
            OutcomesError::Client(error) => error.into(),
            OutcomesError::Failed(error) => error.into(),
        }
    }
}

impl From<IntakeError> for Refusal {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Input(problems) => problems.into(),
            IntakeError::Client(error) => error.into(),
        }
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Throttled { retry_after, .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "storage_busy", "the storage is busy: try again")
                    .after(retry_after.map_or(1, |pause| pause.as_secs().max(1)))
            }
            error => {
                tracing::error!(%error, "the store");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "storage", "the storage failed: the log says how")
            }
        }
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        let code = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
            _ => "invalid_body",
        };
        Self::new(rejection.status(), code, rejection.body_text())
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), "invalid_query", rejection.body_text())
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_name", rejection.body_text())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let details = Details {
            kind: format!("urn:cpo:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Problem"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            errors: &self.errors,
        };
        let json = serde_json::to_vec(&details).expect("texts and numbers are plain data");
        let mut response = (self.status, json).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

pub(super) async fn no_such_method(method: Method) -> Refusal {
    let detail = format!("{method} is no method of this address; the header Allow names those there are");
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", detail)
}

pub(super) async fn no_such_route() -> Refusal {
    Refusal::not_found("no_such_route", "there is nothing here; /api/openapi.json lists what there is")
}
