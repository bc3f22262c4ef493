//! Sets of values that an attribute can have, "missing" being one of them.

use std::{collections::BTreeSet, fmt};

use jiff::{ToSpan as _, civil::Date};

use crate::domain::attribute::{Attribute, AttributeType};

#[derive(Debug, Clone, PartialEq)]
pub struct ValueSet {
    pub missing: bool,
    pub known: Known,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    Numbers(Intervals),
    Texts(Texts),
    Flags { yes: bool, no: bool },
}

/// Closed, disjoint, ascending intervals of finite numbers. As numbers are `f64`, an open end is the closed end one
/// number further in, and nothing is lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Intervals(Vec<(f64, f64)>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Texts {
    Only(BTreeSet<String>),
    Except(BTreeSet<String>),
}

/// One value out of a set, as a witness for people.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Missing,
    Number(f64),
    /// Days since 1970-01-01.
    Day(f64),
    Text(String),
    Flag(bool),
}

impl ValueSet {
    /// Everything the campaign file allows.
    pub fn domain(attribute: &Attribute) -> Self {
        let known = match attribute.kind {
            AttributeType::Number | AttributeType::Integer | AttributeType::Date => Known::Numbers(
                Intervals::new(attribute.min.unwrap_or(f64::MIN), attribute.max.unwrap_or(f64::MAX))
                    .snapped(attribute.kind),
            ),
            AttributeType::Boolean => Known::Flags { yes: true, no: true },
            AttributeType::Text if attribute.values.is_empty() => Known::Texts(Texts::Except(BTreeSet::new())),
            AttributeType::Text => Known::Texts(Texts::Only(attribute.values.iter().cloned().collect())),
        };
        Self { missing: !attribute.required, known }
    }

    pub fn complement(&self) -> Self {
        let known = match &self.known {
            Known::Numbers(intervals) => Known::Numbers(intervals.complement()),
            Known::Texts(Texts::Only(texts)) => Known::Texts(Texts::Except(texts.clone())),
            Known::Texts(Texts::Except(texts)) => Known::Texts(Texts::Only(texts.clone())),
            Known::Flags { yes, no } => Known::Flags { yes: !yes, no: !no },
        };
        Self { missing: !self.missing, known }
    }

    /// Of two sets of one attribute, which is of type `kind`.
    pub fn intersection(&self, other: &Self, kind: AttributeType) -> Self {
        use Texts::{Except, Only};
        let known = match (&self.known, &other.known) {
            (Known::Numbers(a), Known::Numbers(b)) => Known::Numbers(a.intersection(b).snapped(kind)),
            (Known::Texts(a), Known::Texts(b)) => Known::Texts(match (a, b) {
                (Only(a), Only(b)) => Only(a & b),
                (Only(only), Except(except)) | (Except(except), Only(only)) => Only(only - except),
                (Except(a), Except(b)) => Except(a | b),
            }),
            (Known::Flags { yes: a_yes, no: a_no }, Known::Flags { yes: b_yes, no: b_no }) => {
                Known::Flags { yes: *a_yes && *b_yes, no: *a_no && *b_no }
            }
            // Sets of different kinds have no value in common; conditions are typed, so this does not come up.
            _ => Known::Flags { yes: false, no: false },
        };
        Self { missing: self.missing && other.missing, known }
    }

    pub fn is_empty(&self) -> bool {
        !self.missing
            && match &self.known {
                Known::Numbers(Intervals(intervals)) => intervals.is_empty(),
                Known::Texts(Texts::Only(texts)) => texts.is_empty(),
                Known::Texts(Texts::Except(_)) => false,
                Known::Flags { yes, no } => !yes && !no,
            }
    }

    /// A value of the set, a known one where there is any.
    pub fn example(&self, kind: AttributeType) -> Value {
        match &self.known {
            Known::Numbers(Intervals(intervals)) => match intervals.first() {
                Some((low, high)) if kind == AttributeType::Date => Value::Day(example_number(*low, *high)),
                Some((low, high)) => Value::Number(example_number(*low, *high)),
                None => Value::Missing,
            },
            Known::Texts(Texts::Only(texts)) => texts.first().cloned().map_or(Value::Missing, Value::Text),
            Known::Texts(Texts::Except(texts)) => {
                let mut candidates = std::iter::once("other".to_owned()).chain((2..).map(|n| format!("other {n}")));
                Value::Text(candidates.find(|text| !texts.contains(text)).unwrap_or_default())
            }
            Known::Flags { yes: true, .. } => Value::Flag(true),
            Known::Flags { no: true, .. } => Value::Flag(false),
            Known::Flags { .. } => Value::Missing,
        }
    }
}

impl Intervals {
    pub fn new(low: f64, high: f64) -> Self {
        Self(if low <= high { vec![(low, high)] } else { Vec::new() })
    }

    pub fn all() -> Self {
        Self::new(f64::MIN, f64::MAX)
    }

    pub fn complement(&self) -> Self {
        let mut gaps = Vec::new();
        let mut from = f64::MIN;
        for (low, high) in &self.0 {
            if from < *low {
                gaps.push((from, low.next_down()));
            }
            from = high.next_up();
        }
        if from <= f64::MAX {
            gaps.push((from, f64::MAX));
        }
        Self(gaps)
    }

    fn intersection(&self, other: &Self) -> Self {
        let pairs = self.0.iter().flat_map(|a| other.0.iter().map(move |b| (a.0.max(b.0), a.1.min(b.1))));
        Self(pairs.filter(|(low, high)| low <= high).collect())
    }

    /// What is left of it where only whole numbers occur.
    fn snapped(self, kind: AttributeType) -> Self {
        if kind == AttributeType::Number {
            return self;
        }
        Self(
            self.0
                .into_iter()
                .map(|(low, high)| (low.ceil(), high.floor()))
                .filter(|(low, high)| low <= high)
                .collect(),
        )
    }
}

/// A round number between the two where there is one.
fn example_number(low: f64, high: f64) -> f64 {
    let wish = match (low == f64::MIN, high == f64::MAX) {
        (true, true) => 0.0,
        (true, false) => high.ceil() - 1.0,
        (false, true) => low.floor() + 1.0,
        (false, false) => (low / 2.0 + high / 2.0).round(),
    };
    let middle = low / 2.0 + high / 2.0;
    [wish, middle].into_iter().find(|value| (low..=high).contains(value)).unwrap_or(low)
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Number(value) => write!(f, "= {value}"),
            Self::Day(days) => match Date::constant(1970, 1, 1).checked_add((*days as i64).days()) {
                Ok(date) => write!(f, "= {date}"),
                Err(_) => f.write_str("far away"),
            },
            Self::Text(text) => write!(f, "= \"{text}\""),
            Self::Flag(flag) => write!(f, "= {flag}"),
        }
    }
}
