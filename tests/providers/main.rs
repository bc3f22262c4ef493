//! The clients of providers against servers: scripted ones, validating ones, real ones.

mod commands;
mod content_safety;
mod campaigns;
mod doubles;
mod faults;
mod llama;
#[path = "../npm/mod.rs"]
mod npm;
mod openai;
mod prism;
mod retrieval;
mod scripted;
mod service;
mod mlflow;
