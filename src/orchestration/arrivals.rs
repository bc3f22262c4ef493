//! Who is through: an append log per group of a stage's items.
//!
//! Whoever stores an item's record (or finds it stored) appends a line, without looking at what others do: no two
//! workers ever conflict. The count that the append returns tells when the group may be through; whoever sees it
//! reads the log once and counts the *distinct* items. Lines may come twice, so the count alone says nothing, and it
//! may pass the group's size without ever being equal to it.
//!
//! A line names no schema: the instance's `engine` says what its logs look like.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    instance::{Fact, GROUP, Group, StageState},
    names::Run,
    record::{Outcome, Record},
    stage::Step,
};
use crate::{
    domain::money::Usd,
    store::{self, Blobs},
};

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arrival {
    item: u32,
    attempt: u32,
    done: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    cost: Usd,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fact: Option<Fact>,
}

fn is_zero(cost: &Usd) -> bool {
    *cost == Usd::ZERO
}

/// The log of one group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Log {
    arrivals: Vec<Arrival>,
}

/// Where an item stands in its stage's current attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Missing,
    Done,
    Failed,
}

/// Appends that the record is stored. Returns how many lines the log has now, or more.
pub async fn append(blobs: &dyn Blobs, run: &Run, record: &Record) -> Result<u64, store::Error> {
    let (done, fact) = match &record.result {
        Outcome::Done { fact, .. } => (true, fact.clone()),
        Outcome::Failed(_) => (false, None),
    };
    let arrival = Arrival { item: record.index, attempt: record.attempt, done, cost: record.usage.cost_usd, fact };
    let path = run.arrivals(record.step, record.index / GROUP);
    let mut line = serde_json::to_vec(&arrival)
        .map_err(|error| store::Error::Permanent { what: path.to_string(), source: error.into() })?;
    line.push(b'\n');
    blobs.append(&path, line).await
}

/// The log as it is; empty where nobody has arrived yet.
pub async fn read(blobs: &dyn Blobs, run: &Run, step: Step, group: u32) -> Result<Log, store::Error> {
    let path = run.arrivals(step, group);
    let bytes = match blobs.get(&path).await {
        Ok(blob) => blob.bytes,
        Err(store::Error::NotFound { .. }) => return Ok(Log::default()),
        Err(error) => return Err(error),
    };
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let arrivals = lines.map(serde_json::from_slice).collect::<Result<_, _>>();
    let arrivals =
        arrivals.map_err(|error| store::Error::Permanent { what: path.to_string(), source: error.into() })?;
    Ok(Log { arrivals })
}

impl Log {
    pub fn lines(&self) -> u64 {
        self.arrivals.len() as u64
    }

    /// Of every item of the group, in order.
    pub fn standings(&self, stage: &StageState, group: u32) -> Vec<Standing> {
        let first = group * GROUP;
        let mut standings = vec![Standing::Missing; stage.group_size(group) as usize];
        for arrival in &self.arrivals {
            let position = arrival.item.checked_sub(first).map(|position| position as usize);
            let Some(standing) = position.and_then(|position| standings.get_mut(position)) else { continue };
            if arrival.done {
                *standing = Standing::Done;
            } else if arrival.attempt == stage.attempt && *standing == Standing::Missing {
                *standing = Standing::Failed;
            }
        }
        standings
    }

    /// What the group gave, and what its one item told; `None` while items are missing.
    pub fn total(&self, stage: &StageState, group: u32) -> Option<(Group, Option<Fact>)> {
        let mut total = Group::default();
        for standing in self.standings(stage, group) {
            match standing {
                Standing::Missing => return None,
                Standing::Done => total.done += 1,
                Standing::Failed => total.failed += 1,
            }
        }
        let mut seen = BTreeSet::new();
        let distinct = self.arrivals.iter().filter(|arrival| seen.insert((arrival.item, arrival.attempt)));
        total.cost = distinct.map(|arrival| arrival.cost).sum();
        let fact = self.arrivals.iter().find_map(|arrival| arrival.fact.clone());
        Some((total, fact))
    }

    /// Items from `0` on of which a line stands in the log.
    pub fn has(&self, item: u32, attempt: u32) -> bool {
        self.arrivals.iter().any(|arrival| arrival.item == item && (arrival.done || arrival.attempt == attempt))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};

    use jiff::Timestamp;

    use super::*;
    use crate::orchestration::{instance::Progress, stage::Stage};

    fn stage(planned: u32, attempt: u32) -> StageState {
        StageState {
            step: Stage::Deliver.into(),
            planned,
            attempt,
            allowance: Usd::ZERO,
            opened: Timestamp::UNIX_EPOCH,
            deadline: Timestamp::UNIX_EPOCH,
            state: Progress::Open { groups: vec![None; planned.div_ceil(GROUP) as usize] },
        }
    }

    fn line(item: u32, attempt: u32, done: bool) -> Arrival {
        Arrival { item, attempt, done, cost: Usd::from_dollars(0.5).unwrap(), fact: None }
    }

    #[test]
    fn a_group_is_through_when_every_item_is_however_often_each_arrived() {
        let cents = |amount: f64| Usd::from_dollars(amount).unwrap();
        let log = |arrivals: Vec<Arrival>| Log { arrivals };
        let (first, second) = (stage(2, 1), stage(2, 2));
        assert_eq!(log(vec![line(0, 1, true), line(0, 1, true), line(0, 1, true)]).total(&first, 0), None);
        let both = log(vec![line(0, 1, true), line(1, 1, false), line(1, 1, false)]);
        assert_eq!(both.total(&first, 0).unwrap().0, Group { done: 1, failed: 1, cost: cents(1.0) });
        // A failure of an attempt before is none of this one; what is done stays done, and all attempts cost.
        assert_eq!(both.total(&second, 0), None);
        let again = log(vec![line(0, 1, true), line(1, 1, false), line(1, 2, true), line(1, 1, false)]);
        assert_eq!(again.total(&second, 0).unwrap().0, Group { done: 2, failed: 0, cost: cents(1.5) });
        // Items of other groups, or of none, are nobody's.
        assert_eq!(log(vec![line(0, 1, true), line(7, 1, true), line(u32::MAX, 1, true)]).total(&first, 0), None);
    }

