//! From text to typed columns, a batch at a time.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Date32Array, Float64Array, StringArray};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::DataType;
use arrow_select::filter::filter;

use super::{
    consent::{Answer, Consent, Standing},
    defect::{Defect, Reason},
    mapping::Mapping,
    quality::{ColumnTally, Tally},
    rows::{RawRows, Texts},
    spill::Head,
    suppression::Suppression,
};
use crate::domain::{
    attribute::{Attribute, AttributeType, Attributes},
    customer::IdPrefix,
    id::CustomerId,
};

pub const MAX_TEXT_CHARS: usize = 1_024;
/// The largest magnitude below which every whole number is an `f64`.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

pub fn data_type(kind: AttributeType) -> DataType {
    match kind {
        AttributeType::Number | AttributeType::Integer => DataType::Float64,
        AttributeType::Boolean => DataType::Boolean,
        AttributeType::Text => DataType::Utf8,
        AttributeType::Date => DataType::Date32,
    }
}

/// Rows as bytes: the customer's id, then the attributes. Comparing the bytes compares the ids.
pub fn row_converter(attributes: &Attributes) -> RowConverter {
    let attributes = attributes.iter().map(|attribute| data_type(attribute.kind));
    let fields = std::iter::once(DataType::Utf8).chain(attributes).map(SortField::new).collect();
    RowConverter::new(fields).expect("rows of text, numbers, booleans and dates are supported")
}

/// A batch with types.
#[derive(Debug)]
pub struct Typed {
    pub read: u64,
    /// Of all bad rows, by line.
    pub defects: Vec<Defect>,
    /// The rows that say something about a customer with a readable id: all good ones, and bad ones that refuse
    /// contact.
    pub heads: Vec<Head>,
    /// The good rows in order.
    pub rows: Rows,
    pub tally: Tally,
}

#[derive(Debug, Clone, Copy)]
pub struct Typer<'a> {
    pub mapping: Mapping<'a>,
    pub consent: &'a Consent,
    pub suppression: &'a Suppression,
    pub converter: &'a RowConverter,
}

impl Typer<'_> {
    pub fn type_rows(&self, raw: &RawRows) -> Typed {
        let texts = raw.texts();
        let mut defects = Vec::new();
        let mut tallies = Vec::with_capacity(self.mapping.width());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.mapping.width());

        let ids = self.ids(raw, &texts, &mut defects);
        let missing = defects.iter().filter(|defect| defect.reason == Reason::NoId).count();
        tallies.push(ColumnTally::of_ids(ids.len(), missing, defects.len() - missing));
        columns.push(Arc::new(
            ids.iter().map(Option::as_ref).map(|id| id.map(CustomerId::as_str)).collect::<StringArray>(),
        ));

        let mut answers: Vec<Vec<Answer>> = vec![Vec::new(); self.mapping.attributes.len()];
        for (index, attribute) in self.mapping.attributes.iter().enumerate() {
            let first = defects.len();
            let array = typed_column(raw, &texts, 1 + index, attribute, &mut defects);
            let found = &defects[first..];
            let bad = found.iter().filter(|defect| defect.reason != Reason::Required).count();
            tallies.push(ColumnTally::of_values(attribute, &array, bad));
            if self.consent.attributes().any(|position| position == index) {
                answers[index] = answers_of(&array, found);
            }
            columns.push(array);
        }

        let mut good = vec![true; raw.lines().len()];
        for defect in &defects {
            good[defect.row as usize] = false;
        }
        let heads = self.heads(raw, &ids, &good, &answers);
        let rows = self.rows_as_bytes(columns, good);
        let malformed = raw.malformed().iter();
        defects.extend(malformed.map(|(line, reason)| Defect { row: 0, line: *line, column: None, reason: *reason }));
        defects.sort_by_key(|defect| (defect.line, defect.column));
        Typed { read: raw.read(), defects, heads, rows, tally: Tally::new(tallies) }
    }

    fn ids(&self, raw: &RawRows, texts: &Texts<'_>, defects: &mut Vec<Defect>) -> Vec<Option<CustomerId>> {
        let id = |(row, line): (usize, &u64)| {
            let read = texts
                .get(row, 0)
                .and_then(|text| CustomerId::new(text.ok_or(Reason::NoId)?).map_err(|_| Reason::InvalidId));
            read.map_err(|reason| defects.push(Defect { row: row as u32, line: *line, column: Some(0), reason })).ok()
        };
        raw.lines().iter().enumerate().map(id).collect()
    }

    fn heads(&self, raw: &RawRows, ids: &[Option<CustomerId>], good: &[bool], answers: &[Vec<Answer>]) -> Vec<Head> {
        let head = |(row, id): (usize, &Option<CustomerId>)| {
            let prefix = IdPrefix::of(id.as_ref()?.as_str());
            let listed = self.suppression.contains(prefix);
            let Standing { refusal, refused } = self.consent.judge(listed, |position| answers[position][row]);
            let quarantined = !good[row];
            (!quarantined || refusal.is_some() || refused != Default::default()).then_some(Head {
                id: prefix,
                line: raw.lines()[row],
                refusal,
                refused,
                quarantined,
            })
        };
        ids.iter().enumerate().filter_map(head).collect()
    }

    fn rows_as_bytes(&self, mut columns: Vec<ArrayRef>, good: Vec<bool>) -> Rows {
        if good.contains(&false) {
            let good = BooleanArray::from(good);
            for column in &mut columns {
                *column = filter(column, &good).expect("the mask has a place for every row");
            }
        }
        self.converter.convert_columns(&columns).expect("the columns have the types the converter was made for")
    }
}

