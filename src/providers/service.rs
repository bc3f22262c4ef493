//! A service behind HTTP: one client stack for all providers.
//!
//! [`Service::send`] makes one call. What surely was not done it tries again a few times, after a wait with jitter or as
//! long as the service says; what may have been done, and charged for, it never repeats by itself: whoever counts the
//! money decides. A service that does not answer at all is left alone for a while ([`super::breaker`]).
//!
//! Nothing of a request or an answer is logged. Messages name the service, the operation, the status, the service's own
//! code and request id; its own words only where the request held nothing of a customer's.

use std::{
    error::Error,
    fmt,
    hash::{BuildHasher as _, RandomState},
    io,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Client, Method, RequestBuilder, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Instrument as _;

use super::{Credential, ErrorKind, ProviderError, breaker::Breaker, credential::NoToken};
use crate::{telemetry::trace, tls};

/// How often a call that was not done is made, the first included.
const TRIES: u32 = 3;

/// The longest wait between two tries; who is asked to wait longer puts the question off.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(250);

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Whoever asks for a longer wait is taken to be mistaken.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

/// No answer that a client waits for is larger.
const MOST_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub struct Service {
    name: &'static str,
    address: Url,
    credential: Credential,
    http: Client,
    breaker: Breaker,
}

/// Why an address cannot be a service's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    #[error("it is no address: {0}")]
    NotUrl(String),
    #[error("it must begin with https://, or be on this machine")]
    Insecure,
    #[error("it may not hold a user, a query or a fragment")]
    TooMuch,
}

/// One request, as often as it is sent.
#[derive(Clone)]
pub struct Call {
    /// For messages and traces, e.g. `chat`.
    pub operation: &'static str,
    method: Method,
    /// Below the service's address; its segments are encoded already.
    path: String,
    query: Vec<(&'static str, String)>,
    headers: HeaderMap,
    body: Bytes,
    within: Duration,
    is_public: bool,
}

/// What it says may be a customer's.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("operation", &self.operation).field("method", &self.method).finish_non_exhaustive()
    }
}

impl Call {
    /// Within a minute, unless it is said otherwise.
    pub fn new(operation: &'static str, method: Method, path: impl Into<String>) -> Self {
        Self {
            operation,
            method,
            path: path.into(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            within: Duration::from_mins(1),
            is_public: false,
        }
    }

    pub fn get(operation: &'static str, path: impl Into<String>) -> Self {
        Self::new(operation, Method::GET, path)
    }

    pub fn post(operation: &'static str, path: impl Into<String>) -> Self {
        Self::new(operation, Method::POST, path)
    }

    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// # Panics
    ///
    /// Where the body is no JSON, such as a map whose keys are no strings.
    pub fn json(self, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("a request is JSON");
        self.bytes(HeaderValue::from_static("application/json"), body)
    }

    pub fn bytes(mut self, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        self.headers.insert(CONTENT_TYPE, content_type);
        self.body = body.into();
        self
    }

    /// The time for all its tries and the waits between them.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// It holds nothing of a customer's, so that what the service says of it may be told.
    pub fn public(mut self) -> Self {
        self.is_public = true;
        self
    }
}

#[derive(Clone)]
pub struct Answer {
    pub service: &'static str,
    pub operation: &'static str,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What it says may be a customer's.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("service", &self.service)
            .field("operation", &self.operation)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// A call without a usable answer.
#[derive(Clone, PartialEq)]
pub struct Fault {
    pub service: &'static str,
    pub kind: ErrorKind,
    /// `None`: there was no answer.
    pub status: Option<StatusCode>,
    /// The service's own name for it, e.g. `content_filter`.
    pub code: Option<String>,
    /// For people, see the module.
    pub message: String,
    /// The answer, where it is JSON; for the service's client, never for people.
    pub body: Value,
    /// It may have been done, and charged for, all the same.
    pub may_have_cost: bool,
    /// Where there was no answer, or not all of one: why.
    pub no_answer: Option<NoAnswer>,
}

/// What stood between a call and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nobody knows an address for the host's name.
    UnknownHost,
    /// Nothing listens there.
    Refused,
    /// The other side is not who it should be, or speaks no TLS.
    Untrusted,
    /// No connection, for any other reason.
    Unreachable,
    /// The connection was made, and broke.
    Broken,
    /// Nothing came in time.
    Late,
    /// It was not sent: this process has no token to sign it with, or none just then.
    NoToken,
}

/// All but the answer.
impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("service", &self.service)
            .field("kind", &self.kind)
            .field("status", &self.status)
            .field("code", &self.code)
            .field("message", &self.message)
            .field("may_have_cost", &self.may_have_cost)
            .field("no_answer", &self.no_answer)
            .finish_non_exhaustive()
    }
}

