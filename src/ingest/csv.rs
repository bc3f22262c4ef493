//! CSV: records of bounded size, with the line on which each starts.

use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, ReaderBuilder};

use super::{
    defect::Reason,
    mapping::{Mapping, Of},
    rows::{Cell, RawRows},
    source::{Emit, Layout, Origin},
};
use crate::{Error, domain::problem::Problem};

/// A longer record is no customer: a quote was opened and not closed, or this is not CSV.
pub const MAX_RECORD_BYTES: u64 = 1 << 20;

/// The delimiters that a header is tried with; the first of equals wins.
pub const DELIMITERS: [u8; 5] = *b",;\t|:";

pub fn read(
    text: impl BufRead,
    start: &[u8],
    declared: Option<char>,
    origin: Origin<'_>,
    mapping: &Mapping<'_>,
    emit: &mut Emit<'_>,
) -> Result<Layout, Error> {
    let delimiter = match declared.map(u8::try_from) {
        Some(Ok(delimiter)) => delimiter,
        _ => sniff(start, mapping),
    };
    let failed = |error: ReadError| error.about(&origin);
    let mut records = Records::new(text, delimiter);
    let Some(header) = records.next().map_err(failed)? else { return Err(mapping.no_rows().into()) };
    let header_line = header.line;
    let names = names(&header).ok_or_else(|| not_a_header(&origin, mapping.of, header_line))?;
    if declared.is_some() && names.len() == 1 && mapping.width() > 1 {
        let likely = sniff(start, mapping);
        if likely != delimiter {
            return Err(wrong_delimiter(&origin, delimiter, likely, header_line).into());
        }
    }
    let positions = mapping.locate(&names).map_err(|problems| {
        Error::from(problems.into_iter().map(|problem| problem.at_line(header_line)).collect::<Vec<_>>())
    })?;

    let mut rows = RawRows::new(mapping.width());
    let mut read = 0;
    while let Some(record) = records.next().map_err(failed)? {
        read += 1;
        if record.len() == names.len() {
            let base = rows.push_bytes(record.bytes);
            let row_number = positions[0].is_none().then(|| rows.push_text(&read.to_string()));
            let cell = |position: &Option<usize>| match *position {
                Some(index) => {
                    let (start, end) = record.range(index);
                    Cell::Text { start: base + start as u32, end: base + end as u32 }
                }
                None => row_number.unwrap_or(Cell::Missing),
            };
            rows.push_row(record.line, positions.iter().map(cell));
        } else {
            let (found, expected) = (record.len() as u32, names.len() as u32);
            rows.push_malformed(record.line, Reason::FieldCount { found, expected, lines: record.lines as u32 });
        }
        if rows.is_full() && emit(std::mem::replace(&mut rows, RawRows::new(mapping.width()))).is_break() {
            break;
        }
    }
    if read == 0 {
        return Err(mapping.no_rows().into());
    }
    // A break here means the same as everywhere: nobody wants more, and there is no more.
    let _ = emit(rows);
    Ok(Layout { delimiter: Some(char::from(delimiter)), unmapped: mapping.unmapped(&names) })
}

/// The names in the header, if it can be one: text without control characters.
fn names(header: &Record<'_>) -> Option<Vec<String>> {
    let name = |index| {
        let name = std::str::from_utf8(header.field(index)).ok()?.trim();
        (!name.contains(|c: char| c.is_control() && !c.is_whitespace())).then(|| name.to_owned())
    };
    (0..header.len()).map(name).collect()
}

fn not_a_header(origin: &Origin<'_>, of: Of, line: u64) -> Problem {
    let message = format!("the header is not text in {}", origin.encoding.name());
    let remedy = match of {
        Of::Customers => {
            "set `customers.encoding` to what the file is written in, e.g. windows-1252; or name a CSV file"
        }
        Of::Outcomes => "save the file as UTF-8, or name a CSV file",
    };
    origin.problem(message, remedy).at_line(line)
}

