//! The five agents. Each module says what its agent does; beside it one file per method or provider. What calls of
//! providers have in common is in [`provider`].

pub mod experimentation;
pub mod generation;
pub mod provider;
pub mod retrieval;
pub mod safety;
pub mod segmentation;
mod sentences;

pub use self::provider::ProviderError;
