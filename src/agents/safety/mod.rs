//! Safety: checks grounding and screens content; whatever is not clearly good is blocked.
//!
//! [`Gate::judge`] runs every check of [`checks`] on a draft; one blocking finding blocks it. [`SlotScreen`] does the
//! same for the values that fill a message's slots. [`Lexicon`] is the harm screen that needs no service;
//! [`ContentSafetyScreen`] asks one, and [`PromptShields`] asks it about what models will read.

use async_trait::async_trait;

use crate::{
    domain::{
        money::Usd,
        verdict::{Finding, Severities},
    },
    providers::{Forecast, Meter, ProviderError},
};

mod canonical;
mod checks;
mod content_safety;
mod fact;
#[cfg(test)]
mod fixture;
mod folded;
mod gate;
mod lexicon;
mod own_words;
mod prompt_shields;
mod slot_screen;

pub use content_safety::ContentSafetyScreen;
pub use gate::Gate;
pub use lexicon::Lexicon;
pub use own_words::check_own_words;
pub use prompt_shields::PromptShields;
pub use slot_screen::SlotScreen;

/// A message as a customer without any value would read it.
#[derive(Debug, Clone, Copy)]
pub struct AsRead<'a> {
    /// Subject, [`AsRead::BETWEEN`] and body.
    pub text: &'a str,
    /// The approved words that it rests on: the passages that it cites and the phrases that it uses.
    pub sources: &'a [String],
}

impl AsRead<'_> {
    const BETWEEN: &'static str = "\n\n";
}

/// What a screen says of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screened {
    pub severities: Severities,
    /// What it found besides.
    pub findings: Vec<Finding>,
}

impl From<Severities> for Screened {
    fn from(severities: Severities) -> Self {
        Self { severities, findings: Vec::new() }
    }
}

/// Screens a message for the four harm categories, and for what else it knows.
#[async_trait]
pub trait HarmScreen: Send + Sync {
    /// What one call may cost at most: so much of the budget is set aside for it.
    fn most(&self) -> Usd {
        Usd::ZERO
    }

    /// What one call costs as a rule, for estimates.
    fn forecast(&self) -> Forecast {
        Forecast::default()
    }

    /// A severity for every category, or an error; nothing is approved on an error. What it costs is reserved and
    /// settled with the meter.
    async fn screen(&self, message: &AsRead<'_>, meter: &Meter) -> Result<Screened, ProviderError>;
}
