//! Experimentation: designs the test, assigns customers, analyses outcomes.

pub mod analysis;
pub mod deliver;
pub mod deliveries;
pub mod design;
