//! The stores: one suite for all of them, and what is special to each.

mod conformance;
mod memory;
