//! The clients of providers against servers: scripted ones, validating ones, real ones.

mod content_safety;
#[path = "../npm/mod.rs"]
mod npm;
mod prism;
mod scripted;
mod service;
