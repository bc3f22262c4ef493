//! The HTTP API: one file per resource. `/api/openapi.json` describes it, made from the types.

pub mod campaigns;
pub mod content;
pub mod customers;
pub mod instances;
pub mod outcomes;
pub mod paths;
pub mod personalize;
pub mod uploads;
pub mod variants;

use axum::{Router, routing::get};
use utoipa::{OpenApi as _, openapi::OpenApi};
use utoipa_axum::router::OpenApiRouter;

use super::App;

#[derive(utoipa::OpenApi)]
#[openapi(info(title = "Customer Personalization Orchestrator"))]
struct Description;

/// With what describes them.
fn described() -> (Router<App>, OpenApi) {
    OpenApiRouter::with_openapi(Description::openapi())
        .merge(campaigns::routes())
        .merge(content::routes())
        .merge(customers::routes())
        .merge(instances::routes())
        .merge(outcomes::routes())
        .merge(personalize::routes())
        .merge(uploads::routes())
        .merge(variants::routes())
        .split_for_parts()
}

pub(super) fn routes() -> Router<App> {
    let (routes, description) = described();
    routes.route("/api/openapi.json", get(async move || axum::Json(description)))
}
