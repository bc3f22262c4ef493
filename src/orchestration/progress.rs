//! What a run tells whoever watches it.

use std::time::Duration;

use super::stage::Step;

#[derive(Debug, Clone)]
pub enum Event {
    Started {
        step: Step,
        /// In the stage's items, see [`Stage::unit`](super::stage::Stage::unit).
        total: u64,
        /// Of these; more than none where an earlier run began with them.
        done: u64,
    },
    /// `done` of the step's total.
    Advanced { step: Step, done: u64 },
    Finished {
        step: Step,
        /// In words, e.g. `123 shards`.
        outcome: String,
        /// `None`: it was done before this run began.
        took: Option<Duration>,
    },
}
