//! A campaign from start to report: which stage works on what, in which order, and where its results are kept.

pub mod campaign;
mod cells;
pub mod close;
pub mod decide;
pub mod deliveries;
pub mod finished;
pub mod instance;
pub mod item;
pub mod layout;
pub mod ledger;
pub mod names;
pub mod plan;
pub mod progress;
pub mod record;
pub mod results;
mod shards;
pub mod stage;
pub mod start;
pub mod summary;
pub mod work;
mod workspace;
