//! From set-aside rows to shards: one customer once, and none who refuses.

use std::{collections::BTreeMap, io, io::Write, sync::Arc, sync::mpsc, thread};

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, UInt64Array, cast::AsArray};
use arrow_row::{RowConverter, RowParser};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::{
    consent::{ChannelSet, Consent, Refusal},
    spill::{self, Entry, Spill},
    typing,
};
use crate::{
    Error,
    domain::{
        attribute::Attributes,
        customer::{CUSTOMER_ID, SOURCE_LINE, Shard, ShardId},
    },
};

/// Small enough for a worker's memory and time, large enough for a columnar file.
pub const SHARD_ROWS: usize = 8_192;

/// Customers per shard where each is written to. A shard's messages must be there within an item's time, however slow the
/// model is; and what a dead worker had not kept yet is paid for again.
pub const PERSONAL_SHARD_ROWS: usize = 64;

/// The columns of every shard, see [`Shard`].
pub fn schema(attributes: &Attributes) -> SchemaRef {
    let fixed = [Field::new(CUSTOMER_ID, DataType::Utf8, false), Field::new(SOURCE_LINE, DataType::UInt64, false)];
    let attributes = attributes.iter().map(|a| Field::new(&a.name, typing::data_type(a.kind), true));
    Arc::new(Schema::new(fixed.into_iter().chain(attributes).collect::<Vec<_>>()))
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Emitted {
    pub suppressed: u64,
    pub duplicates: u64,
    pub contactable: u64,
    pub shards: u32,
    pub suppressed_by_reason: BTreeMap<Refusal, u64>,
}

/// What [`emit`] works with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub attributes: &'a Attributes,
    pub consent: &'a Consent,
    pub converter: &'a RowConverter,
    pub shard_rows: usize,
}

/// Hands the shards to `sink` in the order of their ids, while the next ones are made.
///
/// Customers are dealt by the digest of their id, so what a shard holds depends on who is in the file, and not on the
/// file's order, its format, or how it was set aside. Lists the suppressed as `customer_id,line,reason`,
/// by digest too.
pub fn emit(
    spill: Spill,
    context: Context<'_>,
    suppressed: &mut (dyn Write + Send),
    sink: &mut dyn FnMut(Shard) -> Result<(), Error>,
) -> Result<Emitted, Error> {
    thread::scope(|scope| {
        let (sender, shards) = mpsc::sync_channel(2);
        let maker = scope.spawn(move || {
            Maker {
                context,
                schema: schema(context.attributes),
                parser: context.converter.parser(),
                suppressed: csv::Writer::from_writer(suppressed),
                pending: Pending::default(),
                emitted: Emitted::default(),
                sender,
            }
            .run(spill)
        });
        let sunk = shards.iter().try_for_each(sink);
        // The maker must not wait for a sink that has failed.
        drop(shards);
        let made = maker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sunk?;
        made.map_err(|error| Error::failed("the shards cannot be made", error))
    })
}

struct Maker<'a> {
    context: Context<'a>,
    schema: SchemaRef,
    parser: RowParser,
    suppressed: csv::Writer<&'a mut (dyn Write + Send)>,
    pending: Pending,
    emitted: Emitted,
    sender: mpsc::SyncSender<Shard>,
}

/// Customers waiting until a shard is full; a shard can span partitions.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    customers: Vec<Waiting>,
}

struct Waiting {
    start: usize,
    end: usize,
    line: u64,
    refused: ChannelSet,
}

/// A customer who goes no further, before the id is decoded.
struct Refused<'a> {
    entry: Entry<'a>,
    reason: Refusal,
    by_another_row: bool,
}

