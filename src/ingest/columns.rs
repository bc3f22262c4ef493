//! Some columns of a file in any of the formats that customers come in, as text.

use std::{ops::ControlFlow, path::Path, sync::atomic::AtomicU64};

use super::{
    defect::Reason,
    mapping::{Mapping, Of},
    rows::Texts,
    source::{Declared, Source},
};
use crate::{
    Error,
    domain::attribute::{Attribute, AttributeType, Attributes},
};

/// A column that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    /// A file without it is refused. Else its cells are as if they were empty.
    pub required: bool,
}

/// One row; columns are counted as they were wanted.
#[derive(Debug)]
pub struct Row<'a> {
    /// On which it starts; in Parquet its number.
    pub line: u64,
    index: usize,
    texts: &'a Texts<'a>,
    positions: &'a [usize],
}

impl Row<'_> {
    /// Without blanks around it; `None`: the cell is empty.
    pub fn text(&self, column: usize) -> Result<Option<&str>, Reason> {
        self.texts.get(self.index, self.positions[column])
    }
}

/// Takes a row, or the line of one that is none and why; a break: nobody wants more.
pub type Each<'a> = dyn FnMut(Result<Row<'_>, (u64, Reason)>) -> ControlFlow<()> + 'a;

/// Reads the columns of a file, row by row, one batch of rows in memory. `wanted` has at least one column, and none twice.
pub fn for_each(file: &Path, what: &'static str, wanted: &[Wanted], each: &mut Each<'_>) -> Result<(), Error> {
    let [first, others @ ..] = wanted else { return Ok(()) };
    let attribute = |Wanted { name, required }: &Wanted| Attribute {
        name: name.clone(),
        column: name.clone(),
        kind: AttributeType::Text,
        min: None,
        max: None,
        values: Vec::new(),
        required: *required,
    };
    let attributes = Attributes::new(others.iter().map(attribute).collect());
    let mapping = Mapping { file, id: &first.name, attributes: &attributes, of: Of::Outcomes };
    let position = |Wanted { name, .. }: &Wanted| attributes.position(name).map_or(0, |position| 1 + position);
    let positions: Vec<usize> = wanted.iter().map(position).collect();
    let scratch = std::env::temp_dir();
    let source = Source::open(file, what, Declared::default(), &scratch)?;
    source.read(&mapping, &AtomicU64::new(0), &mut |rows| {
        let texts = rows.texts();
        // In the file's order, as far as a batch goes.
        let mut malformed = rows.malformed().iter().peekable();
        for (index, line) in rows.lines().iter().enumerate() {
            while let Some(bad) = malformed.next_if(|(bad, _)| bad < line) {
                each(Err(*bad))?;
            }
            each(Ok(Row { line: *line, index, texts: &texts, positions: &positions }))?;
        }
        malformed.try_for_each(|bad| each(Err(*bad)))
    })?;
    Ok(())
}
