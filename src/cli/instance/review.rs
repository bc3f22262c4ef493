//! `cpo instance review` and `approve`: a person's part in a campaign.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    What, ask,
    place::{self, Place},
};
use crate::{
    Error,
    cli::{self, Format},
    domain::{
        decision::{Approved, Decision, Schema},
        digest::Digest,
        id::CampaignId,
        problem::Problem,
        variant::Variant,
        verdict,
    },
    orchestration::{
        engine::{Engine, Held},
        instance::{Approval, Instance, Request},
        names::Run,
        stage::Stage,
        workshop::{Collected, Records},
    },
};

/// What waits for a decision.
#[derive(Debug, Serialize)]
struct Waiting {
    campaign: CampaignId,
    /// Of all variants; the decision is bound to it. Nothing where nothing waits.
    #[serde(flatten)]
    gate: Option<Open>,
    variants: Vec<Variant>,
}

#[derive(Debug, Serialize)]
struct Open {
    digest: Digest,
    expires: Timestamp,
}

pub async fn review(place: &Place, campaign: &CampaignId, format: Format) -> Result<(), Error> {
    let (engine, Held { instance, .. }) = place.held(campaign).await?;
    let gate = instance.gate.as_ref().map(|gate| Open { digest: gate.digest, expires: gate.expires });
    let variants = if gate.is_some() { waiting(&engine, &instance).await? } else { Vec::new() };
    let waiting = Waiting { campaign: campaign.clone(), gate, variants };
    match format {
        Format::Json => cli::print_json(&waiting),
        Format::Text => cli::print(&waiting.in_words(&instance, &place.option())),
    }
}

impl Waiting {
    fn in_words(&self, instance: &Instance, option: &str) -> String {
        let campaign = &self.campaign;
        let Some(gate) = &self.gate else {
            let status = super::in_words(&instance.status);
            return format!("Nothing of campaign {campaign} waits for a decision. It is {status}.\n");
        };
        let mut text = String::new();
        for variant in &self.variants {
            text.push_str(&format!("{}  (written by {})\n", variant.id, variant.writer));
            if let Some(subject) = &variant.message.subject {
                text.push_str(&format!("  Subject: {subject}\n"));
            }
            for line in variant.message.body.lines() {
                text.push_str(&format!("  {line}\n"));
            }
            for finding in &variant.verdict.findings {
                let words = if finding.text.is_empty() { String::new() } else { format!(" (\"{}\")", finding.text) };
                text.push_str(&format!("  ! {}{words}\n", finding.why));
            }
            text.push('\n');
        }
        text.push_str(&format!(
            "{} messages of campaign {campaign} wait for a decision until {:.0}.\n\
             Approve all of them:    cpo instance approve {campaign}{option} --all --by NAME\n\
             Or some, and no other:  cpo instance approve {campaign}{option} --variant \"ID\" --by NAME\n",
            self.variants.len(),
            gate.expires
        ));
        text
    }
}

pub async fn approve(
    place: &Place,
    campaign: &CampaignId,
    what: What,
    by: String,
    note: Option<String>,
) -> Result<(), Error> {
    let (engine, Held { instance, .. }) = place.held(campaign).await?;
    let Some(gate) = &instance.gate else {
        let status = super::in_words(&instance.status);
        let problem = Problem::new(
            format!("nothing of it waits for a decision: it is {status}"),
            "decide when its messages are there: `cpo instance status` says when",
        );
        return Err(problem.at_field(campaign.as_str()).into());
    };
    let variants = waiting(&engine, &instance).await?;
    let approved = match what {
        What { all: true, .. } => Approved::All,
        What { variant, .. } => Approved::Only(variant),
    };
    let count = match &approved {
        Approved::All => variants.len(),
        Approved::Only(ids) => {
            if let Some(unknown) = ids.iter().find(|id| !variants.iter().any(|variant| variant.id == **id)) {
                let ids: Vec<String> = variants.iter().map(|variant| format!("\"{}\"", variant.id)).collect();
                let remedy = format!("name some of these: {}", ids.join(", "));
                return Err(Problem::new(format!("no variant `{unknown}` waits for a decision"), remedy).into());
            }
            variants.iter().filter(|variant| ids.contains(&variant.id)).count()
        }
    };
    let blocked = variants.len() - count;
    let decision = Decision { schema: Schema::V1, digest: gate.digest, approved, by, note };
    let bytes = serde_json::to_vec(&decision).map_err(|error| Error::failed("the decision cannot be kept", error))?;
    let kept = engine.keep_input(campaign, bytes).await.map_err(place::failed)?;
    let approval = Approval { digest: gate.digest, decision: kept, by: decision.by };
    ask(place, campaign, Request::Decide { approval }).await?;
    cli::print(&format!("Campaign {campaign}: {count} approved, {blocked} blocked.\n{}\n", place.who_goes_on(campaign)))
}

/// The variants that a person must look at.
async fn waiting(engine: &Engine, instance: &Instance) -> Result<Vec<Variant>, Error> {
    let run = Run { campaign: instance.campaign.clone(), generation: instance.generation };
    let records = Records { blobs: engine.store.blobs.as_ref(), run: &run, instance };
    let collected: Collected = records
        .output(Stage::Collect.into(), 0)
        .await
        .map_err(|trouble| Error::failed("the messages cannot be read", trouble))?;
    let waits = |variant: &Variant| variant.verdict.decision == verdict::Decision::NeedsReview;
    Ok(collected.variants.into_iter().filter(waits).collect())
}
