//! The clients of providers against servers: scripted ones, validating ones, real ones.

mod app;
#[path = "../azurite/mod.rs"]
mod azurite;
mod campaigns;
mod commands;
mod content_safety;
mod doubles;
mod faults;
mod llama;
mod mlflow;
mod openai;
mod prism;
mod retrieval;
mod scripted;
mod search;
mod service;

use azurite::npm;
