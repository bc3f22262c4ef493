//! The facts in a text that can be compared by value: dates, money, percentages, quantities, numbers and codes.

use std::{fmt, ops::Range, sync::LazyLock};

use jiff::civil::Date;
use regex::{Captures, Regex};

/// Two facts are equal if they mean the same, however they are written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Fact {
    Date(Date),
    /// A date without a year.
    Day {
        month: i8,
        day: i8,
    },
    Percent(Decimal),
    Money(&'static str, Decimal),
    Quantity(Decimal, &'static str),
    Number(Decimal),
    /// `half` and `double`: more than words, but not always the numbers 0.5 and 2.
    Factor(&'static str),
    /// Anything else with a digit in it, or a word of four and more capitals. Compared as written.
    Code(String),
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Date(date) => write!(f, "the date {date}"),
            Self::Day { month, day } => write!(f, "the date {month:02}-{day:02} without a year"),
            Self::Percent(value) => write!(f, "{value} %"),
            Self::Money(currency, value) => write!(f, "{currency}{value}"),
            Self::Quantity(value, unit) => write!(f, "{value} {unit}"),
            Self::Number(value) => write!(f, "the number {value}"),
            Self::Factor(word) => write!(f, "`{word}`"),
            Self::Code(code) => write!(f, "`{code}`"),
        }
    }
}

/// A decimal number of any size without grouping, leading zeros or trailing fraction zeros.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal(String);

impl Decimal {
    fn of_digits(digits: &str) -> Self {
        let digits = digits.replace(',', "");
        let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let whole = if whole.is_empty() { "0" } else { whole };
        Self(if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") })
    }

    fn negated(self) -> Self {
        Self(format!("-{}", self.0))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a text writes its facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// `1,000.50`, month names, number words and units are read.
    English,
    /// Another language, in which `1,000` may be one: every fact is compared as written.
    AsWritten,
}

const NUMBER_WORDS: [&str; 20] = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];

/// Each with all its spellings, ASCII. Units of one letter are left out: `m` may be metres, minutes or millions.
const UNITS: [(&str, &[&str]); 24] = [
    ("second", &["second", "seconds", "sec", "secs"]),
    ("minute", &["minute", "minutes", "min", "mins"]),
    ("hour", &["hour", "hours", "hr", "hrs"]),
    ("day", &["day", "days"]),
    ("week", &["week", "weeks"]),
    ("month", &["month", "months"]),
    ("year", &["year", "years"]),
    ("mg", &["mg", "milligram", "milligrams"]),
    ("gram", &["gram", "grams"]),
    ("kg", &["kg", "kilogram", "kilograms", "kilo", "kilos"]),
    ("ounce", &["oz", "ounce", "ounces"]),
    ("pound", &["lb", "lbs"]),
    ("ml", &["ml", "millilitre", "millilitres", "milliliter", "milliliters"]),
    ("litre", &["litre", "litres", "liter", "liters"]),
    ("mm", &["mm", "millimetre", "millimetres", "millimeter", "millimeters"]),
    ("cm", &["cm", "centimetre", "centimetres", "centimeter", "centimeters"]),
    ("metre", &["metre", "metres", "meter", "meters"]),
    ("km", &["km", "kilometre", "kilometres", "kilometer", "kilometers"]),
    ("inch", &["inch", "inches"]),
    ("foot", &["foot", "feet"]),
    ("watt", &["watt", "watts"]),
    ("gb", &["GB", "gigabyte", "gigabytes"]),
    ("point", &["point", "points"]),
    ("piece", &["piece", "pieces"]),
];

static ENGLISH: LazyLock<Regex> = LazyLock::new(|| {
    let number = r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?";
    let word = any_capital(NUMBER_WORDS);
    let units = any_capital(UNITS.iter().flat_map(|(_, spellings)| spellings.iter().copied()));
    let month = "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:t|tember)?|\
                 Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)";
    let day = r"(?:[0-9]{1,2})(?:st|nd|rd|th)?";
    let pattern = format!(
        r"(?x)
        \b(?<iso>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})\b
        | \b(?<day_first>{day})\s+(?:of\s+)?(?<month_second>{month})\b(?:,?\s+(?<year_a>[0-9]{{4}})\b)?
        | \b(?<month_first>{month})\s+(?<day_second>{day})\b(?:,?\s+(?<year_b>[0-9]{{4}})\b)?
        | \b(?<percent>{number})(?:\s?%|\s?[Pp]er\s?cent\b)
        | (?<symbol>US\$|\$|€|£|¥)\s?(?<price>{number})\b
        | \b(?<amount>{number})(?:\s?(?<symbol_after>€|£)|\s?(?<currency>USD|EUR|GBP|dollars?|euros?)\b)
        | \b(?<count>{number}|{word})[\s-]?(?<unit>{units})\b
        | \b(?<factor>[Hh]alf|[Dd]ouble)\b
        | \b(?<number>{number}|{word})\b
        | {CODE}"
    );
    Regex::new(&pattern).expect("the pattern is made of constants")
});

