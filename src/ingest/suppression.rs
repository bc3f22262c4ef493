//! The list of customers who may not be contacted.

use std::{
    io::{Seek, SeekFrom},
    path::Path,
};

use super::{
    csv::{ReadError, Records},
    source, transcode,
};
use crate::domain::{
    customer::{CUSTOMER_ID, IdPrefix},
    digest::Digest,
    id::CustomerId,
    problem::Problem,
};

#[derive(Debug, Clone, Default)]
pub struct Suppression {
    /// Sorted; 16 bytes an entry.
    entries: Vec<IdPrefix>,
    sha256: Option<Digest>,
}

impl Suppression {
    /// One id a line, blank lines and a header `customer_id` skipped; plain, gzip or zstd.
    ///
    /// A line with more than one field, or with what cannot be a customer's id, is refused rather than skipped: an
    /// entry that matches nobody would let its customer be contacted.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let mut file = source::open(path, "suppression list")?;
        let sha256 = Digest::of_reader(&mut file)
            .and_then(|sha256| file.seek(SeekFrom::Start(0)).map(|_| sha256))
            .map_err(|error| source::unreadable(path, "suppression list", error))?;
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
        Ok(Self { entries, sha256: Some(sha256) })
    }

    /// Of the file's bytes; `None` where the campaign has no list.
    pub fn sha256(&self) -> Option<Digest> {
        self.sha256
    }

    /// For who needs the list later, when the file may have become another one: the file's digest, then the entries.
    /// Empty where there is no list.
    pub fn to_bytes(&self) -> Vec<u8> {
        let entries = self.entries.iter().flat_map(|entry| entry.0.to_be_bytes());
        self.sha256.iter().flat_map(Digest::as_bytes).copied().chain(entries).collect()
    }

    /// What [`Suppression::to_bytes`] made; `None`: something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (sha256, entries) = bytes.split_first_chunk::<32>()?;
        let (entries, []) = entries.as_chunks::<16>() else { return None };
        let entries: Vec<_> = entries.iter().map(|entry| IdPrefix(u128::from_be_bytes(*entry))).collect();
        entries.is_sorted().then_some(Self { entries, sha256: Some(Digest::from(*sha256)) })
    }

    pub fn contains(&self, id: IdPrefix) -> bool {
        self.entries.binary_search(&id).is_ok()
    }
}

#[cfg(test)]
impl FromIterator<&'static str> for Suppression {
    fn from_iter<T: IntoIterator<Item = &'static str>>(ids: T) -> Self {
        let mut entries: Vec<_> = ids.into_iter().map(IdPrefix::of).collect();
        entries.sort_unstable();
        Self { entries, sha256: None }
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
        assert_eq!(list.entries.len(), 3);
        for id in ["c1", "c2", "a,b"] {
            assert!(list.contains(IdPrefix::of(id)), "{id}");
        }
        assert!(!list.contains(IdPrefix::of("c3")));
        assert!(read(b"").unwrap().entries.is_empty());
        for list in [list, read(b"").unwrap()] {
            let bytes = list.to_bytes();
            let kept = Suppression::from_bytes(&bytes).unwrap();
            assert_eq!((kept.sha256, &kept.entries), (list.sha256, &list.entries));
            assert!(Suppression::from_bytes(&bytes[1..]).is_none());
        }
    }

    #[test]
    fn an_entry_that_would_match_nobody_is_refused_with_its_line() {
        for bad in [&b"c1\nc2,unsubscribed\n"[..], b"c1\nc2;stop\n", b"c1\n\xff\n", b"c1\na\x00b\n", b"c1\n\"c2\n"] {
            let problem = read(bad).unwrap_err();
            assert_eq!(problem.line, Some(2), "{problem}");
        }
    }
}
