//! Parquet: the mapped columns, batch by batch, every value as text.

use std::{fs::File, path::Path, sync::Arc};

use arrow_array::{Array, ArrayRef, StringArray, cast::AsArray};
use arrow_cast::{can_cast_types, cast};
use arrow_schema::DataType;
use parquet::{
    arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder},
    errors::ParquetError,
};

use super::{
    defect::Reason,
    mapping::Mapping,
    rows::{Cell, RawRows},
    source::{Emit, Layout},
};
use crate::{Error, domain::problem::Problem};

const BATCH_ROWS: usize = 4_096;

/// Whether a file that starts so is Parquet.
pub fn is(start: &[u8]) -> bool {
    start.starts_with(b"PAR1")
}

/// `line` of a row is its number, counted from 1. A value is held in memory as long as the file makes it.
pub fn read(file: File, path: &Path, mapping: &Mapping<'_>, emit: &mut Emit<'_>) -> Result<Layout, Error> {
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(mapping, error.to_string()))?;
    let schema = Arc::clone(builder.schema());
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let positions = mapping.locate(&names)?;
    for (column, position) in mapping.columns().zip(&positions) {
        let Some(field) = position.map(|position| schema.field(position)) else { continue };
        if field.data_type().is_nested() || !can_cast_types(field.data_type(), &DataType::Utf8) {
            let message = format!("the column is {}, not a single value", field.data_type());
            let remedy = "map a column of text, numbers, booleans or dates";
            return Err(Problem::new(message, remedy).in_file(path).at_field(column).into());
        }
    }
    if builder.metadata().file_metadata().num_rows() == 0 {
        return Err(mapping.no_rows().into());
    }

    let mut projected: Vec<usize> = positions.iter().flatten().copied().collect();
    projected.sort_unstable();
    projected.dedup();
    let mask = ProjectionMask::roots(builder.parquet_schema(), projected.iter().copied());
    let reader = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|error: ParquetError| damaged(mapping, error.to_string()))?;
    let mut row_number = 0;
    for batch in reader {
        let batch = batch.map_err(|error| damaged(mapping, error.to_string()))?;
        let column = |position: &Option<usize>| {
            // A projection keeps the file's order.
            let index = projected.binary_search(&(*position)?).ok()?;
            Some(Texts::of(batch.column(index)))
        };
        let columns: Vec<Option<Texts>> = positions.iter().map(column).collect();
        let mut rows = RawRows::new(mapping.width());
        for row in 0..batch.num_rows() {
            row_number += 1;
            let cells: Vec<Cell> = columns
                .iter()
                .map(|column| match column {
                    Some(column) => column.cell(row, &mut rows),
                    None if mapping.id_is_row_number() => rows.push_text(&row_number.to_string()),
                    None => Cell::Missing,
                })
                .collect();
            rows.push_row(row_number, cells);
        }
        if emit(rows).is_break() {
            break;
        }
    }
    Ok(Layout { delimiter: None, unmapped: mapping.unmapped(&names) })
}

fn damaged(mapping: &Mapping<'_>, error: String) -> Error {
    let remedy = "export or copy the file again";
    let remedy = mapping.of.or_setting(remedy, "if it is no Parquet file, set `customers.format`");
    Problem::new(format!("the Parquet file is damaged or cut short: {error}"), remedy).in_file(mapping.file).into()
}

/// A column as text; `None`: its values cannot be text.
struct Texts {
    given: ArrayRef,
    texts: Option<StringArray>,
}

impl Texts {
    fn of(given: &ArrayRef) -> Self {
        let texts = cast(given, &DataType::Utf8).ok().map(|texts| texts.as_string().clone());
        Self { given: Arc::clone(given), texts }
    }

    fn cell(&self, row: usize, rows: &mut RawRows) -> Cell {
        match &self.texts {
            Some(texts) if texts.is_valid(row) => rows.push_text(texts.value(row)),
            // Logically: the values of a dictionary can be null too.
            _ if self.given.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) => Cell::Missing,
            _ => Cell::Bad(Reason::NotText),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, ops::ControlFlow};

    use arrow_array::{
        BinaryArray, Decimal128Array, DictionaryArray, Int32Array, ListArray, RecordBatch, TimestampMillisecondArray,
        types::Int32Type,
    };
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::domain::attribute::{Attribute, AttributeType, Attributes};

    type Row = Vec<Result<Option<String>, Reason>>;

    fn read_columns(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<Row>, Error> {
        let attribute = |(name, _): &(&str, ArrayRef)| Attribute {
            name: (*name).to_owned(),
            column: (*name).to_owned(),
            kind: AttributeType::Text,
            min: None,
            max: None,
            values: Vec::new(),
            required: false,
        };
        let attributes = Attributes::new(columns.iter().map(attribute).collect());
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
                .unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        file.flush().unwrap();

        let mapping = Mapping {
            file: Path::new("c.parquet"),
            id: super::super::ROW_NUMBER,
            attributes: &attributes,
            of: super::super::mapping::Of::Customers,
        };
        let mut rows = Vec::new();
        read(file, mapping.file, &mapping, &mut |batch| {
            let texts = batch.texts();
            for row in 0..batch.lines().len() {
                let cells = (0..mapping.width()).map(|column| texts.get(row, column).map(|t| t.map(str::to_owned)));
                rows.push(cells.collect());
            }
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    #[test]
    fn every_single_valued_type_becomes_the_text_that_csv_would_have() {
        let rows = read_columns(vec![
            ("a_binary", Arc::new(BinaryArray::from(vec![&b"caf\xc3\xa9"[..], b"\xff"]))),
            ("b_decimal", Arc::new(Decimal128Array::from(vec![1_250, -5]).with_precision_and_scale(9, 2).unwrap())),
            ("c_label", Arc::new([Some("gold"), None].into_iter().collect::<DictionaryArray<Int32Type>>())),
            ("d_time", Arc::new(TimestampMillisecondArray::from(vec![Some(1_795_305_600_000), None]))),
        ])
        .unwrap();
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(rows[0], [some("1"), some("café"), some("12.50"), some("gold"), some("2026-11-22T00:00:00")]);
        assert_eq!(rows[1], [some("2"), Err(Reason::NotText), some("-0.05"), Ok(None), Ok(None)]);
    }

    #[test]
    fn a_nested_column_is_refused_by_name() {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)])]);
        let columns: Vec<(&str, ArrayRef)> =
            vec![("n", Arc::new(Int32Array::from(vec![1]))), ("tags", Arc::new(lists))];
        let Err(Error::Input(problems)) = read_columns(columns) else { panic!("a list is accepted") };
        assert_eq!(problems[0].field.as_deref(), Some("tags"));
    }
}