/// Any of the words, each with or without a capital at its start.
fn any_capital<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let pattern = |word: &str| {
        let (first, rest) = word.split_at(1);
        format!("[{first}{}]{rest}", first.to_uppercase())
    };
    format!("(?:{})", words.into_iter().map(pattern).collect::<Vec<_>>().join("|"))
}

static AS_WRITTEN: LazyLock<Regex> = LazyLock::new(|| Regex::new(CODE).expect("the pattern is a constant"));

/// A run of letters and digits, inner punctuation included.
const CODE: &str = r"(?<code>[\p{L}\p{N}](?:[\p{L}\p{N}\p{M}]|[.,:/_-][\p{L}\p{N}])*)";

/// The facts of a text in their order, with their byte ranges. A fact is never inside another.
pub fn find(text: &str, notation: Notation) -> Vec<(Range<usize>, Fact)> {
    let pattern: &Regex = match notation {
        Notation::English => &ENGLISH,
        Notation::AsWritten => &AS_WRITTEN,
    };
    let mut facts = Vec::new();
    let mut at = 0;
    while let Some(captures) = pattern.captures_at(text, at) {
        let mut range = captures.get_match().range();
        let mut fact = read(&captures);
        // `15` of `15th`, `1.2` of `1.2.3`, `12` of `12:30`: not numbers but parts of something else.
        if captures.name("code").is_none() && is_cut_short(text, range.end) {
            let whole = AS_WRITTEN.find_at(text, range.start).map_or(range.end, |code| code.end());
            range.end = range.end.max(whole);
            fact = Some(Fact::Code(text[range.clone()].to_owned()));
        }
        at = range.end;
        if let Some(fact) = fact {
            facts.push(with_sign(text, range, fact));
        }
    }
    facts
}

fn is_cut_short(text: &str, end: usize) -> bool {
    let mut rest = text[end..].chars();
    match rest.next() {
        Some('.' | ',' | ':' | '/' | '_') => rest.next().is_some_and(char::is_numeric),
        Some(c) => c.is_alphanumeric() && text[..end].ends_with(char::is_alphanumeric),
        None => false,
    }
}

fn with_sign(text: &str, range: Range<usize>, fact: Fact) -> (Range<usize>, Fact) {
    let before = &text[..range.start];
    let signed = before.strip_suffix('-').is_some_and(|before| !before.ends_with(char::is_alphanumeric));
    let fact = match fact {
        Fact::Number(value) if signed => Fact::Number(value.negated()),
        Fact::Percent(value) if signed => Fact::Percent(value.negated()),
        Fact::Money(currency, value) if signed => Fact::Money(currency, value.negated()),
        Fact::Quantity(value, unit) if signed => Fact::Quantity(value.negated(), unit),
        fact => return (range, fact),
    };
    (range.start - 1..range.end, fact)
}

fn read(captures: &Captures<'_>) -> Option<Fact> {
    let group = |name| captures.name(name).map(|group| group.as_str());
    let raw = || Fact::Code(captures[0].to_owned());
    let fact = if let Some(iso) = group("iso") {
        iso.parse().map_or_else(|_| raw(), Fact::Date)
    } else if let Some((day, month)) = group("day_first").zip(group("month_second")) {
        calendar_day(day, month, group("year_a")).unwrap_or_else(raw)
    } else if let Some((month, day)) = group("month_first").zip(group("day_second")) {
        calendar_day(day, month, group("year_b")).unwrap_or_else(raw)
    } else if let Some(value) = group("percent") {
        Fact::Percent(Decimal::of_digits(value))
    } else if let Some((symbol, value)) = group("symbol").zip(group("price")) {
        Fact::Money(currency(symbol), Decimal::of_digits(value))
    } else if let Some(value) = group("amount") {
        Fact::Money(currency(group("symbol_after").or(group("currency"))?), Decimal::of_digits(value))
    } else if let Some((count, unit)) = group("count").zip(group("unit")) {
        Fact::Quantity(number(count), canonical_unit(unit)?)
    } else if let Some(word) = group("factor") {
        Fact::Factor(if word.eq_ignore_ascii_case("half") { "half" } else { "double" })
    } else if let Some(value) = group("number") {
        Fact::Number(number(value))
    } else {
        let code = group("code")?;
        let is_capitals = code.chars().count() >= 4 && code.chars().all(char::is_uppercase);
        (is_capitals || code.contains(char::is_numeric)).then(|| Fact::Code(code.to_owned()))?
    };
    Some(fact)
}

