//! What deserializers say, in the words of whoever wrote the file.

use std::sync::LazyLock;

use regex::Regex;

/// Names of this program's types, and of what its formats call their parts, as people say them.
const WORDS: [(&str, &str); 9] = [
    ("unknown variant", "unknown value"),
    ("unknown field", "unknown key"),
    ("missing field", "missing key"),
    ("expected f64", "expected a number"),
    ("expected usize", "expected a whole number of 0 or more"),
    ("expected u64", "expected a whole number of 0 or more"),
    ("expected u8", "expected a whole number of 0 or more"),
    ("a sequence", "a list"),
    ("wanted string or table", "expected one of the values that this key can have, in quotes"),
];

/// Without the position, which counts from the start of a part of the file; a [`Problem`] has its own.
///
/// [`Problem`]: crate::domain::problem::Problem
pub fn in_plain_words(message: &str) -> String {
    static POSITION: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(" at line [0-9]+ column [0-9]+| as i128").expect("the pattern is constant"));
    let message = POSITION.replace_all(message.trim_end(), "").replace(
        "invalid type: sequence, expected a YAML tag starting with '!'",
        "a list stands where one value is expected",
    );
    WORDS.iter().fold(message, |message, (from, to)| message.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_type_of_the_program_and_no_position_within_a_part_is_left() {
        for (said, plain) in [
            ("invalid type: string \"1%\", expected f64", "invalid type: string \"1%\", expected a number"),
            (
                "status: unknown variant `yes`, expected `a` at line 3 column 9",
                "status: unknown value `yes`, expected `a`",
            ),
        ] {
            assert_eq!(in_plain_words(said), plain);
        }
    }
}
