//! The stores: one suite for all of them, and what is special to each.

mod azure;
#[path = "../azurite/mod.rs"]
mod azurite;
mod conformance;
mod embedded;
mod embedded_faults;
mod memory;
mod stub;
