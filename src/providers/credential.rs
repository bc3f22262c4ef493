//! Who we are to a service.

use std::{
    error::Error,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use azure_core::{
    credentials::TokenCredential,
    error::ErrorKind as AzureErrorKind,
    http::{RetryOptions, headers::HeaderName as AzureHeaderName},
};
use reqwest::{
    RequestBuilder,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};

use super::{
    ErrorKind,
    service::{NoAnswer, no_connection, retry_after},
};
use crate::{domain::problem::Problem, identity::Identity, tls};

/// Never shown, whoever prints it.
#[derive(Clone)]
pub enum Credential {
    Nobody,
    /// A header with a key or a token that the operator has set.
    Header(HeaderName, HeaderValue),
    /// Tokens of this process's own identity.
    Entra {
        credential: Arc<dyn TokenCredential>,
        /// Whom the token is for, e.g. `https://cognitiveservices.azure.com/.default`.
        scope: &'static str,
    },
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Header(..) => "Header",
            Self::Entra { .. } => "Entra",
        })
    }
}

/// Says what is wrong with a key, never what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key holds characters that no header may hold, such as a line end")]
pub struct InvalidKey;

impl Credential {
    /// A key in the service's own header.
    pub fn key(header: &'static str, key: &str) -> Result<Self, InvalidKey> {
        Ok(Self::Header(HeaderName::from_static(header), secret(key)?))
    }

    /// `Authorization: Bearer`.
    pub fn bearer(token: &str) -> Result<Self, InvalidKey> {
        Ok(Self::Header(AUTHORIZATION, secret(&format!("Bearer {token}"))?))
    }

    /// The identity of this process; asks nobody yet.
    pub fn entra(scope: &'static str) -> Result<Self, Problem> {
        // The credential makes an HTTP client of its own.
        tls::set_up();
        // A call is tried again as a whole, token and all.
        let credential = Identity::Found.credential(RetryOptions::none()).map_err(|error| {
            let message = format!("this process has no Entra identity: {error}");
            Problem::new(message, "log in with `az login`, or give the app a managed identity")
        })?;
        Ok(Self::Entra { credential, scope })
    }

    /// Whether it may travel over a connection that others can read.
    pub fn is_secret(&self) -> bool {
        !matches!(self, Self::Nobody)
    }

    /// Whether a text repeats the key. Tokens are not kept, and none is looked for.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let Self::Header(_, value) = self else { return false };
        let key = value.to_str().unwrap_or_default();
        text.contains(key.strip_prefix("Bearer ").unwrap_or(key))
    }

    /// The credentials of `azure_identity` keep a token for as long as it is valid.
    pub(super) async fn sign(&self, request: RequestBuilder) -> Result<RequestBuilder, NoToken> {
        Ok(match self {
            Self::Nobody => request,
            Self::Header(name, value) => request.header(name, value),
            Self::Entra { credential, scope } => {
                let token = credential.get_token(&[scope], None).await.map_err(|error| NoToken::of(&error))?;
                request.bearer_auth(token.token.secret())
            }
        })
    }
}

fn secret(text: &str) -> Result<HeaderValue, InvalidKey> {
    let mut value = HeaderValue::from_str(text.trim()).map_err(|_| InvalidKey)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why there is no token to sign a call with. Nothing was sent to the service itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoToken {
    /// Throttled or unavailable, as whoever gives the tokens was just then; misconfigured where no waiting helps.
    pub kind: ErrorKind,
    /// For people. Holds nothing of a token.
    pub why: String,
}

impl NoToken {
    /// Of what is told, at most so many characters. What two command-line tools say takes some hundreds.
    const MOST_SAID: usize = 600;

    /// A credential calls each failure one of its own, and keeps what it met as the innermost of the causes.
    fn of(error: &azure_core::Error) -> Self {
        let (mut met, mut innermost): (_, &(dyn Error + 'static)) = (error, error);
        while let Some(cause) = innermost.source() {
            innermost = cause;
            met = cause.downcast_ref().unwrap_or(met);
        }
        let (kind, why) = match met.kind() {
            AzureErrorKind::HttpResponse { status, raw_response, .. } => {
                let header = |name| raw_response.as_ref()?.headers().get_optional_str(&AzureHeaderName::from(name));
                let status = u16::from(*status);
                let kind = kind_of(status, retry_after(header, SystemTime::now()));
                (kind, format!("{status}: {met}"))
            }
            AzureErrorKind::Connection | AzureErrorKind::Io => {
                let kind = match no_connection(met) {
                    NoAnswer::Untrusted => ErrorKind::Misconfigured,
                    _ => ErrorKind::Unavailable,
                };
                (kind, format!("whoever gives it cannot be reached: {innermost}"))
            }
            // It may be a token in another shape, so nothing of it is told.
            AzureErrorKind::DataConversion => (ErrorKind::Unavailable, "the answer holds none".to_owned()),
            _ => (ErrorKind::Misconfigured, error.to_string()),
        };
        let why = why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(Self::MOST_SAID).collect();
        Self { kind, why }
    }
}

/// Of an answer that is no token. Whatever is refused is the identity, and not what it is for.
fn kind_of(status: u16, retry_after: Option<Duration>) -> ErrorKind {
    match (status, retry_after) {
        (429, _) | (503, Some(_)) => ErrorKind::Throttled { retry_after },
        // 410: Azure's metadata service is being replaced.
        (408 | 410 | 500..=599, _) => ErrorKind::Unavailable,
        _ => ErrorKind::Misconfigured,
    }
}
