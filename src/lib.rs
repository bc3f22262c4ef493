//! Customer Personalization Orchestrator: marketing messages whose every claim is checked against an approved source.
//!
//! `ARCHITECTURE.md` has the map. Dependencies point downwards: `cli` -> `functions` -> `orchestration` -> `agents` ->
//! `providers`, `stats`, `store`, `config` -> `domain`.

#![forbid(unsafe_code)]
#![warn(clippy::dbg_macro, clippy::todo, clippy::unwrap_used, clippy::uninlined_format_args)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agents;
pub mod audit;
pub mod cli;
pub mod config;
pub mod domain;
pub mod error;
pub mod functions;
pub mod identity;
pub mod ingest;
pub mod orchestration;
pub mod package;
pub mod providers;
pub mod report;
pub mod stats;
pub mod store;
pub mod telemetry;
pub mod tls;

pub use error::Error;
