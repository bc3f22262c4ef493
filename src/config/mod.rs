//! The campaign file: its shape, its checks, its frozen form.

pub mod campaign;
mod check;
mod day;
mod locate;
mod wording;

pub use campaign::Campaign;
pub use day::Day;
pub use wording::in_plain_words;
