//! A campaign whose work is made up: every item answers at once, never twice the same, and keeps a journal.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use cpo::{
    domain::{digest::Digest, money::Usd, variant::Usage},
    orchestration::{
        instance::{Allowances, Fact, Instance, Plan},
        item::Item,
        stage::{Stage, Step},
        workshop::{Agents, Output, Setback, Trouble},
    },
    providers::{ErrorKind, ProviderError},
};

/// How large the campaign is.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub shards: u32,
    pub passes: u8,
    pub queries: u32,
    pub variants: u32,
    pub needs_review: u32,
    /// Shards with messages for each of their customers.
    pub personal: u32,
    /// What a draft may cost; each costs [`DRAFT`] of it.
    pub allowance: Usd,
}

impl Shape {
    pub const SMALL: Self =
        Self { shards: 3, passes: 1, queries: 2, variants: 3, needs_review: 0, personal: 0, allowance: Usd::ZERO };
}

/// What an item is made to answer, by step, index, and how often it was asked before.
type Mood = Box<dyn Fn(&Item, u32) -> Result<(), Trouble> + Send + Sync>;

/// The share of its allowance that a draft costs, and a try at one that fails.
pub const DRAFT: f64 = 0.3;

/// What was done, kept outside of the system under test.
#[derive(Debug, Default)]
pub struct Journal {
    /// How often each item of each generation was worked on.
    pub calls: BTreeMap<(u32, Step, u32), u32>,
    /// What was spent, whether or not anybody learned of it.
    pub spent: Usd,
}

pub struct Simulated {
    pub shape: Shape,
    pub journal: Mutex<Journal>,
    mood: Mood,
    takes: Duration,
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Simulated")
    }
}

impl Simulated {
    pub fn new(shape: Shape) -> Arc<Self> {
        Self::moody(shape, Duration::from_millis(20), |_, _| Ok(()))
    }

    pub fn moody(
        shape: Shape,
        takes: Duration,
        mood: impl Fn(&Item, u32) -> Result<(), Trouble> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { shape, journal: Mutex::default(), mood: Box::new(mood), takes })
    }

    /// The digest that the gate asks about.
    pub fn digest() -> Digest {
        Digest::of("variants")
    }

    /// Every call costs, whatever it gives; none may cost more than is left.
    fn spend(&self, item: &Item) -> Usage {
        let cost = Usd::from_dollars(self.shape.allowance.dollars() * DRAFT).unwrap();
        if item.step.stage != Stage::Generate || cost == Usd::ZERO || cost > item.allowance {
            return Usage::default();
        }
        let mut journal = self.journal.lock().unwrap();
        journal.spent = journal.spent + cost;
        Usage { requests: 1, cost_usd: cost, ..Usage::default() }
    }

    fn fact(&self, item: &Item) -> Option<Fact> {
        let shape = &self.shape;
        match item.step.stage {
            Stage::Ingest => Some(Fact::Ingested { shards: shape.shards, profile: shape.passes > 0 }),
            Stage::Fit => Some(Fact::Fitted { another_pass: item.step.pass < shape.passes }),
            Stage::Design => Some(Fact::Designed(Plan {
                queries: shape.queries,
                variants: shape.variants,
                personal: shape.personal,
                allowances: Allowances { generate: shape.allowance, ..Allowances::default() },
            })),
            Stage::Collect => Some(Fact::Collected {
                digest: Self::digest(),
                approved: shape.variants - shape.needs_review,
                blocked: 0,
                needs_review: shape.needs_review,
            }),
            _ => None,
        }
    }
}

#[async_trait]
impl Agents for Simulated {
    async fn perform(&self, item: &Item, _: &Instance) -> Result<Output, Setback> {
        let call = {
            let mut journal = self.journal.lock().unwrap();
            let calls = journal.calls.entry((item.generation, item.step, item.index)).or_default();
            *calls += 1;
            *calls
        };
        let mood = (self.mood)(item, call - 1);
        let usage = self.spend(item);
        mood.map_err(|trouble| Setback { trouble, usage })?;
        // Even no time at all is a tick of the clock to a timer.
        if self.takes > Duration::ZERO {
            tokio::time::sleep(self.takes).await;
        }
        // Another call would have said something else.
        Ok(Output::new(self.fact(item), usage, &format!("{} {}: answer {call}", item.step, item.index))?)
    }
}

pub fn throttled(seconds: u64) -> Trouble {
    Trouble::Provider(ProviderError {
        provider: "simulated",
        kind: ErrorKind::Throttled { retry_after: Some(Duration::from_secs(seconds)) },
        message: "too many calls".to_owned(),
    })
}

pub fn broken() -> Trouble {
    Trouble::Defect("made to break".into())
}
