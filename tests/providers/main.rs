//! The clients of providers against servers: scripted ones, validating ones, real ones.

mod campaigns;
mod commands;
mod content_safety;
mod doubles;
mod faults;
mod llama;
mod mlflow;
#[path = "../npm/mod.rs"]
mod npm;
mod openai;
mod prism;
mod retrieval;
mod scripted;
mod search;
mod service;
