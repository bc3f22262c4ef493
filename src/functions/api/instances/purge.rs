//! Removing campaigns that have ended.

use std::pin::pin;

use axum::{extract::State, http::StatusCode, response::Response};
use futures::TryStreamExt as _;
use serde::Serialize;

use super::{
    Declined, Known,
    list::{Filter, known},
    parameters::Parameters,
};
use crate::{
    functions::{App, extract::Path, origin::json},
    orchestration::{client::ClientError, listing::Listed},
};

/// Campaigns looked at at once.
const BATCH: usize = 64;

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Purged {
    instances_deleted: u64,
}

/// Removes a campaign that has ended: its state, its results and its outcomes. Its customer file stays.
#[utoipa::path(
    delete, path = "/api/instances/{instanceId}", tag = "durable", operation_id = "purgeInstance",
    params(("instanceId" = String, Path, description = "The campaign's id.")),
    responses(
        (status = 200, description = "It is gone.", body = Purged),
        (status = 404, description = "There is no such campaign."),
        (status = 412, description = "It has not ended.", body = String, content_type = "application/json"),
    )
)]
pub async fn purge(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Declined> {
    let known = Known::find(&app.engine, &id).await?;
    let not_ended = |status| Declined::Text {
        status: StatusCode::PRECONDITION_FAILED,
        text: format!(
            "Only orchestrations in a terminal state can be purged, but the orchestration with instance ID {id} has \
             status {status:?}"
        ),
    };
    let status = known.runtime_status();
    let Known::Begun(instance) = known else { return Err(not_ended(status)) };
    match app.engine.purge(&instance.campaign).await {
        Ok(()) => Ok(json(StatusCode::OK, &Purged { instances_deleted: 1 })),
        Err(ClientError::NotEnded(_)) => Err(not_ended(status)),
        Err(error) => Err(error.into()),
    }
}

/// Removes all campaigns that have ended, of those that are meant.
#[utoipa::path(
    delete, path = "/api/instances", tag = "durable", operation_id = "purgeInstances",
    params(
        ("createdTimeFrom" = String, Query, description = "Those that began then or later."),
        ("createdTimeTo" = Option<String>, Query, description = "Those that began then or earlier."),
        ("runtimeStatus" = Option<String>, Query, description = "Those with one of these, with commas between."),
    ),
    responses(
        (status = 200, description = "So many are gone.", body = Purged),
        (status = 400, description = "`createdTimeFrom` is not there, or no time.", body = String, content_type = "application/json"),
        (status = 404, description = "There was none."),
    )
)]
pub async fn purge_many(State(app): State<App>, parameters: Parameters) -> Result<Response, Declined> {
    if parameters.time("createdtimefrom").is_none() {
        let text = "Please provide value for 'createdTimeFrom' parameter.".to_owned();
        return Err(Declined::Text { status: StatusCode::BAD_REQUEST, text });
    }
    let filter = Filter::of(&parameters);
    let (mut instances_deleted, mut from) = (0, None);
    loop {
        let Listed { places, next } = app.engine.list("", from.as_ref(), BATCH).await?;
        let mut known = pin!(known(&app.engine, places));
        while let Some((_, known)) = known.try_next().await? {
            if !known.runtime_status().is_final() || !filter.matches(&known) {
                continue;
            }
            match app.engine.purge(known.campaign()).await {
                Ok(()) => instances_deleted += 1,
                // Somebody restarted it, or purged it, since it was looked at.
                Err(ClientError::NotEnded(_) | ClientError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        from = next;
        if from.is_none() {
            break;
        }
    }
    if instances_deleted == 0 {
        Err(Declined::Unknown)
    } else {
        Ok(json(StatusCode::OK, &Purged { instances_deleted }))
    }
}
