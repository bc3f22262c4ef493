//! Conditions evaluated over all customers of a shard at once.

use std::borrow::Cow;

use arrow_array::{Array, ArrowPrimitiveType, PrimitiveArray, StringArray};

use super::expression::{Condition, Day, Number, Test, days_since_epoch};
use crate::domain::customer::{Column, Shard};

/// One customer's answer. Unknown is zero, so that `&` and `|` on the bits are Kleene's connectives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truth(u8);

impl Truth {
    pub const UNKNOWN: Self = Self(0);
    pub const TRUE: Self = Self(1);
    pub const FALSE: Self = Self(2);

    pub fn is_true(self) -> bool {
        self == Self::TRUE
    }

    fn known(value: bool) -> Self {
        if value { Self::TRUE } else { Self::FALSE }
    }

    /// True where both are, false where either is.
    fn and(self, other: Self) -> Self {
        Self((self.0 & other.0 & 1) | ((self.0 | other.0) & 2))
    }

    fn or(self, other: Self) -> Self {
        Self(((self.0 | other.0) & 1) | (self.0 & other.0 & 2))
    }
}

impl Condition {
    /// In the shard's order. An attribute that the shard does not have is missing for everybody.
    pub fn evaluate(&self, shard: &Shard) -> Vec<Truth> {
        match self {
            Self::Constant(value) => vec![Truth::known(*value); shard.len()],
            Self::Test(test) => test.evaluate(shard),
            Self::All(parts) => combine(parts, shard, Truth::TRUE, Truth::and),
            Self::Any(parts) => combine(parts, shard, Truth::FALSE, Truth::or),
        }
    }
}

fn combine(parts: &[Condition], shard: &Shard, neutral: Truth, with: impl Fn(Truth, Truth) -> Truth) -> Vec<Truth> {
    let mut parts = parts.iter();
    let Some(first) = parts.next() else { return vec![neutral; shard.len()] };
    let mut combined = first.evaluate(shard);
    for part in parts {
        for (so_far, next) in combined.iter_mut().zip(part.evaluate(shard)) {
            *so_far = with(*so_far, next);
        }
    }
    combined
}

impl Test {
    fn evaluate(&self, shard: &Shard) -> Vec<Truth> {
        let rows = shard.len();
        match self {
            Self::Flag { attribute, is } => match shard.column(attribute) {
                Some(Column::Boolean(flags)) => {
                    flags.iter().map(|flag| flag.map_or(Truth::UNKNOWN, |flag| Truth::known(flag == *is))).collect()
                }
                _ => vec![Truth::UNKNOWN; rows],
            },
            Self::Known { attribute, known } => {
                let nulls = shard.rows.column_by_name(attribute).map(|column| (column, column.null_count()));
                (0..rows)
                    .map(|row| {
                        let is_known = nulls.is_some_and(|(column, nulls)| nulls == 0 || column.is_valid(row));
                        Truth::known(is_known == *known)
                    })
                    .collect()
            }
            Self::Number { left, is, right } => {
                compare(&left.evaluate(shard), &right.evaluate(shard), rows, |left, right| is.holds(left, right))
            }
            Self::Date { left, is, right } => {
                compare(&left.evaluate(shard), &right.evaluate(shard), rows, |left, right| is.holds(left, right))
            }
            Self::Text { attribute, is, one_of } => {
                let only = if one_of.len() == 1 { one_of.first() } else { None };
                texts(shard, attribute, |text| only.map_or_else(|| one_of.contains(text), |only| only == text) == *is)
            }
            Self::SameText { left, right, same } => match (text_column(shard, left), text_column(shard, right)) {
                (Some(left), Some(right)) => left
                    .iter()
                    .zip(right)
                    .map(|pair| match pair {
                        (Some(left), Some(right)) => Truth::known((left == right) == *same),
                        _ => Truth::UNKNOWN,
                    })
                    .collect(),
                _ => vec![Truth::UNKNOWN; rows],
            },
            Self::Part { attribute, does, place, text: part } => {
                texts(shard, attribute, |text| place.finds(part, text) == *does)
            }
        }
    }
}

fn text_column<'a>(shard: &'a Shard, attribute: &str) -> Option<&'a StringArray> {
    match shard.column(attribute) {
        Some(Column::Text(column)) => Some(column),
        _ => None,
    }
}

fn texts(shard: &Shard, attribute: &str, holds: impl Fn(&str) -> bool) -> Vec<Truth> {
    match text_column(shard, attribute) {
        Some(column) => {
            column.iter().map(|text| text.map_or(Truth::UNKNOWN, |text| Truth::known(holds(text)))).collect()
        }
        None => vec![Truth::UNKNOWN; shard.len()],
    }
}

/// A number for every customer; missing and non-finite ones are NaN.
enum Numbers<'a> {
    Same(f64),
    Each(Cow<'a, [f64]>),
}

impl Numbers<'_> {
    const MISSING: Self = Self::Same(f64::NAN);

    fn at(&self, row: usize) -> f64 {
        match self {
            Self::Same(value) => *value,
            Self::Each(values) => values[row],
        }
    }

    fn map(self, f: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Same(value) => Self::Same(f(value)),
            Self::Each(values) => Self::Each(values.iter().map(|value| f(*value)).collect()),
        }
    }
}

