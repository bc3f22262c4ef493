//! The state of one campaign run: one small blob that is only ever replaced by compare-and-swap.
//!
//! What it says is the truth; queue messages are hints, and all else (records, arrivals) is what it will learn.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::stage::Step;
use crate::{
    config,
    domain::{digest::Digest, id::CampaignId, money::Usd},
};

/// What this program's state machine is. A worker leaves the instances of a newer one alone.
pub const ENGINE: u32 = 1;

/// Items per arrival log: below the 50,000 records that an append blob can hold, with room for every item to arrive
/// several times.
pub const GROUP: u32 = 4_096;

/// The most items of a stage, a million: their groups' state leaves room in the 64 KiB that an instance may have.
pub const MAX_ITEMS: u32 = 256 * GROUP;

/// Bytes of a reason or of a person's name: an instance keeps some.
const MAX_NOTE: usize = 256;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    pub schema: Schema,
    /// The state machine that it was started on.
    pub engine: u32,
    pub campaign: CampaignId,
    /// Counts the decisions, from 1. `history/<version>` has the events of every version before this one.
    pub version: u64,
    /// Counts the runs under this id, from 1: a restart begins another. What an older one leaves behind is ignored.
    pub generation: u32,
    /// Names the inputs: `start-<digest>.json`.
    pub start: Digest,
    pub policy: Policy,
    pub status: Status,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// In the order in which they were opened.
    pub stages: Vec<StageState>,
    /// What there is to do for segments, once they are known.
    pub plan: Option<Plan>,
    pub gate: Option<Gate>,
    /// Decisions on variants, the newest last; one may come before its gate opens.
    pub approvals: Vec<Approval>,
    pub budget: Budget,
    /// What remains to be done of the last decision. Doing it again does no harm.
    pub outbox: Vec<Command>,
    /// Of this version.
    pub events: Vec<Event>,
    /// The newest events from outside that were taken in, so that the same one again changes nothing.
    pub taken: Vec<EventId>,
    /// SHA-256 of `history/<version - 1>`.
    pub previous: Option<Digest>,
    /// Made anew for every write: who is told that a write failed finds out by it whether it did.
    pub commit: Uuid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    #[serde(rename = "instance/1")]
    V1,
}

/// What the campaign file says of running it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub run: config::campaign::Run,
    pub cap_usd: Option<Usd>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
pub enum Status {
    Running,
    Suspended { reason: String },
    Completed,
    Failed { failure: Failure },
    Terminated { reason: String },
}

impl Status {
    /// Nothing will happen any more unless somebody asks for it.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Running | Self::Suspended { .. })
    }
}

/// How a campaign stands, in words.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Suspended { reason } => write!(f, "suspended ({reason})"),
            Self::Completed => f.write_str("complete"),
            Self::Terminated { reason } => write!(f, "terminated ({reason})"),
            Self::Failed { failure } => write!(f, "failed: {failure}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case", deny_unknown_fields)]
