//! What a run tells whoever watches it.

use std::time::Duration;

use super::{stage::Stage, summary::Timing};

#[derive(Debug, Clone)]
pub enum Event {
    Started {
        stage: Stage,
        total: u64,
    },
    /// `done` of the stage's total.
    Advanced {
        stage: Stage,
        done: u64,
    },
    /// `outcome` in words, e.g. `1,000 customers, 3 quarantined`.
    Finished {
        stage: Stage,
        outcome: String,
        took: Duration,
    },
}

/// Times the stages and passes events on to the watcher.
pub struct Progress<'a> {
    watcher: &'a (dyn Fn(Event) + Sync),
    timings: std::sync::Mutex<Vec<Timing>>,
}

impl<'a> Progress<'a> {
    pub fn new(watcher: &'a (dyn Fn(Event) + Sync)) -> Self {
        Self { watcher, timings: std::sync::Mutex::default() }
    }

    pub fn start(&self, stage: Stage, total: u64) -> Running<'_> {
        (self.watcher)(Event::Started { stage, total });
        Running { progress: self, stage, done: 0.into(), since: std::time::Instant::now() }
    }

    pub fn timings(&self) -> Vec<Timing> {
        self.timings.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// A stage under way.
pub struct Running<'a> {
    progress: &'a Progress<'a>,
    stage: Stage,
    done: std::sync::atomic::AtomicU64,
    since: std::time::Instant,
}

impl Running<'_> {
    pub fn advance(&self, by: u64) {
        let done = self.done.fetch_add(by, std::sync::atomic::Ordering::Relaxed) + by;
        (self.progress.watcher)(Event::Advanced { stage: self.stage, done });
    }

    pub fn finish(self, outcome: impl Into<String>) {
        let (took, outcome) = (self.since.elapsed(), outcome.into());
        tracing::info!(stage = self.stage.as_str(), seconds = took.as_secs_f64(), outcome, "stage finished");
        self.progress
            .timings
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(Timing { stage: self.stage, seconds: took.as_secs_f64() });
        (self.progress.watcher)(Event::Finished { stage: self.stage, outcome, took });
    }
}
