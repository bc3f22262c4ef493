//! Tables that a data team will open: one Arrow batch as one Parquet file.

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::Compression,
    errors::ParquetError,
    file::properties::{EnabledStatistics, WriterProperties},
};

/// A table's bytes are a function of its rows: no clock, no host.
pub fn encode(rows: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by("cpo".to_owned())
        .build();
    let mut bytes = Vec::with_capacity(rows.get_array_memory_size() / 2);
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties))?;
    writer.write(rows)?;
    writer.close()?;
    Ok(bytes)
}

pub fn decode(bytes: Vec<u8>) -> Result<RecordBatch, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes))?;
    let schema = builder.schema().clone();
    let rows = builder.metadata().file_metadata().num_rows();
    let reader = builder.with_batch_size(usize::try_from(rows).unwrap_or_default().max(1)).build()?;
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    match <[RecordBatch; 1]>::try_from(batches) {
        Ok([batch]) => Ok(batch),
        Err(batches) => Ok(concat_batches(&schema, &batches)?),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, StringArray};

    use super::*;

    #[test]
    fn a_table_reads_back_and_its_bytes_depend_on_its_rows_alone() {
        let id: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
        let age: ArrayRef = Arc::new(Float64Array::from(vec![None, Some(1.5)]));
        let rows = RecordBatch::try_from_iter_with_nullable([("id", id, false), ("age", age, true)]).unwrap();
        let bytes = encode(&rows).unwrap();
        assert_eq!(bytes, encode(&rows).unwrap());
        assert_eq!(decode(bytes).unwrap(), rows);

        let nothing = rows.slice(0, 0);
        assert_eq!(decode(encode(&nothing).unwrap()).unwrap(), nothing);
    }
}
