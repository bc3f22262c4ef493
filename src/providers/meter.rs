//! What a piece of work may spend on providers, and what it has spent.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ErrorKind, ProviderError};
use crate::domain::{money::Usd, variant::Usage};

/// Counts the calls of one piece of work against its allowance. What is spent never exceeds the allowance, as long as
/// no call costs more than was reserved for it.
#[derive(Debug)]
pub struct Meter {
    allowance: Usd,
    account: Mutex<Account>,
}

#[derive(Debug, Default)]
struct Account {
    spent: Usage,
    /// For calls that are under way.
    reserved: Usd,
}

/// What one call may cost. Dropped without [`Reserved::settle`] it counts as spent in full: a call that was cut off
/// may have been charged.
#[derive(Debug)]
#[must_use = "dropped, it counts as spent"]
pub struct Reserved<'a> {
    meter: &'a Meter,
    most: Usd,
    /// `None`: not known, so everything.
    took: Option<Usage>,
}

impl Meter {
    pub fn new(allowance: Usd) -> Self {
        Self { allowance, account: Mutex::default() }
    }

    /// To be asked before a call of `provider` that may cost up to `most`.
    pub fn reserve(&self, provider: &'static str, most: Usd) -> Result<Reserved<'_>, ProviderError> {
        let mut account = self.account();
        let taken = account.spent.cost_usd + account.reserved;
        let left = self.allowance.checked_sub(taken).unwrap_or(Usd::ZERO);
        if left < most {
            let message = format!("the call could cost {most}, and {left} is left of the {} allowed", self.allowance);
            return Err(ProviderError { provider, kind: ErrorKind::OverAllowance, message });
        }
        account.reserved = account.reserved + most;
        Ok(Reserved { meter: self, most, took: None })
    }

    /// Calls under way are not in it.
    pub fn spent(&self) -> Usage {
        self.account().spent
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved<'_> {
    /// The call ended and took this much: nothing, where the provider refused it. More than was reserved is counted
    /// as it is, and leaves less for the calls to come.
    pub fn settle(mut self, took: Usage) {
        self.took = Some(took);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let everything = Usage { requests: 1, cost_usd: self.most, ..Usage::default() };
        let mut account = self.meter.account();
        account.reserved = account.reserved.checked_sub(self.most).expect("it was added when this was made");
        account.spent += self.took.unwrap_or(everything);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn usd(micros: u32) -> Usd {
        Usd::from_dollars(f64::from(micros) / 1e6).unwrap()
    }

    fn cost(cost_usd: Usd) -> Usage {
        Usage { requests: 1, cost_usd, ..Usage::default() }
    }

    /// A call that may cost `most`: ended with its cost, or cut off (`None`).
    fn calls() -> impl Strategy<Value = Vec<(u32, Option<u32>)>> {
        let call = (0..50_u32).prop_flat_map(|most| (Just(most), prop::option::of(0..=most)));
        prop::collection::vec(call, 0..40)
    }

    proptest! {
        #[test]
        fn the_allowance_holds_and_a_call_is_refused_only_where_it_might_not(
            allowance in 0..400_u32, calls in calls(), under_way in 1..5_usize,
        ) {
            let meter = Meter::new(usd(allowance));
            let (mut open, mut spent, mut reserved) = (Vec::new(), 0, 0);
            for (most, took) in calls.into_iter().map(Some).chain([None; 5]).map(|call| call.unzip()) {
                if open.len() == under_way || most.is_none() && !open.is_empty() {
                    let (ticket, most, took): (Reserved<'_>, u32, Option<u32>) = open.remove(0);
                    match took {
                        Some(took) => ticket.settle(cost(usd(took))),
                        None => drop(ticket),
                    }
                    reserved -= most;
                    spent += took.unwrap_or(most);
                }
                let (Some(most), Some(took)) = (most, took) else { continue };
                match meter.reserve("test", usd(most)) {
                    Ok(ticket) => {
                        reserved += most;
                        open.push((ticket, most, took));
                    }
                    Err(error) => {
                        prop_assert_eq!(error.kind, ErrorKind::OverAllowance);
                        prop_assert!(spent + reserved + most > allowance);
                    }
                }
                prop_assert!(spent + reserved <= allowance);
                prop_assert_eq!(meter.spent().cost_usd, usd(spent));
            }
        }
    }

    #[test]
    fn threads_that_share_a_meter_cannot_overspend_it() {
        let meter = Meter::new(usd(1_000));
        let made: u32 = thread::scope(|scope| {
            let call = || match meter.reserve("test", usd(7)) {
                Ok(ticket) => {
                    ticket.settle(cost(usd(7)));
                    1
                }
                Err(_) => 0,
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(move || (0..100).map(|_| call()).sum::<u32>())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(made, 142);
        assert_eq!(meter.spent(), Usage { requests: 142, cost_usd: usd(994), ..Usage::default() });
    }

    #[test]
    fn a_call_that_cost_more_than_was_reserved_leaves_nothing_but_free_ones() {
        let meter = Meter::new(usd(10));
        meter.reserve("test", usd(10)).unwrap().settle(cost(usd(12)));
        assert_eq!(meter.spent().cost_usd, usd(12));
        let refused = meter.reserve("test", usd(1)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "test: the call could cost $0.000001, and $0.00 is left of the $0.000010 allowed"
        );
        assert!(refused.is_final());
        meter.reserve("test", Usd::ZERO).unwrap().settle(Usage::default());
    }
}
