//! `cpo estimate`: what a campaign will cost.

use std::path::PathBuf;

use comfy_table::{CellAlignment, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use crate::{
    Error,
    agents::experimentation::words::count,
    cli::{self, Format},
    domain::{estimate::StageEstimate, id::CampaignId, money::Usd},
    orchestration::{
        estimate::{self, Estimate, Inputs},
        workshop::Providers,
    },
};

/// Say what a campaign will cost before it runs, stage by stage: as expected, and at most.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cpo estimate spring/campaign.toml --customers spring/customers.csv
  cpo estimate campaign.toml --customers customers.parquet --format json

Customers are read and put into segments on this machine; no provider is asked, and nothing is spent or kept. The
settings of the providers that the campaign names must be there, as for a run. Exit code 2 if it could cost more than
budget.max_usd. What tokens, text records and queries cost is in docs/providers.md; [prices] in the campaign file
overrides it.")]
pub struct Args {
    /// The campaign file.
    campaign: PathBuf,
    /// CSV, JSON Lines or Parquet; plain, gzip or zstd.
    #[arg(long, value_name = "FILE")]
    customers: PathBuf,
    /// The approved documents; by default what the campaign file says.
    #[arg(long, value_name = "DIR")]
    content: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: Args) -> Result<(), Error> {
    let inputs = Inputs { campaign_file: args.campaign, customers: args.customers, content: args.content };
    let estimate = cli::block_on(estimate::estimate(inputs, Providers::of_environment()?))?;
    match args.format {
        Format::Json => cli::print_json(&Told::of(&estimate))?,
        Format::Text => cli::print(&render(&estimate))?,
    }
    estimate.over_budget.map_or(Ok(()), Err)
}

#[derive(Serialize)]
struct Told<'a> {
    campaign: &'a CampaignId,
    customers: u64,
    stages: &'a [StageEstimate],
    expected_usd: Usd,
    most_usd: Usd,
    per_customer_usd: f64,
    max_usd: Option<Usd>,
}

impl<'a> Told<'a> {
    fn of(estimate: &'a Estimate) -> Self {
        Self {
            campaign: &estimate.campaign,
            customers: estimate.customers,
            stages: &estimate.stages,
            expected_usd: estimate.expected(),
            most_usd: estimate.most(),
            per_customer_usd: estimate.per_customer(),
            max_usd: estimate.max_usd,
        }
    }
}

fn render(estimate: &Estimate) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(["stage", "provider", "questions", "expected", "at most"]);
    for stage in &estimate.stages {
        table.add_row([
            stage.stage.clone(),
            stage.provider.clone(),
            count(stage.questions.into()),
            stage.expected_usd.to_string(),
            stage.most_usd.to_string(),
        ]);
    }
    let (expected, most) = (estimate.expected().to_string(), estimate.most().to_string());
    table.add_row(["together".to_owned(), String::new(), String::new(), expected, most]);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = format!("\nCampaign {}, {} customers\n{table}\n", estimate.campaign, count(estimate.customers));
    if estimate.most() > Usd::ZERO {
        text.push_str(&format!("${:.7} per customer, as expected\n", estimate.per_customer()));
    }
    match estimate.max_usd {
        Some(max) => text.push_str(&format!("The campaign may cost {max} (budget.max_usd).\n")),
        None => text.push_str("The campaign has no limit (budget.max_usd).\n"),
    }
    text.push_str("\nThis rests on:\n");
    for stage in &estimate.stages {
        text.push_str(&format!("  {}: {}\n", stage.stage, stage.assumes.join("; ")));
    }
    text
}
