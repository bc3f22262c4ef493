//! A campaign from start to report: which stage works on what, in which order, and where its results are kept.

pub mod campaign;
mod cells;
pub mod close;
pub mod deliveries;
pub mod finished;
pub mod layout;
pub mod ledger;
mod plan;
pub mod progress;
pub mod results;
mod shards;
pub mod summary;
mod workspace;
