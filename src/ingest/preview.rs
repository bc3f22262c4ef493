//! What the first bytes of a file tell of it, so that a mapping can be mended before anything starts. Never a value of
//! a customer.

use std::{
    collections::{BTreeMap, HashSet},
    io::{Cursor, Read as _},
    path::Path,
};

use bytes::Bytes;
use jiff::civil::Date;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    csv::{DELIMITERS, Records},
    parquet as parquet_file,
    source::{self, Compression},
    transcode,
};
use crate::config::campaign::CustomerFormat;

/// Of what was compressed, so much is looked at.
const MAX_TEXT_BYTES: u64 = 4 << 20;
const MAX_COLUMNS: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// `None`: it is none of the formats of customer files.
    pub format: Option<CustomerFormat>,
    pub compression: Compression,
    /// CSV only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// Rows that were looked at.
    pub rows: u64,
    /// Whether those are all.
    pub whole: bool,
    pub columns: Vec<Column>,
    /// What is odd about it, in words.
    pub notes: Vec<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// `None`: the first line seems to be a customer, not a header.
    pub name: Option<String>,
    /// Rows with a value.
    pub filled: u64,
    /// What all these values can be read as.
    pub looks_like: Kind,
}

/// From the most special to the most general.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Empty,
    Boolean,
    Date,
    Integer,
    Number,
    Text,
}

impl Kind {
    fn of(value: &str) -> Self {
        if ["true", "false", "yes", "no"].iter().any(|word| value.eq_ignore_ascii_case(word)) {
            Self::Boolean
        } else if value.parse::<i64>().is_ok() {
            Self::Integer
        } else if value.parse::<f64>().is_ok() {
            Self::Number
        } else if value.get(..10).is_some_and(|day| day.parse::<Date>().is_ok()) {
            Self::Date
        } else {
            Self::Text
        }
    }

    /// What both can be read as.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Empty, kind) | (kind, Self::Empty) => kind,
            (one, other) if one == other => one,
            (Self::Integer | Self::Number, Self::Integer | Self::Number) => Self::Number,
            _ => Self::Text,
        }
    }
}

impl Default for Column {
    fn default() -> Self {
        Self { name: None, filled: 0, looks_like: Kind::Empty }
    }
}

impl Column {
    fn see(&mut self, value: &str) {
        let value = value.trim();
        if !value.is_empty() {
            self.filled += 1;
            self.looks_like = self.looks_like.and(Kind::of(value));
        }
    }
}

/// `whole`: these are all bytes of the file.
pub fn preview(name: &Path, start: &[u8], whole: bool) -> Preview {
    let mut preview = Preview {
        format: None,
        compression: Compression::None,
        delimiter: None,
        rows: 0,
        whole,
        columns: Vec::new(),
        notes: Vec::new(),
    };
    if start.is_empty() {
        preview.notes.push("the file is empty");
        return preview;
    }
    let Ok((compression, plain)) = source::decompress(Cursor::new(start)) else {
        preview.notes.push("the compressed data is damaged");
        return preview;
    };
    preview.compression = compression;
    let mut bytes = Vec::new();
    // Compressed data that is cut off ends with an error: what came before it is good.
    let read = plain.take(MAX_TEXT_BYTES).read_to_end(&mut bytes);
    if read.is_err() && whole {
        preview.notes.push("the compressed data is damaged");
    }
    preview.whole &= read.is_ok() && (bytes.len() as u64) < MAX_TEXT_BYTES;
    if parquet_file::is(&bytes) {
        preview.of_parquet(bytes);
    } else {
        preview.of_text(name, bytes);
    }
    preview
}

