//! The five agents. Each module says what its agent does; beside it one file per method or provider.

pub mod experimentation;
pub mod generation;
pub mod retrieval;
pub mod safety;
pub mod segmentation;
mod sentences;

/// A provider (an index, a model, a screen) gave no usable answer. Whoever asked must treat the question as
/// unanswered: nothing is retrieved, written or approved on the strength of an error.
#[derive(Debug, thiserror::Error)]
#[error("{provider}: {message}")]
pub struct ProviderError {
    pub provider: &'static str,
    pub message: String,
}
