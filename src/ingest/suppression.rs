//! The list of customers who may not be contacted.

use std::path::Path;

use super::{
    csv::{ReadError, Records},
    source, transcode,
};
use crate::domain::{
    customer::{CUSTOMER_ID, IdPrefix},
    id::CustomerId,
    problem::Problem,
};

/// Sorted; 16 bytes an entry.
#[derive(Debug, Clone, Default)]
pub struct Suppression(Vec<IdPrefix>);

impl Suppression {
    /// One id a line, blank lines and a header `customer_id` skipped; plain, gzip or zstd.
    ///
    /// A line with more than one field, or with what cannot be a customer's id, is refused rather than skipped: an
    /// entry that matches nobody would let its customer be contacted.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let file = source::open(path, "suppression list")?;
        let problem = |line, message: &str| {
            let remedy = "write one customer id a line, in UTF-8, and quote an id that contains a comma";
            Problem::new(message, remedy).in_file(path).at_line(line)
        };
        let (compression, text) =
            source::decompress(file).map_err(|e| source::unreadable(path, "suppression list", e))?;
        let broken = |error| source::broken(path, compression, error);
        let (start, text) = source::peek(text).map_err(broken)?;
        let (_, text) = transcode::to_utf8(text, &start, encoding_rs::UTF_8).map_err(broken)?;
        let mut records = Records::new(text, b',');
        let mut entries = Vec::new();
        while let Some(record) = records.next().map_err(|error| match error {
            ReadError::Io(error) => broken(error),
            ReadError::TooLong { line } => problem(line, "an entry is longer than 1 MiB"),
            ReadError::OpenQuote { line } => problem(line, "a quote is opened and never closed"),
        })? {
            let line = record.line;
            if record.len() != 1 {
                return Err(problem(line, &format!("{} fields where one customer id is expected", record.len())));
            }
            let id = std::str::from_utf8(record.field(0)).map_err(|_| problem(line, "not valid UTF-8"))?.trim();
            if id.is_empty() || (entries.is_empty() && id == CUSTOMER_ID) {
                continue;
            }
            if id.contains(';') {
                return Err(problem(line, "a `;` where one customer id is expected"));
            }
            let id = CustomerId::new(id).map_err(|_| problem(line, "this cannot be a customer id"))?;
            entries.push(IdPrefix::of(id.as_str()));
        }
        entries.sort_unstable();
        entries.dedup();
        entries.shrink_to_fit();
        Ok(Self(entries))
    }

    pub fn contains(&self, id: IdPrefix) -> bool {
        self.0.binary_search(&id).is_ok()
    }
}

#[cfg(test)]
impl FromIterator<&'static str> for Suppression {
    fn from_iter<T: IntoIterator<Item = &'static str>>(ids: T) -> Self {
        let mut entries: Vec<_> = ids.into_iter().map(IdPrefix::of).collect();
        entries.sort_unstable();
        Self(entries)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Suppression, Problem> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Suppression::read(file.path())
    }

    #[test]
    fn ids_are_found_whatever_the_header_blank_lines_quotes_and_line_ends() {
        let list = read(b"\xef\xbb\xbfcustomer_id\r\n\r\n c2 \r\n\"a,b\"\nc1\nc1").unwrap();
        assert_eq!(list.0.len(), 3);
        for id in ["c1", "c2", "a,b"] {
            assert!(list.contains(IdPrefix::of(id)), "{id}");
        }
        assert!(!list.contains(IdPrefix::of("c3")));
        assert!(read(b"").unwrap().0.is_empty());
    }

    #[test]
    fn an_entry_that_would_match_nobody_is_refused_with_its_line() {
        for bad in [&b"c1\nc2,unsubscribed\n"[..], b"c1\nc2;stop\n", b"c1\n\xff\n", b"c1\na\x00b\n", b"c1\n\"c2\n"] {
            let problem = read(bad).unwrap_err();
            assert_eq!(problem.line, Some(2), "{problem}");
        }
    }
}
