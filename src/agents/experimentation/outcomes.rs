//! Reading an outcomes file, in any format that customer files have, one row at a time.

use std::{
    ops::{ControlFlow, RangeInclusive},
    path::{Path, PathBuf},
};

use crate::{
    Error,
    agents::experimentation::{accumulate::Metric, analysis::MetricKind},
    domain::problem::Problem,
    ingest::{
        Reason,
        columns::{self, Wanted},
    },
};

/// A file with more defects than this is not read further.
const MAX_PROBLEMS: usize = 20;
/// Of numbers other than 0: so that sums of squares of any number of rows, and their ratios, stay finite.
const SIZES: RangeInclusive<f64> = 1e-100..=1e100;
/// An optional column: rows with a true value were invented, see [`super::simulate`].
pub const SIMULATED: &str = "simulated";

/// A file, and the columns that are wanted of it.
#[derive(Debug)]
pub struct OutcomeFile {
    path: PathBuf,
    columns: Vec<Wanted>,
}

impl OutcomeFile {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), columns: Vec::new() }
    }

    /// Asks for a column, without which the file is refused. What it is called in rows.
    pub fn column(&mut self, name: &str) -> usize {
        self.want(name, true)
    }

    pub fn metrics(&mut self, metrics: &[Metric]) -> Vec<(usize, MetricKind)> {
        metrics.iter().map(|metric| (self.column(&metric.name), metric.kind)).collect()
    }

    fn want(&mut self, name: &str, required: bool) -> usize {
        if let Some(known) = self.columns.iter().position(|known| known.name == name) {
            return known;
        }
        self.columns.push(Wanted { name: name.to_owned(), required });
        self.columns.len() - 1
    }

    /// Hands every row to `use_row`; reports all defects together, up to [`MAX_PROBLEMS`]. True if a row says that it
    /// is simulated.
    pub fn for_each(mut self, mut use_row: impl FnMut(&Row<'_>) -> Result<(), Problem>) -> Result<bool, Error> {
        let simulated_column = self.want(SIMULATED, false);
        let (mut rows, mut simulated, mut problems) = (0_u64, false, Vec::new());
        let Self { path, columns } = &self;
        let read = columns::for_each(path, "outcomes file", columns, &mut |row| {
            rows += 1;
            match row {
                Ok(row) => {
                    simulated |= row.text(simulated_column).is_ok_and(|text| text.is_some_and(is_true));
                    problems.extend(use_row(&Row { row, columns, path }).err());
                }
                Err((line, reason)) => {
                    let remedy = "write one whole row per customer, and close every quote";
                    problems.push(Problem::new(reason.to_string(), remedy).in_file(path).at_line(line));
                }
            }
            if problems.len() < MAX_PROBLEMS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        match read {
            // What is wrong with the whole file is told first, and last where it cannot be read on.
            Err(Error::Input(more)) => {
                let (whole, end): (Vec<_>, Vec<_>) = more.into_iter().partition(|problem| problem.line.is_none());
                problems = whole.into_iter().chain(problems).chain(end).collect();
            }
            read => read?,
        }
        if rows == 0 && problems.is_empty() {
            problems.push(Problem::new("there is no row", "give at least one row").in_file(path));
        }
        if problems.is_empty() { Ok(simulated) } else { Err(problems.into()) }
    }
}

/// One row of the file. What goes wrong with it is told by line and column; its values are never quoted.
pub struct Row<'a> {
    row: columns::Row<'a>,
    columns: &'a [Wanted],
    path: &'a Path,
}

impl Row<'_> {
    /// Not empty, without blanks around it.
    pub fn text(&self, column: usize) -> Result<&str, Problem> {
        match self.row.text(column) {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err(self.problem(column, "the value is missing", "fill it in, or leave the row out")),
            Err(Reason::NotText) => Err(self.problem(column, "this is not UTF-8", "save the file as UTF-8")),
            Err(reason) => Err(self.problem(column, &reason.to_string(), "correct it, or leave the row out")),
        }
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

    /// Fills `values` with one number per metric. A rate may be a yes or no of the file's format.
    pub fn metrics(&self, columns: &[(usize, MetricKind)], values: &mut Vec<f64>) -> Result<(), Problem> {
        values.clear();
        for (column, kind) in columns {
            let value = match (kind, self.text(*column)?) {
                (MetricKind::Rate, "true") => 1.0,
                (MetricKind::Rate, "false") => 0.0,
                _ => self.number(*column)?,
            };
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
        Problem::new(message, remedy).in_file(self.path).at_field(&self.columns[column].name).at_line(self.row.line)
    }
}

fn is_true(value: &str) -> bool {
    ["true", "1", "yes"].iter().any(|truth| value.eq_ignore_ascii_case(truth))
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, sync::Arc};

    use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch};

    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn read(bytes: &[u8]) -> Result<(Vec<Vec<f64>>, bool), Vec<Problem>> {
        read_file(file(bytes).path())
    }

    fn read_file(path: &Path) -> Result<(Vec<Vec<f64>>, bool), Vec<Problem>> {
        let mut outcomes = OutcomeFile::new(path);
        let columns = outcomes.metrics(&["visit:rate", "spend:mean"].map(|metric| metric.parse().unwrap()));
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        let simulated = outcomes.for_each(|row| {
            row.metrics(&columns, &mut values)?;
            rows.push(values.clone());
            Ok(())
        });
        match simulated {
            Ok(simulated) => Ok((rows, simulated)),
            Err(Error::Input(problems)) => Err(problems),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn every_format_gives_the_same_rows() {
        let expected = (vec![vec![1.0, 12.5], vec![0.0, 0.0]], true);
        let csv = "name,spend,visit,simulated\na,12.5,1,yes\nb,0,0,\n";
        let lines = "{\"visit\":true,\"spend\":12.5,\"simulated\":true}\n\n{\"spend\":\"0\",\"visit\":0}\n";
        let table = {
            let columns: [(&str, ArrayRef, bool); 3] = [
                ("spend", Arc::new(Float64Array::from(vec![12.5, 0.0])), false),
                ("simulated", Arc::new(BooleanArray::from(vec![Some(true), None])), true),
                ("visit", Arc::new(BooleanArray::from(vec![true, false])), false),
            ];
            crate::store::table::encode(&RecordBatch::try_from_iter_with_nullable(columns).unwrap()).unwrap()
        };
        for (name, bytes) in [("CSV", csv.as_bytes()), ("JSON Lines", lines.as_bytes()), ("Parquet", &table)] {
            assert_eq!(read(bytes).unwrap(), expected, "{name}");
            assert_eq!(read(&zstd::encode_all(bytes, 1).unwrap()).unwrap(), expected, "{name}, zstd");
        }
        let gaps = read(b"{\"visit\":1,\"spend\":1}\n{\"visit\":1}\n{\"spend\":[1],\"visit\":2}\n[1]\n").unwrap_err();
        let places: Vec<_> = gaps.iter().map(|problem| (problem.line, problem.field.as_deref())).collect();
        assert_eq!(places, [(Some(2), Some("spend")), (Some(3), Some("visit")), (Some(4), None)]);
        assert!(read(b"{\"visit\":1}\n").unwrap_err()[0].to_string().contains("`visit`"));
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
        assert!(message(b"visit\x00\x01\x02").contains("not text"));
        assert!(message(b"visit,cost\n1,1\n").contains("`visit`, `cost`"));
        assert!(message(b"visit,spend,visit\n1,1,1\n").contains("two columns"));
        let endless = [b"visit,spend\n1,\"".as_slice(), &vec![b'x'; 3 << 20]].concat();
        assert!(message(&endless).contains("1 MiB"));
        let many = format!("visit,spend\n{}", "x,x\n".repeat(1000));
        assert_eq!(read(many.as_bytes()).unwrap_err().len(), MAX_PROBLEMS);
        assert!(read_file(Path::new("nowhere.csv")).is_err());
    }
}
