//! The campaign file: its shape, its checks, its frozen form.

pub mod campaign;
mod locate;

pub use campaign::Campaign;
