//! The app over HTTP, in this process: every route as a client meets it, on stores that are real.

#[path = "../azurite/mod.rs"]
mod azurite;
mod campaigns;
mod content;
mod support;
mod uploads;