impl Preview {
    /// Its description is at the end of the file.
    fn of_parquet(&mut self, bytes: Vec<u8>) {
        self.format = Some(CustomerFormat::Parquet);
        if !self.whole {
            self.notes.push("a Parquet file is described at its end: its columns are told when a campaign reads it");
            return;
        }
        let Ok(file) = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)) else {
            self.notes.push("the Parquet file is damaged");
            return;
        };
        let rows = file.metadata().file_metadata().num_rows();
        self.rows = u64::try_from(rows).unwrap_or_default();
        let kind = |kind: &arrow_schema::DataType| match kind {
            kind if kind.is_integer() => Kind::Integer,
            kind if kind.is_numeric() => Kind::Number,
            kind if kind.is_temporal() => Kind::Date,
            arrow_schema::DataType::Boolean => Kind::Boolean,
            _ => Kind::Text,
        };
        let column = |field: &std::sync::Arc<arrow_schema::Field>| Column {
            name: Some(field.name().clone()),
            filled: self.rows,
            looks_like: kind(field.data_type()),
        };
        self.columns = file.schema().fields().iter().take(MAX_COLUMNS).map(column).collect();
    }

    fn of_text(&mut self, name: &Path, bytes: Vec<u8>) {
        let start = bytes.clone();
        let mut text = Vec::new();
        let decoded = transcode::to_utf8(Box::new(Cursor::new(bytes)), &start, encoding_rs::UTF_8)
            .and_then(|(_, mut decoded)| decoded.read_to_end(&mut text));
        if decoded.is_err() || text.contains(&0) {
            self.notes.push("this is binary data: no CSV, JSON Lines or Parquet file");
            return;
        }
        if !self.whole {
            let last_line_end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            text.truncate(last_line_end);
        }
        if std::str::from_utf8(&text).is_err() {
            self.notes.push("the text is not UTF-8: `customers.encoding` must say what it is");
        }
        let is_jsonl = text.trim_ascii_start().starts_with(b"{");
        if is_jsonl { self.of_jsonl(&text) } else { self.of_csv(name, &text) }
    }

    fn of_jsonl(&mut self, text: &[u8]) {
        self.format = Some(CustomerFormat::Jsonl);
        let mut columns: BTreeMap<String, Column> = BTreeMap::new();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            self.rows += 1;
            let Ok(object) = serde_json::from_slice::<Map<String, Value>>(line) else {
                if !self.notes.contains(&"some lines are no JSON objects") {
                    self.notes.push("some lines are no JSON objects");
                }
                continue;
            };
            for (key, value) in object {
                if columns.len() == MAX_COLUMNS && !columns.contains_key(&key) {
                    continue;
                }
                let column = columns.entry(key).or_default();
                match value {
                    Value::Null => {}
                    Value::String(text) => column.see(&text),
                    value => column.see(&value.to_string()),
                }
            }
        }
        let named = |(name, column)| Column { name: Some(name), ..column };
        self.columns = columns.into_iter().map(named).collect();
    }

    fn of_csv(&mut self, name: &Path, text: &[u8]) {
        let width =
            |delimiter: &u8| Records::new(text, *delimiter).next().ok().flatten().map_or(0, |first| first.len());
        // `max_by_key` takes the last of equals.
        let Some(delimiter) = DELIMITERS.into_iter().rev().max_by_key(width) else { return };
        let mut records = Records::new(text, delimiter);
        let Ok(Some(first)) = records.next() else {
            self.notes.push("no record was found");
            return;
        };
        let names: Vec<String> =
            (0..first.len()).map(|field| String::from_utf8_lossy(first.field(field)).trim().to_owned()).collect();
        self.format = Some(CustomerFormat::Csv);
        self.delimiter = Some(char::from(delimiter));
        self.columns = vec![Column::default(); names.len().min(MAX_COLUMNS)];
        let has_header = is_header(&names);
        if has_header {
            self.columns.iter_mut().zip(names.iter()).for_each(|(column, name)| column.name = Some(name.clone()));
        } else {
            self.notes.push("the first line seems to be no header: columns cannot be mapped without their names");
            self.rows += 1;
            self.columns.iter_mut().zip(&names).for_each(|(column, value)| column.see(value));
        }
        let mut is_ragged = false;
        // A record that cannot be read is told in full when a campaign reads the file.
        while let Ok(Some(record)) = records.next() {
            self.rows += 1;
            is_ragged |= record.len() != names.len();
            for (field, column) in self.columns.iter_mut().enumerate().take(record.len()) {
                column.see(&String::from_utf8_lossy(record.field(field)));
            }
        }
        if is_ragged {
            self.notes.push("some records have more or fewer fields than the first");
        }
        if name.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet")) {
            self.notes.push("it is called Parquet and is text");
        }
    }
}

