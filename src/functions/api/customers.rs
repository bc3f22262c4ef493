//! Why one customer gets what they get.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::refusals::NoParameters;
use crate::{
    domain::id::{CampaignId, CustomerId},
    functions::{
        App,
        extract::{Json, NoQuery, Path},
        refusal::Refusal,
    },
    orchestration::explain::Explanation,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(explain))
}

#[derive(Debug, Serialize, ToSchema)]
struct Explained {
    #[serde(flatten)]
    explanation: Explanation,
    /// The same for people.
    words: String,
}

/// Why one customer gets what they get
///
/// Segment and the rule that put them there, arm, status, and the message with their values, each claim with the words
/// it rests on; or why they get nothing.
#[utoipa::path(
    get,
    path = "/api/campaigns/{id}/customers/{customer}",
    params(
        ("id" = CampaignId, Path, example = "spring-upgrade"),
        ("customer" = String, Path, description = "as in the customer file, percent-encoded", example = "C-00017"),
    ),
    responses(
        (status = OK, body = Explained),
        NoParameters,
        (status = NOT_FOUND, description = "there is no such campaign, or no such customer in it"),
        (status = CONFLICT, description = "the campaign is not complete"),
    )
)]
async fn explain(
    State(app): State<App>,
    Path((campaign, customer)): Path<(CampaignId, CustomerId)>,
    NoQuery: NoQuery,
) -> Result<Json<Explained>, Refusal> {
    let files = super::complete(&app, &campaign).await?;
    let explanation = Explanation::of(&files, customer.as_str(), app.scratch()?).await?;
    let explanation = explanation.ok_or_else(|| {
        Refusal::not_found("unknown_customer", "they are neither among the campaign's deliveries nor suppressed")
    })?;
    Ok(Json(Explained { words: explanation.in_words(), explanation }))
}
