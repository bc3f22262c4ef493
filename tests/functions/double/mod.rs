//! A double of the Azure Functions host, as far as a custom handler can tell.
//!
//! ```text
//! json       the JSON that the host reads and writes
//! function   what a function.json says
//! outcome    what becomes of an answer: pure, held to recorded ones by `answers.rs`
//! wire       HTTP/1.1 with the host's framing
//! envelope   what a trigger sends
//! process    the handler's process: ready, ended, started again
//! host       calls, time-outs, forwarding, drains
//! pump       queues and timers
//! ```

pub mod function;
pub mod json;
pub mod outcome;
