//! `cpo explain`: why one customer gets what they get.

use std::path::PathBuf;

use crate::{
    Error,
    cli::{self, Format},
    domain::problem::Problem,
    orchestration::{explain::Explanation, finished::RunFiles},
};

/// Explain one customer: consent, segment, arm, message, the sources of its claims, verdicts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  cpo explain C-00017 --campaign out/campaigns/spring")]
pub struct Args {
    /// The customer's id.
    customer: String,
    /// The folder of a finished campaign.
    #[arg(long, value_name = "DIR")]
    campaign: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: Args) -> Result<(), Error> {
    let files = RunFiles::in_folder(&args.campaign);
    let scratch = std::env::temp_dir();
    let explanation = cli::block_on(Explanation::of(&files, &args.customer, &scratch))?.ok_or_else(|| {
        Problem::new(
            "no such customer in this campaign: not among the deliveries, not suppressed",
            "check the id; a row that was quarantined is listed by line in ingest/quarantine.csv",
        )
        .in_file(&args.campaign)
    })?;
    match args.format {
        Format::Json => cli::print_json(&explanation),
        Format::Text => cli::print(&explanation.in_words()),
    }
}
