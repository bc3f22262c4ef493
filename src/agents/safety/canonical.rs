//! When two texts say the same in the same words.

use crate::agents::safety::fact::{self, Fact, Notation};

/// A text's words and facts. Equal for texts that differ only in white space, typographic quotes and dashes, the
/// notation of a value, a final full stop, or a capital at the start of a word.
///
/// Words with more than one capital, or with a digit, are names and codes: their case counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Fact(Fact),
}

impl Canonical {
    pub fn new(text: &str, notation: Notation) -> Self {
        let text = plain(text);
        let mut tokens = Vec::new();
        let mut at = 0;
        for (range, fact) in fact::find(&text, notation) {
            tokens.extend(words(&text[at..range.start]));
            tokens.push(Token::Fact(fact));
            at = range.end;
        }
        tokens.extend(words(&text[at..]));
        if let Some(Token::Word(last)) = tokens.last_mut() {
            last.truncate(without_stop(last).len());
            if last.is_empty() {
                tokens.pop();
            }
        }
        Self(tokens)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn words(text: &str) -> impl Iterator<Item = Token> {
    text.split_whitespace().map(|word| {
        let is_name = word.chars().filter(|c| c.is_uppercase()).count() > 1 || word.contains(char::is_numeric);
        Token::Word(if is_name { word.to_owned() } else { word.to_lowercase() })
    })
}

/// Without the punctuation that ends a statement. `!` and `?` stay: they change what is said.
pub fn without_stop(text: &str) -> &str {
    text.trim_end_matches(['.', ',', ';', ':'])
}

/// Typographic quotes, dashes and the ellipsis as ASCII.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{2018}' | '\u{2019}' => plain.push('\''),
            '\u{201c}' | '\u{201d}' => plain.push('"'),
            '\u{2010}'..='\u{2014}' | '\u{2212}' => plain.push('-'),
            '\u{2026}' => plain.push_str("..."),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        Canonical::new(a, Notation::English) == Canonical::new(b, Notation::English)
    }

    #[test]
    fn notation_is_ignored_and_meaning_is_not() {
        assert!(same("The  kettle\u{a0}costs $79.00.", "the kettle costs $79"));
        assert!(same("It\u{2019}s \u{201c}cool\u{201d} \u{2013} really", "It's \"cool\" - really."));
        assert!(same("Ends on October 1, 2026.", "Ends on 1 October 2026"));
        for (a, b) in [
            ("Delivery is free", "Delivery is not free"),
            ("Delivery is free", "Delivery is free?"),
            ("Ships to the US", "Ships to the us"),
            ("Use WELCOME", "Use welcome"),
            ("Free delivery", "FREE delivery"),
            ("It is cool", "It is co\u{200b}ol"),
            ("It is cool", "It is c\u{43e}ol"),
            ("20 to 30", "30 to 20"),
        ] {
            assert!(!same(a, b), "{a:?} {b:?}");
        }
    }
}
