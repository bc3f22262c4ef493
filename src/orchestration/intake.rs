//! From what people upload and ask for to campaigns that run.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{client::ClientError, engine::Engine, instance::Instance};
use crate::{
    domain::{id::CampaignId, problem::Problem},
    store::{self, BlobPath},
};

/// What came of a start.
#[derive(Debug)]
pub enum Started {
    /// It runs, or has run: the same start again changes nothing.
    Begun(Box<Instance>),
    /// It begins when the files are there that it reads.
    Pending(Pending),
}

/// A start that waits for a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    pub campaign: CampaignId,
    pub since: Timestamp,
    /// As it was asked for: the campaign with its `inputs`.
    pub spec: Value,
    pub waits_for: Vec<BlobPath>,
}

#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// What was given cannot be worked with. Nothing was kept.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Input(Vec<Problem>),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<store::Error> for IntakeError {
    fn from(error: store::Error) -> Self {
        ClientError::from(error).into()
    }
}

/// Starts a campaign, or keeps the start until its files are there. `spec` is a campaign file as JSON with, beside its
/// tables, `inputs`: `{"customers": "customers/<path>", "suppression": "customers/<path>"}`. `id` stands for the
/// campaign's own where it has none, and may not contradict it.
pub async fn start(engine: &Engine, spec: Value, id: Option<CampaignId>) -> Result<Started, IntakeError> {
    let _ = (engine, spec, id);
    Err(IntakeError::Input(vec![Problem::new("campaigns cannot be started yet", "come back")]))
}

/// The start of a campaign that has not begun.
pub async fn pending(engine: &Engine, campaign: &CampaignId) -> Result<Option<Pending>, store::Error> {
    let _ = (engine, campaign);
    Ok(None)
}

/// Gives up a start that has not begun; whether there was one.
pub async fn withdraw(engine: &Engine, campaign: &CampaignId) -> Result<bool, store::Error> {
    let _ = (engine, campaign);
    Ok(false)
}
