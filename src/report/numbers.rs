//! Numbers as people read them.

use indicatif::{HumanBytes, HumanCount, HumanFloatCount};

use crate::domain::money::Usd;

const MINUS: &str = "\u{2212}";

/// `12,345`
pub fn count(value: u64) -> String {
    HumanCount(value).to_string()
}

/// `12,345 customers`, `1 customer`
pub fn counted(value: u64, singular: &str) -> String {
    format!("{} {singular}{}", count(value), if value == 1 { "" } else { "s" })
}

/// `0.57%`, `12.5%`, `146%`: three significant digits, as far as three decimals go.
pub fn percent(value: f64) -> String {
    let percent = value * 100.0;
    let decimals = match percent.abs() {
        size if size == 0.0 || size >= 99.95 => 0,
        size if size < 0.1 => 3,
        size if size < 9.995 => 2,
        _ => 1,
    };
    format!("{}%", minus(grouped(percent, decimals)))
}

/// Without decimals that say nothing, for settings and the ticks of an axis: `80%`, `2.5%`.
pub fn short_percent(value: f64) -> String {
    format!("{}%", short_decimal(value * 100.0))
}

/// As [`short_percent`], for a number: `20`, `0.25`, `1,500`.
pub fn short_decimal(value: f64) -> String {
    minus(HumanFloatCount(value).to_string())
}

/// A part of a whole, to one decimal so that a column of them lines up: `91.3%`.
pub fn share(part: u64, whole: u64) -> String {
    let percent = if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
    if part > 0 && percent < 0.05 { "< 0.1%".to_owned() } else { format!("{percent:.1}%") }
}

/// Four significant digits or so: `0.0123`, `45.1`, `1,204`.
pub fn decimal(value: f64) -> String {
    let decimals = match value.abs() {
        size if size == 0.0 || size >= 1_000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.1 => 3,
        size if size >= 0.01 => 4,
        _ => 6,
    };
    minus(grouped(value, decimals))
}

/// With `+` before what is greater than zero.
pub fn signed(value: f64, format: fn(f64) -> String) -> String {
    let text = format(value);
    if value > 0.0 { format!("+{text}") } else { text }
}

/// `0.031`, `< 0.0001`
pub fn p_value(p: f64) -> String {
    if p < 0.0001 {
        "< 0.0001".to_owned()
    } else if p < 0.01 {
        format!("{p:.4}")
    } else if p > 0.999 {
        "> 0.999".to_owned()
    } else {
        format!("{p:.3}")
    }
}

/// `p = 0.031`, not to be broken over two lines.
pub fn p_equals(p: f64) -> String {
    let value = p_value(p);
    let sign = if value.starts_with(['<', '>']) { "" } else { "= " };
    format!("p {sign}{value}").replace(' ', "\u{a0}")
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

fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    // A rounded nothing has no sign.
    let text =
        if text.starts_with('-') && !text.bytes().any(|b| (b'1'..=b'9').contains(&b)) { &text[1..] } else { &text };
    if value.abs() < 1_000.0 { text.to_owned() } else { HumanFloatCount(value.round()).to_string() }
}

fn minus(text: String) -> String {
    text.replacen('-', MINUS, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators_signs_and_a_sensible_precision() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "customer"), "1 customer");
        assert_eq!(counted(0, "customer"), "0 customers");
        assert_eq!(percent(0.0057), "0.57%");
        assert_eq!(percent(0.125), "12.5%");
        assert_eq!(percent(0.0), "0%");
        assert_eq!(percent(-0.0000001), "0.000%");
        assert_eq!(percent(12.5), "1,250%");
        assert_eq!(percent(1.462), "146%");
        assert_eq!(short_percent(0.8), "80%");
        assert_eq!(short_percent(0.07), "7%");
        assert_eq!(short_percent(-0.025), "\u{2212}2.5%");
        assert_eq!(short_decimal(1_500.0), "1,500");
        assert_eq!(share(58, 1_000), "5.8%");
        assert_eq!(share(1, 1_000_000), "< 0.1%");
        assert_eq!(share(0, 0), "0.0%");
        assert_eq!(signed(-0.041, percent), "\u{2212}4.10%");
        assert_eq!(signed(0.123, percent), "+12.3%");
        assert_eq!(decimal(-1_204.4), "\u{2212}1,204");
        assert_eq!(decimal(45.1), "45.10");
        assert_eq!(p_value(0.0312), "0.031");
        assert_eq!(p_equals(0.00001), "p\u{a0}<\u{a0}0.0001");
        assert_eq!(p_equals(0.0312), "p\u{a0}=\u{a0}0.031");
    }
}
