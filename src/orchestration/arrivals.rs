//! Who is through: an append log per group of a stage's items.
//!
//! Whoever stores an item's record (or finds it stored) appends a line, without looking at what others do: no two
//! workers ever conflict. The count that the append returns tells when the group may be through; whoever sees it
//! reads the log once and counts the *distinct* items. Lines may come twice, so the count alone says nothing, and it
//! may pass the group's size without ever being equal to it.

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
