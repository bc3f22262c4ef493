//! `cpo explain`: why one customer gets what they get.

use std::{collections::BTreeMap, fs::File, path::PathBuf};

use serde::Serialize;

use crate::{
    Error,
    agents::experimentation::deliveries::Table,
    cli::{self, Format},
    domain::{
        customer::ShardId,
        problem::Problem,
        variant::{Claim, Message},
        verdict::{Decision, Finding},
    },
    orchestration::{deliveries, finished, layout},
    store::table,
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

/// Everything the campaign's files say of one customer.
#[derive(Debug, Serialize)]
struct Explanation {
    customer: String,
    campaign: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Outcome {
    /// May not be contacted.
    Suppressed {
        line: String,
        reason: String,
    },
    Planned(Box<Planned>),
}

#[derive(Debug, Serialize)]
struct Planned {
    segment: String,
    segment_reason: String,
    arm: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<Sent>,
}

#[derive(Debug, Serialize)]
struct Sent {
    variant: String,
    message: Message,
    claims: Vec<Claim>,
    decision: Decision,
    findings: Vec<Finding>,
}

pub fn run(args: Args) -> Result<(), Error> {
    let frozen = finished::frozen(&args.campaign)?;
    let outcome = match suppressed(&args)? {
        Some(outcome) => outcome,
        None => planned(&args)?.ok_or_else(|| {
            Problem::new(
                "no such customer in this campaign: not among the deliveries, not suppressed",
                "check the id; a row that was quarantined is listed by line in ingest/quarantine.csv",
            )
            .in_file(&args.campaign)
        })?,
    };
    let explanation =
        Explanation { customer: args.customer, campaign: frozen.campaign.campaign.id.to_string(), outcome };
    match args.format {
        Format::Json => {
            let json = serde_json::to_string(&explanation)
                .map_err(|error| Error::failed("the explanation cannot be written as JSON", error))?;
            cli::print(&format!("{json}\n"))
        }
        Format::Text => cli::print(&in_words(&explanation)),
    }
}

fn suppressed(args: &Args) -> Result<Option<Outcome>, Error> {
    let file = args.campaign.join(layout::SUPPRESSED);
    let unreadable = |error: csv::Error| Error::failed(format!("{} cannot be read", file.display()), error);
    let file_handle = File::open(&file).map_err(|error| unreadable(error.into()))?;
    for record in csv::Reader::from_reader(std::io::BufReader::new(file_handle)).into_records() {
        let record = record.map_err(unreadable)?;
        if record.get(0) == Some(&args.customer) {
            let text = |index| record.get(index).unwrap_or_default().to_owned();
            return Ok(Some(Outcome::Suppressed { line: text(1), reason: text(2) }));
        }
    }
    Ok(None)
}

fn planned(args: &Args) -> Result<Option<Outcome>, Error> {
    let mut found = None;
    deliveries::for_each(&args.campaign, |shard, table: &Table| {
        if found.is_none() {
            found = table.rows().enumerate().find(|(_, row)| row.customer == args.customer).map(|(position, row)| {
                let owned = |text: Option<&str>| text.map(str::to_owned);
                let planned = Planned {
                    segment: row.segment.to_owned(),
                    segment_reason: String::new(),
                    arm: row.arm.to_owned(),
                    status: row.status.to_owned(),
                    reason: owned(row.reason),
                    channel: owned(row.channel),
                    locale: owned(row.locale),
                    sent: None,
                };
                (shard, position, planned, owned(row.variant), owned(row.slots))
            });
        }
        Ok(())
    })?;
    let Some((shard, position, mut planned, variant, slots)) = found else { return Ok(None) };
    planned.segment_reason = segment_reason(args, shard, position)?;
    if let Some(id) = variant {
        planned.sent = sent(args, &id, slots.as_deref())?;
    }
    Ok(Some(Outcome::Planned(Box::new(planned))))
}

/// The labels' table has the same rows in the same order as the deliveries' of the same shard.
fn segment_reason(args: &Args, shard: ShardId, position: usize) -> Result<String, Error> {
    let path = layout::table(layout::LABELS, shard);
    let file = args.campaign.join(path.as_str());
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::failed(format!("{} cannot be read", file.display()), error)
    };
    let bytes = std::fs::read(&file).map_err(|error| failed(error.into()))?;
    let rows = table::decode(bytes).map_err(|error| failed(error.into()))?;
    let reasons =
        rows.column_by_name("reason").ok_or_else(|| failed("no reason column".into())).and_then(|column| {
            arrow_cast::cast(column, &arrow_schema::DataType::Utf8).map_err(|error| failed(error.into()))
        })?;
    let reasons = arrow_array::cast::AsArray::as_string_opt::<i32>(&reasons)
        .ok_or_else(|| failed("the reasons are not text".into()))?;
    Ok(reasons.value(position).to_owned())
}

fn sent(args: &Args, id: &str, slots: Option<&str>) -> Result<Option<Sent>, Error> {
    let slots: BTreeMap<String, String> = slots.and_then(|slots| serde_json::from_str(slots).ok()).unwrap_or_default();
    let variant = finished::variants(&args.campaign)?.into_iter().find(|variant| variant.id.as_str() == id);
    Ok(variant.map(|variant| Sent {
        variant: id.to_owned(),
        message: variant.message.filled(&slots),
        claims: variant.claims,
        decision: variant.verdict.decision,
        findings: variant.verdict.findings,
    }))
}

fn in_words(explanation: &Explanation) -> String {
    let mut text = format!("Customer {} in campaign {}\n", explanation.customer, explanation.campaign);
    let planned = match &explanation.outcome {
        Outcome::Suppressed { line, reason } => {
            text.push_str(&format!("  gets nothing: {reason} (line {line} of the customer file)\n"));
            return text;
        }
        Outcome::Planned(planned) => planned,
    };
    text.push_str(&format!("  segment   {}: {}\n", planned.segment, planned.segment_reason));
    text.push_str(&format!("  arm       {}\n", planned.arm));
    text.push_str(&format!("  status    {}", planned.status));
    if let Some(reason) = &planned.reason {
        text.push_str(&format!(": {reason}"));
    }
    text.push('\n');
    if let (Some(channel), Some(locale)) = (&planned.channel, &planned.locale) {
        text.push_str(&format!("  channel   {channel}, {locale}\n"));
    }
    let Some(sent) = &planned.sent else { return text };
    text.push_str(&format!("  variant   {} ({:?})\n\n", sent.variant, sent.decision));
    if let Some(subject) = &sent.message.subject {
        text.push_str(&format!("    Subject: {subject}\n\n"));
    }
    for line in sent.message.body.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    text.push_str("\n  what it rests on\n");
    for claim in &sent.claims {
        text.push_str(&format!(
            "    \"{}\"\n      <- {} \"{}\"\n",
            claim.text, claim.citation.passage, claim.citation.quote
        ));
    }
    text
}