fn number(text: &str) -> Decimal {
    let word = NUMBER_WORDS.iter().position(|word| word.eq_ignore_ascii_case(text));
    word.map_or_else(|| Decimal::of_digits(text), |index| Decimal((index + 1).to_string()))
}

fn canonical_unit(unit: &str) -> Option<&'static str> {
    let is_it = |spelling: &&str| spelling.eq_ignore_ascii_case(unit);
    UNITS.iter().find(|(_, spellings)| spellings.iter().any(is_it)).map(|(unit, _)| *unit)
}

fn currency(sign: &str) -> &'static str {
    match sign {
        "€" | "EUR" | "euro" | "euros" => "€",
        "£" | "GBP" => "£",
        "¥" => "¥",
        _ => "$",
    }
}

/// `None` for a day that no calendar has, such as 31 June.
fn calendar_day(day: &str, month: &str, year: Option<&str>) -> Option<Fact> {
    let day = day.trim_end_matches(char::is_alphabetic);
    // Three letters name a month; a leap year admits every day there can be.
    let date = Date::strptime("%d %b %Y", format!("{day} {} {}", &month[..3], year.unwrap_or("2024"))).ok()?;
    Some(match year {
        Some(_) => Fact::Date(date),
        None => Fact::Day { month: date.month(), day: date.day() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str) -> Vec<Fact> {
        find(text, Notation::English).into_iter().map(|(_, fact)| fact).collect()
    }

    #[test]
    fn the_same_value_is_one_fact_however_it_is_written() {
        for same in [
            &["$79", "$79.00", "$ 79", "US$79", "79 USD", "79 dollars"][..],
            &["1,000", "1000", "1000.0", "01000"],
            &["15%", "15 %", "15.0 percent", "15 per cent"],
            &["1 October 2026", "2026-10-01", "October 1, 2026", "Oct 1st 2026", "1st of October, 2026"],
            &["two-year", "2 years", "2-year", "Two years"],
            &["1.7 litres", "1.70 liter"],
            &["five", "5", "Five"],
            &["-5", "-5.0"],
            &["1 October", "October 1st"],
        ] {
            for text in same {
                assert_eq!(facts(text), facts(same[0]), "{text}");
                assert_eq!(facts(text).len(), 1, "{text}");
            }
        }
    }

    #[test]
    fn different_values_are_different_facts() {
        for (a, b) in [
            ("$79", "€79"),
            ("$79", "$7.9"),
            ("15%", "15"),
            ("2 years", "2 months"),
            ("1 October 2026", "1 October 2025"),
            ("1 October 2026", "1 October"),
            ("MORROW15", "MORROW155"),
            ("MORROW15", "morrow15"),
            ("1.2.3", "1.2"),
            ("12:30", "12"),
            ("5", "-5"),
            ("31 June 2026", "1 July 2026"),
            ("5k", "5"),
            ("$5k", "$5"),
            ("1,00", "100"),
            ("half", "double"),
            ("１５", "15"),
        ] {
            assert_ne!(facts(a), facts(b), "{a} {b}");
            assert!(!facts(a).is_empty(), "{a}");
        }
    }

    #[test]
    fn facts_are_found_in_their_order_within_prose() {
        let found = facts("Use MORROW15 for 15% off $1,250.50 until 31 October 2026, within 30 days; TODAY only.");
        assert_eq!(found.len(), 6);
        assert_eq!(found[2], Fact::Money("$", Decimal("1250.5".to_owned())));
        assert!(facts("The kettle stays cool to the touch.").is_empty());
    }

    #[test]
    fn other_languages_are_compared_as_written() {
        let german = |text| find(text, Notation::AsWritten).into_iter().map(|(_, fact)| fact).collect::<Vec<_>>();
        assert_ne!(german("1,000 kg"), german("1000 kg"));
        assert_eq!(german("ab 1.000 Euro"), [Fact::Code("1.000".to_owned())]);
    }
}
