//! The management API of Durable Functions, over campaigns.

use utoipa_axum::router::OpenApiRouter;

use crate::functions::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}
