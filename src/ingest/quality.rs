//! What a customer file holds, column by column (`ingest/quality.json`).
//!
//! Batches are observed apart and merged in the file's order, so that one file always gives the same figures.

use std::collections::{BTreeMap, HashMap};

use arrow_array::{Array, BooleanArray, Date32Array, Float64Array, StringArray, cast::AsArray, types};
use serde::{Deserialize, Serialize};

use super::{mapping::Mapping, source::FileFacts};
use crate::domain::{
    attribute::{Attribute, AttributeType},
    customer::CUSTOMER_ID,
};

/// Distinct texts are counted exactly up to this number.
const MAX_DISTINCT: usize = 1_000;
/// Texts are listed only where a column looks like a set of labels: few distinct values, each shared by several
/// rows. Names, addresses and free text are neither.
const MAX_LISTED_DISTINCT: usize = 50;
const MIN_LISTED_COUNT: u64 = 5;
const MAX_LISTED: usize = 10;
/// Never listed: the rows of one customer repeat them.
const PERSONAL: [&str; 3] = ["first_name", "last_name", "email"];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    pub file: FileFacts,
    pub rows: Rows,
    /// The customer's id first, then the attributes in their order.
    pub columns: Vec<Column>,
}

/// `read = quarantined + suppressed + duplicates + contactable`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    pub read: u64,
    pub quarantined: u64,
    pub suppressed: u64,
    pub duplicates: u64,
    pub contactable: u64,
}

