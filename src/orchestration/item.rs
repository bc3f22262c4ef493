//! The messages on the queues: who is to be worked on, never what with.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    names::Run,
    stage::{Stage, Step},
};
use crate::domain::{id::CampaignId, money::Usd};

/// One item of a stage, on its agent's queue. Well below a kilobyte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    pub schema: ItemSchema,
    pub campaign: CampaignId,
    pub generation: u32,
    pub step: Step,
    /// From 0: the shard, query or variant.
    pub index: u32,
    pub attempt: u32,
    /// What it may spend.
    pub allowance: Usd,
    /// The instance has at least this version: whoever remembers an older one looks again.
    pub version: u64,
    /// Records in its group's log before which the group cannot be through.
    pub expected: u64,
    /// Written where it is put on its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
}

/// What a message tells of its own way. Nothing is decided by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// From when on it could be worked on, by the sender's clock.
    pub due: Timestamp,
    /// W3C `traceparent` of what sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ItemSchema {
    #[serde(rename = "item/1")]
    V1,
}

/// Something may have changed: look at the instance. On the queue `orchestrate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wake {
    pub schema: WakeSchema,
    pub campaign: CampaignId,
    /// The group that may be through; `None`: look at all that are open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<(u32, Step, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WakeSchema {
    #[serde(rename = "wake/1")]
    V1,
}

impl Item {
    /// Costs nothing and is soon done again: not worth a claim, nor a note of how far it got.
    pub fn is_light(&self) -> bool {
        self.allowance == Usd::ZERO && self.step.stage != Stage::Personalize
    }

    pub fn run(&self) -> Run {
        Run { campaign: self.campaign.clone(), generation: self.generation }
    }
}
