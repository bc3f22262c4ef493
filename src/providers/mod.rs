//! Calls to providers (an index, a model, a screen): how they fail, what they may cost, how many run at once.

mod limiter;
mod meter;

use std::time::Duration;

pub use self::{
    limiter::{Limiter, Permit},
    meter::{Meter, Reserved},
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
    /// The call was not made: it could cost more than is left.
    OverAllowance,
}

impl ProviderError {
    /// The same question may be answered later.
    pub fn is_temporary(&self) -> bool {
        matches!(self.kind, ErrorKind::Throttled { .. } | ErrorKind::Unavailable)
    }
}
