//! `segments/labels/<shard>.parquet`: every customer's segment and the reason for it.

use std::sync::Arc;

use arrow_array::{
    Array as _, ArrayRef, DictionaryArray, RecordBatch, StringArray, UInt16Array, UInt32Array,
    types::{UInt16Type, UInt32Type},
};
use arrow_schema::{ArrowError, DataType, Field, Schema};

use crate::domain::{
    customer::{CUSTOMER_ID, Shard},
    segment::{Labels, Segment},
};

const SEGMENT: &str = "segment";
const REASON: &str = "reason";

/// One row per customer of the shard, in its order: `customer_id`, `segment`, `reason`.
pub fn to_table(shard: &Shard, labels: &Labels, segments: &[Segment]) -> Result<RecordBatch, ArrowError> {
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(segments.iter().map(|segment| segment.name.as_str())));
    let reasons: ArrayRef = Arc::new(StringArray::from_iter_values(&labels.reasons));
    let segment = DictionaryArray::<UInt16Type>::try_new(UInt16Array::from(labels.segments.clone()), names)?;
    let reason = DictionaryArray::<UInt32Type>::try_new(UInt32Array::from(labels.reason_of.clone()), reasons)?;
    let schema = Schema::new(vec![
        Field::new(CUSTOMER_ID, DataType::Utf8, false),
        Field::new(SEGMENT, segment.data_type().clone(), false),
        Field::new(REASON, reason.data_type().clone(), false),
    ]);
    let ids: ArrayRef = Arc::new(shard.customer_ids().clone());
    RecordBatch::try_new(Arc::new(schema), vec![ids, Arc::new(segment), Arc::new(reason)])
}

/// The segments (indices into the model's) of a table made by [`to_table`].
pub fn segments_of(table: &RecordBatch, segments: &[Segment]) -> Result<Vec<u16>, ArrowError> {
    let wrong = |what: &str| ArrowError::SchemaError(format!("labels: {what}"));
    let column = table
        .column_by_name(SEGMENT)
        .and_then(|column| column.as_any().downcast_ref::<DictionaryArray<UInt16Type>>())
        .ok_or_else(|| wrong("no segment column"))?;
    let names =
        column.values().as_any().downcast_ref::<StringArray>().ok_or_else(|| wrong("segment names are not text"))?;
    let indices: Vec<Option<u16>> = names
        .iter()
        .map(|name| {
            let position = segments.iter().position(|segment| Some(segment.name.as_str()) == name)?;
            u16::try_from(position).ok()
        })
        .collect();
    column
        .keys()
        .iter()
        .map(|key| key.and_then(|key| indices[usize::from(key)]).ok_or_else(|| wrong("a segment the model lacks")))
        .collect()
}