impl From<Fault> for ProviderError {
    fn from(fault: Fault) -> Self {
        Self { provider: fault.service, kind: fault.kind, message: fault.message }
    }
}

impl Service {
    /// Connects to nobody yet.
    ///
    /// # Panics
    ///
    /// Where the TLS library cannot be set up, which does not depend on the arguments.
    pub fn new(name: &'static str, address: &str, credential: Credential) -> Result<Self, InvalidAddress> {
        let address = parse(address, &credential)?;
        tls::set_up();
        let mut http = Client::builder()
            .user_agent(concat!("cpo/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WITHIN)
            // A service that sends its callers elsewhere is not the one that was set up, and may not get the key.
            .redirect(redirect::Policy::none())
            .http2_adaptive_window(true)
            // A model thinks for a minute: a connection that died meanwhile is found out, and not used again.
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(CONNECT_WITHIN);
        if is_here(&address) {
            http = http.no_proxy();
        }
        let http = http.build().expect("the TLS library can be set up");
        Ok(Self { name, address, credential, http, breaker: Breaker::default() })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn address(&self) -> &Url {
        &self.address
    }

    /// Whether it runs on this machine.
    pub fn is_here(&self) -> bool {
        is_here(&self.address)
    }

    /// The answer's JSON.
    pub async fn ask<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Fault> {
        self.send(call).await?.json()
    }

    /// An answer that says that the call was done (2xx).
    pub async fn send(&self, call: &Call) -> Result<Answer, Fault> {
        let deadline = Instant::now() + call.within;
        let mut tried = 0;
        loop {
            tried += 1;
            if let Err(wait) = self.breaker.admit() {
                let message = format!("{}: it has not answered lately, and is left alone for now", call.operation);
                return Err(self.fault(ErrorKind::Throttled { retry_after: Some(wait) }, message));
            }
            let span = tracing::info_span!("provider_call", provider = self.name, operation = call.operation, tried);
            let fault = match self.once(call, deadline).instrument(span).await {
                Ok(answer) => {
                    self.breaker.answered();
                    return Ok(answer);
                }
                Err(fault) => fault,
            };
            let is_down = fault.kind == ErrorKind::Unavailable;
            if is_down {
                self.breaker.failed();
            } else {
                self.breaker.answered();
            }
            let wait = wait(tried);
            if !is_down || fault.may_have_cost || tried == TRIES || Instant::now() + wait >= deadline {
                return Err(fault);
            }
            tracing::debug!(provider = self.name, operation = call.operation, error = fault.message, "is tried again");
            sleep(wait).await;
        }
    }

    async fn once(&self, call: &Call, deadline: Instant) -> Result<Answer, Fault> {
        let Ok(signed) = timeout_at(deadline, self.signed(call)).await else {
            let why = format!("none came within {:?}", call.within);
            return Err(self.not_signed(call, NoToken { kind: ErrorKind::Unavailable, why }));
        };
        let Ok(answer) = timeout_at(deadline, self.answer(call, signed?)).await else {
            let message = format!("{}: no answer within {:?}", call.operation, call.within);
            let fault = self.fault(ErrorKind::Unavailable, message);
            return Err(Fault { may_have_cost: true, no_answer: Some(NoAnswer::Late), ..fault });
        };
        answer
    }

    async fn signed(&self, call: &Call) -> Result<RequestBuilder, Fault> {
        let mut address = self.address.clone();
        let path = format!("{}/{}", address.path().trim_end_matches('/'), call.path.trim_start_matches('/'));
        address.set_path(&path);
        let mut request = self
            .http
            .request(call.method.clone(), address)
            .query(&call.query)
            .headers(call.headers.clone())
            .body(call.body.clone());
        if let Some(parent) = trace::parent() {
            request = request.header("traceparent", parent);
        }
        self.credential.sign(request).await.map_err(|no_token| self.not_signed(call, no_token))
    }

    async fn answer(&self, call: &Call, request: RequestBuilder) -> Result<Answer, Fault> {
        let mut response = request.send().await.map_err(|error| self.not_sent(call, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.not_sent(call, error))? {
            if body.len() + chunk.len() > MOST_BYTES {
                let message = format!("{}: its answer is larger than {} MiB", call.operation, MOST_BYTES >> 20);
                let fault = self.fault(ErrorKind::Unavailable, message);
                return Err(Fault { status: Some(status), may_have_cost: true, ..fault });
            }
            body.extend_from_slice(&chunk);
        }
        let answer = Answer { service: self.name, operation: call.operation, status, headers, body: body.freeze() };
        if status.is_success() { Ok(answer) } else { Err(self.refused(call, &answer)) }
    }

    fn not_signed(&self, call: &Call, NoToken { kind, why }: NoToken) -> Fault {
        let mut message = format!("{}: there is no token of this process's Entra identity: {why}", call.operation);
        if kind == ErrorKind::Misconfigured {
            message.push_str("; log in with `az login`, or give the app a managed identity");
        }
        Fault { no_answer: Some(NoAnswer::NoToken), ..self.fault(kind, message) }
    }

    /// The connection could not be made, or broke.
    fn not_sent(&self, call: &Call, error: reqwest::Error) -> Fault {
        // The address holds the names that were asked for.
        let error = error.without_url();
        let was_sent = !(error.is_connect() || error.is_builder());
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        let why = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
        let host = self.address.host_str().unwrap_or_default();
        let what = if was_sent { "the connection broke" } else { "cannot be reached" };
        let message = format!("{}: {host} {what}: {why}", call.operation);
        let no_answer = if was_sent { NoAnswer::Broken } else { not_connected(&error) };
        // No waiting makes a certificate a good one.
        let kind = if no_answer == NoAnswer::Untrusted { ErrorKind::Misconfigured } else { ErrorKind::Unavailable };
        Fault { may_have_cost: was_sent, no_answer: Some(no_answer), ..self.fault(kind, message) }
    }

    /// An answer that is none.
    fn refused(&self, call: &Call, answer: &Answer) -> Fault {
        let Answer { status, headers, .. } = answer;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let code = ["/error/code", "/error/type", "/error_code", "/code"].iter().find_map(|at| code(body.pointer(at)?));
        let retry_after = retry_after(|name| headers.get(name)?.to_str().ok(), SystemTime::now());
        let kind = match (status.as_u16(), retry_after) {
            (429, _) if code.as_deref().is_some_and(is_out_of_credit) => ErrorKind::Misconfigured,
            (429, _) => ErrorKind::Throttled { retry_after },
            (503, Some(_)) => ErrorKind::Throttled { retry_after },
            (408 | 409 | 425 | 500 | 502..=599, _) => ErrorKind::Unavailable,
            (300..=399 | 401 | 402 | 403 | 404 | 405 | 407 | 410 | 415 | 421 | 501, _) => ErrorKind::Misconfigured,
            _ => ErrorKind::Rejected,
        };
        let mut message = format!("{}: {status}", call.operation);
        if let Some(code) = &code {
            message.push_str(&format!(", {code}"));
        }
        let said = ["/error/message", "/message", "/error"].iter().find_map(|at| body.pointer(at)?.as_str());
        // What is about the set-up says nothing of what was asked; it may repeat the key.
        let may_be_told = (call.is_public || kind == ErrorKind::Misconfigured) && *status != StatusCode::UNAUTHORIZED;
        if let Some(said) = said.filter(|said| may_be_told && !self.credential.is_in(said)) {
            message.push_str(": ");
            message.extend(said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300));
        }
        if let Some(remedy) = remedy(*status) {
            message.push_str(&format!("; {remedy}"));
        }
        if let Some(id) = request_id(headers) {
            message.push_str(&format!(" (request {id})"));
        }
        // Time was up, the service broke down over it, or somebody on the way lost sight of it. Who is too busy (503, 529)
        // or cannot (501) has not begun.
        let may_have_cost = matches!(status.as_u16(), 408 | 500 | 502 | 504..=528 | 530..=599);
        Fault { status: Some(*status), code, body, may_have_cost, ..self.fault(kind, message) }
    }

    fn fault(&self, kind: ErrorKind, message: String) -> Fault {
        Fault {
            service: self.name,
            kind,
            status: None,
            code: None,
            message,
            body: Value::Null,
            may_have_cost: false,
            no_answer: None,
        }
    }
}

impl Answer {
    /// An answer that is no JSON, or not of the expected shape, is as good as none.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let content_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !(essence == "application/json" || essence.ends_with("+json")) {
            return Err(self.unusable(format!("its answer is `{essence}`, not JSON")));
        }
        let not_text = |_| self.unusable("its answer is no UTF-8, and so no JSON".to_owned());
        let mut json = serde_json::Deserializer::from_str(std::str::from_utf8(&self.body).map_err(not_text)?);
        // Neither the value nor its neighbours are told: they may be a customer's.
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let why = match error.inner().classify() {
                serde_json::error::Category::Data => "is missing or not of the expected kind",
                _ => "is no JSON",
            };
            self.unusable(format!("its answer is not understood: `{}` {why}", error.path()))
        })?;
        match json.end() {
            Ok(()) => Ok(value),
            Err(_) => Err(self.unusable("its answer is not understood: something follows the JSON".to_owned())),
        }
    }

    /// The call was done; what it gave cannot be used.
    pub fn unusable(&self, why: String) -> Fault {
        let mut message = format!("{}: {why}", self.operation);
        if let Some(id) = request_id(&self.headers) {
            message.push_str(&format!(" (request {id})"));
        }
        Fault {
            service: self.service,
            kind: ErrorKind::Unavailable,
            status: Some(self.status),
            code: None,
            message,
            body: Value::Null,
            may_have_cost: true,
            no_answer: None,
        }
    }
}

