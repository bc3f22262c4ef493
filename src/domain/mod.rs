//! The product's words as types: no I/O, no policy, no clock.

pub mod attribute;
pub mod channel;
pub mod content;
pub mod customer;
pub mod decision;
pub mod digest;
pub mod estimate;
pub mod experiment;
pub mod id;
pub mod money;
pub mod phrases;
pub mod problem;
pub mod segment;
pub mod share;
pub mod variant;
pub mod verdict;
