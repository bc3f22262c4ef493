//! `deliveries/<shard>.parquet`: what becomes of every customer.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{
    Array, ArrayRef, RecordBatch, StringArray,
    builder::{StringBuilder, StringDictionaryBuilder},
    types::Int32Type,
};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use serde::{Deserialize, Serialize};

use crate::domain::{customer::CUSTOMER_ID, experiment::DeliveryStatus};

/// What happened to the customers of one segment and arm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub assigned: u64,
    pub fallback: u64,
    pub held: u64,
    pub holdout: u64,
}

impl Counts {
    pub fn add(&mut self, status: DeliveryStatus) {
        *match status {
            DeliveryStatus::Assigned => &mut self.assigned,
            DeliveryStatus::Fallback => &mut self.fallback,
            DeliveryStatus::Held => &mut self.held,
            DeliveryStatus::Holdout => &mut self.holdout,
        } += 1;
    }

    pub fn total(&self) -> u64 {
        self.assigned + self.fallback + self.held + self.holdout
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.assigned += other.assigned;
        self.fallback += other.fallback;
        self.held += other.held;
        self.holdout += other.holdout;
    }
}

/// What happened to many customers; merging in any order gives the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Tally {
    /// By (segment index, arm index).
    pub cells: BTreeMap<(u16, u16), Counts>,
    /// Held customers by reason.
    pub held: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "schema", deny_unknown_fields)]
enum Saved {
    #[serde(rename = "delivery-tally/1")]
    V1 { cells: Vec<SavedCell>, held: BTreeMap<String, u64> },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedCell {
    segment: u16,
    arm: u16,
    counts: Counts,
}

impl From<Tally> for Saved {
    fn from(tally: Tally) -> Self {
        let cell = |((segment, arm), counts)| SavedCell { segment, arm, counts };
        Self::V1 { cells: tally.cells.into_iter().map(cell).collect(), held: tally.held }
    }
}

impl From<Saved> for Tally {
    fn from(Saved::V1 { cells, held }: Saved) -> Self {
        Self { cells: cells.into_iter().map(|cell| ((cell.segment, cell.arm), cell.counts)).collect(), held }
    }
}

impl Tally {
    pub fn merge(&mut self, other: Self) {
        for (cell, counts) in other.cells {
            *self.cells.entry(cell).or_default() += counts;
        }
        for (reason, customers) in other.held {
            *self.held.entry(reason).or_default() += customers;
        }
    }

    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.cells.values().for_each(|counts| total += *counts);
        total
    }
}

/// One row of the table, borrowed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    pub customer: &'a str,
    pub segment: &'a str,
    /// `holdout`, `control` or an arm's name.
    pub arm: &'a str,
    pub status: &'a str,
    pub channel: Option<&'a str>,
    pub locale: Option<&'a str>,
    pub variant: Option<&'a str>,
    /// A JSON object: slot name to the text in the message.
    pub slots: Option<&'a str>,
    pub reason: Option<&'a str>,
}

/// Collects rows into a table.
#[derive(Default)]
pub struct Builder {
    customer: StringBuilder,
    segment: StringDictionaryBuilder<Int32Type>,
    arm: StringDictionaryBuilder<Int32Type>,
    status: StringDictionaryBuilder<Int32Type>,
    channel: StringDictionaryBuilder<Int32Type>,
    locale: StringDictionaryBuilder<Int32Type>,
    variant: StringDictionaryBuilder<Int32Type>,
    slots: StringDictionaryBuilder<Int32Type>,
    reason: StringDictionaryBuilder<Int32Type>,
}

impl Builder {
    pub fn push(&mut self, row: Row<'_>) {
        self.customer.append_value(row.customer);
        self.segment.append_value(row.segment);
        self.arm.append_value(row.arm);
        self.status.append_value(row.status);
        self.channel.append_option(row.channel);
        self.locale.append_option(row.locale);
        self.variant.append_option(row.variant);
        self.slots.append_option(row.slots);
        self.reason.append_option(row.reason);
    }

