//! What can be asked of campaigns from outside.
//!
//! Everything may be asked twice: a start by the campaign's id, a request by its event's. What is asked is written
//! first, then the mark in `active/`, then a message is sent: if the asker dies in between, the sweeper finds it.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{
    arrivals::{self, Standing},
    decide,
    engine::{Engine, Held},
    instance::{Budget, Envelope, EnvelopeSchema, Event, EventId, Gate, Happened, Instance, Progress, Request, Status},
    item::{Wake, WakeSchema},
    names,
    stage::Step,
    start::Start,
    turn::{History, run_of},
    withdrawal,
};
use crate::{
    domain::{digest::Digest, id::CampaignId},
    store::{self, Precondition},
};

/// Versions of a history read at once.
const READERS: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("there is no campaign `{0}`")]
    Unknown(CampaignId),
    #[error("campaign `{0}` was started with other inputs")]
    OtherInputs(CampaignId),
    #[error("campaign `{0}` has not ended: terminate it first")]
    NotEnded(CampaignId),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Taken,
    Refused {
        why: String,
    },
    /// Somebody else decides on it later: a newer program, or whoever is changing the campaign all the time.
    Later,
}

/// An instance and how far its open stages are.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    pub campaign: CampaignId,
    pub generation: u32,
    pub status: Status,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub stages: Vec<StageView>,
    pub gate: Option<Gate>,
    pub budget: Budget,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageView {
    pub step: Step,
    pub planned: u32,
    pub done: u32,
    pub failed: u32,
    pub attempt: u32,
    pub opened: Timestamp,
    pub closed: Option<Timestamp>,
}

impl Engine {
    /// Starts a campaign. One that was started with the same inputs before is left as it is.
    pub async fn start(&self, start: &Start, library: Vec<u8>) -> Result<Instance, ClientError> {
        let campaign = &start.campaign.campaign.id;
        let digest = self.keep_inputs(start, library).await?;
        self.mark_active(campaign).await?;
        let instance =
            Instance { commit: Uuid::new_v4(), ..decide::start(campaign.clone(), digest, start.policy(), self.now()) };
        let path = names::instance(campaign);
        let bytes = serde_json::to_vec(&instance)
            .map_err(|error| store::Error::Permanent { what: path.to_string(), source: error.into() })?;
        let instance = match self.store.blobs.put(&path, bytes, Precondition::Absent).await {
            Ok(_) => instance,
            Err(store::Error::AlreadyExists { .. } | store::Error::Ambiguous { .. }) => {
                let Held { instance, .. } = self.held(campaign).await?;
                if instance.start != digest {
                    return Err(ClientError::OtherInputs(campaign.clone()));
                }
                instance
            }
            Err(error) => return Err(error.into()),
        };
        self.wake_all(campaign).await?;
        Ok(instance)
    }

    /// Everything anew, under the same id.
    pub async fn restart(&self, start: &Start, library: Vec<u8>, id: EventId) -> Result<(), ClientError> {
        let digest = self.keep_inputs(start, library).await?;
        let request = Request::Restart { start: digest, policy: start.policy() };
        self.request(&start.campaign.campaign.id, id, request).await
    }

    /// Inputs are named by their digests, so that whoever is first writes what all others would.
    async fn keep_inputs(&self, start: &Start, library: Vec<u8>) -> Result<Digest, ClientError> {
        let campaign = &start.campaign.campaign.id;
        let json = serde_json::to_vec(start).map_err(|error| store::Error::Permanent {
            what: format!("the start of campaign {campaign}"),
            source: error.into(),
        })?;
        self.keep_input(campaign, library).await?;
        self.keep_input(campaign, json).await
    }

    /// Keeps something that a request refers to, and names it.
    pub async fn keep_input(&self, campaign: &CampaignId, bytes: Vec<u8>) -> Result<Digest, ClientError> {
        let digest = Digest::of(&bytes);
        self.keep(&names::input(campaign, digest), bytes).await?;
        Ok(digest)
    }

    /// Asks something of a campaign. Whether it fits the campaign's state is decided later, and told in its history.
    pub async fn request(&self, campaign: &CampaignId, id: EventId, request: Request) -> Result<(), ClientError> {
        self.held(campaign).await?;
        let path = names::request(campaign, &id);
        let envelope = Envelope { schema: EnvelopeSchema::V1, id, request };
        let bytes = serde_json::to_vec(&envelope)
            .map_err(|error| store::Error::Permanent { what: path.to_string(), source: error.into() })?;
        self.keep(&path, bytes).await?;
        self.mark_active(campaign).await?;
        Ok(self.wake_all(campaign).await?)
    }

