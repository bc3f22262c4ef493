//! Sources that say when something ends, in words that no document's own dates need to repeat.

use std::sync::LazyLock;

use jiff::{ToSpan as _, civil::Date};
use regex::Regex;

use crate::agents::safety::fact::{self, Fact, Notation};

/// What makes the date after it an end.
static BEFORE_AN_END: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)(?: \b(?:until|till|through|by|before|ends?|ending|expires?|expiring|last\ day|from\b.*\bto|between\b.*\band)
        \W*(?:(?:on|is|and|including|midnight|the|of)\W*)* | [0-9]\ ?-\ ? | [0-9]\ [a-z]+\ ?-\ ? )$",
    )
    .expect("the pattern is a constant")
});

/// The latest day that the text names as an end, if all such days have passed on `date`. A day without a year is the
/// first such day since the text was approved. Typographic dashes must be plain.
pub fn ended(text: &str, date: Date, approved_on: Option<Date>) -> Option<Date> {
    let end = |(range, fact): (std::ops::Range<usize>, Fact)| {
        let day = match fact {
            Fact::Date(day) => day,
            Fact::Day { month, day } => next(month, day, approved_on?)?,
            _ => return None,
        };
        BEFORE_AN_END.is_match(&text[..range.start]).then_some(day)
    };
    let last = fact::find(text, Notation::English).into_iter().filter_map(end).max()?;
    (last < date).then_some(last)
}

/// The first such day on or after `from`; 29 February may be years away.
fn next(month: i8, day: i8, from: Date) -> Option<Date> {
    let years = (0..=8).filter_map(|years| from.checked_add(years.years()).ok());
    years.filter_map(|year| Date::new(year.year(), month, day).ok()).find(|day| *day >= from)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn an_end_that_has_passed_is_found_and_no_other_date() {
        let today = date(2026, 11, 15);
        let is_over = |text: &str| ended(text, today, Some(date(2026, 10, 1))).is_some();
        for text in [
            "15% off until 31 October 2026.",
            "15% off until the 31st of October.",
            "The offer ends on November 14, 2026.",
            "The offer ends on November 14.",
            "It runs from 1 October 2026 to 31 October 2026.",
            "Order by 2026-11-14 to have it for the holidays.",
            "The sale (1-14 November 2026) is on.",
            "Valid through 14 November.",
        ] {
            assert!(is_over(text), "{text}");
        }
        for text in [
            "15% off until 15 November 2026.",
            "15% off until 15 November.",
            "15% off until 1 March.",
            "The workshop opened on 3 May 1998.",
            "It runs from 1 October 2026 to 30 November 2026.",
            "The first kiln burned until 3 May 1998, the second burns until 3 May 2030.",
            "Open until 5.",
        ] {
            assert!(!is_over(text), "{text}");
        }
        assert_eq!(next(2, 29, date(2026, 3, 1)), Some(date(2028, 2, 29)));
    }
}
