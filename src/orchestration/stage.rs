//! The stages of a campaign, and what a work item of each is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::store::QueueName;

/// In the order in which they open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// One item: reads the customer file and cuts it into shards.
    Ingest,
    /// Per shard: what a fit needs to know of it.
    Profile,
    /// One item: from the shards' profiles to the model, or to what another pass must look for.
    Fit,
    /// Per shard: every customer's segment.
    Label,
    /// One item: who the segments are, what the test can find out, what the campaign may cost.
    Design,
    /// Per query: the passages that a segment's messages may draw on.
    Retrieve,
    /// Per variant: its draft.
    Generate,
    /// Per variant: its verdict. Open together with [`Stage::Generate`]: a draft goes on as soon as it is there.
    Screen,
    /// One item: all variants as they were judged; what a person is asked to approve.
    Collect,
    /// One item: all variants as they go out, a person's decision included.
    Release,
    /// Per shard: a message for each of its customers, where the campaign wants that.
    Personalize,
    /// Per shard: every customer's arm, message and slot values.
    Deliver,
    /// One item: ledger, audit, report.
    Close,
}

/// Who works on a stage; each has a queue of its own, so that each scales alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Agent {
    Segment,
    Retrieve,
    Generate,
    Screen,
    Experiment,
    Close,
}

impl Agent {
    pub const ALL: [Self; 6] =
        [Self::Segment, Self::Retrieve, Self::Generate, Self::Screen, Self::Experiment, Self::Close];

    pub fn queue(self) -> QueueName {
        QueueName::new(self.as_str()).expect("agents' names are names of queues")
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Retrieve => "retrieve",
            Self::Generate => "generate",
            Self::Screen => "screen",
            Self::Experiment => "experiment",
            Self::Close => "close",
        }
    }
}

impl Stage {
    pub const ALL: [Self; 13] = [
        Self::Ingest,
        Self::Profile,
        Self::Fit,
        Self::Label,
        Self::Design,
        Self::Retrieve,
        Self::Generate,
        Self::Screen,
        Self::Collect,
        Self::Release,
        Self::Personalize,
        Self::Deliver,
        Self::Close,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Profile => "profile",
            Self::Fit => "fit",
            Self::Label => "label",
            Self::Design => "design",
            Self::Retrieve => "retrieve",
            Self::Generate => "generate",
            Self::Screen => "screen",
            Self::Collect => "collect",
            Self::Release => "release",
            Self::Personalize => "personalize",
            Self::Deliver => "deliver",
            Self::Close => "close",
        }
    }

    pub fn agent(self) -> Agent {
        match self {
            Self::Ingest | Self::Profile | Self::Fit | Self::Label => Agent::Segment,
            Self::Retrieve => Agent::Retrieve,
            Self::Generate | Self::Personalize => Agent::Generate,
            Self::Screen | Self::Collect => Agent::Screen,
            Self::Design | Self::Release | Self::Deliver => Agent::Experiment,
            Self::Close => Agent::Close,
        }
    }

    /// What its items are, in the plural.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Ingest => "files",
            Self::Profile | Self::Label | Self::Personalize | Self::Deliver => "shards",
            Self::Retrieve => "queries",
            Self::Generate | Self::Screen => "variants",
            Self::Fit | Self::Design | Self::Collect | Self::Release | Self::Close => "steps",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A stage, and for those that are repeated (profile and fit) in which pass, from 1; 0 for all others.
///
/// Written as `label` or `profile-2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Step {
    pub stage: Stage,
    pub pass: u8,
}

impl From<Stage> for Step {
    fn from(stage: Stage) -> Self {
        Self { stage, pass: 0 }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pass {
            0 => f.write_str(self.stage.as_str()),
            pass => write!(f, "{}-{pass}", self.stage),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no step of a campaign")]
pub struct UnknownStep(String);

impl FromStr for Step {
    type Err = UnknownStep;

    fn from_str(text: &str) -> Result<Self, UnknownStep> {
        let (name, pass) = match text.split_once('-') {
            None => (text, 0),
            Some((name, pass)) => (name, pass.parse().map_err(|_| UnknownStep(text.to_owned()))?),
        };
        let stage = Stage::ALL.into_iter().find(|stage| stage.as_str() == name);
        let step = stage.map(|stage| Self { stage, pass });
        step.filter(|step| step.to_string() == text).ok_or_else(|| UnknownStep(text.to_owned()))
    }
}

impl TryFrom<String> for Step {
    type Error = UnknownStep;

    fn try_from(text: String) -> Result<Self, UnknownStep> {
        text.parse()
    }
}

impl From<Step> for String {
    fn from(step: Step) -> Self {
        step.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_back_and_nothing_else_is_one() {
        for stage in Stage::ALL {
            for pass in [0, 1, 12] {
                let step = Step { stage, pass };
                assert_eq!(step.to_string().parse(), Ok(step));
            }
        }
        for bad in ["", "labels", "label-", "label-0", "label-01", "label-256", "label-1-2", "Label"] {
            assert!(bad.parse::<Step>().is_err(), "{bad}");
        }
    }
}
