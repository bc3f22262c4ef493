//! The management API against what the real one was recorded to answer.

mod compare;
mod deviations;
mod json;
mod own;
mod recording;
mod replay;
mod world;
