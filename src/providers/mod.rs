//! Calls to providers (an index, a model, a screen): how they fail, what they may cost, how many run at once; and
//! the clients of those behind HTTP.
//!
//! [`service`] is what all of them have in common: one call, its tries, its faults. What a client knows beyond it is the
//! contract of its service. Agents know providers by their own traits only.

mod breaker;
pub mod content_safety;
mod credential;
mod forecast;
mod limiter;
mod meter;
pub mod mlflow;
pub mod openai;
pub mod prices;
pub mod search;
pub mod service;
mod services;

use std::time::Duration;

pub use self::{
    credential::Credential,
    forecast::Forecast,
    limiter::{Limiter, Permit},
    meter::{Meter, Reserved},
    services::{CALLS, Services, Settings},
};

/// A provider gave no usable answer. Whoever asked must treat the question as unanswered: nothing is retrieved,
/// written or approved on the strength of an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{provider}: {message}")]
pub struct ProviderError {
    pub provider: &'static str,
    pub kind: ErrorKind,
    /// For people. Never holds a secret or a customer's data.
    pub message: String,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Too many calls. Not a failure: the question is put off, however often this comes.
    Throttled {
        /// Not before then, if the provider says so.
        retry_after: Option<Duration>,
    },
    /// Time-out, broken connection, the provider's own error: the question is asked again, a few times.
    Unavailable,
    /// The provider will not answer this question, today or tomorrow.
    Rejected,
    /// The provider cannot be used as it is set up: a credential, a role, an address, a name. Whoever operates the
    /// campaign must mend that; until then no question is answered.
    Misconfigured,
    /// The call was not made: it could cost more than is left.
    OverAllowance,
}

impl ProviderError {
    /// The question has its answer: there is none. Neither asking again nor mending anything gives another.
    pub fn is_final(&self) -> bool {
        matches!(self.kind, ErrorKind::Rejected | ErrorKind::OverAllowance)
    }
}
