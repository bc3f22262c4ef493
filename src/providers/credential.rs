//! Who we are to a service.

use std::{fmt, sync::Arc};

use azure_core::credentials::TokenCredential;
use reqwest::{
    RequestBuilder,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};

use crate::{domain::problem::Problem, identity::Identity};

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
        let credential = Identity::Found.credential().map_err(|error| {
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
    pub(super) async fn sign(&self, request: RequestBuilder) -> azure_core::Result<RequestBuilder> {
        Ok(match self {
            Self::Nobody => request,
            Self::Header(name, value) => request.header(name, value),
            Self::Entra { credential, scope } => {
                let token = credential.get_token(&[scope], None).await?;
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
