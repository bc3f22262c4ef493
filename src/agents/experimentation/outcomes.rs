//! Reading an outcomes file: CSV with any usual delimiter, plain or gzip, one row at a time.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use csv::ByteRecord;
use flate2::bufread::MultiGzDecoder;

use crate::{
    agents::experimentation::{accumulate::Metric, analysis::MetricKind},
    domain::problem::Problem,
};

const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Bytes: no row of outcomes is as long, and without a limit a missing quote would pull the whole file into memory.
const MAX_ROW: usize = 1 << 20;
/// A file with more defects than this is not read further.
const MAX_PROBLEMS: usize = 20;
/// Of numbers other than 0: so that sums of squares of any number of rows, and their ratios, stay finite.
const SIZES: RangeInclusive<f64> = 1e-100..=1e100;
/// An optional column: rows with a true value were invented, see [`super::simulate`].
pub const SIMULATED: &str = "simulated";

pub struct OutcomeFile {
    path: PathBuf,
    reader: csv::Reader<Limited>,
    header: Vec<String>,
}

impl OutcomeFile {
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let unreadable = |error: io::Error| {
            Problem::new(
                format!("the outcomes file cannot be read: {error}"),
                "name a readable CSV file, plain or compressed with gzip",
            )
            .in_file(path)
        };
        let mut text = decompressed(File::open(path).map_err(unreadable)?).map_err(unreadable)?;
        let start = text.fill_buf().map_err(unreadable)?;
        if start.is_empty() {
            return Err(Problem::new("the file is empty", "give a CSV file with a header line").in_file(path));
        }
        if start.contains(&0) {
            return Err(
                Problem::new("this is not a text file", "give a CSV file in UTF-8, plain or gzip").in_file(path)
            );
        }
        let delimiter = sniff(start);
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(Limited { text, left: MAX_ROW });
        let header = reader.byte_headers().map_err(|error| in_row(&error, path))?;
        let header = header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
        Ok(Self { path: path.to_owned(), reader, header })
    }

    /// The index of a column that must be there.
    pub fn column(&self, name: &str) -> Result<usize, Problem> {
        let at = |problem: Problem| problem.in_file(&self.path).at_line(1).at_field(name);
        let mut found = self.header.iter().enumerate().filter(|(_, column)| *column == name);
        match (found.next(), found.next()) {
            (Some((index, _)), None) => Ok(index),
            (Some(_), Some(_)) => {
                Err(at(Problem::new("two columns have this name", "rename one of them in the header")))
            }
            // Numbers name no columns: this is somebody's row, and not to be quoted.
            (None, _) if self.header.iter().any(|name| name.parse::<f64>().is_ok()) => Err(at(Problem::new(
                "there is no such column: the first line looks like a row, not a header",
                "put a line with the columns' names before the first row",
            ))),
            (None, _) => {
                let names: Vec<_> = self.header.iter().take(20).map(|name| format!("`{name}`")).collect();
                Err(at(Problem::new("there is no such column", format!("choose one of {}", names.join(", ")))))
            }
        }
    }

    /// All columns that are missing are told.
    pub fn metrics(&self, metrics: &[Metric]) -> Result<Vec<(usize, MetricKind)>, Vec<Problem>> {
        let (mut columns, mut problems) = (Vec::new(), Vec::new());
        for metric in metrics {
            match self.column(&metric.name) {
                Ok(column) => columns.push((column, metric.kind)),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(columns) } else { Err(problems) }
    }

    /// Hands every row to `use_row`; reports all defects together, up to [`MAX_PROBLEMS`]. True if a row says that it
    /// is simulated.
    pub fn for_each(mut self, mut use_row: impl FnMut(&Row<'_>) -> Result<(), Problem>) -> Result<bool, Vec<Problem>> {
        let simulated_column = self.header.iter().position(|name| name == SIMULATED);
        let (mut rows, mut simulated, mut problems) = (0_u64, false, Vec::new());
        let mut record = ByteRecord::new();
        while problems.len() < MAX_PROBLEMS {
            self.reader.get_mut().left = MAX_ROW;
            match self.reader.read_byte_record(&mut record) {
                Ok(false) => break,
                Ok(true) => {}
                Err(error) => {
                    problems.push(in_row(&error, &self.path));
                    if error.is_io_error() {
                        break;
                    }
                    continue;
                }
            }
            rows += 1;
            let row = Row { record: &record, header: &self.header, path: &self.path };
            simulated |= simulated_column.is_some_and(|column| is_true(row.bytes(column)));
            problems.extend(use_row(&row).err());
        }
        if rows == 0 && problems.is_empty() {
            problems.push(Problem::new("there is a header and no row", "give at least one row").in_file(&self.path));
        }
        if problems.is_empty() { Ok(simulated) } else { Err(problems) }
    }
}

/// One row of the file. What goes wrong with it is told by line and column; its values are never quoted.
pub struct Row<'a> {
    record: &'a ByteRecord,
    header: &'a [String],
    path: &'a Path,
}