fn answers_of(values: &ArrayRef, defects: &[Defect]) -> Vec<Answer> {
    let values: &BooleanArray =
        values.as_any().downcast_ref().expect("`Consent::new` accepts no attribute that is not boolean");
    let mut answers = Answer::of_column(values);
    for defect in defects.iter().filter(|defect| defect.reason != Reason::Required) {
        answers[defect.row as usize] = Answer::Unreadable;
    }
    answers
}

/// Bad values are null, and reported.
fn typed_column(
    raw: &RawRows,
    texts: &Texts<'_>,
    column: usize,
    attribute: &Attribute,
    defects: &mut Vec<Defect>,
) -> ArrayRef {
    match attribute.kind {
        AttributeType::Number => {
            let parse = |text| within(number(text)?, attribute);
            Arc::new(Float64Array::from(values(raw, texts, column, attribute, defects, parse)))
        }
        AttributeType::Integer => {
            let parse = |text| within(integer(text)?, attribute);
            Arc::new(Float64Array::from(values(raw, texts, column, attribute, defects, parse)))
        }
        AttributeType::Boolean => Arc::new(BooleanArray::from(values(raw, texts, column, attribute, defects, boolean))),
        AttributeType::Text => {
            let parse = |text| plain_text(text, &attribute.values);
            Arc::new(StringArray::from(values(raw, texts, column, attribute, defects, parse)))
        }
        AttributeType::Date => {
            Arc::new(Date32Array::from(values(raw, texts, column, attribute, defects, days_since_epoch)))
        }
    }
}

fn values<'t, T>(
    raw: &RawRows,
    texts: &Texts<'t>,
    column: usize,
    attribute: &Attribute,
    defects: &mut Vec<Defect>,
    parse: impl Fn(&'t str) -> Result<T, Reason>,
) -> Vec<Option<T>> {
    let value = |(row, line): (usize, &u64)| {
        let value = match texts.get(row, column) {
            Ok(Some(text)) => parse(text).map(Some),
            Ok(None) if attribute.required => Err(Reason::Required),
            Ok(None) => Ok(None),
            Err(reason) => Err(reason),
        };
        value.unwrap_or_else(|reason| {
            defects.push(Defect { row: row as u32, line: *line, column: Some(column), reason });
            None
        })
    };
    raw.lines().iter().enumerate().map(value).collect()
}

fn number(text: &str) -> Result<f64, Reason> {
    match text.parse::<f64>() {
        // Adding zero makes a negative zero positive: equal numbers have equal bytes.
        Ok(value) if value.is_finite() => Ok(value + 0.0),
        Ok(_) => Err(Reason::NotFinite),
        Err(_) => {
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            let grouped = |c: char| c.is_ascii_digit() || ".,'’_ \u{a0}\u{202f}".contains(c);
            let looks_grouped = digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(grouped);
            Err(if looks_grouped { Reason::Separators } else { Reason::NotANumber })
        }
    }
}

fn integer(text: &str) -> Result<f64, Reason> {
    let value = number(text)?;
    if value.fract() != 0.0 {
        Err(Reason::NotWhole)
    } else if value.abs() > MAX_EXACT_INTEGER {
        Err(Reason::TooLargeForInteger)
    } else {
        Ok(value)
    }
}

fn within(value: f64, attribute: &Attribute) -> Result<f64, Reason> {
    match (attribute.min, attribute.max) {
        (Some(min), _) if value < min => Err(Reason::Below(min)),
        (_, Some(max)) if value > max => Err(Reason::Above(max)),
        _ => Ok(value),
    }
}

fn boolean(text: &str) -> Result<bool, Reason> {
    let is = |words: [&str; 4]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(["true", "yes", "1", "y"]) || text.eq_ignore_ascii_case("t") {
        Ok(true)
    } else if is(["false", "no", "0", "n"]) || text.eq_ignore_ascii_case("f") {
        Ok(false)
    } else {
        Err(Reason::NotBoolean)
    }
}