    /// How a worker finds out that a group may be through.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Rule {
        /// As in the worker.
        AtLeast,
        Equal,
        /// Without looking at which items arrived.
        CountOnly,
        /// Only who stored the record appends.
        CreatorOnly,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    enum At {
        Idle,
        Received(u8),
        Stored(u8, bool),
        Appended(u8, u8),
        /// Whether the log was through when it was read.
        Looked(u8, bool),
    }

    const ITEMS: usize = 3;

    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct State {
        /// Copies of each item's message that may be received.
        messages: [u8; ITEMS],
        stored: [bool; ITEMS],
        log: Vec<u8>,
        workers: [At; 2],
        wakes: u8,
        is_through: bool,
        /// Deaths, lost answers of appends, messages handed out while they are worked on: what may yet go wrong.
        deaths: u8,
        lost: u8,
        copies: u8,
    }

    fn next(state: &State, rule: Rule) -> Vec<State> {
        let mut all = Vec::new();
        let total = |log: &[u8]| {
            let arrivals = log.iter().map(|item| line(u32::from(*item), 1, true)).collect();
            Log { arrivals }.total(&stage(ITEMS as u32, 1), 0).is_some()
        };
        if state.wakes > 0 {
            let is_through = state.is_through || rule == Rule::CountOnly || total(&state.log);
            all.push(State { wakes: state.wakes - 1, is_through, ..state.clone() });
        }
        for worker in 0..2 {
            let mut go = |at: At, change: &dyn Fn(&mut State)| {
                let mut next = state.clone();
                next.workers[worker] = at;
                change(&mut next);
                all.push(next);
            };
            let in_hand = match state.workers[worker] {
                At::Idle => {
                    for item in 0..ITEMS as u8 {
                        if state.messages[item as usize] > 0 {
                            go(At::Received(item), &|next| next.messages[item as usize] -= 1);
                        }
                    }
                    continue;
                }
                At::Received(item) => {
                    let is_mine = !state.stored[item as usize];
                    go(At::Stored(item, is_mine), &|next| next.stored[item as usize] = true);
                    item
                }
                At::Stored(item, is_mine) => {
                    if rule == Rule::CreatorOnly && !is_mine {
                        go(At::Idle, &|_| {});
                    } else {
                        let count = state.log.len() as u8 + 1;
                        go(At::Appended(item, count), &|next| next.log.push(item));
                        if state.lost > 0 {
                            go(At::Idle, &|next| {
                                next.log.push(item);
                                next.lost -= 1;
                                next.messages[item as usize] += 1;
                            });
                        }
                    }
                    item
                }
                At::Appended(item, count) => {
                    let may_be = match rule {
                        Rule::Equal => usize::from(count) == ITEMS,
                        _ => usize::from(count) >= ITEMS,
                    };
                    let is_through = may_be && (rule == Rule::CountOnly || total(&state.log));
                    go(At::Looked(item, is_through), &|_| {});
                    item
                }
                At::Looked(item, is_through) => {
                    go(At::Idle, &|next| next.wakes += u8::from(is_through));
                    item
                }
            };
            if state.deaths > 0 {
                go(At::Idle, &|next| {
                    next.deaths -= 1;
                    next.messages[in_hand as usize] += 1;
                });
            }
            if state.copies > 0 {
                go(state.workers[worker], &|next| {
                    next.copies -= 1;
                    next.messages[in_hand as usize] += 1;
                });
            }
        }
        all
    }

    /// Walks through every state that three items and two workers can come into. Says what is wrong with one.
    fn explore(rule: Rule) -> (usize, Option<&'static str>) {
        let first = State {
            messages: [1; ITEMS],
            stored: [false; ITEMS],
            log: Vec::new(),
            workers: [At::Idle; 2],
            wakes: 0,
            is_through: false,
            deaths: 1,
            lost: 1,
            copies: 1,
        };
        let (mut seen, mut waiting) = (HashSet::from([first.clone()]), VecDeque::from([first]));
        while let Some(state) = waiting.pop_front() {
            if state.is_through && state.stored != [true; ITEMS] {
                return (seen.len(), Some("it went on without an item"));
            }
            let next = next(&state, rule);
            if next.is_empty() && !state.is_through {
                return (seen.len(), Some("nobody noticed that all items were there"));
            }
            for state in next {
                if seen.insert(state.clone()) {
                    waiting.push_back(state);
                }
            }
        }
        (seen.len(), None)
    }

    #[test]
    fn no_order_of_events_loses_the_wake_or_goes_on_too_early() {
        let (states, wrong) = explore(Rule::AtLeast);
        println!("{states} states");
        assert_eq!(wrong, None);
        assert!(states > 10_000, "{states}");
        // The same walk finds what is wrong with the rules that look simpler.
        assert_eq!(explore(Rule::Equal).1, Some("nobody noticed that all items were there"));
        assert_eq!(explore(Rule::CreatorOnly).1, Some("nobody noticed that all items were there"));
        assert_eq!(explore(Rule::CountOnly).1, Some("it went on without an item"));
    }
}