impl Maker<'_> {
    fn run(mut self, mut spill: Spill) -> io::Result<Emitted> {
        self.suppressed.write_record([CUSTOMER_ID, "line", "reason"])?;
        for partition in 0..spill.partitions() {
            let bytes = spill.take(partition)?;
            let mut entries = spill::entries(&bytes)?;
            entries.sort_unstable_by_key(|entry| (entry.head.id, entry.head.line));
            let mut refused = Vec::new();
            for rows in entries.chunk_by(|a, b| a.head.id == b.head.id) {
                if !self.admit(rows, &mut refused) {
                    return Ok(self.emitted);
                }
            }
            self.list(&refused)?;
        }
        if !self.pending.customers.is_empty() {
            self.send();
        }
        self.suppressed.flush()?;
        Ok(self.emitted)
    }

    /// Decides on one customer from all their rows, by line. `false`: nobody wants shards any more.
    fn admit<'b>(&mut self, rows: &[Entry<'b>], refused: &mut Vec<Refused<'b>>) -> bool {
        let mut good = rows.iter().filter(|row| !row.head.quarantined);
        // Only bad rows: they are counted and listed already.
        let Some(first) = good.next() else { return true };
        self.emitted.duplicates += good.count() as u64;
        let no_channel = rows.iter().fold(ChannelSet::default(), |set, row| set.union(row.head.refused));
        let by_any_row = rows.iter().find_map(|row| row.head.refusal);
        let refusal = first.head.refusal.or(by_any_row).or_else(|| self.context.consent.channel_refusal(no_channel));
        if let Some(reason) = refusal {
            self.emitted.suppressed += 1;
            *self.emitted.suppressed_by_reason.entry(reason).or_default() += 1;
            refused.push(Refused { entry: *first, reason, by_another_row: first.head.refusal.is_none() });
            return true;
        }
        self.emitted.contactable += 1;
        self.pending.push(first, no_channel);
        self.pending.customers.len() < self.context.shard_rows || self.send()
    }

    fn list(&mut self, refused: &[Refused<'_>]) -> io::Result<()> {
        let rows = refused.iter().map(|refused| self.parser.parse(refused.entry.row));
        let columns = self.context.converter.convert_rows(rows).map_err(io::Error::other)?;
        let ids = columns[0].as_string::<i32>();
        for (id, Refused { entry, reason, by_another_row }) in ids.iter().flatten().zip(refused) {
            let line = entry.head.line.to_string();
            let other = if *by_another_row { "another row of this customer: " } else { "" };
            self.suppressed.write_record([id, &line, &format!("{other}{reason}")])?;
        }
        Ok(())
    }

    fn send(&mut self) -> bool {
        let pending = std::mem::take(&mut self.pending);
        let id = ShardId(self.emitted.shards);
        self.emitted.shards += 1;
        self.sender.send(Shard { id, rows: self.decode(pending) }).is_ok()
    }

    fn decode(&self, mut pending: Pending) -> RecordBatch {
        let bytes = &pending.bytes;
        pending.customers.sort_unstable_by(|a, b| bytes[a.start..a.end].cmp(&bytes[b.start..b.end]));
        let customers = &pending.customers;
        let rows = customers.iter().map(|customer| self.parser.parse(&bytes[customer.start..customer.end]));
        let mut columns = self.context.converter.convert_rows(rows).expect("the bytes are those the converter made");
        columns.insert(1, Arc::new(customers.iter().map(|customer| customer.line).collect::<UInt64Array>()));
        for (channel, position) in self.context.consent.recorded_channels() {
            let column = &mut columns[2 + position];
            *column = permitted(column, customers.iter().map(|customer| customer.refused.contains(channel)));
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns).expect("the columns follow the schema")
    }
}

impl Pending {
    fn push(&mut self, entry: &Entry<'_>, refused: ChannelSet) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(entry.row);
        self.customers.push(Waiting { start, end: self.bytes.len(), line: entry.head.line, refused });
    }
}

/// A channel that any row of the customer refuses is not permitted, whatever the kept row says.
fn permitted(consent: &ArrayRef, refused: impl Iterator<Item = bool>) -> ArrayRef {
    let consent: &BooleanArray = consent.as_boolean();
    let permitted = |(given, refused): (Option<bool>, bool)| if refused { given.map(|_| false) } else { given };
    Arc::new(consent.iter().zip(refused).map(permitted).collect::<BooleanArray>())
}
