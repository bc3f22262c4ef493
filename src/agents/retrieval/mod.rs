//! Retrieval: finds the approved, in-date passages that fit a segment.

pub mod azure_search;
mod document;
pub mod embedder;
pub mod full_text;
pub mod hybrid;
mod json;
pub mod library;
mod markdown;
pub mod vectors;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        channel::Channel,
        id::{Locale, PassageId, SegmentName},
        money::Usd,
    },
    providers::{Forecast, Meter, ProviderError},
};

/// What is wanted for one cell's messages. The date is fixed when the retriever is made.
#[derive(Debug, Clone)]
pub struct Query {
    /// Words that describe the segment and the campaign.
    pub text: String,
    /// Passages of documents for this segment or for everybody; `None`: for everybody only.
    pub audience: Option<SegmentName>,
    pub channel: Channel,
    pub locale: Locale,
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    pub passage: PassageId,
    /// Higher is better; comparable within one answer only.
    pub score: f64,
}

/// An index over the approved content of a campaign.
///
/// A passage of a document that is not approved, not yet or no longer valid on the campaign's date, or not meant
/// for the audience, channel or locale is never returned: implementations filter before they rank.
#[async_trait]
pub trait Retriever: Send + Sync {
    /// What one call may cost at most: so much of the budget is set aside for it.
    fn most(&self) -> Usd {
        Usd::ZERO
    }

    /// What one call costs as a rule, for estimates.
    fn forecast(&self) -> Forecast {
        Forecast::default()
    }

    /// The best first; ties in the order of passage ids. An empty answer is an answer. What it costs is reserved and
    /// settled with the meter.
    async fn retrieve(&self, query: &Query, meter: &Meter) -> Result<Vec<Hit>, ProviderError>;
}

/// What retrieval gave for one segment (`None`: everybody, for the control message), channel and locale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retrieved {
    pub segment: Option<SegmentName>,
    pub channel: Channel,
    pub locale: Locale,
    pub query: String,
    /// Best first.
    pub hits: Vec<Hit>,
    /// Found too, and kept from all messages: Prompt Shields takes their words for an attack on a language model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<PassageId>,
}
