//! What a writer is told of the customer to whom it writes.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::{Array as _, StringArray, cast::AsArray as _};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType};
use serde_json::Value;

use crate::domain::customer::{Column, Shard};

/// The attributes that the campaign names, with the values that the customer has.
pub type Fields = BTreeMap<String, Value>;

/// The most characters of a text; a longer one is not told. More than a name, a town or a product takes, and too little
/// for a letter to the model.
pub const MAX_CHARS: usize = 200;

/// The fields of a shard's customers.
pub struct FieldsOf<'a> {
    columns: Vec<(&'a String, Values<'a>)>,
}

enum Values<'a> {
    As(Column<'a>),
    /// `2026-11-22`
    Dates(StringArray),
}

impl<'a> FieldsOf<'a> {
    /// `names`: attributes of the campaign.
    pub fn new(shard: &'a Shard, names: &'a BTreeSet<String>) -> Result<Self, ArrowError> {
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            let Some(column) = shard.column(name) else { continue };
            let values = match column {
                Column::Date(days) => Values::Dates(cast(days, &DataType::Utf8)?.as_string::<i32>().clone()),
                column => Values::As(column),
            };
            columns.push((name, values));
        }
        Ok(Self { columns })
    }

    pub fn of(&self, row: usize) -> Fields {
        let told = |(name, values): &(&String, Values<'_>)| Some(((*name).clone(), values.get(row)?));
        self.columns.iter().filter_map(told).collect()
    }
}

impl Values<'_> {
    fn get(&self, row: usize) -> Option<Value> {
        match self {
            Self::As(Column::Number(numbers)) => numbers.is_valid(row).then(|| number(numbers.value(row))),
            Self::As(Column::Boolean(flags)) => flags.is_valid(row).then(|| flags.value(row).into()),
            Self::As(Column::Text(texts)) => text(texts, row),
            Self::As(Column::Date(_)) => None,
            Self::Dates(texts) => text(texts, row),
        }
    }
}

/// Without the `.0` that stands in no customer file.
fn number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT { (value as i64).into() } else { value.into() }
}

fn text(texts: &StringArray, row: usize) -> Option<Value> {
    let text = texts.is_valid(row).then(|| texts.value(row).trim())?;
    (!text.is_empty() && text.chars().count() <= MAX_CHARS).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BooleanArray, Date32Array, Float64Array, RecordBatch, UInt64Array};
    use serde_json::json;

    use super::*;
    use crate::domain::customer::{CUSTOMER_ID, SOURCE_LINE, ShardId};

    #[test]
    fn only_named_values_are_told_as_a_person_would_write_them() {
        let long = "x".repeat(MAX_CHARS + 1);
        let columns: [(&str, ArrayRef); 7] = [
            (CUSTOMER_ID, Arc::new(StringArray::from(vec!["a", "b"]))),
            (SOURCE_LINE, Arc::new(UInt64Array::from(vec![1, 2]))),
            ("city", Arc::new(StringArray::from(vec![Some(" Graz "), Some(long.as_str())]))),
            ("email", Arc::new(StringArray::from(vec!["a@b.c", "b@b.c"]))),
            ("member", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("orders", Arc::new(Float64Array::from(vec![Some(3.0), Some(0.5)]))),
            ("since", Arc::new(Date32Array::from(vec![Some(20_779), None]))),
        ];
        let shard = Shard { id: ShardId(0), rows: RecordBatch::try_from_iter(columns).unwrap() };
        let names = ["city", "member", "orders", "since", "unmapped"].map(str::to_owned).into();
        let fields = FieldsOf::new(&shard, &names).unwrap();
        let told = |row| serde_json::to_value(fields.of(row)).unwrap();
        assert_eq!(told(0), json!({"city": "Graz", "member": true, "orders": 3, "since": "2026-11-22"}));
        assert_eq!(told(1), json!({"orders": 0.5}));
    }
}