#[cfg(test)]
impl Answer {
    /// A service's JSON, for the tests of what its client makes of it.
    pub fn of_json(operation: &'static str, body: &str) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let body = Bytes::copy_from_slice(body.as_bytes());
        Self { service: "test", operation, status: StatusCode::OK, headers, body }
    }
}

fn parse(address: &str, credential: &Credential) -> Result<Url, InvalidAddress> {
    let url = Url::parse(address.trim()).map_err(|error| InvalidAddress::NotUrl(error.to_string()))?;
    match url.scheme() {
        "https" => {}
        "http" if is_here(&url) || !credential.is_secret() => {}
        _ => return Err(InvalidAddress::Insecure),
    }
    let is_bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if is_bare && url.fragment().is_none() && url.has_host() { Ok(url) } else { Err(InvalidAddress::TooMuch) }
}

fn not_connected(error: &reqwest::Error) -> NoAnswer {
    if error.is_dns() {
        return NoAnswer::UnknownHost;
    }
    if error.is_timeout() {
        return NoAnswer::Late;
    }
    no_connection(error)
}

/// By the types of an error's causes.
pub(super) fn no_connection(error: &(dyn Error + 'static)) -> NoAnswer {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return NoAnswer::Untrusted;
        }
        cause = match error.downcast_ref::<io::Error>() {
            Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => return NoAnswer::Refused,
            // Its `source` is that of what it wraps.
            Some(error) => error.get_ref().map(|wrapped| wrapped as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    NoAnswer::Unreachable
}

fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Doubles with each try, shortened by up to a half.
fn wait(tried: u32) -> Duration {
    let share = RandomState::new().hash_one(tried) as f64 / u64::MAX as f64;
    (FIRST_WAIT * 2_u32.pow(tried.min(8) - 1)).min(LONGEST_WAIT).mul_f64(0.5 + share / 2.0)
}

/// A code is a name, not a sentence.
fn code(value: &Value) -> Option<String> {
    let code = match value {
        Value::String(code) => code.clone(),
        Value::Number(code) => code.to_string(),
        _ => return None,
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (!code.is_empty() && code.len() <= 64 && code.chars().all(is_name)).then_some(code)
}

/// A 429 that no waiting ends.
fn is_out_of_credit(code: &str) -> bool {
    matches!(code, "insufficient_quota" | "billing_hard_limit_reached")
}

fn remedy(status: StatusCode) -> Option<&'static str> {
    Some(match status.as_u16() {
        401 => "check the key, or that the identity's token is for this service",
        403 => "give the identity its role on the resource, and look at the resource's network rules",
        404 => "check the address and the names of deployment, index or version",
        _ => return None,
    })
}

/// By which the service's support finds the call.
fn request_id(headers: &HeaderMap) -> Option<&str> {
    let names = ["apim-request-id", "x-request-id", "x-ms-request-id", "request-id"];
    let id = names.iter().find_map(|name| headers.get(*name)?.to_str().ok())?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    ((1..=64).contains(&id.len()) && id.chars().all(is_plain)).then_some(id)
}

/// The most precise of the headers that say it: milliseconds, then seconds or a date.
pub(super) fn retry_after<'a>(header: impl Fn(&'static str) -> Option<&'a str>, now: SystemTime) -> Option<Duration> {
    let text = |name| header(name).map(str::trim);
    let number = |text: &str, unit: f64| {
        let seconds = text.parse::<f64>().ok()? * unit;
        Duration::try_from_secs_f64(seconds).ok()
    };
    let milliseconds = ["retry-after-ms", "x-ms-retry-after-ms"].iter().find_map(|name| number(text(name)?, 0.001));
    let wait = milliseconds.or_else(|| {
        let said = text("retry-after")?;
        number(said, 1.0).or_else(|| {
            let until = httpdate::parse_http_date(said).ok()?;
            Some(until.duration_since(now).unwrap_or_default())
        })
    });
    wait.map(|wait| wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests;
