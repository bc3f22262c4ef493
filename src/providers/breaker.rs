//! A circuit breaker: whoever is down is left alone for a while.
//!
//! It tells an outage from a question that fails. In an outage questions are put off, which costs none of their tries; a
//! question that fails by itself is given up after some.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Failures in a row that are taken for an outage.
const FAILURES: u32 = 8;

/// How long nothing is asked. It doubles with each probe that fails, up to the longest.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    opens: Option<Instant>,
}

impl Breaker {
    /// Whether a call may be made; else how long to wait. When the wait is over one call is let through as a probe, and the
    /// others wait once more for what becomes of it.
    pub fn admit(&self) -> Result<(), Duration> {
        let mut state = self.lock();
        if let Some(opens) = state.opens {
            let now = Instant::now();
            if now < opens {
                return Err(opens - now);
            }
            // Its caller may be gone before the probe ends: then the next wait ends with another one.
            state.opens = Some(now + state.wait());
        }
        Ok(())
    }

    /// The service answered, if only to refuse.
    pub fn answered(&self) {
        *self.lock() = State::default();
    }

    /// No answer, or one that says that the service is in trouble.
    pub fn failed(&self) {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            let opens = Instant::now() + state.wait();
            state.opens = state.opens.max(Some(opens));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&self) -> Duration {
        let probes = self.failures.saturating_sub(FAILURES);
        SHORTEST.saturating_mul(1_u32.checked_shl(probes).unwrap_or(u32::MAX)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn broken() -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert_eq!(breaker.admit(), Ok(()));
            breaker.failed();
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn failures_with_an_answer_between_them_are_no_outage() {
        let breaker = Breaker::default();
        for _ in 0..5 {
            (1..FAILURES).for_each(|_| breaker.failed());
            breaker.answered();
        }
        assert_eq!(breaker.admit(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn in_an_outage_one_probe_at_a_time_is_let_through_and_waits_grow_to_a_minute() {
        let breaker = broken();
        let mut waits = Vec::new();
        for _ in 0..6 {
            let wait = breaker.admit().unwrap_err();
            waits.push(wait.as_secs());
            advance(wait).await;
            assert_eq!(breaker.admit(), Ok(()));
            assert!(breaker.admit().is_err(), "a second call while the probe is under way");
            breaker.failed();
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_answered_ends_the_outage_and_one_that_vanishes_is_followed_by_another() {
        let breaker = broken();
        advance(SHORTEST).await;
        assert_eq!(breaker.admit(), Ok(()));
        advance(breaker.admit().unwrap_err()).await;
        assert_eq!(breaker.admit(), Ok(()));
        breaker.answered();
        assert_eq!([(); 20].map(|()| breaker.admit()), [Ok(()); 20]);
    }
}
