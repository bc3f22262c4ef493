//! How many calls of one provider run at once: as many as it bears.
//!
//! Additive increase, multiplicative decrease (Chiu and Jain 1989): a throttled call halves the limit, every
//! [`RUN`] successes raise it by one. Each process has its own limiter; the provider's answers are all they share.

use std::{
    hash::{BuildHasher as _, RandomState},
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::{
    sync::{self, Notify},
    time::{Instant, sleep_until},
};

/// Successes that raise the limit by one.
const RUN: u32 = 20;

/// The wait after a first throttled call where the provider does not say how long; it doubles with each that follows
/// without a success between them, up to the longest. A wait is shortened by up to a half, at random, so that
/// processes do not come back together.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// What asks for a longer wait is taken for a mistake.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

#[derive(Debug)]
pub struct Limiter {
    most: usize,
    state: Mutex<State>,
    /// Whoever holds it is next; the others queue in their order.
    turn: sync::Mutex<()>,
    /// Wakes who is next.
    freed: Notify,
}

#[derive(Debug)]
struct State {
    limit: usize,
    under_way: usize,
    /// Since the limit last changed, or a call failed.
    successes: u32,
    /// How often the limit was cut.
    cuts: u64,
    /// Cuts since the last success.
    cuts_in_a_row: u32,
    /// Nobody starts before.
    opens: Option<Instant>,
    random: ChaCha8Rng,
}

/// The right to make one call. Dropped without a word on how the call ended, it only frees its place.
#[derive(Debug)]
#[must_use = "dropped, it frees its place"]
pub struct Permit<'a> {
    limiter: &'a Limiter,
    /// The limiter's cuts when the call began.
    cuts: u64,
}

impl Limiter {
    /// Begins with the most calls that may ever run at once.
    pub fn new(most: NonZeroUsize) -> Self {
        Self::seeded(most, RandomState::new().hash_one(()))
    }

    fn seeded(most: NonZeroUsize, seed: u64) -> Self {
        let state = State {
            limit: most.get(),
            under_way: 0,
            successes: 0,
            cuts: 0,
            cuts_in_a_row: 0,
            opens: None,
            random: ChaCha8Rng::seed_from_u64(seed),
        };
        Self { most: most.get(), state: Mutex::new(state), turn: sync::Mutex::default(), freed: Notify::new() }
    }

    /// Waits for a place, in the order of the calls. May be dropped while it waits: who cannot wait for as long as it
    /// takes sets a time-out, and is throttled when it ends.
    pub async fn acquire(&self) -> Permit<'_> {
        let _turn = self.turn.lock().await;
        loop {
            let opens = {
                let mut state = self.state();
                let opens = state.opens.filter(|opens| Instant::now() < *opens);
                if opens.is_none() && state.under_way < state.limit {
                    state.under_way += 1;
                    return Permit { limiter: self, cuts: state.cuts };
                }
                opens
            };
            // What changes between the look at the state and here is not missed: a notification waits for who is
            // next.
            match opens {
                Some(opens) => sleep_until(opens).await,
                None => self.freed.notified().await,
            }
        }
    }

    /// How many calls may run at once at present.
    pub fn limit(&self) -> usize {
        self.state().limit
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    pub fn succeeded(self) {
        let mut state = self.limiter.state();
        // A call from before a cut says nothing about what the provider bears now.
        if self.cuts == state.cuts {
            state.cuts_in_a_row = 0;
            state.successes += 1;
            if state.successes == RUN {
                state.successes = 0;
                state.limit = (state.limit + 1).min(self.limiter.most);
            }
        }
    }

    /// The provider asked for fewer calls. Those that began before the limit was cut do not cut it again, but how long
    /// they ask to wait counts.
    pub fn throttled(self, retry_after: Option<Duration>) {
        let mut state = self.limiter.state();
        let is_first = self.cuts == state.cuts;
        if is_first {
            state.cuts += 1;
            state.cuts_in_a_row = state.cuts_in_a_row.saturating_add(1);
            state.successes = 0;
            state.limit = (state.limit / 2).max(1);
        }
        let wait = match retry_after {
            Some(wait) => wait.min(LONGEST_RETRY_AFTER),
            None if is_first => state.back_off(),
            None => return,
        };
        state.opens = state.opens.max(Some(Instant::now() + wait));
    }

    /// Neither a success nor throttled. The limit stays; the successes before do not count towards a higher one.
    pub fn failed(self) {
        self.limiter.state().successes = 0;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.limiter.state().under_way -= 1;
        self.limiter.freed.notify_one();
    }
}

