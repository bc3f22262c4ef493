//! Durable orchestration under faults: nothing lost, nothing twice, whatever dies and whenever.

#[path = "../azurite/mod.rs"]
mod azurite;
mod checker;
mod faults;
mod full_disk;
mod killed;
mod real;
mod simulated;
mod simulation;
mod storms;
mod workers;
