//! Ingest: from a customer file to shards of customers who may be contacted.
//!
//! One thread reads rows as text ([`source`]: CSV, JSON Lines, Parquet), a few give them types and ask for consent
//! ([`typing`]), the caller's own sets them aside by customer ([`spill`]). When all is read and few enough rows are
//! bad, customers come back one partition at a time ([`shards`]), so that memory never depends on the file's size.

pub mod columns;
mod consent;
mod csv;
mod defect;
mod jsonl;
mod mapping;
mod one;
mod parquet;
mod preview;
mod quality;
mod quarantine;
mod rows;
mod shards;
mod source;
mod spill;
mod suppression;
mod transcode;
mod typing;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    ops::ControlFlow,
    path::Path,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

use serde::{Deserialize, Serialize};

use self::{
    consent::Consent,
    mapping::{Mapping, Of},
    quality::Tally,
    quarantine::Quarantine,
    rows::RawRows,
    source::Source,
    spill::{Entry, Spill},
    typing::{Typed, Typer},
};
pub use self::{
    consent::Refusal,
    defect::Reason,
    mapping::ROW_NUMBER,
    one::Admission,
    preview::{Preview, preview},
    quality::{Column, Frequency, Quality, Rows, Summary},
    shards::{PERSONAL_SHARD_ROWS, SHARD_ROWS, schema},
    source::{Compression, FileFacts, unreadable},
    suppression::Suppression,
};
use crate::{
    Error,
    config::campaign::Customers,
    domain::{attribute::Attributes, channel::Channel, customer::Shard, digest::Digest},
};

/// More threads than this would wait for the one that reads.
const MAX_TYPERS: usize = 4;

/// What is to be ingested, and how.
#[derive(Debug, Clone, Copy)]
pub struct Ingest<'a> {
    /// As the user named it.
    pub file: &'a Path,
    pub customers: &'a Customers,
    pub attributes: &'a Attributes,
    pub channels: &'a [Channel],
    pub suppression: &'a Suppression,
    /// A folder for temporary files; they have no names, and are gone however the process ends.
    pub scratch: &'a Path,
    /// Customers per shard, usually [`SHARD_ROWS`]; the last one has fewer.
    pub shard_rows: usize,
}

/// Where the results go. Shards come last, and only if few enough rows are bad.
pub struct Outputs<'a> {
    /// CSV: `line,column,reason`, one record per bad row. Whole also when the run stops because of them.
    pub quarantine: &'a mut dyn Write,
    /// CSV: `customer_id,line,reason`, one record per customer.
    pub suppressed: &'a mut (dyn Write + Send),
    /// Called in the order of shard ids. The next shards are made while it works.
    pub shards: &'a mut dyn FnMut(Shard) -> Result<(), Error>,
    /// Bytes read so far, of how many; the total is `None` where the file is no regular file.
    pub progress: &'a mut dyn FnMut(u64, Option<u64>),
}

/// `read = quarantined + suppressed + duplicates + contactable`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Ingested {
    pub read: u64,
    pub quarantined: u64,
    pub suppressed: u64,
    pub duplicates: u64,
    pub contactable: u64,
    pub shards: u32,
    /// Of the file's bytes on disk.
    pub digest: Digest,
    pub quality: Quality,
    /// Adds up to `suppressed`.
    pub suppressed_by_reason: BTreeMap<Refusal, u64>,
}

/// What can be read off the quality is not written twice.
#[derive(Serialize, Deserialize)]
#[serde(tag = "schema", deny_unknown_fields)]
enum Saved {
    #[serde(rename = "ingested/1")]
    V1 { shards: u32, quality: Quality, suppressed_by_reason: BTreeMap<Refusal, u64> },
}

impl From<Ingested> for Saved {
    fn from(ingested: Ingested) -> Self {
        let Ingested { shards, quality, suppressed_by_reason, .. } = ingested;
        Self::V1 { shards, quality, suppressed_by_reason }
    }
}

impl From<Saved> for Ingested {
    fn from(Saved::V1 { shards, quality, suppressed_by_reason }: Saved) -> Self {
        Self::new(shards, quality, suppressed_by_reason)
    }
}

impl Ingested {
    fn new(shards: u32, quality: Quality, suppressed_by_reason: BTreeMap<Refusal, u64>) -> Self {
        let Rows { read, quarantined, suppressed, duplicates, contactable } = quality.rows;
        let digest = quality.file.sha256;
        Self { read, quarantined, suppressed, duplicates, contactable, shards, digest, quality, suppressed_by_reason }
    }
}

