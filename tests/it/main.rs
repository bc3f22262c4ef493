//! The program as its users meet it: processes, files, exit codes.

#[path = "../azurite/mod.rs"]
mod azurite;
mod bad_input;
mod campaign;
mod instance;
mod support;
mod telemetry;
mod verified;