impl State {
    fn back_off(&mut self) -> Duration {
        let doubled = FIRST_BACK_OFF.saturating_mul(1_u32.checked_shl(self.cuts_in_a_row - 1).unwrap_or(u32::MAX));
        doubled.min(LONGEST_BACK_OFF).mul_f64(self.random.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::VecDeque};

    use futures::future::join_all;
    use proptest::prelude::*;
    use tokio::time::{advance, sleep, timeout};

    use super::*;

    fn limiter(most: usize) -> Limiter {
        Limiter::seeded(NonZeroUsize::new(most).unwrap(), 1)
    }

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[derive(Debug, Clone, Copy)]
    enum End {
        Succeeded,
        Throttled(Option<u64>),
        Failed,
        /// The caller goes away in the middle of the call.
        Dropped,
        /// The caller goes away while it waits for a place.
        GivenUp,
    }

    fn end() -> impl Strategy<Value = End> {
        prop_oneof![
            6 => Just(End::Succeeded),
            1 => prop::option::of(0..5_000_u64).prop_map(End::Throttled),
            1 => Just(End::Failed),
            1 => Just(End::Dropped),
            1 => Just(End::GivenUp),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn never_more_than_the_limit_start_and_none_before_it_was_asked_to(
            most in 1..9_usize,
            calls in prop::collection::vec((0..3_000_u64, 1..2_000_u64, end()), 1..80),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let limiter = limiter(most);
                let (running, opens) = (Cell::new(0), Cell::new(Instant::now()));
                join_all(calls.iter().map(async |(begin, length, end)| {
                    sleep(MS(*begin)).await;
                    let permit = match end {
                        End::GivenUp => match timeout(MS(*length), limiter.acquire()).await {
                            Ok(permit) => permit,
                            Err(_) => return,
                        },
                        _ => limiter.acquire().await,
                    };
                    running.set(running.get() + 1);
                    assert!(running.get() <= limiter.limit());
                    assert!(Instant::now() >= opens.get());
                    sleep(MS(*length)).await;
                    running.set(running.get() - 1);
                    match end {
                        End::Succeeded => permit.succeeded(),
                        End::Failed => permit.failed(),
                        End::Dropped | End::GivenUp => drop(permit),
                        End::Throttled(wait) => {
                            permit.throttled(wait.map(MS));
                            opens.set(opens.get().max(Instant::now() + MS(wait.unwrap_or(0))));
                        }
                    }
                    assert!((1..=most).contains(&limiter.limit()));
                }))
                .await;
                // Every place is free again.
                sleep(LONGEST_BACK_OFF).await;
                let limit = limiter.limit();
                let all = join_all((0..limit).map(|_| limiter.acquire()));
                assert_eq!(timeout(MS(1), all).await.expect("all places are free").len(), limit);
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_storm_the_limit_comes_back_and_no_call_is_lost() {
        let limiter = limiter(16);
        let begun = Instant::now();
        // Bears three calls at once for ten minutes, and any number afterwards.
        let running = Cell::new(0);
        let (lowest, answered) = (Cell::new(16), Cell::new(0));
        join_all((0..64).map(async |_| {
            for _ in 0..50 {
                loop {
                    let permit = limiter.acquire().await;
                    running.set(running.get() + 1);
                    let is_refused = running.get() > 3 && begun.elapsed() < Duration::from_mins(10);
                    sleep(MS(500)).await;
                    running.set(running.get() - 1);
                    if !is_refused {
                        permit.succeeded();
                        break;
                    }
                    permit.throttled(None);
                    lowest.set(limiter.limit().min(lowest.get()));
                }
                answered.set(answered.get() + 1);
            }
        }))
        .await;
        assert_eq!(answered.get(), 3_200);
        assert!(lowest.get() <= 2, "{}", lowest.get());
        assert_eq!(limiter.limit(), 16);
        // Three at once are 3,600 calls in the ten minutes; the storm may not have kept it from most of them.
        assert!(begun.elapsed() < Duration::from_mins(15), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_began_together_halve_the_limit_once() {
        let limiter = limiter(8);
        let mut burst: VecDeque<_> = join_all((0..8).map(|_| limiter.acquire())).await.into();
        while let Some(permit) = burst.pop_front() {
            permit.throttled(Some(MS(100)));
            assert_eq!(limiter.limit(), 4);
        }
        limiter.acquire().await.throttled(Some(MS(100)));
        assert_eq!(limiter.limit(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn twenty_successes_without_a_failure_between_them_raise_the_limit_by_one() {
        let limiter = limiter(4);
        limiter.acquire().await.throttled(None);
        for _ in 0..RUN - 1 {
            limiter.acquire().await.succeeded();
        }
        limiter.acquire().await.failed();
        for expected in [2, 3, 4, 4] {
            for _ in 0..RUN - 1 {
                limiter.acquire().await.succeeded();
                assert_eq!(limiter.limit(), expected);
            }
            limiter.acquire().await.succeeded();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn successes_of_calls_that_began_before_a_cut_do_not_undo_it() {
        let limiter = limiter(21);
        let mut before = join_all((0..=RUN).map(|_| limiter.acquire())).await;
        before.pop().unwrap().throttled(None);
        before.into_iter().for_each(Permit::succeeded);
        assert_eq!(limiter.limit(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_retry_after_is_kept_to_the_millisecond() {
        let limiter = limiter(8);
        let [first, second, third] = [limiter.acquire().await, limiter.acquire().await, limiter.acquire().await];
        first.throttled(Some(MS(700)));
        advance(MS(100)).await;
        second.throttled(Some(MS(1_234)));
        third.throttled(Some(MS(5)));
        let begun = Instant::now();
        limiter.acquire().await.throttled(Some(Duration::MAX));
        assert_eq!(begun.elapsed(), MS(1_234));
        limiter.acquire().await.succeeded();
        assert_eq!(begun.elapsed(), MS(1_234) + LONGEST_RETRY_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_retry_after_the_waits_grow_up_to_a_minute_and_a_success_ends_that() {
        let limiter = limiter(1);
        let mut waits = Vec::new();
        for _ in 0..40 {
            limiter.acquire().await.throttled(None);
            let begun = Instant::now();
            drop(limiter.acquire().await);
            waits.push(begun.elapsed().as_secs_f64());
        }
        for (wait, most) in waits.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0].into_iter().chain([60.0; 34])) {
            assert!((most / 2.0..=most + 0.001).contains(wait), "{waits:?}");
        }
        assert!(waits[6..].windows(2).any(|pair| pair[0] != pair[1]), "no jitter: {waits:?}");
        limiter.acquire().await.succeeded();
        limiter.acquire().await.throttled(None);
        let begun = Instant::now();
        drop(limiter.acquire().await);
        assert!(begun.elapsed() <= MS(1_001));
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_is_served_first_also_when_others_give_up() {
        let limiter = limiter(1);
        let held = limiter.acquire().await;
        let served = std::cell::RefCell::new(Vec::new());
        let waiting = join_all((0..6_u64).map(async |number| {
            sleep(MS(number)).await;
            // Every other one gives up: the first of them while it is next.
            let patience = if number % 2 == 0 { MS(50) } else { MS(10_000) };
            if let Ok(permit) = timeout(patience, limiter.acquire()).await {
                served.borrow_mut().push(number);
                sleep(MS(10)).await;
                permit.succeeded();
            }
        }));
        let release = async {
            sleep(MS(100)).await;
            held.succeeded();
        };
        tokio::join!(waiting, release);
        assert_eq!(*served.borrow(), [1, 3, 5]);
    }
}
