//! The app behind an Azure Functions host: a double of the host that was recorded, and the handler under it.

mod answers;
mod app;
#[path = "../azurite/mod.rs"]
mod azurite;
mod campaign;
mod conformance;
mod double;
mod life;
mod recorded;
