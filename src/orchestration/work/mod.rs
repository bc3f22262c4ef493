//! What the items of each stage do. A function per stage: from what the stages before it stored to an [`Output`].
//!
//! Nothing here knows of queues, attempts, leases or arrivals; that is the worker's. An item may be done twice, by two
//! processes at once: whatever it writes by itself (tables, documents) is a function of its inputs.

use std::{fmt, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    instance::{Fact, Instance},
    item::Item,
};
use crate::{
    agents::{
        ProviderError,
        generation::{Writer, composer::Composer},
        safety::{HarmScreen, Lexicon},
    },
    domain::{problem::Problem, variant::Usage},
    store::{self, Store},
};

/// Who answers the agents' questions.
#[derive(Clone)]
pub struct Providers {
    pub writer: Arc<dyn Writer>,
    pub screen: Arc<dyn HarmScreen>,
}

impl Default for Providers {
    /// Those that need no service.
    fn default() -> Self {
        Self { writer: Arc::new(Composer), screen: Arc::new(Lexicon::default()) }
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Providers").field("writer", &self.writer.name()).finish_non_exhaustive()
    }
}

/// Whoever does the items. The engine knows nothing else of them, so that its rules can be put to the test without
/// them.
#[async_trait]
pub trait Agents: fmt::Debug + Send + Sync {
    /// Does one item. `instance` is at least as new as the item's message.
    async fn perform(&self, item: &Item, instance: &Instance) -> Result<Output, Trouble>;
}

/// The five agents at work on one store.
#[derive(Debug)]
pub struct Workshop {
    store: Store,
    /// For files that are larger than memory, on their way into the store or out of it.
    scratch: PathBuf,
    providers: Providers,
}

impl Workshop {
    pub fn new(store: Store, scratch: PathBuf, providers: Providers) -> Self {
        Self { store, scratch, providers }
    }
}

#[async_trait]
impl Agents for Workshop {
    async fn perform(&self, item: &Item, instance: &Instance) -> Result<Output, Trouble> {
        let _ = (&self.store, &self.scratch, &self.providers, item, instance);
        Err(Trouble::Defect("not there yet".into()))
    }
}

/// What an item gave.
#[derive(Debug)]
pub struct Output {
    pub fact: Option<Fact>,
    pub usage: Usage,
    pub value: Box<RawValue>,
}

impl Output {
    pub fn new(fact: Option<Fact>, usage: Usage, value: &impl Serialize) -> Result<Self, Trouble> {
        let value = serde_json::value::to_raw_value(value).map_err(|error| Trouble::Defect(error.into()))?;
        Ok(Self { fact, usage, value })
    }
}

/// Why an item gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The campaign's owner must mend something; doing it again is of no use.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Problems(Vec<Problem>),
    /// It is done again, some times at most; a throttled one as often as it takes.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Something that must not be: it is tried again, and then given up.
    #[error("{0}")]
    Defect(Box<dyn std::error::Error + Send + Sync>),
}
