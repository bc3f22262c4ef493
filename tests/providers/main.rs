//! The clients of providers against servers: scripted ones, validating ones, real ones.

#[path = "../npm/mod.rs"]
mod npm;
mod prism;
mod scripted;
mod service;