fn wrong_delimiter(origin: &Origin<'_>, declared: u8, likely: u8, line: u64) -> Problem {
    let quoted = |delimiter: u8| format!("{:?}", char::from(delimiter).to_string());
    let message = format!(
        "the header is a single column with the declared delimiter {}; it looks divided by {}",
        quoted(declared),
        quoted(likely)
    );
    let remedy = format!("set `delimiter = {}`, or leave it out", quoted(likely));
    origin.problem(message, remedy).at_line(line).at_field("customers.delimiter")
}

/// The delimiter by which most of the mapped columns are found; among equals, the one that gives most columns.
fn sniff(start: &[u8], mapping: &Mapping<'_>) -> u8 {
    let fitness = |delimiter: u8| {
        let mut records = Records::new(start, delimiter);
        let names = records.next().ok().flatten().and_then(|header| names(&header)).unwrap_or_default();
        let mapped = mapping.columns().filter(|column| names.iter().any(|name| name == column)).count();
        (mapped, names.len())
    };
    // `max_by_key` takes the last of equals.
    DELIMITERS.into_iter().rev().max_by_key(|delimiter| fitness(*delimiter)).unwrap_or(DELIMITERS[0])
}

/// Why no record follows.
#[derive(Debug)]
pub enum ReadError {
    Io(io::Error),
    TooLong { line: u64 },
    OpenQuote { line: u64 },
}

impl ReadError {
    fn about(self, origin: &Origin<'_>) -> Problem {
        let remedy = "close or double the quote in this record; if the file is no CSV, name one";
        match self {
            Self::Io(error) => origin.broken(error),
            Self::TooLong { line } => {
                let message = format!("the record that starts here is longer than {} MiB", MAX_RECORD_BYTES >> 20);
                origin.problem(message, remedy).at_line(line)
            }
            Self::OpenQuote { line } => {
                let message = "a quote is opened in the record that starts here, and never closed";
                origin.problem(message, remedy).at_line(line)
            }
        }
    }
}

/// One record, its fields unquoted, end to end.
#[derive(Debug)]
pub struct Record<'a> {
    /// 1-based, on which it starts.
    pub line: u64,
    /// Over how many lines it runs.
    pub lines: u64,
    pub bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Record<'a> {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn range(&self, field: usize) -> (usize, usize) {
        (if field == 0 { 0 } else { self.ends[field - 1] }, self.ends[field])
    }

    pub fn field(&self, field: usize) -> &'a [u8] {
        let (start, end) = self.range(field);
        &self.bytes[start..end]
    }
}

