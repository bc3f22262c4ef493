//! A handler per function of `functions/` that is not called over HTTP.

use axum::Router;

use super::App;

pub(super) fn routes() -> Router<App> {
    Router::new()
}
