//! Safety: checks grounding and screens content; whatever is not clearly good is blocked.
//!
//! [`Gate::judge`] runs every check of [`checks`] on a draft; one blocking finding blocks it. [`SlotScreen`] does the
//! same for the values that fill a message's slots. [`Lexicon`] is the harm screen that needs no service.

use async_trait::async_trait;

use crate::{agents::ProviderError, domain::verdict::Severities};

mod canonical;
mod checks;
mod fact;
#[cfg(test)]
mod fixture;
mod folded;
mod gate;
mod lexicon;
mod slot_screen;

pub use gate::Gate;
pub use lexicon::Lexicon;
pub use slot_screen::SlotScreen;

/// Screens a text for the four harm categories.
#[async_trait]
pub trait HarmScreen: Send + Sync {
    /// A severity for every category, or an error; an error blocks the text.
    async fn screen(&self, text: &str) -> Result<Severities, ProviderError>;
}
