//! How many tokens a text counts for, before the service has counted them.
//!
//! No vocabulary is shipped to count with: each is some megabytes, and every model has its own. What is said here is never
//! less than the models' own count of what people write: half a token for a letter from a to z, and one for each byte of
//! everything else, since no token is shorter than a byte. English prose takes a quarter of a token for a character, JSON a
//! third (`docs/providers.md` has what was measured). Only letters without sense, such as keys, take more; what they cost
//! beyond it is charged as the service counts it.

/// At most.
pub fn most(text: &str) -> u64 {
    text.chars().map(halves).sum::<u64>().div_ceil(2)
}

/// As much of the text's beginning as counts for no more than `tokens`.
pub fn beginning(text: &str, tokens: u64) -> &str {
    let mut counted = 0;
    let end = text.char_indices().find(|(_, c)| {
        counted += halves(*c);
        counted > 2 * tokens
    });
    end.map_or(text, |(end, _)| &text[..end])
}

fn halves(c: char) -> u64 {
    if c.is_ascii_alphabetic() { 1 } else { 2 * c.len_utf8() as u64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the vocabulary of SmolLM2 counts them, which has 49,152 tokens, most of them English: larger ones take fewer.
    #[test]
    fn texts_take_no_more_tokens_than_is_said() {
        for (text, tokens) in [
            ("The pot is washed by hand.", 7),
            ("Eine ungeöffnete Tüte kann innerhalb von dreißig Tagen zurückgegeben werden.", 34),
            ("Невскрытый пакет можно вернуть в течение тридцати дней.", 41),
            ("ハウスブレンドは毎週火曜日に焙煎され、翌日に発送されます。", 57),
            ("[0.10276, 1.98765, 20261122]", 28),
        ] {
            assert!(most(text) >= tokens, "{text}: {}", most(text));
        }
    }

    proptest! {
        #[test]
        fn a_beginning_is_as_long_as_it_may_be(text in "[a-z0-9é\u{1F600}]{0,40}", tokens in 0..40_u64) {
            let beginning = beginning(&text, tokens);
            prop_assert!(text.starts_with(beginning) && most(beginning) <= tokens);
            if let Some(next) = text[beginning.len()..].chars().next() {
                let longer = format!("{beginning}{next}");
                prop_assert!(most(&longer) > tokens);
            }
        }
    }
}
