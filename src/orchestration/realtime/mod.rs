//! One customer now: what the campaign would do with them, answered while they wait.
//!
//! The answer comes from the same model, variants, assignment and screens as the deliveries of the campaign's shards: a
//! customer with the values of the file gets exactly what their row says.
//!
//! A campaign answers from the release of its variants on, until it is terminated, suspended or fails. What a process
//! knows of it is at most [`KNOWN`] old: so long after a recall, a termination or a restart was stored it may still be
//! answered as before.
//!
//! What is given is recorded first, see [`exposures`].

pub mod exposures;
mod ready;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use utoipa::ToSchema;

use self::{exposures::NotRecorded, ready::Ready};
use super::{client::ClientError, engine::Engine, workshop::Trouble};
use crate::{
    agents::experimentation::deliver::Wish,
    domain::{
        channel::Channel,
        digest::Digest,
        experiment::DeliveryStatus,
        id::{ArmName, CampaignId, Locale, PassageId, SegmentName, VariantId},
        problem::Problem,
    },
    store,
};

/// From this age on somebody looks whether what is known of a campaign is still so.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// The oldest that it may be: until then others do not wait for the one who looks.
pub const KNOWN: Duration = Duration::from_secs(5);

/// Campaigns that are kept in memory, the last used ones: some 16 bytes for each entry of their suppression lists, and a
/// few megabytes each.
const MOST: usize = 64;

/// Who is asked about.
#[derive(Debug)]
pub struct Ask {
    pub customer: String,
    /// A JSON object: column or attribute to value.
    pub attributes: Box<RawValue>,
    pub wish: Wish,
    /// Names the exposure: the same one again is the same exposure.
    pub key: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Personalized)]
pub struct Answer {
    #[schema(value_type = String)]
    pub campaign: CampaignId,
    /// Of the campaign's runs.
    pub generation: u32,
    pub customer: String,
    pub status: Status,
    /// Why there is no message, or another one than planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<Segment>,
    /// `holdout`, `control` or an arm's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub arm: Option<ArmName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub channel: Option<Channel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub locale: Option<Locale>,
    /// To be shown or sent as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Given>,
}

/// What becomes of the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PersonalizedStatus)]
pub enum Status {
    /// A message of the assigned arm.
    Assigned,
    /// The control message in the place of the assigned arm's, of which none may go out.
    Fallback,
    /// No message may go out.
    Held,
    /// Assigned to getting none.
    Holdout,
    /// Must not be contacted.
    Suppressed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CustomerSegment)]
pub struct Segment {
    #[schema(value_type = String)]
    pub name: SegmentName,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PersonalMessage)]
pub struct Given {
    #[schema(value_type = String)]
    pub variant: VariantId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Plain text; paragraphs are separated by an empty line.
    pub body: String,
    /// What stands in the place of each slot.
    pub slots: BTreeMap<String, String>,
    pub claims: Vec<Claim>,
}

/// Words of the message and what they rest on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PersonalClaim)]
pub struct Claim {
    pub text: String,
    #[schema(value_type = String)]
    pub passage: PassageId,
    #[schema(value_type = String)]
    pub version: Digest,
    pub quote: String,
}

impl From<DeliveryStatus> for Status {
    fn from(status: DeliveryStatus) -> Self {
        match status {
            DeliveryStatus::Assigned => Self::Assigned,
            DeliveryStatus::Fallback => Self::Fallback,
            DeliveryStatus::Held => Self::Held,
            DeliveryStatus::Holdout => Self::Holdout,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RealtimeError {
    #[error(transparent)]
    Campaign(#[from] ClientError),
    #[error("campaign `{campaign}` {why}")]
    Closed { campaign: CampaignId, why: &'static str },
    /// Each with its field, as it is called in [`Ask`].
    #[error("the customer cannot be used as given")]
    Invalid(Vec<Problem>),
    #[error(transparent)]
    NotRecorded(#[from] NotRecorded),
    #[error("what the campaign stored cannot be used: {0}")]
    Unusable(Trouble),
}

impl From<store::Error> for RealtimeError {
    fn from(error: store::Error) -> Self {
        Self::Campaign(error.into())
    }
}

impl From<Trouble> for RealtimeError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Store(error) => error.into(),
            trouble => Self::Unusable(trouble),
        }
    }
}

/// The campaigns about whose customers this process was asked.
#[derive(Debug, Default)]
pub struct Realtime {
    /// The last used first.
    known: Mutex<VecDeque<Known>>,
}

#[derive(Debug)]
struct Known {
    campaign: CampaignId,
    view: Arc<View>,
}

/// What is known of one campaign.
#[derive(Debug, Default)]
struct View {
    /// And when somebody began to look.
    ready: Mutex<Option<(Instant, Arc<Ready>)>>,
    /// Held by whoever looks.
    looking: tokio::sync::Mutex<()>,
}

impl Realtime {
    /// Does not return before the exposure is recorded, where there is one. What is answered depends on nothing but the
    /// question and the campaign.
    pub async fn personalize(
        &self,
        engine: &Engine,
        campaign: &CampaignId,
        ask: &Ask,
    ) -> Result<Answer, RealtimeError> {
        let ready = self.ready(engine, campaign).await?;
        let (answer, exposure) = ready.answer(ask, engine.now())?;
        if let Some(exposure) = exposure {
            ready.exposures.record(&engine.store.blobs, &exposure).await?;
        }
        Ok(answer)
    }

    async fn ready(&self, engine: &Engine, campaign: &CampaignId) -> Result<Arc<Ready>, RealtimeError> {
        let view = self.view(campaign);
        if let Some(ready) = view.younger_than(LOOK_AFTER) {
            return Ok(ready);
        }
        let _looking = match view.looking.try_lock() {
            Ok(looking) => looking,
            Err(_) => match view.younger_than(KNOWN) {
                Some(ready) => return Ok(ready),
                None => view.looking.lock().await,
            },
        };
        // Somebody may have looked meanwhile.
        if let Some(ready) = view.younger_than(LOOK_AFTER) {
            return Ok(ready);
        }
        let since = Instant::now();
        match Ready::look(engine, campaign, view.last()).await {
            Ok(ready) => {
                view.set(Some((since, Arc::clone(&ready))));
                Ok(ready)
            }
            Err(error) => {
                view.set(None);
                self.forget(campaign);
                Err(error)
            }
        }
    }

    fn view(&self, campaign: &CampaignId) -> Arc<View> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let position = known.iter().position(|known| known.campaign == *campaign);
        let used = position.and_then(|position| known.remove(position));
        let used = used.unwrap_or_else(|| Known { campaign: campaign.clone(), view: Arc::default() });
        let view = Arc::clone(&used.view);
        known.push_front(used);
        known.truncate(MOST);
        view
    }

    /// So that questions about what is not there push nothing out of memory.
    fn forget(&self, campaign: &CampaignId) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.campaign != *campaign);
    }
}

impl View {
    fn younger_than(&self, age: Duration) -> Option<Arc<Ready>> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.as_ref().filter(|(since, _)| since.elapsed() < age).map(|(_, ready)| Arc::clone(ready))
    }

    fn last(&self) -> Option<Arc<Ready>> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.as_ref().map(|(_, ready)| Arc::clone(ready))
    }

    fn set(&self, ready: Option<(Instant, Arc<Ready>)>) {
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = ready;
    }
}
