//! `cpo instance`: looking at campaigns, and steering them, wherever they run.

mod place;
mod review;
mod status;

use std::path::PathBuf;

use self::place::Place;

use crate::{
    Error,
    cli::{self, Format},
    domain::{
        id::{CampaignId, VariantId},
        problem::Problem,
    },
    orchestration::{
        client::Answer,
        instance::{Instance, Request, Status},
    },
};

/// Look at campaigns and steer them: status, review, approve, suspend, resume, terminate, rewind, purge.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:
  cpo instance list
  cpo instance status spring
  cpo instance review spring
  cpo instance approve spring --all --by \"Ada Lovelace\"
  cpo instance suspend spring --storage UseDevelopmentStorage=true --reason \"prices change at noon\"

A campaign runs where it was started: in an output folder (--out) or in a storage account (--storage). To start one
anew from its inputs, use cpo run --replace.")]
pub enum Command {
    /// All campaigns there, with their status.
    List {
        #[command(flatten)]
        whereabouts: Whereabouts,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// How far a campaign is, stage by stage; what it waits for; what was refused.
    Status {
        #[command(flatten)]
        which: Which,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// The messages that wait for a person's decision, with what the checks found.
    Review {
        #[command(flatten)]
        which: Which,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Decide on all messages that wait, once: those that are not approved are blocked.
    #[command(after_help = "Examples:
  cpo instance approve spring --all --by \"Ada Lovelace\"
  cpo instance approve spring --variant \"regulars / friendly / email / en / 1\" --by \"Ada Lovelace\"")]
    Approve {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        what: What,
        /// Who decides; it is kept with the campaign.
        #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
        by: String,
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Begin nothing new. What is under way is finished and kept.
    Suspend {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        why: Why,
    },
    /// Go on with a suspended campaign.
    Resume {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        why: Why,
    },
    /// End a campaign for good. What it has made so far stays until it is purged.
    Terminate {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        why: Why,
    },
    /// Do again what failed, and only that.
    Rewind {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        why: Why,
    },
    /// Remove a campaign that has ended: its state and its results.
    Purge {
        #[command(flatten)]
        which: Which,
        /// There is no way back.
        #[arg(long, required = true)]
        yes: bool,
    },
}

const DEFAULT_OUT: &str = "out";

/// Where campaigns run.
#[derive(Debug, clap::Args)]
pub struct Whereabouts {
    /// The output folder of `cpo run`.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_OUT)]
    out: PathBuf,
    /// The Azure Storage account of `cpo run --storage`.
    #[arg(long, value_name = "ACCOUNT", conflicts_with = "out")]
    storage: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Which {
    /// The campaign's id.
    #[arg(value_name = "ID")]
    campaign: CampaignId,
    #[command(flatten)]
    whereabouts: Whereabouts,
}

#[derive(Debug, clap::Args)]
pub struct Why {
    /// Kept in the campaign's history.
    #[arg(long, value_name = "TEXT", default_value = "asked on the command line")]
    reason: String,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct What {
    /// Approve all that wait.
    #[arg(long)]
    all: bool,
    /// Approve this one; may be given several times.
    #[arg(long, value_name = "VARIANT_ID")]
    variant: Vec<VariantId>,
    /// Approve none.
    #[arg(long)]
    none: bool,
}

pub fn run(command: Command) -> Result<(), Error> {
    cli::block_on(async {
        match command {
            Command::List { whereabouts, format } => status::list(&Place::new(&whereabouts)?, format).await,
            Command::Status { which, format } => status::status(&which.place()?, &which.campaign, format).await,
            Command::Review { which, format } => review::review(&which.place()?, &which.campaign, format).await,
            Command::Approve { which, what, by, note } => {
                review::approve(&which.place()?, &which.campaign, what, by, note).await
            }
            Command::Suspend { which, why: Why { reason } } => {
                which.ask(Request::Suspend { reason }, "nothing new is begun until `cpo instance resume`").await
            }
            Command::Resume { which, why: Why { reason } } => which.ask(Request::Resume { reason }, "").await,
            Command::Terminate { which, why: Why { reason } } => {
                which.ask(Request::Terminate { reason }, "what it has made stays until `cpo instance purge`").await
            }
            Command::Rewind { which, why: Why { reason } } => which.ask(Request::Rewind { reason }, "").await,
            Command::Purge { which, yes: _ } => purge(&which.place()?, &which.campaign).await,
        }
    })
}

impl Which {
    fn place(&self) -> Result<Place, Error> {
        Place::new(&self.whereabouts)
    }

    /// Asks, and tells how the campaign stands then.
    async fn ask(&self, request: Request, and: &str) -> Result<(), Error> {
        let place = self.place()?;
        let Instance { status, .. } = ask(&place, &self.campaign, request).await?;
        let mut text = format!("Campaign {}: {}", self.campaign, status);
        if !and.is_empty() {
            text.push_str(&format!("; {and}"));
        }
        text.push_str(".\n");
        if status == Status::Running {
            text.push_str(&format!("{}\n", place.who_goes_on(&self.campaign)));
        }
        cli::print(&text)
    }
}

/// The campaign as it is afterwards. What does not fit its state is bad input.
async fn ask(place: &Place, campaign: &CampaignId, request: Request) -> Result<Instance, Error> {
    let (engine, _) = place.held(campaign).await?;
    match engine.ask(campaign, request).await.map_err(place::failed)? {
        Answer::Taken => {}
        Answer::Refused { why } => {
            return Err(Problem::new(why, "see `cpo instance status`").at_field(campaign.as_str()).into());
        }
        Answer::Later => {
            let problem = Problem::new("it is asked, and not decided yet", "see `cpo instance status` in a while");
            return Err(problem.at_field(campaign.as_str()).into());
        }
    }
    Ok(engine.held(campaign).await.map_err(place::failed)?.instance)
}

async fn purge(place: &Place, campaign: &CampaignId) -> Result<(), Error> {
    place.purge(campaign).await?;
    cli::print(&format!("Campaign {campaign} is gone.\n"))
}
