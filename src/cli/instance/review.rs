//! `cpo instance review` and `approve`: a person's part in a campaign.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    What,
    place::{self, Place},
};
use crate::{
    Error,
    cli::{self, Format},
    domain::{decision::Approved, digest::Digest, id::CampaignId, problem::Problem, variant::Variant},
    orchestration::{
        engine::Held,
        instance::{EventId, Instance},
        review::{Decided, ReviewError},
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
    let variants = match gate {
        Some(_) => engine.review(&instance).await?.waiting().cloned().collect(),
        None => Vec::new(),
    };
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
            let status = &instance.status;
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
    let Some(gate) = instance.gate else {
        return Err(refused(campaign, ReviewError::NothingWaits(campaign.clone(), instance.status)));
    };
    let approved = match what {
        What { all: true, .. } => Approved::All,
        What { variant, .. } => Approved::Only(variant),
    };
    let decided = engine.decide(campaign, gate.digest, approved, by, note, EventId::next()).await;
    let Decided { approved, blocked, taken } = decided.map_err(|error| refused(campaign, error))?;
    if !taken {
        let problem = Problem::new("it is asked, and not decided yet", "see `cpo instance status` in a while");
        return Err(problem.at_field(campaign.as_str()).into());
    }
    cli::print(&format!(
        "Campaign {campaign}: {approved} approved, {blocked} blocked.\n{}\n",
        place.who_goes_on(campaign)
    ))
}

fn refused(campaign: &CampaignId, error: ReviewError) -> Error {
    let problem = match error {
        ReviewError::NothingWaits(_, status) => Problem::new(
            format!("nothing of it waits for a decision: it is {status}"),
            "decide when its messages are there: `cpo instance status` says when",
        ),
        ReviewError::Refused(why) => Problem::new(why, "see `cpo instance status`"),
        error @ ReviewError::OtherVariants(_) => Problem::new(error.to_string(), "see `cpo instance review`"),
        ReviewError::Unknown(problem) => return problem.into(),
        ReviewError::Client(error) => return place::failed(error),
        ReviewError::Failed(error) => return error,
    };
    problem.at_field(campaign.as_str()).into()
}
