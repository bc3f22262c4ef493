//! One call on Azure Storage: how long it may take, whether it is tried again, and what came of it.

use std::{error::Error as StdError, fmt, future::Future, time::Duration};

use azure_core::{
    error::ErrorKind,
    http::{RawResponse, StatusCode, headers::HeaderName},
};
use jiff::{Timestamp, fmt::rfc2822};
use tokio::time::{sleep, timeout};

use crate::store::Error;

/// What a call that was cut short may have left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that matters: it can be made again.
    Read,
    Write,
}

/// For anything small.
pub const SHORT: Duration = Duration::from_secs(30);
/// For blobs of any size on the way here. One that stalls is given up by the transport after a minute.
pub const LONG: Duration = Duration::from_secs(15 * 60);

/// For so many bytes on the way there, over a line of a megabit or more.
pub fn time_for(bytes: usize) -> Duration {
    SHORT + Duration::from_secs((bytes >> 17) as u64)
}

const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Makes a call, up to three times as long as it is certain that nothing was done. The SDK's own retries are off: it
/// would also try again what may have been done already, and then report a conflict with one's own write.
pub async fn call<T, F>(effect: Effect, time: Duration, attempt: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = azure_core::Result<T>>,
{
    let mut tries = 1;
    loop {
        let failure = match timeout(time, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Failure::of(&error, effect),
            Err(_) => Failure::cut(format!("no answer within {} seconds", time.as_secs()), effect),
        };
        match failure {
            Failure::NotDone(_) if tries < TRIES => sleep(FIRST_PAUSE * 4u32.pow(tries - 1)).await,
            failure => return Err(failure),
        }
        tries += 1;
    }
}

/// Why a call gave no result. Nothing of it holds an address, and so no signature.
#[derive(Debug)]
pub enum Failure {
    Refused(Refusal),
    /// It never arrived, or arrived in vain: nothing has changed.
    NotDone(Cause),
    /// It was sent, and what became of it is not known.
    Unknown(Cause),
}

pub type Cause = Box<dyn StdError + Send + Sync>;

/// The store's answer to a call that it did not carry out.
#[derive(Debug)]
pub struct Refusal {
    status: u16,
    /// Of the service, as in `BlobNotFound`; empty where somebody in between has answered.
    code: String,
    /// For Microsoft's support.
    request: Option<String>,
    retry_after: Option<Duration>,
}

static MILLISECONDS: [HeaderName; 2] =
    [HeaderName::from_static("x-ms-retry-after-ms"), HeaderName::from_static("retry-after-ms")];
static RETRY_AFTER: HeaderName = HeaderName::from_static("retry-after");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
static ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

impl Failure {
    /// `Connection` is the SDK's word for a request that never went out, `Io` for one whose connection broke or went
    /// silent later. Without a token nothing is sent. All that is left is a malformed answer.
    fn of(error: &azure_core::Error, effect: Effect) -> Self {
        match error.kind() {
            ErrorKind::HttpResponse { status, error_code, raw_response } => {
                let refusal = Refusal::of(*status, error_code.as_deref(), raw_response.as_deref());
                // 500 and the like say that something broke on the way, not where: a write may have been done.
                match refusal.status {
                    408 | 500 | 502 | 504.. if !refusal.is_throttling(effect) => Self::cut(refusal.to_string(), effect),
                    _ => Self::Refused(refusal),
                }
            }
            ErrorKind::Connection => Self::NotDone(innermost(error).into()),
            ErrorKind::Credential => Self::NotDone(error.to_string().into()),
            _ => Self::cut(innermost(error), effect),
        }
    }

    fn cut(cause: String, effect: Effect) -> Self {
        match effect {
            Effect::Read => Self::NotDone(cause.into()),
            Effect::Write => Self::Unknown(cause.into()),
        }
    }

    /// The service's word for it; empty where it has not said a word.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(refusal) => &refusal.code,
            Self::NotDone(_) | Self::Unknown(_) => "",
        }
    }

    /// Of the answer, where there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            Self::NotDone(_) | Self::Unknown(_) => None,
        }
    }

    /// In the terms of the store. The code decides; a status has many causes.
    pub fn about(self, what: &impl ToString) -> Error {
        let what = what.to_string();
        let refusal = match self {
            Self::NotDone(source) => return Error::Transient { what, source },
            Self::Unknown(source) => return Error::Ambiguous { what, source },
            Self::Refused(refusal) => refusal,
        };
        match (refusal.code.as_str(), refusal.status) {
            // The second is how a container says it whose blobs must stay as they are.
            ("BlobAlreadyExists" | "BlobImmutableDueToPolicy", _) => Error::AlreadyExists { what },
            ("ConditionNotMet" | "TargetConditionNotMet", _) => Error::PreconditionFailed { what },
            (code, 409 | 412) if code.starts_with("Lease") => Error::LeaseHeld { what },
            ("PopReceiptMismatch", _) => Error::NotFound { what },
            // `InvalidBlockList`: another upload of the same blob has dropped the blocks of this one.
            ("ContainerBeingDeleted" | "QueueBeingDeleted" | "InvalidBlockList", _) => {
                Error::Transient { what, source: refusal.into() }
            }
            ("ServerBusy" | "OperationTimedOut", _) | (_, 429 | 503) => {
                Error::Throttled { what, retry_after: refusal.retry_after }
            }
            (_, 404) => Error::NotFound { what },
            _ => Error::Permanent { what, source: refusal.into() },
        }
    }
}

