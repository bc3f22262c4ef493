//! Numbers as they stand in sentences and tables.

use crate::agents::experimentation::analysis::MetricKind;

impl MetricKind {
    /// A rate, or the mean of values.
    pub fn mean(self, value: f64) -> String {
        match self {
            Self::Rate => percent(value),
            Self::Mean => decimal(value),
        }
    }

    /// Of two rates, or of two means.
    pub fn difference(self, difference: f64) -> String {
        match self {
            Self::Rate => points(difference),
            Self::Mean => decimal(difference),
        }
    }
}

/// `57763` -> `57,763`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}

/// `0.0722` -> `7.22 %`: three significant digits, without zeros at the end.
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    let decimals = match percent.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{percent:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{} %", if text == "-0" { "0" } else { text })
}

/// A difference of two rates, in percentage points: `0.0766` -> `7.66 pp`.
fn points(difference: f64) -> String {
    percent(difference).replace('%', "pp")
}

/// As [`percent`], with its sign.
pub fn signed_percent(share: f64) -> String {
    let text = percent(share);
    if share > 0.0 && text != "0 %" { format!("+{text}") } else { text }
}

/// `0.0312`, or `1.2e-112`, or `below 1e-300` where only the logarithm is left.
pub fn p_value(p: f64) -> String {
    match p {
        p if p >= 0.001 => format!("{p:.4}"),
        p if p >= 1e-300 => format!("{p:.1e}"),
        _ => "below 1e-300".to_owned(),
    }
}

/// Four significant digits.
fn decimal(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 1000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        size if size >= 1.0 => 3,
        _ => 4,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 57_763, 1_000_000].map(count), ["0", "999", "1,000", "57,763", "1,000,000"]);
        assert_eq!(
            [0.1, 0.0572, 1.18842, -0.00004, 1.0].map(percent),
            ["10 %", "5.72 %", "119 %", "-0.004 %", "100 %"]
        );
        assert_eq!(points(-0.0854), "-8.54 pp");
        assert_eq!([0.05, -0.05, 0.0].map(signed_percent), ["+5 %", "-5 %", "0 %"]);
        assert_eq!([0.345, 5.685e-112, 0.0].map(p_value), ["0.3450", "5.7e-112", "below 1e-300"]);
    }
}
