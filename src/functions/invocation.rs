//! One call of the app: its id, its deadline, what becomes of a panic.
//!
//! **Once, although asked again.** The host sends a call without a body up to four times under one id when the connection
//! drops before the answer. A handler that changes something takes an [`Invocation`] and names by its id what it asks
//! for, e.g. `EventId::new(invocation.id)` for a request to a campaign: the second time finds the first one's. What is
//! named by its content or by the campaign needs no more. For a *message* the id is worth nothing: each delivery has
//! another one. Items are known by their names there.
//!
//! **A deadline**, because a call that outlives the host's `functionTimeout` takes the process with it, and all other
//! calls in it. What a call was doing then is dropped at its next wait, as if the process had died there. Where no host is
//! and files have no other way in, a file may come for as long as it comes on (see [`receive`](super::receive)).
//!
//! **A panic** ends its own call only. The process goes on: if it died, every other message in it would lose a try.

use std::{any::Any, collections::HashMap, time::Duration};

use axum::{
    Router,
    body::to_bytes,
    extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use opentelemetry::{propagation::TextMapPropagator as _, trace::TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tokio::time::{Instant, timeout};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument as _, Span, field::Empty};
use uuid::Uuid;

use super::{api::uploads::FILES, refusal::Refusal};
use crate::{domain::id::CampaignId, orchestration::instance::EventId, telemetry::trace};

const ID: &str = "x-azure-functions-invocationid";
/// Above what an item may take, below the `functionTimeout` of host.json.
const TRIGGER_TIME: Duration = Duration::from_secs(280);
/// The platform ends an HTTP call after 230 s, without a word.
const HTTP_TIME: Duration = Duration::from_secs(200);
const SMALL_BODY: usize = 64 << 10;

/// The host's id of a call; fit to be the id of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    pub id: String,
}

impl<S: Sync> FromRequestParts<S> for Invocation {
    type Rejection = std::convert::Infallible;

    /// A client may send the header too; the host puts its own behind a comma. Without a host every call is a new one.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let header = parts.headers.get(ID).and_then(|value| value.to_str().ok());
        let id = header.and_then(|ids| ids.rsplit(',').next()).map(str::trim);
        let id = id.filter(|id| EventId::new(*id).is_ok()).map(str::to_owned);
        // Whoever asks again in the same call is told the same.
        let Invocation { id } = parts
            .extensions
            .get_or_insert_with(|| Self { id: id.unwrap_or_else(|| Uuid::new_v4().to_string()) })
            .clone();
        Ok(Self { id })
    }
}

/// How long files may take that are sent to the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    AsAllCalls,
    AsLongAsTheyCome,
}

/// Around everything but `GET /`.
pub(super) fn layered(routes: Router, files: Files) -> Router {
    routes.layer(CatchPanicLayer::custom(panicked)).layer(middleware::from_fn_with_state(files, watched))
}

/// Runs a call in its span and within its time.
async fn watched(
    State(files): State<Files>,
    invocation: Invocation,
    route: Option<MatchedPath>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let span = span(&invocation, route, request.headers());
    if let Some(campaign) = params.as_ref().ok().and_then(|params| campaign(route, params)) {
        span.record("campaign", campaign.as_str());
    }
    let (limit, late) = if is_trigger(route) {
        (TRIGGER_TIME, StatusCode::INTERNAL_SERVER_ERROR)
    } else if files == Files::AsLongAsTheyCome && route == FILES && request.method() == Method::PUT {
        (Duration::MAX, StatusCode::SERVICE_UNAVAILABLE)
    } else {
        (HTTP_TIME, StatusCode::SERVICE_UNAVAILABLE)
    };
    let answer = async {
        let since = Instant::now();
        let response = match timeout(limit, answered(request, next)).await {
            Ok(response) => response,
            Err(_) => {
                tracing::error!(seconds = limit.as_secs(), "a call took too long and was ended");
                let detail = format!("it took more than {} s; ask again, or for less", limit.as_secs());
                Refusal::new(late, "too_slow", detail).into_response()
            }
        };
        tracing::debug!(status = response.status().as_u16(), ms = since.elapsed().as_millis(), "answered");
        response
    };
    answer.instrument(span).await
}

/// A body that nobody reads costs the connection, and with it the call that the host has sent on it next: a small one is
/// read before anything can be refused.
async fn answered(request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_none_or(|length| length > SMALL_BODY) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    match to_bytes(body, SMALL_BODY).await {
        Ok(bytes) => next.run(Request::from_parts(parts, bytes.into())).await,
        Err(_) => Refusal::new(StatusCode::BAD_REQUEST, "cut_off", "the body ended too early").into_response(),
    }
}

/// Functions stand at the top level; what is called over HTTP stands in a folder.
fn is_trigger(route: &str) -> bool {
    !route.is_empty() && !["/api", "/console"].iter().any(|folder| route.starts_with(folder))
}

