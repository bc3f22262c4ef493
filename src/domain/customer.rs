//! Customers, a shard at a time.

use std::fmt;

use arrow_array::{Array, ArrayRef, BooleanArray, Date32Array, Float64Array, RecordBatch, StringArray, UInt64Array};
use serde::{Deserialize, Serialize};

use crate::domain::digest::Digest;

/// The zero-based number of a shard; the name of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}", self.0)
    }
}

/// The first 16 bytes of the SHA-256 of a customer's id: stands for the id wherever millions are kept or compared.
/// Two of a billion customers share theirs with a chance of one in 10^20.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdPrefix(pub u128);

impl IdPrefix {
    pub fn of(id: &str) -> Self {
        let digest = Digest::of(id);
        let prefix = digest.as_bytes().first_chunk().expect("a SHA-256 digest has 32 bytes");
        Self(u128::from_be_bytes(*prefix))
    }
}

pub const CUSTOMER_ID: &str = "customer_id";
/// The line (CSV, JSON Lines) or 1-based row (Parquet) of the customer file that a customer came from.
pub const SOURCE_LINE: &str = "source_line";

/// Customers who may be contacted, each in exactly one shard, sorted by id.
///
/// Columns: [`CUSTOMER_ID`] (Utf8), [`SOURCE_LINE`] (UInt64), then one per attribute in the order of
/// [`crate::domain::attribute::Attributes`]: numbers and integers Float64, booleans Boolean, text Utf8, dates
/// Date32, all nullable.
#[derive(Debug, Clone)]
pub struct Shard {
    pub id: ShardId,
    pub rows: RecordBatch,
}

impl Shard {
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn customer_ids(&self) -> &StringArray {
        typed(self.rows.column_by_name(CUSTOMER_ID))
    }

    pub fn source_lines(&self) -> &UInt64Array {
        typed(self.rows.column_by_name(SOURCE_LINE))
    }

    /// `None` where the campaign declares no such attribute.
    pub fn column(&self, attribute: &str) -> Option<Column<'_>> {
        let array = self.rows.column_by_name(attribute)?.as_any();
        if let Some(array) = array.downcast_ref() {
            Some(Column::Number(array))
        } else if let Some(array) = array.downcast_ref() {
            Some(Column::Boolean(array))
        } else if let Some(array) = array.downcast_ref() {
            Some(Column::Text(array))
        } else {
            array.downcast_ref().map(Column::Date)
        }
    }
}

/// One attribute of all customers of a shard.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a> {
    Number(&'a Float64Array),
    Boolean(&'a BooleanArray),
    Text(&'a StringArray),
    Date(&'a Date32Array),
}

fn typed<T: 'static>(column: Option<&ArrayRef>) -> &T {
    column.and_then(|array| array.as_any().downcast_ref()).expect("a shard is only made with its fixed columns")
}
