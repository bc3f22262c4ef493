//! What customers did, and what it says about the arms.

use utoipa_axum::router::OpenApiRouter;

use crate::functions::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}