impl Ingest<'_> {
    /// Bad input ends in [`Error::Input`] before the first shard.
    ///
    /// Of the rows of one customer the first counts, and the others are duplicates. But if any of them refuses
    /// contact, the customer does; a channel that any of them refuses is refused.
    pub fn run(&self, outputs: Outputs<'_>) -> Result<Ingested, Error> {
        let mapping =
            Mapping { file: self.file, id: &self.customers.id, attributes: self.attributes, of: Of::Customers };
        let consent = Consent::new(self.attributes, self.channels)?;
        let converter = typing::row_converter(self.attributes);
        let source = Source::open(self.file, "customer file", self.customers.into(), self.scratch)?;
        let mut spill = Spill::new(self.scratch, source.expected_text_bytes()).map_err(no_scratch)?;
        let mut quarantine = Quarantine::new(mapping, self.customers.max_bad_share, outputs.quarantine)
            .map_err(|error| Error::failed("bad rows cannot be listed", error))?;

        let typer = Typer { mapping, consent: &consent, suppression: self.suppression, converter: &converter };
        let mut gathered =
            Gathered { read: 0, tally: Tally::default(), quarantine: &mut quarantine, spill: &mut spill };
        let facts = gather(source, typer, &mut gathered, outputs.progress)?;
        let Gathered { read, tally, .. } = gathered;
        quarantine.finish().map_err(|error| Error::failed("bad rows cannot be listed", error))?;
        quarantine.check(read)?;
        let quarantined = quarantine.rows;

        let context = shards::Context {
            attributes: self.attributes,
            consent: &consent,
            converter: &converter,
            shard_rows: self.shard_rows,
        };
        let emitted = shards::emit(spill, context, outputs.suppressed, outputs.shards)?;
        let shards::Emitted { suppressed, duplicates, contactable, .. } = emitted;
        let rows = Rows { read, quarantined, suppressed, duplicates, contactable };
        let quality = Quality { file: facts, rows, columns: tally.columns(&mapping) };
        Ok(Ingested::new(emitted.shards, quality, emitted.suppressed_by_reason))
    }
}

fn no_scratch(error: io::Error) -> Error {
    Error::failed("rows cannot be set aside in the scratch folder", error)
}

/// What becomes of typed batches, in the file's order.
struct Gathered<'a, 'q> {
    read: u64,
    tally: Tally,
    quarantine: &'a mut Quarantine<'q>,
    spill: &'a mut Spill,
}

impl Gathered<'_, '_> {
    /// A break: what has come is junk, see [`Quarantine::check`].
    fn add(&mut self, typed: Typed) -> Result<ControlFlow<()>, Error> {
        let Typed { read, defects, heads, rows, tally } = typed;
        self.read += read;
        self.tally.merge(tally);
        self.quarantine.add(&defects).map_err(|error| Error::failed("bad rows cannot be listed", error))?;
        let mut rows = rows.iter();
        for head in heads {
            let row = if head.quarantined { None } else { rows.next() };
            let row = row.as_ref().map_or(&[][..], |row| row.data());
            self.spill.push(&Entry { head, row }).map_err(no_scratch)?;
        }
        let is_junk = self.quarantine.is_junk(self.read);
        Ok(if is_junk { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// Reads, types and gathers in parallel.
///
/// Batches are dealt to the typing threads in turn and collected in the same turn: that keeps their order, and no
/// more batches are under way than the channels hold.
fn gather(
    source: Source<'_>,
    typer: Typer<'_>,
    gathered: &mut Gathered<'_, '_>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<FileFacts, Error> {
    let len = source.len;
    let bytes_read = &AtomicU64::new(0);
    thread::scope(|scope| {
        let typers = thread::available_parallelism().map_or(1, usize::from).min(MAX_TYPERS);
        let (mut raw_senders, mut typed_receivers): (Vec<SyncSender<RawRows>>, Vec<Receiver<Typed>>) =
            Default::default();
        for _ in 0..typers {
            let (raw_sender, raw_receiver) = mpsc::sync_channel::<RawRows>(1);
            let (typed_sender, typed_receiver) = mpsc::sync_channel(1);
            raw_senders.push(raw_sender);
            typed_receivers.push(typed_receiver);
            scope.spawn(move || {
                for raw in raw_receiver {
                    if typed_sender.send(typer.type_rows(&raw)).is_err() {
                        break;
                    }
                }
            });
        }
        let reader = scope.spawn(move || {
            let mut turns = raw_senders.iter().cycle();
            let mut emit = |rows| match turns.next().map(|typer| typer.send(rows)) {
                Some(Ok(())) => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            };
            source.read(&typer.mapping, bytes_read, &mut emit)
        });
        let mut outcome = Ok(ControlFlow::Continue(()));
        for typed in typed_receivers.iter().cycle().map_while(|typer| typer.recv().ok()) {
            outcome = gathered.add(typed);
            progress(bytes_read.load(Ordering::Relaxed), len);
            if !matches!(outcome, Ok(ControlFlow::Continue(()))) {
                break;
            }
        }
        // Whoever still sends to us must learn that nobody listens.
        drop(typed_receivers);
        let facts = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        outcome.and(facts)
    })
}
