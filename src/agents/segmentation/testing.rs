//! Customers for tests.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{Field, Schema};

use crate::domain::{
    attribute::{Attribute, AttributeType, Attributes},
    customer::{CUSTOMER_ID, SOURCE_LINE, Shard, ShardId},
};

pub fn attribute(name: &str, kind: AttributeType) -> Attribute {
    Attribute {
        name: name.into(),
        column: name.into(),
        kind,
        min: None,
        max: None,
        values: Vec::new(),
        required: false,
    }
}

/// `name: type` pairs such as `age: number, tier: text`.
pub fn attributes(text: &str) -> Attributes {
    let attribute = |pair: &str| {
        let (name, kind) = pair.trim().split_once(": ").unwrap();
        attribute(name, serde_json::from_value(kind.into()).unwrap())
    };
    Attributes::new(text.split(',').map(attribute).collect())
}

pub fn shard<'a>(ids: &[String], columns: impl IntoIterator<Item = (&'a str, ArrayRef)>) -> Shard {
    let mut fields = vec![];
    let mut arrays: Vec<ArrayRef> = vec![];
    let fixed: [(&str, ArrayRef); 2] = [
        (CUSTOMER_ID, Arc::new(StringArray::from_iter_values(ids))),
        (SOURCE_LINE, Arc::new(UInt64Array::from_iter_values(2..2 + ids.len() as u64))),
    ];
    for (name, array) in fixed.into_iter().chain(columns) {
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    Shard { id: ShardId(0), rows: RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap() }
}

pub fn ids(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("C{index:06}")).collect()
}

pub fn numbers(values: impl IntoIterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Float64Array>())
}

pub fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

pub fn flags(values: impl IntoIterator<Item = Option<bool>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<BooleanArray>())
}

/// The customers of a shard as shards of the given sizes, the last one taking the rest.
pub fn cut(shard: &Shard, sizes: &[usize]) -> Vec<Shard> {
    let mut shards = Vec::new();
    let mut start = 0;
    for size in sizes.iter().copied().chain([usize::MAX]) {
        let length = size.min(shard.len() - start);
        shards.push(Shard { id: ShardId(shards.len() as u32), rows: shard.rows.slice(start, length) });
        start += length;
    }
    shards
}

/// Written as JSON and read again.
pub fn reread<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap()
}

/// The path of a file of the data for testing, where there is any.
pub fn shared_data(file: &str) -> Option<std::path::PathBuf> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(file);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {file} is not there");
    None
}

/// The 4,338 customers of the UCI Online Retail data with their reference scores (recency, frequency, monetary).
pub fn online_retail() -> Option<(Shard, Vec<[usize; 3]>)> {
    let file = std::fs::File::open(shared_data("customers/online_retail_rfm.csv.gz")?).unwrap();
    let mut reader = csv::Reader::from_reader(flate2::read::GzDecoder::new(file));
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
    let column = |index: usize| numbers(rows.iter().map(|row| Some(row[index].parse().unwrap())));
    let ids: Vec<String> = rows.iter().map(|row| row[0].to_owned()).collect();
    let shard = shard(&ids, [("recency_days", column(1)), ("frequency", column(2)), ("monetary", column(3))]);
    let scores = rows.iter().map(|row| [7, 8, 9].map(|index| row[index].parse().unwrap())).collect();
    Some((shard, scores))
}