impl Row<'_> {
    /// Not empty, without blanks around it.
    pub fn text(&self, column: usize) -> Result<&str, Problem> {
        let text = std::str::from_utf8(self.bytes(column))
            .map_err(|_| self.problem(column, "this is not UTF-8", "save the file as UTF-8"))?;
        if text.is_empty() {
            return Err(self.problem(column, "the value is missing", "fill it in, or leave the row out"));
        }
        Ok(text)
    }

    pub fn number(&self, column: usize) -> Result<f64, Problem> {
        let number = self.text(column)?.parse().ok().filter(|number: &f64| number.is_finite());
        let number: f64 = number.ok_or_else(|| {
            self.problem(column, "this is not a number", "write digits with a decimal point, e.g. 1234.5")
        })?;
        if number == 0.0 || SIZES.contains(&number.abs()) {
            return Ok(number);
        }
        let message = "this number is so large or so small that its square cannot be computed with";
        Err(self.problem(column, message, "correct it, or leave the row out"))
    }

    /// Fills `values` with one number per metric.
    pub fn metrics(&self, columns: &[(usize, MetricKind)], values: &mut Vec<f64>) -> Result<(), Problem> {
        values.clear();
        for (column, kind) in columns {
            let value = self.number(*column)?;
            if *kind == MetricKind::Rate && value != 0.0 && value != 1.0 {
                return Err(self.problem(
                    *column,
                    "a rate's values are 0 or 1, and this is another number",
                    "analyse the column as a mean (NAME:mean), or write 1 for customers who did it and 0 for others",
                ));
            }
            values.push(value);
        }
        Ok(())
    }

    pub fn problem(&self, column: usize, message: &str, remedy: &str) -> Problem {
        let problem = Problem::new(message, remedy).in_file(self.path).at_field(&self.header[column]);
        Problem { line: self.record.position().map(csv::Position::line), ..problem }
    }

    fn bytes(&self, column: usize) -> &[u8] {
        self.record[column].trim_ascii()
    }
}

fn is_true(value: &[u8]) -> bool {
    ["true", "1", "yes"].iter().any(|truth| value.eq_ignore_ascii_case(truth.as_bytes()))
}

fn in_row(error: &csv::Error, path: &Path) -> Problem {
    let line = error.position().map(csv::Position::line);
    let problem = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => Problem::new(
            format!("this row has {len} fields, the header has {expected_len}"),
            "quote fields that contain the delimiter, and close every quote",
        ),
        csv::ErrorKind::Io(error) => Problem::new(
            format!("the file cannot be read to its end: {error}"),
            "check that the file is whole and that every quote is closed",
        ),
        _ => Problem::new(error.to_string(), "check that the file is CSV"),
    };
    Problem { line, ..problem }.in_file(path)
}

fn decompressed(file: File) -> io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::with_capacity(1 << 16, file);
    if file.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file))));
    }
    Ok(Box::new(file))
}

