//! Conditions in words that a marketer can read.

use std::fmt::{self, Display, Formatter};

use super::expression::{Comparison, Condition, Day, Number, Place, Test};

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(true) => f.write_str("always"),
            Self::Constant(false) => f.write_str("never"),
            Self::Test(test) => test.fmt(f),
            Self::All(parts) => joined(f, parts, " and "),
            Self::Any(parts) => joined(f, parts, " or "),
        }
    }
}

fn joined(f: &mut Formatter<'_>, parts: &[Condition], word: &str) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(word)?;
        }
        match part {
            Condition::All(_) | Condition::Any(_) => write!(f, "({part})")?,
            Condition::Constant(_) | Condition::Test(_) => part.fmt(f)?,
        }
    }
    Ok(())
}

impl Display for Test {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag { attribute, is } => write!(f, "{attribute} is {is}"),
            Self::Known { attribute, known } => {
                write!(f, "{attribute} is {}", if *known { "known" } else { "missing" })
            }
            Self::Number { left, is, right } => {
                let word = match is {
                    Comparison::Less => "is below",
                    Comparison::AtMost => "is at most",
                    Comparison::Equal => "is",
                    Comparison::NotEqual => "is not",
                    Comparison::AtLeast => "is at least",
                    Comparison::Greater => "is above",
                };
                write!(f, "{left} {word} {right}")
            }
            Self::Date { left, is, right } => {
                let word = match is {
                    Comparison::Less => "is before",
                    Comparison::AtMost => "is on or before",
                    Comparison::Equal => "is",
                    Comparison::NotEqual => "is not",
                    Comparison::AtLeast => "is on or after",
                    Comparison::Greater => "is after",
                };
                write!(f, "{left} {word} {right}")
            }
            Self::Text { attribute, is, one_of } => {
                let word = match (is, one_of.len()) {
                    (true, 1) => "is",
                    (false, 1) => "is not",
                    (true, _) => "is one of",
                    (false, _) => "is none of",
                };
                let texts: Vec<_> = one_of.iter().map(|text| format!("\"{text}\"")).collect();
                write!(f, "{attribute} {word} {}", texts.join(", "))
            }
            Self::SameText { left, right, same } => {
                write!(f, "{left} {} {right}", if *same { "equals" } else { "differs from" })
            }
            Self::Part { attribute, does, place, text } => {
                let word = match (place, does) {
                    (Place::Start, true) => "starts with",
                    (Place::Start, false) => "does not start with",
                    (Place::End, true) => "ends with",
                    (Place::End, false) => "does not end with",
                    (Place::Anywhere, true) => "contains",
                    (Place::Anywhere, false) => "does not contain",
                };
                write!(f, "{attribute} {word} \"{text}\"")
            }
        }
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let operand = |f: &mut Formatter<'_>, number: &Self| match number {
            Self::Arithmetic(..) => write!(f, "({number})"),
            _ => number.fmt(f),
        };
        match self {
            Self::Literal(value) => value.fmt(f),
            Self::Attribute(attribute) => f.write_str(attribute),
            Self::Length(attribute) => write!(f, "the length of {attribute}"),
            Self::Negative(number) => {
                f.write_str("-")?;
                operand(f, number)
            }
            Self::Arithmetic(operator, left, right) => {
                operand(f, left)?;
                write!(f, " {} ", operator.symbol())?;
                operand(f, right)
            }
            Self::If(condition, then, otherwise) => write!(f, "({then} if {condition}, otherwise {otherwise})"),
        }
    }
}

impl Display for Day {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(date) => date.fmt(f),
            Self::Attribute(attribute) => f.write_str(attribute),
        }
    }
}
