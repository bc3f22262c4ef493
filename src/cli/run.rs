//! `cpo run`: a campaign from a customer file to a report.

use std::path::PathBuf;

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};

use crate::{
    Error,
    agents::experimentation::words::count,
    cli::{self, Format, watch::Watch},
    domain::id::CampaignId,
    orchestration::{
        campaign::{self, Ended, Inputs},
        instance::{Gate, Status},
        summary::{RunKind, Summary},
    },
};

/// Run a campaign: customers in, checked messages, assignments and a report out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cpo run spring/campaign.toml --customers spring/customers.csv
  cpo run campaign.toml --customers customers.parquet --content approved/ --out results --format json

The results are in OUT/campaigns/<id>/. A run that was stopped or killed goes on where it was when the same command is
given again; a complete one gives the same results without doing anything.")]
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
    /// Replace an earlier run of this campaign id that had another campaign file, content, suppression list or customer file.
    #[arg(long)]
    pub replace: bool,
    /// Invent outcomes and analyse them: for demos. Every number they touch is marked as simulated.
    #[arg(long)]
    pub simulate: bool,
    /// Run it in this Azure Storage account, together with every `cpo dev --worker` there: a connection string, a
    /// blob endpoint's URL, or UseDevelopmentStorage=true. By default it runs in the output folder.
    #[arg(long, value_name = "ACCOUNT")]
    pub storage: Option<String>,
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
        storage: args.storage.as_deref().map(cli::account).transpose()?,
    };
    let place =
        if args.storage.is_some() { "--storage ACCOUNT".into() } else { format!("--out {}", inputs.out.display()) };
    let ended = cli::block_on_until_stopped(campaign::run(inputs, &|event| watch.on(event)))?;
    let Some(ended) = ended else {
        watch.stop();
        return Err(Error::failed("stopped", "what is done is kept, and the same command goes on from here"));
    };
    let (text, json) = match &ended {
        Ended::Complete(summary) => (render(summary), serde_json::to_value(summary)),
        Ended::Waiting { campaign, gate } => {
            (waiting(campaign, gate, &place), serde_json::to_value(Waiting { campaign, waiting: gate }))
        }
        Ended::Stopped { campaign, status } => {
            (stopped(campaign, status), serde_json::to_value(Stopped { campaign, status }))
        }
    };
    match args.format {
        Format::Json => {
            let json = json.map_err(|error| Error::failed("the summary cannot be written as JSON", error))?;
            cli::print(&format!("{json}\n"))
        }
        Format::Text => cli::print(&text),
    }
}

#[derive(serde::Serialize)]
struct Waiting<'a> {
    campaign: &'a CampaignId,
    waiting: &'a Gate,
}

#[derive(serde::Serialize)]
struct Stopped<'a> {
    campaign: &'a CampaignId,
    status: &'a Status,
}

fn waiting(campaign: &CampaignId, gate: &Gate, place: &str) -> String {
    format!(
        "\nCampaign {campaign} waits for a person: {} messages need a decision before {:.0}.\n\
         Look at them:   cpo instance review {campaign} {place}\n\
         Approve them:   cpo instance approve {campaign} {place} --all --by NAME\n\
         Then run the same command again: it goes on from here.\n",
        gate.needs_review, gate.expires
    )
}

fn stopped(campaign: &CampaignId, status: &Status) -> String {
    let next = match status {
        Status::Terminated { .. } => "Run it with --replace to start it anew.",
        _ => "The same command goes on with it.",
    };
    format!("\nCampaign {campaign}: {status}. {next}\n")
}

fn render(summary: &Summary) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    // Not wider than the terminal; elsewhere as wide as it needs to be.
    table.set_content_arrangement(ContentArrangement::Dynamic);
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
    if let Some(personal) = &summary.personal {
        let of = format!("of {} written to one customer each", count(personal.written()));
        row("messages approved", count(personal.approved), of);
    }
    if variants.needs_review > 0 {
        row("waiting for review", count(variants.needs_review), "their customers are held".into());
    }
    row("holdout", count(customers.holdout), "get nothing, on purpose".into());
    row("held", count(customers.held), "nothing approved for them".into());
    row("assigned", count(customers.assigned), listed(&summary.arms));
    row("cost", format!("${:.4}", summary.cost_usd), String::new());
    row(
        "time",
        format!("{:.2} s", summary.seconds),
        match summary.run {
            RunKind::Whole => per_minute(customers.read, summary.seconds),
            RunKind::Continued => "the rest of a run that was interrupted".into(),
            RunKind::Earlier => "it was complete already: nothing was done".into(),
        },
    );
    let mut text = format!("\nCampaign {}\n{table}\n", summary.campaign);
    for warning in &summary.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    if let Some(decision) = &summary.simulated_decision {
        text.push_str(&format!("results: {decision}\n"));
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