/// On every line that is logged meanwhile, as it is of the highest level. What is empty is filled in when it is known.
fn span(Invocation { id }: &Invocation, route: &str, headers: &HeaderMap) -> Span {
    let span = tracing::error_span!(
        "call", invocation = %id, route, trace = Empty, parent = Empty, campaign = Empty, stage = Empty, item = Empty,
        attempt = Empty, delivery = Empty
    );
    if let Some(header) = headers.get("traceparent").and_then(|header| header.to_str().ok()) {
        trace::continue_from(&span, header);
        // For the log, whether or not there is a collector.
        let carrier = HashMap::from([("traceparent".to_owned(), header.to_owned())]);
        let context = TraceContextPropagator::new().extract(&carrier);
        let parent = context.span().span_context().clone();
        if parent.is_valid() {
            span.record("trace", tracing::field::display(parent.trace_id()));
            span.record("parent", tracing::field::display(parent.span_id()));
        }
    }
    span
}

/// The campaign that an address names.
fn campaign(route: &str, params: &RawPathParams) -> Option<CampaignId> {
    let is_named =
        ["/api/campaigns/{", "/api/instances/{", "/console/campaigns/{"].iter().any(|of| route.starts_with(of));
    let (_, first) = params.iter().next().filter(|_| is_named)?;
    CampaignId::new(first).ok()
}

/// What was said at the panic is for the panic hook: it may quote what was worked on.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    let detail = "the program made a mistake in this call; others are not affected";
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "panicked", detail).into_response()
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use axum::{
        body::Body,
        http::Request,
        routing::{get, post, put},
    };
    use tower::ServiceExt as _;

    use super::*;

    async fn call(routes: &Router, method: &str, path: &str) -> StatusCode {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        routes.clone().oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn a_panic_is_a_failed_call_and_the_next_one_works() {
        let routes = layered(
            Router::new()
                .route("/segment", post(async || -> &'static str { panic!("on purpose") }))
                .route("/api/x", get(async || "well")),
            Files::AsAllCalls,
        );
        assert_eq!(call(&routes, "POST", "/segment").await, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(call(&routes, "GET", "/api/x").await, StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_before_the_host_ends_the_process() {
        let forever = async || std::future::pending::<()>().await;
        let routes = Router::new().route("/segment", post(forever)).route("/api/x", get(forever));
        let routes = layered(routes.route(FILES, get(forever).put(forever)), Files::AsLongAsTheyCome);
        let since = Instant::now();
        assert_eq!(call(&routes, "POST", "/segment").await, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(since.elapsed().as_secs(), TRIGGER_TIME.as_secs());
        let since = Instant::now();
        assert_eq!(call(&routes, "GET", "/api/x").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(since.elapsed().as_secs(), HTTP_TIME.as_secs());
        assert_eq!(call(&routes, "GET", "/api/uploads/x").await, StatusCode::SERVICE_UNAVAILABLE);
        assert!(timeout(100 * HTTP_TIME, call(&routes, "PUT", "/api/uploads/x")).await.is_err());
        let behind_a_host = layered(Router::new().route(FILES, put(forever)), Files::AsAllCalls);
        assert_eq!(call(&behind_a_host, "PUT", "/api/uploads/x").await, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn the_hosts_id_of_a_call_is_taken_and_no_other() {
        async fn id(header: Option<&str>) -> String {
            let mut request = Request::builder();
            if let Some(header) = header {
                request = request.header("X-Azure-Functions-InvocationId", header);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            let Ok(first) = Invocation::from_request_parts(&mut parts, &()).await;
            let Ok(second) = Invocation::from_request_parts(&mut parts, &()).await;
            assert_eq!(first, second);
            first.id
        }
        assert_eq!(id(Some("6f1b7e3c-5f0f")).await, "6f1b7e3c-5f0f");
        assert_eq!(id(Some("spoof, 6f1b7e3c-5f0f")).await, "6f1b7e3c-5f0f");
        for none in [None, Some(""), Some("a/../b"), Some("real,")] {
            let id = id(none).await;
            assert!(Uuid::parse_str(&id).is_ok(), "{none:?} gave {id}");
        }
    }

    #[tokio::test]
    async fn every_line_of_a_call_says_which_call_and_campaign_it_is_about() {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).with_env_filter("cpo=warn");
        // Where it is the only one in the process, a line that another thread comes by first is off for good.
        let second = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(io::sink).finish();
        let _second = tracing::Dispatch::new(second);
        let guard = tracing::subscriber::set_default(log.finish());
        let handler = async || tracing::warn!("at work");
        let routes = layered(Router::new().route("/api/campaigns/{id}/results", get(handler)), Files::AsAllCalls);
        let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let request = Request::get("/api/campaigns/spring/results")
            .header("x-azure-functions-invocationid", "spoof, 6f1b7e3c")
            .header("traceparent", format!("00-{trace}-{parent}-01"))
            .body(Body::empty());
        routes.oneshot(request.unwrap()).await.unwrap();
        drop(guard);
        let line: serde_json::Value = serde_json::from_slice(&lines.0.lock().unwrap()).unwrap();
        let call = &line["spans"][0];
        let expected = [
            ("invocation", "6f1b7e3c"),
            ("route", "/api/campaigns/{id}/results"),
            ("campaign", "spring"),
            ("trace", trace),
            ("parent", parent),
        ];
        for (key, value) in expected {
            assert_eq!(call[key], value, "{line}");
        }
    }
}
