//! Pages for people: campaigns, how far they are, what waits for a decision.

use axum::Router;

use super::App;

pub(super) fn routes() -> Router<App> {
    Router::new()
}
