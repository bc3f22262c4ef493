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
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(path, error.to_string()))?;
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
        let remedy = "name a file with at least one customer";
        return Err(Problem::new("the file has columns and no customers", remedy).in_file(path).into());
    }

    let mut projected: Vec<usize> = positions.iter().flatten().copied().collect();
    projected.sort_unstable();
    projected.dedup();
    let mask = ProjectionMask::roots(builder.parquet_schema(), projected.iter().copied());
    let reader = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|error: ParquetError| damaged(path, error.to_string()))?;
    let mut row_number = 0;
    for batch in reader {
        let batch = batch.map_err(|error| damaged(path, error.to_string()))?;
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
                    None => rows.push_text(&row_number.to_string()),
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

fn damaged(path: &Path, error: String) -> Error {
    let remedy = "export or copy the file again; if it is no Parquet file, set `customers.format`";
    Problem::new(format!("the Parquet file is damaged or cut short: {error}"), remedy).in_file(path).into()
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