fn compare(left: &Numbers<'_>, right: &Numbers<'_>, rows: usize, holds: impl Fn(f64, f64) -> bool) -> Vec<Truth> {
    let test = |left: f64, right: f64| {
        if left.is_nan() || right.is_nan() { Truth::UNKNOWN } else { Truth::known(holds(left, right)) }
    };
    // The common case, an attribute against a literal, must stay a loop over one slice.
    match (left, right) {
        (Numbers::Each(left), Numbers::Same(right)) => left.iter().map(|left| test(*left, *right)).collect(),
        _ => (0..rows).map(|row| test(left.at(row), right.at(row))).collect(),
    }
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { f64::NAN }
}

impl Number {
    fn evaluate<'a>(&self, shard: &'a Shard) -> Numbers<'a> {
        match self {
            Self::Literal(value) => Numbers::Same(*value),
            Self::Attribute(attribute) => match shard.column(attribute) {
                Some(Column::Number(column)) if column.null_count() == 0 => {
                    Numbers::Each(Cow::Borrowed(column.values()))
                }
                Some(Column::Number(column)) => with_nan(column),
                _ => Numbers::MISSING,
            },
            Self::Length(attribute) => text_column(shard, attribute).map_or(Numbers::MISSING, |column| {
                Numbers::Each(
                    column.iter().map(|text| text.map_or(f64::NAN, |text| text.chars().count() as f64)).collect(),
                )
            }),
            Self::Negative(number) => number.evaluate(shard).map(|value| -value),
            Self::Arithmetic(operator, left, right) => {
                let (left, right) = (left.evaluate(shard), right.evaluate(shard));
                let apply = |left, right| finite(operator.apply(left, right));
                match (left, right) {
                    (Numbers::Same(left), Numbers::Same(right)) => Numbers::Same(apply(left, right)),
                    (left, right) => {
                        Numbers::Each((0..shard.len()).map(|row| apply(left.at(row), right.at(row))).collect())
                    }
                }
            }
            Self::If(condition, then, otherwise) => {
                let (then, otherwise) = (then.evaluate(shard), otherwise.evaluate(shard));
                let choose = |(row, truth)| match truth {
                    Truth::TRUE => then.at(row),
                    Truth::FALSE => otherwise.at(row),
                    _ => f64::NAN,
                };
                Numbers::Each(condition.evaluate(shard).into_iter().enumerate().map(choose).collect())
            }
        }
    }
}

impl Day {
    fn evaluate<'a>(&self, shard: &'a Shard) -> Numbers<'a> {
        match self {
            Self::Literal(date) => Numbers::Same(f64::from(days_since_epoch(*date))),
            Self::Attribute(attribute) => match shard.column(attribute) {
                Some(Column::Date(column)) => with_nan(column),
                _ => Numbers::MISSING,
            },
        }
    }
}

fn with_nan<'a, T: ArrowPrimitiveType<Native: Into<f64>>>(column: &PrimitiveArray<T>) -> Numbers<'a> {
    Numbers::Each(column.iter().map(|value| value.map_or(f64::NAN, Into::into)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::parse::{Types, parse};
    use super::*;
    use crate::agents::segmentation::testing::{attributes, flags, ids, numbers, shard, texts};

    /// One letter per customer: `t`, `f`, or `-` for unknown.
    fn answers(source: &str) -> String {
        let shard = shard(
            &ids(5),
            [
                ("age", numbers([Some(20.0), Some(40.0), Some(0.0), None, Some(1e308)])),
                ("visits", numbers([Some(1.0), Some(0.0), None, Some(3.0), Some(1e308)])),
                ("city", texts([Some("Rome"), Some("rome"), Some(""), None, Some("Zürich")])),
                ("newbie", flags([Some(true), Some(false), None, Some(true), Some(false)])),
            ],
        );
        let types: Types = attributes("age: number, visits: integer, city: text, newbie: boolean, absent: number")
            .iter()
            .map(|attribute| (attribute.name.clone(), attribute.kind))
            .collect();
        let letter = |truth| match truth {
            Truth::TRUE => 't',
            Truth::FALSE => 'f',
            _ => '-',
        };
        parse(source, &types).unwrap().evaluate(&shard).into_iter().map(letter).collect()
    }

    #[test]
    fn missing_values_and_impossible_arithmetic_are_unknown_and_stay_so_when_negated() {
        for (source, expected) in [
            ("age > 20", "ftf-t"),
            ("!(age > 20)", "tft-f"),
            ("age / visits > 1", "t---f"),
            ("age * visits > 1", "tf---"),
            ("age % 15 == 5", "tff-f"),
            ("age > 20 && newbie", "fff-f"),
            ("age > 20 || newbie", "tt-tt"),
            ("city == 'Rome'", "tff-f"),
            ("city != 'Rome'", "ftt-t"),
            ("city in ['Rome', 'rome']", "ttf-f"),
            ("size(city) == 6", "fff-t"),
            ("city.contains('om')", "ttf-f"),
            ("has(age)", "tttft"),
            ("age == null || newbie != null", "ttftt"),
            ("absent > 1", "-----"),
            ("(newbie ? age : visits) < 10", "ft--f"),
            ("newbie == null", "fftff"),
        ] {
            assert_eq!(answers(source), expected, "{source}");
        }
    }
}
