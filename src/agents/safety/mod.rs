//! Safety: checks grounding and screens content; whatever is not clearly good is blocked.
//!
//! [`Gate::judge`] runs every check of [`checks`] on a draft; one blocking finding blocks it. [`SlotScreen`] does the
//! same for the values that fill a message's slots. [`Lexicon`] is the harm screen that needs no service.

use async_trait::async_trait;

use crate::{
    domain::{money::Usd, verdict::Severities},
    providers::{Forecast, Meter, ProviderError},
};

mod canonical;
mod checks;
mod fact;
#[cfg(test)]
mod fixture;
mod folded;
mod gate;
mod lexicon;
mod own_words;
mod slot_screen;

pub use gate::Gate;
pub use lexicon::Lexicon;
pub use own_words::check_own_words;
pub use slot_screen::SlotScreen;

/// Screens a text for the four harm categories.
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
    async fn screen(&self, text: &str, meter: &Meter) -> Result<Severities, ProviderError>;
}