    pub fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<(&str, ArrayRef, bool)> = vec![
            (CUSTOMER_ID, Arc::new(self.customer.finish()), false),
            ("segment", Arc::new(self.segment.finish()), false),
            ("arm", Arc::new(self.arm.finish()), false),
            ("status", Arc::new(self.status.finish()), false),
            ("channel", Arc::new(self.channel.finish()), true),
            ("locale", Arc::new(self.locale.finish()), true),
            ("variant", Arc::new(self.variant.finish()), true),
            ("slots", Arc::new(self.slots.finish()), true),
            ("reason", Arc::new(self.reason.finish()), true),
        ];
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, array, nullable)| Field::new(*name, array.data_type().clone(), *nullable))
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array, _)| array).collect())
    }
}

/// A read table with its text columns at hand.
#[derive(Debug)]
pub struct Table {
    columns: [StringArray; 9],
}

const COLUMNS: [&str; 9] = [CUSTOMER_ID, "segment", "arm", "status", "channel", "locale", "variant", "slots", "reason"];

impl Table {
    pub fn new(rows: &RecordBatch) -> Result<Self, ArrowError> {
        let mut columns = Vec::with_capacity(COLUMNS.len());
        for name in COLUMNS {
            let column = rows
                .column_by_name(name)
                .ok_or_else(|| ArrowError::SchemaError(format!("deliveries: no column {name}")))?;
            let text = cast(column, &DataType::Utf8)?;
            let text = text.as_any().downcast_ref::<StringArray>().cloned();
            columns.push(text.ok_or_else(|| ArrowError::CastError(format!("deliveries: {name} is not text")))?);
        }
        let columns = columns.try_into().map_err(|_| ArrowError::SchemaError("deliveries: columns".into()))?;
        Ok(Self { columns })
    }

    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let [customer, segment, arm, status, channel, locale, variant, slots, reason] = &self.columns;
        (0..customer.len()).map(move |row| {
            let text = |column: &'_ StringArray| column.is_valid(row).then_some(row);
            Row {
                customer: customer.value(row),
                segment: segment.value(row),
                arm: arm.value(row),
                status: status.value(row),
                channel: text(channel).map(|row| channel.value(row)),
                locale: text(locale).map(|row| locale.value(row)),
                variant: text(variant).map(|row| variant.value(row)),
                slots: text(slots).map(|row| slots.value(row)),
                reason: text(reason).map(|row| reason.value(row)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::table;

    fn tallies() -> impl Strategy<Value = Tally> {
        let count = || 0..1_000_000_000_000_u64;
        let counts = (count(), count(), count(), count()).prop_map(|(assigned, fallback, held, holdout)| Counts {
            assigned,
            fallback,
            held,
            holdout,
        });
        let cells = prop::collection::btree_map((0..4_u16, 0..3_u16), counts, 0..8);
        let held = prop::collection::btree_map("[a-c\"ß ]{0,2}", count(), 0..4);
        (cells, held).prop_map(|(cells, held)| Tally { cells, held })
    }

    proptest! {
        #[test]
        fn tallies_read_back_as_they_were_and_add_up_the_same(mut one in tallies(), other in tallies()) {
            let reread = |tally: &Tally| serde_json::from_str(&serde_json::to_string(tally).unwrap()).unwrap();
            let mut after: Tally = reread(&one);
            prop_assert_eq!(&after, &one);
            after.merge(reread(&other));
            one.merge(other);
            prop_assert_eq!(after, one);
        }
    }

    #[test]
    fn rows_read_back_through_the_file_as_they_were_written() {
        let rows = [
            Row {
                customer: "1",
                segment: "Loyal",
                arm: "friendly",
                status: "assigned",
                channel: Some("email"),
                locale: Some("en"),
                variant: Some("v1"),
                slots: Some("{\"first_name\":\"Ada\"}"),
                reason: None,
            },
            Row {
                customer: "2",
                segment: "New",
                arm: "holdout",
                status: "holdout",
                channel: None,
                locale: None,
                variant: None,
                slots: None,
                reason: None,
            },
        ];
        let mut builder = Builder::default();
        rows.into_iter().for_each(|row| builder.push(row));
        let bytes = table::encode(&builder.finish().unwrap()).unwrap();
        let read = Table::new(&table::decode(bytes).unwrap()).unwrap();
        assert_eq!(read.rows().collect::<Vec<_>>(), rows);
    }
}
