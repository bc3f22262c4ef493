//! The HTTP API: one file per resource. `/api/openapi.json` describes it, made from the types.

pub mod campaigns;
pub mod content;
pub mod customers;
mod describe;
pub mod instances;
pub mod outcomes;
pub mod page;
pub mod paths;
pub mod personalize;
pub mod refusals;
pub mod uploads;
pub mod variants;

use axum::{Router, extract::DefaultBodyLimit, routing::get};
use utoipa_axum::router::OpenApiRouter;

use super::{
    App,
    refusal::{self, Refusal},
};
use crate::{
    domain::id::CampaignId,
    orchestration::{
        finished::RunFiles,
        instance::{Instance, Status},
        outcomes::OutcomesError,
        turn::run_of,
    },
};

/// Bytes of a body that is read into memory. Files are not.
pub const MOST: usize = 4 << 20;

/// With what each group of routes is for.
fn groups() -> [(&'static str, &'static str, OpenApiRouter<App>); 8] {
    [
        ("uploads", "Files of any size, on their way into storage", uploads::routes()),
        ("content", "Approved documents, and their recall", content::routes()),
        ("campaigns", "Starting campaigns, and how they stand", campaigns::routes()),
        ("review", "What was written, and a person's decision on it", variants::routes()),
        ("results", "What customers did, what it says, and all files of a campaign", outcomes::routes()),
        ("customers", "Why one customer gets what they get", customers::routes()),
        ("personalize", "One customer now", personalize::routes()),
        (describe::DURABLE, "The management API of Durable Functions, over campaigns", instances::routes()),
    ]
}

pub(super) fn routes() -> Router<App> {
    let (routes, description) = describe::described(groups());
    routes
        .route("/api/openapi.json", get(async move || axum::Json(description)))
        .method_not_allowed_fallback(refusal::no_such_method)
        .layer(DefaultBodyLimit::max(MOST))
}

/// The files of a campaign's run.
fn files(app: &App, instance: &Instance) -> RunFiles {
    RunFiles::Store { blobs: app.engine.store.blobs.clone(), run: run_of(instance) }
}

/// The files of a campaign that is complete.
async fn complete(app: &App, campaign: &CampaignId) -> Result<RunFiles, Refusal> {
    let instance = app.engine.held(campaign).await?.instance;
    match instance.status {
        Status::Completed => Ok(files(app, &instance)),
        _ => Err(OutcomesError::NotComplete(campaign.clone()).into()),
    }
}
