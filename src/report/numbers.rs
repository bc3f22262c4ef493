//! Numbers as people read them.

use indicatif::{HumanBytes, HumanFloatCount};

use crate::{
    agents::experimentation::{analysis::MetricKind, words},
    domain::money::Usd,
};

/// `12,345`
pub fn count(value: u64) -> String {
    words::count(value)
}

/// `12,345 customers`, `1 customer`
pub fn counted(value: u64, singular: &str) -> String {
    format!("{} {singular}{}", count(value), if value == 1 { "" } else { "s" })
}

/// `0.57 %`, `146 %`, rounded as in the sentences of the analysis.
pub fn percent(value: f64) -> String {
    typeset(&words::percent(value))
}

/// A difference of two rates in percentage points, or of two means.
pub fn difference(kind: MetricKind, value: f64) -> String {
    match kind {
        MetricKind::Rate => typeset(&kind.difference(value)),
        MetricKind::Mean => decimal(value),
    }
}

/// A part of a whole, to one decimal so that a column of them lines up: `91.3 %`.
pub fn share(part: u64, whole: u64) -> String {
    let percent = if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
    typeset(&if part > 0 && percent < 0.05 { "< 0.1 %".to_owned() } else { format!("{percent:.1} %") })
}

/// Four significant digits: `0.0123`, `45.10`, `1,204`.
pub fn decimal(value: f64) -> String {
    if value.abs() < 1_000.0 {
        typeset(&MetricKind::Mean.mean(value))
    } else {
        typeset(&HumanFloatCount(value.round()).to_string())
    }
}

/// Without decimals that say nothing, for the ticks of an axis: `20`, `0.25`, `1,500`.
pub fn tick(value: f64) -> String {
    typeset(&HumanFloatCount(value).to_string())
}

/// With `+` before what is greater than zero.
pub fn signed(value: f64, format: impl Fn(f64) -> String) -> String {
    let text = format(value);
    if value > 0.0 { format!("+{text}") } else { text }
}

/// `0.0312`
pub fn p_value(p: f64) -> String {
    typeset(&words::p_value(p))
}

/// `p = 0.0312`, not to be broken over two lines.
pub fn p_equals(p: f64) -> String {
    typeset(&format!("p = {}", p_value(p)))
}

/// `$12.30`, and six decimals for what is less than a cent.
pub fn dollars(amount: f64) -> String {
    Usd::from_dollars(amount).map_or_else(|| format!("${amount}"), |amount| amount.to_string())
}

pub fn bytes(value: u64) -> String {
    HumanBytes(value).to_string()
}

/// `0.004 s`, `12.3 s`
pub fn seconds(value: f64) -> String {
    let decimals = match value {
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$} s")
}

/// A true minus, and no line break within a figure.
fn typeset(figure: &str) -> String {
    figure.replace("e-", "e\u{2212}").replacen('-', "\u{2212}", 1).replace(' ', "\u{a0}")
}

/// Names that a sentence has in backticks, in quotation marks.
pub fn prose(sentence: &str) -> String {
    let mut text = String::with_capacity(sentence.len());
    let mut parts = sentence.split('`').peekable();
    let mut inside = false;
    while let Some(part) = parts.next() {
        text += part;
        if parts.peek().is_some() {
            text.push(if inside { '\u{201d}' } else { '\u{201c}' });
            inside = !inside;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators_signs_and_a_sensible_precision() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "customer"), "1 customer");
        assert_eq!(counted(0, "customer"), "0 customers");
        assert_eq!(percent(0.0057), "0.57\u{a0}%");
        assert_eq!(percent(1.462), "146\u{a0}%");
        assert_eq!(difference(MetricKind::Rate, -0.041), "\u{2212}4.1\u{a0}pp");
        assert_eq!(signed(0.123, percent), "+12.3\u{a0}%");
        assert_eq!(decimal(-1_204.4), "\u{2212}1,204");
        assert_eq!(tick(1_500.0), "1,500");
        assert_eq!(tick(-0.25), "\u{2212}0.25");
        assert_eq!(share(58, 1_000), "5.8\u{a0}%");
        assert_eq!(share(1, 1_000_000), "<\u{a0}0.1\u{a0}%");
        assert_eq!(share(0, 0), "0.0\u{a0}%");
        assert_eq!(p_equals(0.0312), "p\u{a0}=\u{a0}0.0312");
    }

    #[test]
    fn names_in_backticks_are_quoted() {
        assert_eq!(
            prose("No arm beats `control`, not `a`."),
            "No arm beats \u{201c}control\u{201d}, not \u{201c}a\u{201d}."
        );
        assert_eq!(prose("none"), "none");
    }
}
