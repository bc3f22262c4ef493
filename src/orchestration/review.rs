//! A person's part in a campaign: the variants that wait for them, and their decision.

use super::{
    client::{Answer, ClientError},
    engine::{Engine, Held},
    finished::{RunFiles, Variants},
    instance::{Approval, EventId, Gate, Instance, Progress, Request, Status},
    layout,
    stage::Stage,
    turn::run_of,
    workshop::{Collected, Records},
};
use crate::{
    Error,
    domain::{
        decision::{Approved, Decision, Schema},
        digest::Digest,
        id::{CampaignId, VariantId},
        problem::Problem,
        variant::Variant,
        verdict,
    },
};

/// A campaign's variants as they are now.
#[derive(Debug, Clone)]
pub struct Review {
    /// Where they wait for a person. Its digest names all variants as they were judged.
    pub gate: Option<Gate>,
    /// Empty until all are judged.
    pub variants: Vec<Variant>,
}

/// What came of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    pub approved: usize,
    /// Those that a person did not approve.
    pub blocked: usize,
    /// Whether the campaign has taken it in; else it will.
    pub taken: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error("nothing of campaign `{0}` waits for a decision")]
    NothingWaits(CampaignId, Status),
    #[error("the variants of campaign `{0}` that wait are others than those that were decided on")]
    OtherVariants(CampaignId),
    #[error("{0}")]
    Unknown(Problem),
    #[error("the decision was refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Review {
    /// Those that wait for a person, or did before the decision.
    pub fn waiting(&self) -> impl Iterator<Item = &Variant> {
        self.variants.iter().filter(|variant| variant.verdict.decision == verdict::Decision::NeedsReview)
    }
}

impl Engine {
    /// As they were judged, or as they went out where that is decided.
    pub async fn review(&self, instance: &Instance) -> Result<Review, Error> {
        let is_released = matches!(
            instance.stage(Stage::Release.into()).map(|stage| &stage.state),
            Some(Progress::Closed { total, .. }) if total.done > 0
        );
        let variants = if is_released {
            let files = RunFiles::Store { blobs: self.store.blobs.clone(), run: run_of(instance) };
            files.json::<Variants>(layout::VARIANTS).await?.variants
        } else {
            self.judged(instance).await?
        };
        Ok(Review { gate: instance.gate.clone(), variants })
    }

    /// Before any person's decision. None until all are.
    async fn judged(&self, instance: &Instance) -> Result<Vec<Variant>, Error> {
        let collect = instance.stage(Stage::Collect.into());
        if !collect.is_some_and(|stage| matches!(stage.state, Progress::Closed { total, .. } if total.done > 0)) {
            return Ok(Vec::new());
        }
        let records = Records { blobs: self.store.blobs.as_ref(), run: &run_of(instance), instance };
        let collected: Collected = records
            .output(Stage::Collect.into(), 0)
            .await
            .map_err(|trouble| Error::failed("the messages cannot be read", trouble))?;
        Ok(collected.variants)
    }

    /// Decides on all variants that wait, once: those that are not approved are blocked. The decision is on the variants
    /// that `looked_at` names. The same event again, or the same decision after it was taken, changes nothing and is
    /// answered as the first time.
    pub async fn decide(
        &self,
        campaign: &CampaignId,
        looked_at: Digest,
        approved: Approved,
        by: String,
        note: Option<String>,
        event: EventId,
    ) -> Result<Decided, ReviewError> {
        let Held { instance, .. } = self.held(campaign).await?;
        let judged = Review { gate: instance.gate.clone(), variants: self.judged(&instance).await? };
        let decision = Decision { schema: Schema::V1, digest: looked_at, approved, by, note };
        let (approval, _) = written(&decision);
        let is_standing = |instance: &Instance| {
            let on_these = |known: &&Approval| known.digest == looked_at;
            instance.approvals.iter().rev().find(on_these) == Some(&approval)
        };
        let count = |taken| counted(&judged, &decision.approved, taken);
        match &instance.gate {
            None if is_standing(&instance) => return count(true).map_err(ReviewError::Unknown),
            None => return Err(ReviewError::NothingWaits(campaign.clone(), instance.status)),
            Some(gate) if gate.digest != looked_at => return Err(ReviewError::OtherVariants(campaign.clone())),
            Some(_) => {}
        }
        let decided = count(true).map_err(ReviewError::Unknown)?;
        match self.put_decision(&instance, &decision, event).await? {
            Answer::Taken => Ok(decided),
            Answer::Refused { why } => Err(ReviewError::Refused(why)),
            Answer::Later => Ok(Decided { taken: is_standing(&self.held(campaign).await?.instance), ..decided }),
        }
    }

    /// Asks for a decision to be taken, whatever waits. It may come before its gate opens, and opens no other than that of
    /// the variants that it is on.
    pub async fn put_decision(
        &self,
        instance: &Instance,
        decision: &Decision,
        event: EventId,
    ) -> Result<Answer, ClientError> {
        let (approval, bytes) = written(decision);
        self.keep_input(&instance.campaign, bytes).await?;
        self.request(&instance.campaign, event.clone(), Request::Decide { approval }).await?;
        self.answer(&instance.campaign, &event, instance.version).await
    }
}

/// What an instance keeps of a decision, and what it names by its digest.
fn written(decision: &Decision) -> (Approval, Vec<u8>) {
    let bytes = serde_json::to_vec(decision).expect("a decision is plain data");
    (Approval { digest: decision.digest, decision: Digest::of(&bytes), by: decision.by.clone() }, bytes)
}

fn counted(judged: &Review, approved: &Approved, taken: bool) -> Result<Decided, Problem> {
    let waiting: Vec<&VariantId> = judged.waiting().map(|variant| &variant.id).collect();
    let count = match approved {
        Approved::All => waiting.len(),
        Approved::Only(ids) => {
            if let Some(unknown) = ids.iter().find(|id| !waiting.contains(id)) {
                let waiting: Vec<String> = waiting.iter().map(|id| format!("\"{id}\"")).collect();
                let remedy = format!("name some of these: {}", waiting.join(", "));
                return Err(Problem::new(format!("no variant `{unknown}` waits for a decision"), remedy));
            }
            waiting.iter().filter(|id| ids.contains(id)).count()
        }
    };
    Ok(Decided { approved: count, blocked: waiting.len() - count, taken })
}
