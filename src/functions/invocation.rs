//! One call of the app: its id, its deadline, what becomes of a panic.

use axum::{Router, extract::FromRequestParts, http::request::Parts};
use uuid::Uuid;

const ID: &str = "x-azure-functions-invocationid";

/// The host's id of a call. It sends a call without a body again, under the same id, when the connection drops: whatever
/// a call asks for is named by this id, so that it is done once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    pub id: String,
}

impl<S: Sync> FromRequestParts<S> for Invocation {
    type Rejection = std::convert::Infallible;

    /// A client may send the header too; the host puts its own behind a comma. Without a host every call is a new one.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let header = parts.headers.get(ID).and_then(|value| value.to_str().ok());
        let id = header.and_then(|ids| ids.rsplit(',').next()).map(str::trim).filter(|id| !id.is_empty());
        Ok(Self { id: id.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned) })
    }
}

pub(super) fn layered(routes: Router) -> Router {
    routes
}
