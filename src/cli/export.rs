//! `cpo export`: the messages, ready for whoever sends them.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    Error,
    agents::experimentation::{deliveries::Row, words},
    cli,
    domain::{channel::Channel, problem::Problem, variant::Variant, verdict::Decision},
    orchestration::{deliveries, finished::RunFiles, messages::Messages},
};

/// Write one message per customer, slots filled, for an e-mail or SMS service.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cpo export --campaign out/campaigns/spring > messages.csv
  cpo export --campaign out/campaigns/spring --channel email --format jsonl --output email.jsonl

Only customers with an approved message are written; holdout and held customers are not. Customers' ids are
written as they are: whoever opens the CSV in a spreadsheet should import its columns as text.")]
pub struct Args {
    /// The folder of a finished campaign.
    #[arg(long, value_name = "DIR")]
    campaign: PathBuf,
    /// Only this channel: email, sms, push or in_app.
    #[arg(long, value_parser = parse_channel)]
    channel: Option<Channel>,
    #[arg(long, value_enum, default_value_t)]
    format: ExportFormat,
    /// Standard output where absent. A file appears only when it is whole.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum ExportFormat {
    #[default]
    Csv,
    /// One JSON object a line.
    Jsonl,
}

fn parse_channel(name: &str) -> Result<Channel, String> {
    Channel::ALL
        .into_iter()
        .find(|channel| channel.as_str() == name)
        .ok_or_else(|| "one of email, sms, push, in_app".to_owned())
}

#[derive(Debug, Serialize)]
struct Outgoing<'a> {
    customer_id: &'a str,
    channel: &'a str,
    locale: &'a str,
    subject: String,
    body: String,
    segment: &'a str,
    arm: &'a str,
    variant: &'a str,
}

pub fn run(args: Args) -> Result<(), Error> {
    cli::block_on(export(args))
}

async fn export(args: Args) -> Result<(), Error> {
    let files = RunFiles::in_folder(&args.campaign);
    let messages = Messages::read(&files).await?;
    match &args.output {
        None => match write_all(&args, &files, messages, BufWriter::new(io::stdout())).await {
            // A reader that has seen enough (`| head`) is no failure.
            Err(Error::Failed { source, .. }) if is_broken_pipe(source.as_ref()) => Ok(()),
            result => result.map(drop),
        },
        Some(file) => write_file(&args, &files, messages, file).await,
    }
}

async fn write_file(args: &Args, files: &RunFiles, messages: Messages, file: &Path) -> Result<(), Error> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let refused = |error: io::Error| {
        Error::from(
            Problem::new(format!("the file cannot be written: {error}"), "name a file in a folder you may write to")
                .in_file(file),
        )
    };
    let written = match fs::metadata(file) {
        Ok(metadata) if metadata.is_dir() => return Err(refused(io::ErrorKind::IsADirectory.into())),
        // A pipe or a device is written to; a file would be put in its place.
        Ok(metadata) if !metadata.is_file() => {
            let stream = fs::File::options().write(true).open(file).map_err(refused)?;
            write_all(args, files, messages, BufWriter::new(stream)).await?
        }
        _ if !folder.is_dir() => return Err(refused(io::ErrorKind::NotFound.into())),
        _ => {
            let whole = tempfile::NamedTempFile::new_in(folder).map_err(refused)?;
            let written = write_all(args, files, messages, BufWriter::new(whole.reopen().map_err(refused)?)).await?;
            whole.persist(file).map_err(|error| refused(error.error))?;
            written
        }
    };
    eprintln_line(&format!("{} messages written to {}", words::count(written), file.display()));
    Ok(())
}

fn eprintln_line(text: &str) {
    // A note for people; there is nobody to tell when it cannot be shown.
    let _ = writeln!(io::stderr(), "{text}");
}

/// The number of messages written.
async fn write_all(args: &Args, files: &RunFiles, mut messages: Messages, out: impl Write) -> Result<u64, Error> {
    let failed =
        |error: Box<dyn std::error::Error + Send + Sync>| Error::failed("the messages cannot be written", error);
    let mut sink = Sink::new(args.format, out);
    let mut written = 0;
    for shard in deliveries::shards(files).await? {
        messages.turn_to(files, shard).await?;
        for row in deliveries::of_shard(files, shard).await?.rows() {
            let Some(outgoing) = outgoing(&row, |id| messages.get(id))? else { continue };
            if args.channel.is_some_and(|channel| channel.as_str() != outgoing.channel) {
                continue;
            }
            sink.write(&outgoing).map_err(failed)?;
            written += 1;
        }
    }
    sink.finish().map_err(|error| failed(error.into()))?;
    Ok(written)
}

