//! The app over HTTP: every route as a client meets it in this process, on stores that are real; and the whole way of a
//! campaign through real processes.

mod api;
#[path = "../azurite/mod.rs"]
mod azurite;
mod campaigns;
mod content;
mod end_to_end;
mod hostile;
mod support;
mod uploads;
