//! `cpo run`: a campaign from a customer file to a report.

use std::path::PathBuf;

use comfy_table::{Cell, CellAlignment, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};

use crate::{
    Error,
    agents::experimentation::words::count,
    cli::{self, Format, watch::Watch},
    orchestration::{
        campaign::{self, Inputs},
        summary::Summary,
    },
};

/// Run a campaign: customers in, checked messages, assignments and a report out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cpo run spring/campaign.toml --customers spring/customers.csv
  cpo run campaign.toml --customers customers.parquet --content approved/ --out results --format json

The results are in OUT/campaigns/<id>/. Running the same campaign again gives the same deliveries.")]
pub struct Args {
    /// The campaign file.
    pub campaign: PathBuf,
    /// CSV, JSON Lines or Parquet; plain, gzip or zstd.
    #[arg(long, value_name = "FILE")]
    pub customers: PathBuf,
    /// The approved documents; by default what the campaign file says.
    #[arg(long, value_name = "DIR")]
    pub content: Option<PathBuf>,
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// Replace an earlier run of this campaign id that had another campaign file, content or customer file.
    #[arg(long)]
    pub replace: bool,
    /// Invent outcomes and analyse them: for demos. Every number they touch is marked as simulated.
    #[arg(long)]
    pub simulate: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

pub fn run(args: Args) -> Result<(), Error> {
    let watch = Watch::new();
    let inputs = Inputs {
        campaign_file: args.campaign,
        customers: args.customers,
        content: args.content,
        out: args.out,
        replace: args.replace,
        simulate: args.simulate,
    };
    let summary = cli::block_on(campaign::run(inputs, &|event| watch.on(event)))?;
    match args.format {
        Format::Json => {
            let json = serde_json::to_string(&summary)
                .map_err(|error| Error::failed("the summary cannot be written as JSON", error))?;
            cli::print(&format!("{json}\n"))
        }
        Format::Text => cli::print(&render(&summary)),
    }
}

fn render(summary: &Summary) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    let mut row = |name: &str, value: String, note: String| {
        table.add_row([Cell::new(name), Cell::new(value).set_alignment(CellAlignment::Right), Cell::new(note)]);
    };
    let customers = &summary.customers;
    row("customers read", count(customers.read), String::new());
    row("quarantined", count(customers.quarantined), "bad rows: ingest/quarantine.csv".into());
    row("suppressed", count(customers.suppressed), "may not be contacted: ingest/suppressed.csv".into());
    row("duplicates", count(customers.duplicates), String::new());
    row("segments", count(summary.segments.len() as u64), listed(&summary.segments));
    let variants = &summary.variants;
    row("variants approved", count(variants.approved), format!("of {} written", count(variants.generated)));
    row("variants blocked", count(variants.blocked), String::new());
    if variants.needs_review > 0 {
        row("waiting for review", count(variants.needs_review), "their customers are held".into());
    }
    row("holdout", count(customers.holdout), "get nothing, on purpose".into());
    row("held", count(customers.held), "nothing approved for them".into());
    row("assigned", count(customers.assigned), listed(&summary.arms));
    row("cost", format!("${:.4}", summary.cost_usd), String::new());
    row("time", format!("{:.2} s", summary.seconds), per_minute(customers.read, summary.seconds));
    let mut text = format!("\nCampaign {}\n{table}\n", summary.campaign);
    for warning in &summary.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    if let Some(decision) = &summary.simulated_decision {
        text.push_str(&format!("SIMULATED outcomes (invented, for demonstration only): {decision}\n"));
    }
    text.push_str(&format!("\nReport: {}\n", summary.report.display()));
    text
}

fn listed(counts: &[(String, u64)]) -> String {
    counts.iter().map(|(name, customers)| format!("{name} {}", count(*customers))).collect::<Vec<_>>().join(", ")
}

fn per_minute(customers: u64, seconds: f64) -> String {
    if seconds <= 0.0 {
        return String::new();
    }
    format!("{} customers a minute", count((customers as f64 / seconds * 60.0) as u64))
}