/// `None`: nothing goes out to this customer.
fn outgoing<'a, 'v>(
    row: &Row<'a>,
    variant: impl Fn(&str) -> Option<&'v Variant>,
) -> Result<Option<Outgoing<'a>>, Error> {
    let Some(id) = row.variant else { return Ok(None) };
    let inconsistent = |what: &str| Error::failed("the campaign's files do not fit together", what.to_owned());
    let variant = variant(id).ok_or_else(|| inconsistent("a delivery names a variant that does not exist"))?;
    let slots: BTreeMap<String, String> = match row.slots {
        Some(slots) => serde_json::from_str(slots).map_err(|_| inconsistent("slot values are not a JSON object"))?,
        None => BTreeMap::new(),
    };
    if variant.verdict.decision != Decision::Approved {
        return Err(inconsistent("a delivery names a variant that is not approved"));
    }
    if !variant.message.slots().iter().all(|name| slots.contains_key(*name)) {
        return Err(inconsistent("a delivery leaves a slot of its variant unfilled"));
    }
    let message = variant.message.filled(&slots);
    Ok(Some(Outgoing {
        customer_id: row.customer,
        channel: row.channel.unwrap_or_default(),
        locale: row.locale.unwrap_or_default(),
        subject: message.subject.unwrap_or_default(),
        body: message.body,
        segment: row.segment,
        arm: row.arm,
        variant: id,
    }))
}

#[derive(Debug)]
enum Sink<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Jsonl(W),
}

impl<W: Write> Sink<W> {
    fn new(format: ExportFormat, out: W) -> Self {
        match format {
            ExportFormat::Csv => Self::Csv(Box::new(csv::Writer::from_writer(out))),
            ExportFormat::Jsonl => Self::Jsonl(out),
        }
    }

    fn write(&mut self, outgoing: &Outgoing<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match self {
            Self::Csv(csv) => csv.serialize(outgoing).map_err(into_io)?,
            Self::Jsonl(out) => {
                serde_json::to_writer(&mut *out, outgoing).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Csv(mut csv) => csv.flush(),
            Self::Jsonl(mut out) => out.flush(),
        }
    }
}

fn into_io(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        id::{ArmName, Locale},
        variant::{Cell, Message, Usage},
        verdict::Verdict,
    };

    #[test]
    fn only_whole_messages_of_approved_variants_go_out() {
        let cell = Cell {
            segment: None,
            arm: ArmName::new("friendly").unwrap(),
            channel: Channel::Sms,
            locale: Locale::new("en").unwrap(),
        };
        let id = cell.variant_id(0);
        let row = |slots| Row {
            customer: "1",
            segment: "All",
            arm: "friendly",
            status: "assigned",
            channel: Some("sms"),
            locale: Some("en"),
            variant: Some(id.as_str()),
            slots,
            reason: None,
        };
        for (decision, slots, body) in [
            (Decision::Approved, Some(r#"{"name":"Ann"}"#), Some("Hi Ann.")),
            (Decision::Approved, Some(r#"{"other":"Ann"}"#), None),
            (Decision::Approved, None, None),
            (Decision::Blocked, Some(r#"{"name":"Ann"}"#), None),
            (Decision::NeedsReview, Some(r#"{"name":"Ann"}"#), None),
        ] {
            let variant = Variant {
                id: id.clone(),
                cell: cell.clone(),
                message: Message { subject: None, body: "Hi {{name}}.".to_owned() },
                claims: Vec::new(),
                verdict: Verdict { decision, findings: Vec::new(), severities: None },
                writer: "test".to_owned(),
                usage: Usage::default(),
            };
            let variants = BTreeMap::from([(id.to_string(), variant)]);
            let sent = outgoing(&row(slots), |id| variants.get(id));
            assert_eq!(sent.ok().flatten().map(|sent| sent.body).as_deref(), body, "{decision:?} {slots:?}");
        }
    }
}