pub enum Failure {
    /// More of a stage's items failed than the campaign tolerates.
    ItemsFailed {
        step: Step,
        failed: u32,
        planned: u32,
    },
    StageDeadline {
        step: Step,
    },
    ApprovalDeadline,
    OverBudget {
        reserve: Usd,
        cap: Usd,
    },
    TooLarge {
        step: Step,
        items: u32,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ItemsFailed { step, failed, planned } => {
                write!(f, "{failed} of {planned} {} of stage {step} failed", step.stage.unit())
            }
            Self::StageDeadline { step } => write!(f, "stage {step} took too long"),
            Self::ApprovalDeadline => f.write_str("nobody approved its messages in time"),
            Self::OverBudget { reserve, cap } => write!(f, "it could cost {reserve}, and may cost {cap}"),
            Self::TooLarge { step, items } => write!(f, "stage {step} has {items} items, which is too many"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageState {
    pub step: Step,
    pub planned: u32,
    /// From 1; a rewind begins another for the items that failed.
    pub attempt: u32,
    /// What each item may spend in an attempt.
    pub allowance: Usd,
    pub opened: Timestamp,
    pub deadline: Timestamp,
    pub state: Progress,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Progress {
    /// One entry for each [`GROUP`] items: nothing while items are missing.
    Open {
        groups: Vec<Option<Group>>,
    },
    Closed {
        at: Timestamp,
        total: Group,
    },
}

/// Items that are all through: `done + failed` of them, and what they cost in all attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, Usd)", into = "(u32, u32, Usd)")]
pub struct Group {
    pub done: u32,
    pub failed: u32,
    pub cost: Usd,
}

impl From<(u32, u32, Usd)> for Group {
    fn from((done, failed, cost): (u32, u32, Usd)) -> Self {
        Self { done, failed, cost }
    }
}

impl From<Group> for (u32, u32, Usd) {
    fn from(group: Group) -> Self {
        (group.done, group.failed, group.cost)
    }
}

impl std::ops::AddAssign for Group {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.cost = self.cost + other.cost;
    }
}

/// A campaign that waits for a person: no message, no poll, no cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Of the variants as they were judged. A decision on anything else does not open it.
    pub digest: Digest,
    pub needs_review: u32,
    pub opened: Timestamp,
    pub expires: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Of what was looked at.
    pub digest: Digest,
    /// Names the decision: `decisions/<digest>.json`.
    pub decision: Digest,
    pub by: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// What all items together may spend.
    pub reserved: Usd,
    /// What those that are through have spent.
    pub settled: Usd,
}

/// A consequence of a decision, to be carried out at least once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Sends a message for each of a stage's items `next..end` that is not through yet.
    FanOut { step: Step, next: u32, end: u32 },
    /// Removes events from the inbox that were taken in.
    Acknowledge { events: Vec<EventId> },
    /// Takes the instance off the sweeper's list.
    Retire,
}

/// Of an event from outside; whoever sends it chooses it, and sends the same again to be sure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventId(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event's id has 1 to 64 letters, digits, `-` and `_`")]
pub struct InvalidEventId;

impl EventId {
    pub fn new(id: impl Into<String>) -> Result<Self, InvalidEventId> {
        let id = id.into();
        let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if (1..=64).contains(&id.len()) && id.chars().all(is_valid) { Ok(Self(id)) } else { Err(InvalidEventId) }
    }

    /// One that sorts after those made before, so that requests of one asker are taken in as they were made.
    pub fn next() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EventId {
    type Error = InvalidEventId;
    fn try_from(id: String) -> Result<Self, InvalidEventId> {
        Self::new(id)
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> Self {
        id.0
    }
}

/// What somebody asks of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    Suspend {
        reason: String,
    },
    Resume {
        reason: String,
    },
    Terminate {
        reason: String,
    },
    /// The failed items again, and whatever is missing. What is done stays.
    Rewind {
        reason: String,
    },
    /// Everything anew, from the same inputs or others.
    Restart {
        start: Digest,
        policy: Policy,
    },
    Decide {
        approval: Approval,
    },
}

impl Request {
    /// Whether it says more than an instance can keep.
    pub fn is_too_long(&self) -> bool {
        let note = match self {
            Self::Suspend { reason }
            | Self::Resume { reason }
            | Self::Terminate { reason }
            | Self::Rewind { reason } => reason,
            Self::Decide { approval } => &approval.by,
            Self::Restart { .. } => return false,
        };
        note.len() > MAX_NOTE || note.chars().any(char::is_control)
    }
}

/// A request in an instance's inbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    pub schema: EnvelopeSchema,
    pub id: EventId,
    pub request: Request,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvelopeSchema {
    #[serde(rename = "request/1")]
    V1,
}

/// Something that happened, for the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    pub at: Timestamp,
    pub what: Happened,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Happened {
    Started {
        generation: u32,
        start: Digest,
    },
    Opened {
        step: Step,
        planned: u32,
        attempt: u32,
    },
    Closed {
        step: Step,
        total: Group,
    },
    Reserved {
        reserve: Usd,
    },
    GateOpened {
        digest: Digest,
        needs_review: u32,
    },
    GatePassed {
        approval: Approval,
    },
    Took {
        id: EventId,
        request: Request,
    },
    /// The request did not fit the state; nothing came of it.
    Refused {
        id: EventId,
        why: String,
    },
    Completed,
    Failed {
        failure: Failure,
    },
}

/// For logs: who asked or approved is not told.
impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { generation, .. } => write!(f, "started, generation {generation}"),
            Self::Opened { step, planned, attempt } => write!(f, "{step} opened: {planned} items, attempt {attempt}"),
            Self::Closed { step, .. } => write!(f, "{step} closed"),
            Self::Reserved { reserve } => write!(f, "{reserve} reserved"),
            Self::GateOpened { needs_review, .. } => write!(f, "{needs_review} variants wait for a person"),
            Self::GatePassed { .. } => f.write_str("a person has decided"),
            Self::Took { id, .. } => write!(f, "request {} taken", id.0),
            Self::Refused { id, why } => write!(f, "request {} refused: {why}", id.0),
            Self::Completed => f.write_str("completed"),
            Self::Failed { failure } => write!(f, "failed: {failure}"),
        }
    }
}

