//! A campaign with all that its answers are made of.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Answer, Ask, Claim, Given, RealtimeError, Segment, Status,
    exposures::{Exposure, Exposures, Schema},
};
use crate::{
    agents::{
        experimentation::deliver::{Delivering, Delivery, Personal},
        segmentation::Model,
    },
    domain::{
        channel::Channel,
        customer::Shard,
        id::{CampaignId, DocumentId, VariantId},
        problem::Problem,
        variant::{self, Variant},
    },
    ingest::Admission,
    orchestration::{
        engine::Engine,
        instance::{self, Instance},
        names::Run,
        recalls,
        stage::Stage,
        workshop::{Playbook, Records, Trouble},
    },
};

#[derive(Debug)]
pub struct Ready {
    run: Run,
    /// Of the instance.
    version: u64,
    /// Nothing that cites one of these goes out.
    recalled: BTreeSet<DocumentId>,
    channels: Vec<Channel>,
    admission: Admission,
    model: Arc<Model>,
    delivering: Delivering,
    variants: HashMap<VariantId, Variant>,
    pub exposures: Arc<Exposures>,
}

impl Ready {
    /// As it is now. `last` is what it was before, which is kept where nothing has changed.
    pub async fn look(
        engine: &Engine,
        campaign: &CampaignId,
        last: Option<Arc<Self>>,
    ) -> Result<Arc<Self>, RealtimeError> {
        let instance = engine.held(campaign).await?.instance;
        let closed = |why| RealtimeError::Closed { campaign: campaign.clone(), why };
        is_open(&instance).map_err(closed)?;
        let run = Run { campaign: campaign.clone(), generation: instance.generation };
        let recalled = recalls::of(engine.store.blobs.as_ref()).await?;
        let last = last.filter(|last| last.run == run);
        match last {
            Some(last) if last.version == instance.version && last.recalled == recalled => Ok(last),
            last => {
                let records = Records { blobs: engine.store.blobs.as_ref(), run: &run, instance: &instance };
                let playbook = Playbook::read(records).await?;
                let exposures = last.map(|last| Arc::clone(&last.exposures));
                let exposures = exposures.unwrap_or_else(|| Arc::new(Exposures::new(run.clone())));
                Ok(Arc::new(Self::new(run, instance.version, recalled, playbook, exposures)?))
            }
        }
    }

    fn new(
        run: Run,
        version: u64,
        recalled: BTreeSet<DocumentId>,
        playbook: Playbook,
        exposures: Arc<Exposures>,
    ) -> Result<Self, Trouble> {
        let Playbook { campaign, model, mut variants, suppression } = playbook;
        // As if it had never been written: its cell's next candidate takes its place, or else the control message.
        variants.retain(|variant| !recalls::cites(variant, &recalled));
        let channels = campaign.campaign.channels.clone();
        let admission = Admission::new(campaign.attributes(), &channels, suppression).map_err(Trouble::Problems)?;
        Ok(Self {
            run,
            version,
            recalled,
            channels,
            admission,
            delivering: Delivering::new(&campaign, model.segments(), &variants),
            model,
            variants: variants.into_iter().map(|variant| (variant.id.clone(), variant)).collect(),
            exposures,
        })
    }