/// Counted over all rows that have columns: those whose fields cannot be told apart are in no column's counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The name in the file.
    pub column: String,
    pub attribute: String,
    #[serde(rename = "type")]
    pub kind: AttributeType,
    pub values: u64,
    pub missing: u64,
    pub bad: u64,
    /// Absent where there is no value.
    #[serde(flatten)]
    pub summary: Option<Summary>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Summary {
    Number {
        min: f64,
        max: f64,
        /// `None` where it is beyond an `f64`.
        mean: Option<f64>,
        /// Of the sample (n - 1); 0 for a single value. `None` where it is beyond an `f64`.
        standard_deviation: Option<f64>,
    },
    Boolean {
        true_share: f64,
    },
    Text {
        distinct: u64,
        /// There are more than `distinct`.
        distinct_is_lower_bound: bool,
        /// In characters.
        longest: u64,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        most_frequent: Vec<Frequency>,
    },
    Date {
        min: jiff::civil::Date,
        max: jiff::civil::Date,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frequency {
    pub value: String,
    pub count: u64,
}

/// The running figures of all columns.
#[derive(Debug, Clone, Default)]
pub struct Tally(Vec<ColumnTally>);

impl Tally {
    /// One per column of the mapping.
    pub fn new(columns: Vec<ColumnTally>) -> Self {
        Self(columns)
    }

    /// `other` holds the rows that follow.
    pub fn merge(&mut self, other: Self) {
        if self.0.is_empty() {
            self.0 = other.0;
            return;
        }
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            mine.merge(theirs);
        }
    }

    pub fn columns(&self, mapping: &Mapping<'_>) -> Vec<Column> {
        let describe = |(index, tally): (usize, &ColumnTally)| {
            let attribute = mapping.attribute(index);
            let mut summary = (tally.values > 0).then(|| tally.facts.summary(tally.values)).flatten();
            if let Some(Summary::Text { most_frequent, .. }) = &mut summary
                && attribute.is_some_and(|attribute| PERSONAL.contains(&attribute.name.as_str()))
            {
                most_frequent.clear();
            }
            Column {
                column: attribute.map_or(mapping.id, |attribute| &attribute.column).to_owned(),
                attribute: attribute.map_or(CUSTOMER_ID, |attribute| &attribute.name).to_owned(),
                kind: attribute.map_or(AttributeType::Text, |attribute| attribute.kind),
                values: tally.values,
                missing: tally.missing,
                bad: tally.bad,
                summary,
            }
        };
        self.0.iter().enumerate().map(describe).collect()
    }
}

#[derive(Debug, Clone)]
pub struct ColumnTally {
    values: u64,
    missing: u64,
    bad: u64,
    facts: Facts,
}

#[derive(Debug, Clone)]
enum Facts {
    /// Ids are counted, never described.
    Id,
    Number(Moments),
    Boolean {
        yes: u64,
    },
    Text {
        distinct: Option<BTreeMap<String, u64>>,
        longest: usize,
    },
    Date {
        min: i32,
        max: i32,
    },
}

impl ColumnTally {
    pub fn of_ids(rows: usize, missing: usize, bad: usize) -> Self {
        Self { values: (rows - missing - bad) as u64, missing: missing as u64, bad: bad as u64, facts: Facts::Id }
    }

    /// `bad` values are null in `array`, as missing ones are.
    pub fn of_values(attribute: &Attribute, array: &dyn Array, bad: usize) -> Self {
        let facts = match attribute.kind {
            AttributeType::Number | AttributeType::Integer => {
                Facts::Number(Moments::of(array.as_primitive::<types::Float64Type>()))
            }
            AttributeType::Boolean => {
                let array: &BooleanArray = array.as_boolean();
                Facts::Boolean { yes: array.true_count() as u64 }
            }
            AttributeType::Text => texts(array.as_string()),
            AttributeType::Date => {
                let array: &Date32Array = array.as_primitive();
                let (min, max) =
                    array.iter().flatten().fold((i32::MAX, i32::MIN), |(min, max), day| (min.min(day), max.max(day)));
                Facts::Date { min, max }
            }
        };
        Self {
            values: (array.len() - array.null_count()) as u64,
            missing: (array.null_count() - bad) as u64,
            bad: bad as u64,
            facts,
        }
    }

    fn merge(&mut self, other: Self) {
        self.values += other.values;
        self.missing += other.missing;
        self.bad += other.bad;
        match (&mut self.facts, other.facts) {
            (Facts::Number(mine), Facts::Number(theirs)) => mine.merge(&theirs),
            (Facts::Boolean { yes }, Facts::Boolean { yes: more }) => *yes += more,
            (Facts::Date { min, max }, Facts::Date { min: other_min, max: other_max }) => {
                *min = (*min).min(other_min);
                *max = (*max).max(other_max);
            }
            (Facts::Text { distinct, longest }, Facts::Text { distinct: theirs, longest: other_longest }) => {
                *longest = (*longest).max(other_longest);
                match (distinct.as_mut(), theirs) {
                    (Some(mine), Some(theirs)) => {
                        for (value, count) in theirs {
                            *mine.entry(value).or_default() += count;
                        }
                    }
                    _ => *distinct = None,
                }
                if distinct.as_ref().is_some_and(|values| values.len() > MAX_DISTINCT) {
                    *distinct = None;
                }
            }
            _ => {}
        }
    }
}

impl Facts {
    fn summary(&self, values: u64) -> Option<Summary> {
        Some(match self {
            Self::Id => return None,
            Self::Number(moments) => Summary::Number {
                min: moments.min,
                max: moments.max,
                mean: Some(moments.mean).filter(|mean| mean.is_finite()),
                standard_deviation: Some(moments.standard_deviation()).filter(|deviation| deviation.is_finite()),
            },
            Self::Boolean { yes } => Summary::Boolean { true_share: *yes as f64 / values as f64 },
            Self::Text { distinct: None, longest } => Summary::Text {
                distinct: MAX_DISTINCT as u64,
                distinct_is_lower_bound: true,
                longest: *longest as u64,
                most_frequent: Vec::new(),
            },
            Self::Text { distinct: Some(counts), longest } => Summary::Text {
                distinct: counts.len() as u64,
                distinct_is_lower_bound: false,
                longest: *longest as u64,
                most_frequent: most_frequent(counts),
            },
            Self::Date { min, max } => Summary::Date { min: date(*min)?, max: date(*max)? },
        })
    }
}

fn texts(array: &StringArray) -> Facts {
    let mut longest = 0;
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for text in array.iter().flatten() {
        if text.len() > longest {
            longest = longest.max(text.chars().count());
        }
        if counts.len() <= MAX_DISTINCT {
            *counts.entry(text).or_default() += 1;
        }
    }
    let counted = counts.len() <= MAX_DISTINCT;
    let owned = |(text, count): (&str, u64)| (text.to_owned(), count);
    Facts::Text { distinct: counted.then(|| counts.into_iter().map(owned).collect()), longest }
}

fn most_frequent(counts: &BTreeMap<String, u64>) -> Vec<Frequency> {
    if counts.len() > MAX_LISTED_DISTINCT {
        return Vec::new();
    }
    let mut listed: Vec<_> = counts.iter().filter(|(_, count)| **count >= MIN_LISTED_COUNT).collect();
    listed.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    listed
        .into_iter()
        .take(MAX_LISTED)
        .map(|(value, count)| Frequency { value: value.clone(), count: *count })
        .collect()
}

fn date(days: i32) -> Option<jiff::civil::Date> {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch.checked_add(jiff::SignedDuration::from_hours(24 * i64::from(days))).ok()
}

/// Mean and variance in one pass (Welford 1962), mergeable (Chan, Golub and LeVeque 1979).
#[derive(Debug, Clone, Copy)]
struct Moments {
    count: f64,
    mean: f64,
    /// The sum of squared distances from the mean.
    squares: f64,
    min: f64,
    max: f64,
}

impl Moments {
    fn of(values: &Float64Array) -> Self {
        let mut moments = Self { count: 0.0, mean: 0.0, squares: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY };
        for value in values.iter().flatten() {
            moments.count += 1.0;
            let distance = value - moments.mean;
            moments.mean += distance / moments.count;
            moments.squares += distance * (value - moments.mean);
            moments.min = moments.min.min(value);
            moments.max = moments.max.max(value);
        }
        moments
    }

    fn merge(&mut self, other: &Self) {
        if other.count == 0.0 {
            return;
        }
        let count = self.count + other.count;
        let distance = other.mean - self.mean;
        self.mean += distance * other.count / count;
        self.squares += other.squares + distance * distance * self.count * other.count / count;
        self.count = count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    fn standard_deviation(&self) -> f64 {
        if self.count > 1.0 { (self.squares / (self.count - 1.0)).sqrt() } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn merged_moments_are_those_of_the_whole(
            values in prop::collection::vec(-1e6..1e6f64, 2..60), cut in 0usize..60
        ) {
            let cut = cut.min(values.len());
            let moments = |values: &[f64]| Moments::of(&Float64Array::from(values.to_vec()));
            let mut merged = moments(&values[..cut]);
            merged.merge(&moments(&values[cut..]));
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance =
                values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64;
            prop_assert!((merged.mean - mean).abs() < 1e-6);
            prop_assert!((merged.standard_deviation() - variance.sqrt()).abs() < 1e-6);
            prop_assert_eq!(merged.min, values.iter().copied().fold(f64::INFINITY, f64::min));
        }
    }

    #[test]
    fn a_text_that_few_rows_share_is_never_listed() {
        let attribute = Attribute {
            name: "tier".into(),
            column: "tier".into(),
            kind: AttributeType::Text,
            min: None,
            max: None,
            values: Vec::new(),
            required: false,
        };
        let names = ["gold", "gold", "gold", "gold", "gold", "Ada Lovelace"];
        let tally = ColumnTally::of_values(&attribute, &StringArray::from(names.to_vec()), 0);
        let Some(Summary::Text { distinct, most_frequent, longest, .. }) = tally.facts.summary(6) else {
            panic!("text is summed up as text")
        };
        assert_eq!((distinct, longest), (2, 12));
        assert_eq!(most_frequent, [Frequency { value: "gold".into(), count: 5 }]);
    }

    #[test]
    fn many_distinct_texts_become_a_lower_bound_also_when_no_single_batch_has_them() {
        let attribute = Attribute {
            name: "city".into(),
            column: "city".into(),
            kind: AttributeType::Text,
            min: None,
            max: None,
            values: Vec::new(),
            required: false,
        };
        let batch = |from: usize| {
            let names: Vec<_> = (from..from + 600).map(|n| format!("c{n}")).collect();
            ColumnTally::of_values(&attribute, &StringArray::from(names), 0)
        };
        let mut tally = batch(0);
        tally.merge(batch(600));
        tally.merge(batch(0));
        assert_eq!(
            tally.facts.summary(1_800),
            Some(Summary::Text {
                distinct: 1_000,
                distinct_is_lower_bound: true,
                longest: 5,
                most_frequent: Vec::new()
            })
        );
    }
}