fn plain_text<'t>(text: &'t str, allowed: &[String]) -> Result<&'t str, Reason> {
    let has_controls = if text.is_ascii() {
        text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')
    } else {
        text.chars().any(|c| c.is_control() && c != '\t')
    };
    if has_controls {
        Err(Reason::ControlCharacter)
    } else if text.len() > MAX_TEXT_CHARS && text.chars().count() > MAX_TEXT_CHARS {
        Err(Reason::TooLong)
    } else if !allowed.is_empty() && !allowed.iter().any(|value| value == text) {
        Err(Reason::NotListed)
    } else {
        Ok(text)
    }
}

/// The day as it is written: a timestamp's offset does not move it.
fn days_since_epoch(text: &str) -> Result<i32, Reason> {
    const DATE_LEN: usize = "2026-11-22".len();
    let (day, rest) = text.split_at_checked(DATE_LEN).ok_or(Reason::NotADate)?;
    let at_its_end = rest.is_empty() || rest.starts_with(['T', 't', ' ']);
    let has_dashes = day.as_bytes()[4] == b'-' && day.as_bytes()[7] == b'-';
    if !at_its_end || !has_dashes {
        return Err(Reason::NotADate);
    }
    let day: jiff::civil::Date = day.parse().map_err(|_| Reason::NotADate)?;
    let days = day.duration_since(jiff::civil::date(1970, 1, 1)).as_hours() / 24;
    i32::try_from(days).map_err(|_| Reason::NotADate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_finite_and_ungrouped() {
        assert_eq!(number("-12.50"), Ok(-12.5));
        assert_eq!(number("1e3"), Ok(1000.0));
        assert!(number("-0").is_ok_and(f64::is_sign_positive));
        for grouped in ["1,234", "1 234.5", "1'234", "12,50", "1_000"] {
            assert_eq!(number(grouped), Err(Reason::Separators), "{grouped}");
        }
        for not in ["abc", "12px", "$5", "--1", "1.2.3x"] {
            assert_eq!(number(not), Err(Reason::NotANumber), "{not}");
        }
        for infinite in ["NaN", "inf", "-Infinity", "1e999"] {
            assert_eq!(number(infinite), Err(Reason::NotFinite), "{infinite}");
        }
        assert_eq!(integer("3.5"), Err(Reason::NotWhole));
        assert_eq!(integer("9007199254740992"), Ok(9_007_199_254_740_992.0));
        assert_eq!(integer("9007199254740994"), Err(Reason::TooLargeForInteger));
    }

    #[test]
    fn dates_are_calendar_days_and_timestamps_keep_theirs() {
        assert_eq!(days_since_epoch("1970-01-01"), Ok(0));
        assert_eq!(days_since_epoch("1969-12-31"), Ok(-1));
        assert_eq!(days_since_epoch("2026-11-22"), Ok(20_779));
        assert_eq!(days_since_epoch("2026-11-22T23:59:59-11:00"), Ok(20_779));
        assert_eq!(days_since_epoch("2024-02-29 10:00"), Ok(19_782));
        for bad in
            ["2023-02-29", "22.11.2026", "2026-11-221", "2026/11/22", "20261122", "2026-1-2", "2026-13-01", "ééééé"]
        {
            assert_eq!(days_since_epoch(bad), Err(Reason::NotADate), "{bad}");
        }
    }

    #[test]
    fn booleans_are_the_listed_words_in_any_case() {
        for yes in ["true", "TRUE", "Yes", "y", "1", "T"] {
            assert_eq!(boolean(yes), Ok(true), "{yes}");
        }
        for no in ["false", "No", "N", "0", "f"] {
            assert_eq!(boolean(no), Ok(false), "{no}");
        }
        for neither in ["maybe", "2", "on", "ja", "truee"] {
            assert_eq!(boolean(neither), Err(Reason::NotBoolean), "{neither}");
        }
    }

    #[test]
    fn text_is_short_printable_and_from_the_list_where_there_is_one() {
        assert_eq!(plain_text("a\tb", &[]), Ok("a\tb"));
        assert_eq!(plain_text("a\u{1b}b", &[]), Err(Reason::ControlCharacter));
        assert_eq!(plain_text("é\u{85}é", &[]), Err(Reason::ControlCharacter));
        assert_eq!(plain_text(&"é".repeat(1_024), &[]).map(str::len), Ok(2_048));
        assert_eq!(plain_text(&"e".repeat(1_025), &[]), Err(Reason::TooLong));
        assert_eq!(plain_text("gold", &["Gold".to_owned()]), Err(Reason::NotListed));
    }
}