/// The last words of an error's chain: those of the HTTP client in the middle hold the whole address.
fn innermost(error: &azure_core::Error) -> String {
    let mut innermost: &dyn StdError = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

impl Refusal {
    fn of(status: StatusCode, code: Option<&str>, response: Option<&RawResponse>) -> Self {
        let header = |name: &HeaderName| response.and_then(|response| response.headers().get_optional_str(name));
        Self {
            status: u16::from(status),
            // The SDK puts the status here where there is no code.
            code: header(&ERROR_CODE).or(response.is_none().then_some(code).flatten()).unwrap_or_default().to_owned(),
            request: header(&REQUEST_ID).map(str::to_owned),
            retry_after: MILLISECONDS
                .iter()
                .find_map(|name| header(name)?.parse().ok().map(Duration::from_millis))
                .or_else(|| retry_after(header(&RETRY_AFTER)?)),
        }
    }

    /// A time-out within the service is a refusal only of what would have changed nothing.
    fn is_throttling(&self, effect: Effect) -> bool {
        match self.code.as_str() {
            "ServerBusy" => true,
            "OperationTimedOut" => effect == Effect::Read,
            _ => false,
        }
    }
}

/// Seconds or a date: RFC 9110, section 10.2.3.
fn retry_after(header: &str) -> Option<Duration> {
    match header.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = rfc2822::parse(header).ok()?.timestamp();
            Some(Duration::try_from(date.duration_since(Timestamp::now())).unwrap_or_default())
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, code, request, .. } = self;
        write!(f, "Azure Storage answered {status}")?;
        if !code.is_empty() {
            write!(f, " {code}")?;
        }
        if let Some(request) = request {
            write!(f, " (request {request})")?;
        }
        match (code.as_str(), status) {
            ("AuthenticationFailed", _) => {
                f.write_str(": the key or signature is wrong or has expired, or this machine's clock is")
            }
            ("AuthorizationFailure", _) => f.write_str(": the key or signature forbids it, or the account's firewall"),
            (_, 401 | 403) => f.write_str(
                ": the identity needs the roles Storage Blob Data Contributor and Storage Queue Data Contributor, \
                 a signature the permissions rwdlacup on blobs and queues",
            ),
            _ => Ok(()),
        }
    }
}

impl StdError for Refusal {}

#[cfg(test)]
mod tests {
    use azure_core::http::headers::Headers;

    use super::*;

