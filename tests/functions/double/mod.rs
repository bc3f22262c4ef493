//! A double of the Azure Functions host, as far as a custom handler can tell.
//!
//! ```text
//! json       the JSON that the host reads and writes
//! function   what a function.json says
//! outcome    what becomes of an answer: pure, held to recorded ones by `answers.rs`
//! wire       HTTP/1.1 with the host's framing
//! envelope   what a trigger sends
//! package    host.json and the folders of functions
//! process    the handler's process: ready, ended, started again
//! host       calls, time-outs, HTTP that is handed on, the host's end
//! pump       queues and timers
//! ```

pub mod envelope;
pub mod function;
pub mod host;
pub mod json;
pub mod outcome;
pub mod package;
pub mod process;
pub mod pump;
pub mod wire;