    /// The answer, and what is to be recorded before it is given.
    pub fn answer(&self, ask: &Ask, at: Timestamp) -> Result<(Answer, Option<Exposure>), RealtimeError> {
        if let Some(channel) = ask.wish.channel
            && !self.channels.contains(&channel)
        {
            let known: Vec<_> = self.channels.iter().map(|channel| channel.as_str()).collect();
            let problem = Problem::new(
                format!("the campaign has no messages for {channel}"),
                format!("ask for one of: {}; or for none, and it is the customer's", known.join(", ")),
            );
            return Err(RealtimeError::Invalid(vec![problem.at_field("channel")]));
        }
        let admitted = self.admission.admit(&ask.customer, &ask.attributes).map_err(|problems| {
            let below_customer = |mut problem: Problem| {
                problem.field = problem.field.map(|field| format!("customer.{field}"));
                problem
            };
            RealtimeError::Invalid(problems.into_iter().map(below_customer).collect())
        })?;
        match admitted {
            Ok(customer) => {
                let (answer, exposure) = self.decide(&customer, ask, at)?;
                Ok((answer, Some(exposure)))
            }
            Err(refusal) => {
                let answer = Answer {
                    campaign: self.run.campaign.clone(),
                    generation: self.run.generation,
                    customer: ask.customer.trim().to_owned(),
                    status: Status::Suppressed,
                    reason: Some(refusal.to_string()),
                    segment: None,
                    arm: None,
                    channel: None,
                    locale: None,
                    message: None,
                };
                Ok((answer, None))
            }
        }
    }

    fn decide(&self, shard: &Shard, ask: &Ask, at: Timestamp) -> Result<(Answer, Exposure), Trouble> {
        let id = shard.customer_ids().value(0);
        let labels = self.model.label(shard);
        let reason = labels.reasons[labels.reason_of[0] as usize].clone();
        // Who asks wants an answer at once: it is made of what is written already.
        let nothing = Personal::default();
        let mut customers = self.delivering.customers(shard, &nothing);
        let delivery = self.delivering.decide(&mut customers, 0, labels.segments[0], &ask.wish);
        let arm = self.delivering.arm(&delivery);
        let exposure = Exposure {
            schema: Schema::V1,
            key: ask.key.clone(),
            at,
            customer: id.to_owned(),
            segment: delivery.segment.clone(),
            arm: arm.clone(),
            status: delivery.status,
            channel: delivery.channel,
            locale: delivery.locale.cloned(),
            variant: delivery.variant.cloned(),
        };
        let answer = Answer {
            campaign: self.run.campaign.clone(),
            generation: self.run.generation,
            customer: id.to_owned(),
            status: delivery.status.into(),
            segment: Some(Segment { name: delivery.segment.clone(), reason }),
            arm: Some(arm.clone()),
            channel: delivery.channel,
            locale: delivery.locale.cloned(),
            message: self.message(&delivery)?,
            reason: delivery.reason.map(Into::into),
        };
        Ok((answer, exposure))
    }

    fn message(&self, delivery: &Delivery<'_>) -> Result<Option<Given>, Trouble> {
        let Some(variant) = delivery.variant else { return Ok(None) };
        let variant = self
            .variants
            .get(variant)
            .ok_or_else(|| Trouble::Defect("a message was chosen that there is not".into()))?;
        let slots: BTreeMap<String, String> = delivery.slots.map(serde_json::from_str).transpose()?.unwrap_or_default();
        let variant::Message { subject, body } = variant.message.filled(&slots);
        let claims = variant.claims.iter().map(|claim| Claim {
            text: variant::fill(&claim.text, |name| slots.get(name).cloned()),
            passage: claim.citation.passage.clone(),
            version: claim.citation.version,
            quote: claim.citation.quote.clone(),
        });
        Ok(Some(Given { variant: variant.id.clone(), subject, body, claims: claims.collect(), slots }))
    }
}

/// Why not.
fn is_open(instance: &Instance) -> Result<(), &'static str> {
    use instance::Status::{Completed, Failed, Running, Suspended, Terminated};
    match instance.status {
        Running | Completed => {}
        Suspended { .. } => return Err("is suspended: resume it first"),
        Terminated { .. } => return Err("was terminated: restart it first"),
        Failed { .. } => return Err("has failed: rewind or restart it first"),
    }
    let release = instance.stage(Stage::Release.into());
    let is_through = release.is_some_and(|stage| !stage.is_open() && stage.total().done == stage.planned);
    if is_through { Ok(()) } else { Err("has not released its messages yet: ask again when its release is through") }
}
