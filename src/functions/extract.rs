//! Parts of a request, parsed. What cannot be is refused as everything else is.

use std::convert::Infallible;

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{StatusCode, Uri, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{invocation::Invocation, refusal::Refusal};
use crate::{domain::digest::Digest, orchestration::instance::EventId};

/// A body that is a JSON object, of at most [`MOST`](super::api::MOST) bytes.
#[derive(Debug)]
pub struct Json<T>(pub T);

#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Refusal))]
pub struct Path<T>(pub T);

/// Types refuse what they do not know, by `deny_unknown_fields`.
#[derive(Debug)]
pub struct Query<T>(pub T);

/// Of a call that has no parameters.
#[derive(Debug)]
pub struct NoQuery;

/// How a Functions host is told its key. It has looked at them, and leaves them in the query.
const OF_THE_HOST: [&str; 2] = ["code", "clientId"];

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let axum::Json(json) = axum::Json::<Box<RawValue>>::from_request(request, state).await?;
        // A list of a struct's fields without their names would be taken for it.
        if !json.get().starts_with('{') {
            let detail = "the body is JSON, and not an object";
            return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", detail));
        }
        let axum::Json(value) = axum::Json::from_bytes(json.get().as_bytes())?;
        Ok(Self(value))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
        let is_ours = |pair: &&str| !OF_THE_HOST.iter().any(|known| known.eq_ignore_ascii_case(&name(pair)));
        let pairs: Vec<&str> = parts.uri.query().unwrap_or_default().split('&').filter(is_ours).collect();
        let uri: Uri = format!("/?{}", pairs.join("&")).parse().expect("it is a part of a URI");
        let axum::extract::Query(query) = axum::extract::Query::try_from_uri(&uri)?;
        Ok(Self(query))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        let Query(Nothing {}) = Query::from_request_parts(parts, state).await?;
        Ok(Self)
    }
}

/// Names what a call asks for, so that the same call again asks for nothing new: by the client's `Idempotency-Key`, else
/// by the host's id of the call.
#[derive(Debug, Clone)]
pub struct Event(pub EventId);

impl<S: Sync> FromRequestParts<S> for Event {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let invocation = Invocation::from_request_parts(parts, state).await?;
        let key = parts.headers.get("idempotency-key").map_or(invocation.id.as_bytes(), |key| key.as_bytes());
        // A key is anybody's text, and is meant for this path.
        let name = [parts.uri.path().as_bytes(), b"\n", key].concat();
        let id = EventId::new(Digest::of(name).to_string());
        Ok(Self(id.expect("the id of an event may have 64 hexadecimal digits")))
    }
}

impl<T: serde::Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str, headers: &[(&'static str, &str)]) -> Parts {
        let mut request = axum::http::Request::get(uri).body(()).unwrap().into_parts().0;
        for (name, value) in headers {
            request.headers.insert(*name, value.parse().unwrap());
        }
        request
    }

    #[tokio::test]
    async fn the_hosts_own_parameters_pass_and_no_unknown_ones() {
        for uri in ["/", "/?", "/?code=k%26y==", "/?clientId=x&code=y"] {
            assert!(NoQuery::from_request_parts(&mut parts(uri, &[]), &()).await.is_ok(), "{uri}");
        }
        for uri in ["/?a=1", "/?code=x&a=1", "/?%63ode=1"] {
            assert!(NoQuery::from_request_parts(&mut parts(uri, &[]), &()).await.is_err(), "{uri}");
        }
    }

    #[tokio::test]
    async fn a_call_is_named_by_its_key_else_by_the_hosts_id() {
        let id = async |uri, headers: &[(&'static str, &str)]| {
            let Ok(Event(id)) = Event::from_request_parts(&mut parts(uri, headers), &()).await;
            id
        };
        let (key, host) = (("idempotency-key", "k"), ("x-azure-functions-invocationid", "spoof, 1"));
        assert_eq!(id("/a", &[key, host]).await, id("/a?x", &[key]).await);
        assert_eq!(id("/a", &[host]).await, id("/a", &[("x-azure-functions-invocationid", "1")]).await);
        assert_ne!(id("/a", &[key]).await, id("/b", &[key]).await);
        assert_ne!(id("/a", &[]).await, id("/a", &[]).await);
    }
}