    /// Asks something, and has it decided on.
    pub async fn ask(&self, campaign: &CampaignId, request: Request) -> Result<Answer, ClientError> {
        let before = self.held(campaign).await?.instance.version;
        let id = EventId::next();
        self.request(campaign, id.clone(), request).await?;
        self.answer(campaign, &id, before).await
    }

    /// What came of a request that was made after version `before`. Takes the turn that decides on it, so that there is
    /// an answer whoever works on the campaign, or nobody.
    pub async fn answer(&self, campaign: &CampaignId, asked: &EventId, before: u64) -> Result<Answer, ClientError> {
        self.turn(&Wake { schema: WakeSchema::V1, campaign: campaign.clone(), group: None }).await?;
        let answer = self.events(campaign, before).await?.into_iter().find_map(|event| match event.what {
            Happened::Took { id, .. } if id == *asked => Some(Answer::Taken),
            Happened::Refused { id, why } if id == *asked => Some(Answer::Refused { why }),
            _ => None,
        });
        Ok(answer.unwrap_or(Answer::Later))
    }

    /// What happened after a version (0: ever), the newest last.
    pub async fn events(&self, campaign: &CampaignId, after: u64) -> Result<Vec<Event>, ClientError> {
        let Held { instance, .. } = self.held(campaign).await?;
        let archived = (after + 1..instance.version).map(|version| self.archived_events(campaign, version));
        let mut events: Vec<Event> = stream::iter(archived).buffered(READERS).try_concat().await?;
        if instance.version > after {
            events.extend(instance.events);
        }
        Ok(events)
    }

    /// Those of a version that another has taken the place of.
    pub async fn archived_events(&self, campaign: &CampaignId, version: u64) -> Result<Vec<Event>, store::Error> {
        let path = names::history(campaign, version);
        let blob = self.store.blobs.get(&path).await?;
        let history: History = serde_json::from_slice(&blob.bytes)
            .map_err(|error| store::Error::Permanent { what: path.to_string(), source: error.into() })?;
        Ok(history.events)
    }

    pub async fn held(&self, campaign: &CampaignId) -> Result<Held, ClientError> {
        self.load(campaign).await?.ok_or_else(|| ClientError::Unknown(campaign.clone()))
    }

    pub async fn status(&self, campaign: &CampaignId) -> Result<View, ClientError> {
        let Held { instance, .. } = self.held(campaign).await?;
        Ok(self.view_of(instance).await?)
    }

    /// An instance that was read, and how far its open stages are now.
    pub async fn view_of(&self, instance: Instance) -> Result<View, store::Error> {
        let mut stages = Vec::with_capacity(instance.stages.len());
        for stage in &instance.stages {
            let total = stage.total();
            let (mut done, mut failed) = (total.done, total.failed);
            for group in (0..stage.groups()).filter(|group| stage.is_waiting_for(*group)) {
                let log = arrivals::read(self.store.blobs.as_ref(), &run_of(&instance), stage.step, group).await?;
                for standing in log.standings(stage, group) {
                    match standing {
                        Standing::Missing => {}
                        Standing::Done => done += 1,
                        Standing::Failed => failed += 1,
                    }
                }
            }
            let closed = match stage.state {
                Progress::Closed { at, .. } => Some(at),
                Progress::Open { .. } => None,
            };
            stages.push(StageView {
                step: stage.step,
                planned: stage.planned,
                done,
                failed,
                attempt: stage.attempt,
                opened: stage.opened,
                closed,
            });
        }
        Ok(View {
            campaign: instance.campaign,
            generation: instance.generation,
            status: instance.status,
            created: instance.created,
            updated: instance.updated,
            stages,
            gate: instance.gate,
            budget: instance.budget,
        })
    }

    /// Removes a campaign that has ended, with all its files and outcomes. The instance goes last: if this is interrupted, it can
    /// be asked again.
    pub async fn purge(&self, campaign: &CampaignId) -> Result<(), ClientError> {
        let Held { instance, .. } = self.held(campaign).await?;
        if !instance.status.is_final() {
            return Err(ClientError::NotEnded(campaign.clone()));
        }
        withdrawal::owe_libraries(self.store.blobs.as_ref(), &instance, self.now()).await?;
        let last = names::instance(campaign);
        // What a tracking server is still owed of it goes first: there will be nothing to tell.
        let folders =
            [names::tracking(campaign), names::outcomes(campaign), names::files(campaign), names::folder(campaign)];
        for folder in folders {
            for path in self.store.blobs.list(Some(&folder)).await? {
                if path != last {
                    self.store.blobs.delete(&path).await?;
                }
            }
        }
        self.store.blobs.delete(&names::active(campaign)).await?;
        Ok(self.store.blobs.delete(&last).await?)
    }
}
