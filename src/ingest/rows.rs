//! Rows of a customer file as text: what every format is read into, before anything has a type.

use super::defect::Reason;

/// A batch is handed on when it holds so many rows, or so many bytes: whichever comes first bounds memory.
const BATCH_ROWS: usize = 4_096;
const BATCH_BYTES: usize = 1 << 20;

/// One value of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell {
    Missing,
    /// A range of the batch's bytes, which need not be UTF-8.
    Text {
        start: u32,
        end: u32,
    },
    Bad(Reason),
}

/// Consecutive rows, each with one cell per column of the [`super::mapping::Mapping`].
#[derive(Debug)]
pub struct RawRows {
    width: usize,
    bytes: Vec<u8>,
    cells: Vec<Cell>,
    lines: Vec<u64>,
    malformed: Vec<(u64, Reason)>,
}

impl RawRows {
    pub fn new(width: usize) -> Self {
        Self {
            width,
            bytes: Vec::with_capacity(BATCH_BYTES / 2),
            cells: Vec::with_capacity(BATCH_ROWS * width),
            lines: Vec::with_capacity(BATCH_ROWS),
            malformed: Vec::new(),
        }
    }

    /// For a single row.
    pub fn of_one(width: usize) -> Self {
        Self { width, bytes: Vec::new(), cells: Vec::with_capacity(width), lines: Vec::new(), malformed: Vec::new() }
    }

    pub fn is_full(&self) -> bool {
        self.lines.len() + self.malformed.len() >= BATCH_ROWS || self.bytes.len() >= BATCH_BYTES
    }

    /// Rows read, malformed ones included.
    pub fn read(&self) -> u64 {
        (self.lines.len() + self.malformed.len()) as u64
    }

    /// Keeps bytes for cells and says where they start.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> u32 {
        // A batch is a few mebibytes at most: one record over BATCH_BYTES, see `csv::MAX_RECORD_BYTES`.
        let start = u32::try_from(self.bytes.len()).expect("a batch is far smaller than 4 GiB");
        self.bytes.extend_from_slice(bytes);
        start
    }

    pub fn push_text(&mut self, text: &str) -> Cell {
        let start = self.push_bytes(text.as_bytes());
        Cell::Text { start, end: start + text.len() as u32 }
    }

    /// `cells` has the width of the mapping.
    pub fn push_row(&mut self, line: u64, cells: impl IntoIterator<Item = Cell>) {
        self.cells.extend(cells);
        self.lines.push(line);
        debug_assert_eq!(self.cells.len(), self.lines.len() * self.width);
    }

    /// A row whose cells cannot be told apart.
    pub fn push_malformed(&mut self, line: u64, reason: Reason) {
        self.malformed.push((line, reason));
    }

    /// The line on which each row that has cells starts.
    pub fn lines(&self) -> &[u64] {
        &self.lines
    }

    pub fn malformed(&self) -> &[(u64, Reason)] {
        &self.malformed
    }

    pub fn texts(&self) -> Texts<'_> {
        Texts { rows: self, valid: std::str::from_utf8(&self.bytes).ok() }
    }
}

/// The cells of a batch as UTF-8. Checked once as a whole; only a batch with a fault is checked cell by cell.
#[derive(Debug)]
pub struct Texts<'a> {
    rows: &'a RawRows,
    valid: Option<&'a str>,
}

impl<'a> Texts<'a> {
    /// Without the blanks around it; `None` where nothing is left.
    pub fn get(&self, row: usize, column: usize) -> Result<Option<&'a str>, Reason> {
        let (start, end) = match self.rows.cells[row * self.rows.width + column] {
            Cell::Missing => return Ok(None),
            Cell::Bad(reason) => return Err(reason),
            Cell::Text { start, end } => (start as usize, end as usize),
        };
        // `get` also refuses a range that cuts a character: a valid whole can be made of two invalid cells.
        let text = match self.valid {
            Some(whole) => whole.get(start..end),
            None => std::str::from_utf8(&self.rows.bytes[start..end]).ok(),
        };
        let text = text.ok_or(Reason::NotText)?.trim();
        Ok((!text.is_empty()).then_some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_broken_cells_that_join_to_a_character_are_both_refused() {
        let mut rows = RawRows::new(2);
        let start = rows.push_bytes("é".as_bytes());
        rows.push_row(1, [Cell::Text { start, end: start + 1 }, Cell::Text { start: start + 1, end: start + 2 }]);
        let texts = rows.texts();
        assert!(texts.valid.is_some());
        assert_eq!(texts.get(0, 0), Err(Reason::NotText));
        assert_eq!(texts.get(0, 1), Err(Reason::NotText));
    }

    #[test]
    fn one_invalid_cell_leaves_the_others_readable() {
        let mut rows = RawRows::new(2);
        let start = rows.push_bytes(b"\xff");
        let good = rows.push_text(" caf\u{e9} ");
        rows.push_row(1, [Cell::Text { start, end: start + 1 }, good]);
        let texts = rows.texts();
        assert_eq!(texts.get(0, 0), Err(Reason::NotText));
        assert_eq!(texts.get(0, 1), Ok(Some("café")));
    }
}
