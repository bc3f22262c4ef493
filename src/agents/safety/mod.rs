//! Safety: checks grounding and screens content; whatever is not clearly good is blocked.

use async_trait::async_trait;

use crate::{agents::ProviderError, domain::verdict::Severities};

/// Screens a text for the four harm categories.
#[async_trait]
pub trait HarmScreen: Send + Sync {
    /// A severity for every category, or an error; an error blocks the text.
    async fn screen(&self, text: &str) -> Result<Severities, ProviderError>;
}