/// What the one item of a stage tells the state machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fact {
    Ingested {
        shards: u32,
        /// Whether the segmentation's method must look at the customers first.
        profile: bool,
    },
    Fitted {
        another_pass: bool,
    },
    Designed(Plan),
    Collected {
        digest: Digest,
        approved: u32,
        blocked: u32,
        needs_review: u32,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub queries: u32,
    pub variants: u32,
    /// Shards whose customers are written to one by one: all of them or none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub personal: u32,
    pub allowances: Allowances,
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

/// What a query, a draft, a verdict and the messages of a shard may cost at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowances {
    pub retrieve: Usd,
    pub generate: Usd,
    pub screen: Usd,
    #[serde(default, skip_serializing_if = "is_free")]
    pub personalize: Usd,
}

fn is_free(cost: &Usd) -> bool {
    *cost == Usd::ZERO
}

impl Plan {
    /// What all of it may cost at most.
    pub fn reserve(&self) -> Usd {
        let Allowances { retrieve, generate, screen, personalize } = self.allowances;
        let of_segments = retrieve.times(self.queries) + generate.times(self.variants) + screen.times(self.variants);
        of_segments + personalize.times(self.personal)
    }
}

impl StageState {
    pub fn is_open(&self) -> bool {
        matches!(self.state, Progress::Open { .. })
    }

    /// Whether the group's items were not all taken in yet.
    pub fn is_waiting_for(&self, group: u32) -> bool {
        match &self.state {
            Progress::Open { groups } => matches!(groups.get(group as usize), Some(None)),
            Progress::Closed { .. } => false,
        }
    }

    pub fn groups(&self) -> u32 {
        self.planned.div_ceil(GROUP)
    }

    /// How many items a group has.
    pub fn group_size(&self, group: u32) -> u32 {
        self.planned.saturating_sub(group * GROUP).min(GROUP)
    }

    /// Of the items that are through.
    pub fn total(&self) -> Group {
        match &self.state {
            Progress::Closed { total, .. } => *total,
            Progress::Open { groups } => {
                let mut total = Group::default();
                groups.iter().flatten().for_each(|group| total += *group);
                total
            }
        }
    }
}

impl Instance {
    pub fn stage(&self, step: Step) -> Option<&StageState> {
        self.stages.iter().find(|stage| stage.step == step)
    }

    pub fn open_stages(&self) -> impl Iterator<Item = &StageState> {
        self.stages.iter().filter(|stage| stage.is_open())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_events_sort_as_they_were_made() {
        let ids: Vec<EventId> = (0..1_000).map(|_| EventId::next()).collect();
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