/// The delimiter that splits the header into most fields.
fn sniff(start: &[u8]) -> u8 {
    let header = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let fields = |delimiter: u8| {
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(header);
        reader.byte_headers().map_or(0, ByteRecord::len)
    };
    let best = DELIMITERS.into_iter().rev().max_by_key(|delimiter| fields(*delimiter));
    best.unwrap_or(b',')
}

/// Stops when a row takes more than [`MAX_ROW`] bytes. Whoever reads rows sets `left` back after each of them.
struct Limited {
    text: Box<dyn BufRead>,
    left: usize,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other("a row is longer than 1 MiB"));
        }
        let read = self.text.read(buffer)?;
        self.left = self.left.saturating_sub(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn read(bytes: &[u8]) -> Result<(Vec<Vec<f64>>, bool), Vec<Problem>> {
        let file = file(bytes);
        let outcomes = OutcomeFile::open(file.path()).map_err(|problem| vec![problem])?;
        let metrics = ["visit:rate", "spend:mean"].map(|metric| metric.parse().unwrap());
        let columns = outcomes.metrics(&metrics)?;
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        let simulated = outcomes.for_each(|row| {
            row.metrics(&columns, &mut values)?;
            rows.push(values.clone());
            Ok(())
        })?;
        Ok((rows, simulated))
    }

    #[test]
    fn any_delimiter_a_byte_order_mark_and_gzip_give_the_same_rows() {
        let expected = (vec![vec![1.0, 12.5], vec![0.0, 0.0]], false);
        for delimiter in [",", ";", "\t", "|"] {
            let text = "\u{feff}visit,name,spend\r\n1,\"a;b\",12.5\r\n0,x, 0 \r\n".replace(',', delimiter);
            let text = if delimiter == ";" { text.replace("a;b", "ab") } else { text };
            assert_eq!(read(text.as_bytes()).unwrap(), expected, "{delimiter:?}");
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(text.as_bytes()).unwrap();
            assert_eq!(read(&gzip.finish().unwrap()).unwrap(), expected, "{delimiter:?}, gzip");
        }
    }

    #[test]
    fn a_row_that_says_it_is_simulated_marks_the_file() {
        assert!(read(b"visit,spend,simulated\n1,1,false\n0,0,TRUE\n").unwrap().1);
        assert!(!read(b"visit,spend,simulated\n1,1,false\n0,0,0\n").unwrap().1);
    }

    #[test]
    fn defects_are_told_with_line_and_column_and_without_the_value() {
        let problems = read(b"visit,spend\n1,5\n2,5\n1,secret\n1\n,3\n0,inf\n0,1e200\n0,-1e-200\n").unwrap_err();
        let places: Vec<_> = problems.iter().map(|p| (p.line, p.field.as_deref())).collect();
        let (visit, spend) = (Some("visit"), Some("spend"));
        assert_eq!(
            places,
            [
                (Some(3), visit),
                (Some(4), spend),
                (Some(5), None),
                (Some(6), visit),
                (Some(7), spend),
                (Some(8), spend),
                (Some(9), spend)
            ]
        );
        assert!(problems.iter().all(|problem| problem.file.is_some() && !problem.to_string().contains("secret")));
    }

    #[test]
    fn files_that_are_no_outcomes_are_refused() {
        let message = |bytes: &[u8]| read(bytes).unwrap_err()[0].to_string();
        assert!(message(b"").contains("empty"));
        assert!(message(b"visit,spend\n").contains("no row"));
        assert!(message(b"\x00\x01\x02PAR1").contains("not a text file"));
        assert!(message(b"visit,cost\n1,1\n").contains("`visit`, `cost`"));
        assert!(message(b"visit,spend,visit\n1,1,1\n").contains("two columns"));
        let endless = [b"visit,spend\n1,\"".as_slice(), &vec![b'x'; 3 << 20]].concat();
        assert!(message(&endless).contains("1 MiB"));
        let many = format!("visit,spend\n{}", "x,x\n".repeat(1000));
        assert_eq!(read(many.as_bytes()).unwrap_err().len(), MAX_PROBLEMS);
        assert!(OutcomeFile::open(Path::new("nowhere.csv")).is_err());
    }
}