/// Records one by one, blank lines skipped. Memory is [`MAX_RECORD_BYTES`] and what `input` buffers.
#[derive(Debug)]
pub struct Records<R> {
    input: R,
    core: csv_core::Reader,
    line: u64,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl<R: BufRead> Records<R> {
    pub fn new(input: R, delimiter: u8) -> Self {
        let core = ReaderBuilder::new().delimiter(delimiter).build();
        Self { input, core, line: 1, bytes: vec![0; 4096], ends: vec![0; 64] }
    }

    /// `None` at the end.
    pub fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        self.skip_line_ends().map_err(ReadError::Io)?;
        let line = self.line;
        let (mut len, mut fields, mut consumed) = (0, 0, 0);
        loop {
            let input = self.input.fill_buf().map_err(ReadError::Io)?;
            let at_end = input.is_empty();
            if at_end && consumed == 0 {
                return Ok(None);
            }
            // A line end ends every record except one with an open quote.
            let input = if at_end { b"\n" } else { input };
            if self.bytes.len() < len + input.len() {
                self.bytes.resize(len + input.len(), 0);
            }
            if fields == self.ends.len() {
                self.ends.resize(2 * fields, 0);
            }
            let (result, read, written, ended) =
                self.core.read_record(input, &mut self.bytes[len..], &mut self.ends[fields..]);
            len += written;
            fields += ended;
            consumed += read as u64;
            self.line += input[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
            let ends_line = input[..read].ends_with(b"\n");
            if !at_end {
                self.input.consume(read);
            }
            match result {
                ReadRecordResult::Record => {
                    // Of a `\r\n` only the first half is read by now.
                    let lines = 1 + self.line - line - u64::from(ends_line);
                    let (bytes, ends) = (&self.bytes[..len], &self.ends[..fields]);
                    return Ok(Some(Record { line, lines, bytes, ends }));
                }
                ReadRecordResult::InputEmpty if at_end => return Err(ReadError::OpenQuote { line }),
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::InputEmpty | ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {}
            }
            if consumed > MAX_RECORD_BYTES {
                return Err(ReadError::TooLong { line });
            }
        }
    }

    /// Before a record, so that its line is the one it starts on.
    fn skip_line_ends(&mut self) -> io::Result<()> {
        loop {
            let input = self.input.fill_buf()?;
            let ends = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.line += input[..ends].iter().filter(|byte| **byte == b'\n').count() as u64;
            let all = ends == input.len() && ends > 0;
            self.input.consume(ends);
            if !all {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use proptest::prelude::*;

    use super::*;

    /// Line and fields of every record.
    fn all(bytes: &[u8], delimiter: u8, buffer: usize) -> Vec<(u64, Vec<Vec<u8>>)> {
        let mut records = Records::new(BufReader::with_capacity(buffer, bytes), delimiter);
        let mut all = Vec::new();
        while let Some(record) = records.next().unwrap() {
            all.push((record.line, (0..record.len()).map(|field| record.field(field).to_vec()).collect()));
        }
        all
    }

    proptest! {
        #[test]
        fn what_the_csv_crate_writes_reads_back_with_its_lines(
            records in prop::collection::vec(prop::collection::vec("[a-zé,;\"\r\n\t ]{0,12}", 1..6), 1..20),
            delimiter in prop::sample::select(DELIMITERS.to_vec()),
            crlf: bool,
            buffer in 1usize..40,
        ) {
            let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
            let mut writer = csv::WriterBuilder::new()
                .delimiter(delimiter).terminator(terminator).flexible(true).from_writer(Vec::new());
            let mut expected = Vec::new();
            let mut line = 1;
            for record in &records {
                writer.write_record(record).unwrap();
                expected.push((line, record.iter().map(|field| field.clone().into_bytes()).collect::<Vec<_>>()));
                line += 1 + record.iter().flat_map(|field| field.bytes()).filter(|b| *b == b'\n').count() as u64;
            }
            prop_assert_eq!(all(&writer.into_inner().unwrap(), delimiter, buffer), expected);
        }
    }

    #[test]
    fn blank_lines_count_and_are_no_records() {
        let lines: Vec<_> = all(b"\n\na,b\n\r\n\n\"c\n\",d\ne,f", b',', 3).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [3, 6, 8]);
    }

    /// Endless bytes, made as they are read.
    #[test]
    fn an_endless_line_and_an_endless_quote_stop_at_the_cap() {
        for start in ["id,name\n1,", "id,name\n1,\""] {
            let endless = start.as_bytes().chain(std::io::repeat(b'x'));
            let mut records = Records::new(BufReader::new(endless), b',');
            assert!(records.next().unwrap().is_some());
            let error = records.next().unwrap_err();
            assert!(matches!(error, ReadError::TooLong { line: 2 }), "{error:?}");
            assert!(records.bytes.capacity() < 4 << 20);
        }
        let mut commas = Records::new(BufReader::new(std::io::repeat(b',')), b',');
        assert!(matches!(commas.next(), Err(ReadError::TooLong { line: 1 })));
        assert!(commas.ends.capacity() < 4 << 20);
    }

    #[test]
    fn a_quote_left_open_is_found_at_the_end_of_the_file() {
        let mut records = Records::new(&b"a,b\n1,2\n3,\"4\n5,6\n"[..], b',');
        assert!(records.next().unwrap().is_some());
        assert!(records.next().unwrap().is_some());
        assert!(matches!(records.next(), Err(ReadError::OpenQuote { line: 3 })));
    }
}
