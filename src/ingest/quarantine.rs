//! Bad rows: listed, counted, and the end of the run when they are too many.

use std::{
    collections::HashMap,
    io::{self, Write},
    mem::{Discriminant, discriminant},
};

use super::{
    defect::{Defect, Reason},
    mapping::Mapping,
};
use crate::domain::{problem::Problem, share::Share};

/// Junk is recognised early: after so many rows, when more than half of them are bad.
const EARLY_ROWS: u64 = 10_000;
const EARLY_SHARE: f64 = 0.5;
/// How many kinds of defect a message names.
const SHOWN_KINDS: usize = 3;

/// Writes `line,column,reason`, one record per bad row.
pub struct Quarantine<'a> {
    mapping: Mapping<'a>,
    allowed: Share,
    list: csv::Writer<&'a mut dyn Write>,
    kinds: HashMap<(Option<usize>, Discriminant<Reason>), Kind>,
    pub rows: u64,
}

/// One reason in one column.
#[derive(Debug, Clone, Copy)]
struct Kind {
    count: u64,
    first: Defect,
}

impl<'a> Quarantine<'a> {
    pub fn new(mapping: Mapping<'a>, allowed: Share, list: &'a mut dyn Write) -> io::Result<Self> {
        let mut list = csv::Writer::from_writer(list);
        list.write_record(["line", "column", "reason"])?;
        Ok(Self { mapping, allowed, list, kinds: HashMap::new(), rows: 0 })
    }

    /// `defects` are sorted by line. A row with several is one record that names them all.
    pub fn add(&mut self, defects: &[Defect]) -> io::Result<()> {
        for row in defects.chunk_by(|a, b| a.line == b.line) {
            let (first, others) = (&row[0], &row[1..]);
            let mut reason = first.reason.to_string();
            for other in others {
                reason.push_str(&format!("; {}: {}", self.column(other), other.reason));
            }
            self.list.write_record([first.line.to_string().as_str(), self.column(first), &reason])?;
            self.rows += 1;
            for defect in row {
                let kind = self.kinds.entry((defect.column, discriminant(&defect.reason)));
                kind.or_insert(Kind { count: 0, first: *defect }).count += 1;
            }
        }
        Ok(())
    }

    pub fn finish(&mut self) -> io::Result<()> {
        self.list.flush()
    }

    /// While rows are still coming.
    pub fn is_junk(&self, read: u64) -> bool {
        read >= EARLY_ROWS && self.share(read) > self.allowed.get().max(EARLY_SHARE)
    }

    /// When all rows are read, or no more are wanted.
    pub fn check(&self, read: u64) -> Result<(), Problem> {
        let share = self.share(read);
        if share <= self.allowed.get() && self.rows < read.max(1) {
            return Ok(());
        }
        let percent = |share: f64| format!("{}%", (share * 10_000.0).round() / 100.0);
        let message = format!(
            "{} of {read} rows are bad ({}, allowed are {}): {}",
            self.rows,
            percent(share),
            percent(self.allowed.get()),
            self.most_frequent()
        );
        let remedy = "mend the rows, the column mapping or the types; `customers.max_bad_share` says how many bad rows \
                      are left out instead of stopping the run";
        Err(Problem::new(message, remedy).in_file(self.mapping.file).at_field("customers.max_bad_share"))
    }

    fn share(&self, read: u64) -> f64 {
        if read == 0 { 0.0 } else { self.rows as f64 / read as f64 }
    }

    fn most_frequent(&self) -> String {
        let mut kinds: Vec<_> = self.kinds.values().collect();
        kinds.sort_by_key(|kind| (std::cmp::Reverse(kind.count), kind.first.line, kind.first.column));
        let describe = |kind: &&Kind| {
            let column = self.column(&kind.first);
            let colon = if column.is_empty() { "" } else { ": " };
            format!("{column}{colon}{} ({} rows, first in line {})", kind.first.reason, kind.count, kind.first.line)
        };
        kinds.iter().take(SHOWN_KINDS).map(describe).collect::<Vec<_>>().join("; ")
    }

    /// Empty for the row as a whole.
    fn column(&self, defect: &Defect) -> &'a str {
        defect.column.and_then(|column| self.mapping.columns().nth(column)).unwrap_or_default()
    }
}