    fn answered(status: u16, headers: &[(&'static str, &str)], effect: Effect) -> Error {
        let mut map = Headers::new();
        for (name, value) in headers {
            map.insert(*name, (*value).to_owned());
        }
        let status = StatusCode::from(status);
        let raw = RawResponse::from_bytes(status, map, "<Error>sig=secret</Error>");
        let kind = ErrorKind::HttpResponse { status, error_code: Some("x".into()), raw_response: Some(Box::new(raw)) };
        Failure::of(&azure_core::Error::with_message(kind, "sig=secret"), effect).about(&"a/b")
    }

    fn kind(error: &Error) -> &'static str {
        match error {
            Error::NotFound { .. } => "not found",
            Error::AlreadyExists { .. } => "already exists",
            Error::PreconditionFailed { .. } => "precondition failed",
            Error::LeaseHeld { .. } => "lease held",
            Error::Throttled { .. } => "throttled",
            Error::Ambiguous { .. } => "ambiguous",
            Error::Transient { .. } => "transient",
            Error::Permanent { .. } => "permanent",
        }
    }

    #[test]
    fn the_code_decides_before_the_status() {
        for (status, code, read, write) in [
            (404, "BlobNotFound", "not found", "not found"),
            (409, "BlobAlreadyExists", "already exists", "already exists"),
            (409, "BlobImmutableDueToPolicy", "already exists", "already exists"),
            (409, "LeaseAlreadyPresent", "lease held", "lease held"),
            (409, "LeaseIdMismatchWithLeaseOperation", "lease held", "lease held"),
            (409, "ContainerBeingDeleted", "transient", "transient"),
            (409, "InvalidBlobType", "permanent", "permanent"),
            (412, "ConditionNotMet", "precondition failed", "precondition failed"),
            (412, "LeaseIdMissing", "lease held", "lease held"),
            (412, "AppendPositionConditionNotMet", "permanent", "permanent"),
            (400, "PopReceiptMismatch", "not found", "not found"),
            (403, "AuthenticationFailed", "permanent", "permanent"),
            (503, "ServerBusy", "throttled", "throttled"),
            (500, "OperationTimedOut", "throttled", "ambiguous"),
            (500, "InternalError", "transient", "ambiguous"),
            (502, "", "transient", "ambiguous"),
            (504, "", "transient", "ambiguous"),
            (429, "", "throttled", "throttled"),
            (503, "", "throttled", "throttled"),
        ] {
            let headers = if code.is_empty() { vec![] } else { vec![("x-ms-error-code", code)] };
            assert_eq!(kind(&answered(status, &headers, Effect::Read)), read, "{status} {code}, read");
            assert_eq!(kind(&answered(status, &headers, Effect::Write)), write, "{status} {code}, write");
        }
    }

    #[test]
    fn the_store_says_when_to_come_again() {
        let after = |headers: &[(&'static str, &str)]| match answered(429, headers, Effect::Write) {
            Error::Throttled { retry_after, .. } => retry_after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after(&[]), None);
        assert_eq!(after(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(after(&[("retry-after", "7"), ("x-ms-retry-after-ms", "250")]), Some(Duration::from_millis(250)));
        assert_eq!(after(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]), Some(Duration::ZERO));
        let distant = after(&[("retry-after", "Tue, 31 Dec 2999 23:59:59 GMT")]).unwrap();
        assert!(distant > Duration::from_secs(1_000_000));
    }

    #[test]
    fn an_answer_is_told_without_its_content() {
        let error =
            answered(403, &[("x-ms-error-code", "AuthenticationFailed"), ("x-ms-request-id", "r1")], Effect::Read);
        assert!(error.to_string().contains("403 AuthenticationFailed (request r1)"), "{error}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_was_certainly_not_done_is_tried_again() {
        for (kind, effect, tries) in [
            (ErrorKind::Connection, Effect::Write, 3),
            (ErrorKind::Credential, Effect::Write, 3),
            (ErrorKind::Io, Effect::Write, 1),
            (ErrorKind::Io, Effect::Read, 3),
        ] {
            let count = std::cell::Cell::new(0);
            let attempt = async || -> azure_core::Result<()> {
                count.set(count.get() + 1);
                Err(azure_core::Error::with_message(kind.clone(), "no"))
            };
            let failure = call(effect, SHORT, attempt).await.unwrap_err();
            assert_eq!(count.get(), tries, "{kind:?} {effect:?}");
            assert_eq!(matches!(failure, Failure::Unknown(_)), tries == 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_is_given_up() {
        let hang = || std::future::pending::<azure_core::Result<()>>();
        assert!(matches!(call(Effect::Write, SHORT, hang).await, Err(Failure::Unknown(_))));
        assert!(matches!(call(Effect::Read, SHORT, hang).await, Err(Failure::NotDone(_))));
    }
}