/// Names, not values: no number, date or address among them, and none twice.
fn is_header(names: &[String]) -> bool {
    let is_name = |name: &String| Kind::of(name) == Kind::Text && !name.contains('@') && name.len() <= 128;
    let mut seen = HashSet::new();
    names.iter().all(|name| name.is_empty() || (is_name(name) && seen.insert(name))) && !seen.is_empty()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const CSV: &str = "id;name;spend;since;opt_in\n1;Ada Lovelace;10.5;2026-01-02;yes\n2;Grace Hopper;;2026-02-03;no\n";

    fn seen(preview: &Preview) -> Vec<(Option<&str>, u64, Kind)> {
        preview.columns.iter().map(|column| (column.name.as_deref(), column.filled, column.looks_like)).collect()
    }

    #[test]
    fn columns_are_told_with_what_they_look_like_and_no_value_is() {
        let expected = [
            (Some("id"), 2, Kind::Integer),
            (Some("name"), 2, Kind::Text),
            (Some("spend"), 1, Kind::Number),
            (Some("since"), 2, Kind::Date),
            (Some("opt_in"), 2, Kind::Boolean),
        ];
        let plain = preview(Path::new("a.csv"), CSV.as_bytes(), true);
        assert_eq!((plain.format, plain.delimiter, plain.rows), (Some(CustomerFormat::Csv), Some(';'), 2));
        assert_eq!(seen(&plain), expected);
        let json = serde_json::to_string(&plain).unwrap();
        assert!(!json.contains("Ada") && !json.contains("2026"), "{json}");

        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(CSV.as_bytes()).unwrap();
        let packed = preview(Path::new("a.csv.gz"), &gzip.finish().unwrap(), true);
        assert_eq!((packed.compression, seen(&packed)), (Compression::Gzip, expected.to_vec()));

        let lines = "{\"id\": 1, \"name\": \"Ada\"}\n{\"id\": 2, \"name\": null}\n";
        let jsonl = preview(Path::new("a.jsonl"), lines.as_bytes(), true);
        assert_eq!(seen(&jsonl), [(Some("id"), 2, Kind::Integer), (Some("name"), 1, Kind::Text)]);
    }

    #[test]
    fn a_customer_in_the_place_of_the_header_is_not_told() {
        let preview = preview(Path::new("a.csv"), b"17,Ada Lovelace,ada@example.org\n18,Grace,g@example.org\n", true);
        assert_eq!(preview.rows, 2);
        assert!(preview.columns.iter().all(|column| column.name.is_none()));
        assert!(!serde_json::to_string(&preview).unwrap().contains("Ada"));
    }

    #[test]
    fn a_record_that_is_cut_off_is_not_counted() {
        let cut = preview(Path::new("a.csv"), &CSV.as_bytes()[..CSV.len() - 6], false);
        assert_eq!((cut.rows, cut.whole, cut.notes.len()), (1, false, 0));
    }

    #[test]
    fn what_is_no_customer_file_is_told_and_not_read() {
        for bytes in [&b""[..], b"PK\x03\x04\x00\x00", b"\x1f\x8b\x08", b"PAR1 but not really", b"\n\n"] {
            let preview = preview(Path::new("a"), bytes, true);
            assert!(!preview.notes.is_empty() && preview.columns.is_empty(), "{bytes:?}: {preview:?}");
        }
    }
}
