//! The clients of providers against servers: scripted ones, validating ones, real ones.

mod campaigns;
mod doubles;
mod faults;
mod llama;
#[path = "../npm/mod.rs"]
mod npm;
mod openai;
mod prism;
mod scripted;
mod service;
