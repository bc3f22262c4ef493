//! What can be wrong with a row. A value is described, never quoted: it may be personal data.

use std::fmt;

use super::typing::MAX_TEXT_CHARS;

/// One fault of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defect {
    /// Position within the batch; meaningless where `column` is `None`.
    pub row: u32,
    pub line: u64,
    /// Index into the mapping; `None`: the row as a whole.
    pub column: Option<usize>,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    FieldCount { found: u32, expected: u32, lines: u32 },
    NotJson,
    NotAnObject,
    NoId,
    InvalidId,
    NotText,
    Nested,
    NamedTwice,
    InexactNumber,
    Required,
    NotANumber,
    Separators,
    NotFinite,
    NotWhole,
    TooLargeForInteger,
    Below(f64),
    Above(f64),
    NotBoolean,
    NotADate,
    ControlCharacter,
    TooLong,
    NotListed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FieldCount { found, expected, lines } => {
                let s = if *found == 1 { "" } else { "s" };
                write!(f, "{found} field{s} where the header has {expected}")?;
                if *lines > 1 {
                    write!(f, " (the record runs over {lines} lines: is a closing quote missing?)")?;
                }
                Ok(())
            }
            Self::NotJson => f.write_str("not valid JSON"),
            Self::NotAnObject => f.write_str("not a JSON object"),
            Self::NoId => f.write_str("no customer id"),
            Self::InvalidId => f.write_str("the customer id is longer than 256 characters or has control characters"),
            Self::NotText => f.write_str("invalid UTF-8, or invalid in the declared encoding"),
            Self::Nested => f.write_str("a nested value where a single one is expected"),
            Self::NamedTwice => f.write_str("given twice in one object"),
            Self::InexactNumber => f.write_str("a number too large to be kept exactly; write it as a string"),
            Self::Required => f.write_str("a required value is missing"),
            Self::NotANumber => f.write_str("not a number"),
            Self::Separators => f.write_str("not a number: use a point for decimals and no thousands separators"),
            Self::NotFinite => f.write_str("not a finite number"),
            Self::NotWhole => f.write_str("not a whole number"),
            Self::TooLargeForInteger => f.write_str("a whole number of 2^53 or more"),
            Self::Below(min) => write!(f, "below the minimum of {min}"),
            Self::Above(max) => write!(f, "above the maximum of {max}"),
            Self::NotBoolean => f.write_str("not true or false"),
            Self::NotADate => f.write_str("not a date like 2026-11-22"),
            Self::ControlCharacter => f.write_str("has control characters"),
            Self::TooLong => write!(f, "longer than {MAX_TEXT_CHARS} characters"),
            Self::NotListed => f.write_str("not one of the allowed values"),
        }
    }
}
