//! The five agents. Each module says what its agent does; beside it one file per method or provider.

pub mod experimentation;
pub mod generation;
pub mod retrieval;
pub mod safety;
pub mod segmentation;
mod sentences;
