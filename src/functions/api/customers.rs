//! Why one customer gets what they get.

use utoipa_axum::router::OpenApiRouter;

use crate::functions::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}
