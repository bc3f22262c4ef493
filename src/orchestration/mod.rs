//! A campaign from start to report: which stage works on what, in which order, and where its results are kept.

pub mod campaign;
pub mod deliveries;
pub mod finished;
pub mod ledger;
pub mod layout;
pub mod progress;
mod workspace;
