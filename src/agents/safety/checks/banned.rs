//! Phrases that the brand never uses, in whatever disguise.

use std::sync::LazyLock;

use regex::Regex;

use crate::{
    agents::safety::folded::{Folded, mixed_script_words},
    domain::{
        variant::{Draft, Slots, Span, with_fallbacks},
        verdict::{Finding, Rule},
    },
};

use super::{fields, span};

/// Characters that change the order in which text is shown.
static BIDI: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\p{Bidi_Control}").expect("the pattern is a constant"));

pub fn check(draft: &Draft, banned: &[String], slots: &Slots) -> Vec<Finding> {
    let banned: Vec<_> = banned.iter().map(|phrase| (phrase, Folded::new(phrase))).collect();
    let mut findings = Vec::new();
    for (field, text) in fields(&draft.message) {
        let as_written = Folded::new(text);
        // A phrase can also come about where a slot meets its neighbours.
        let as_read = Folded::new(&with_fallbacks(text, slots));
        for (phrase, folded) in &banned {
            let why = format!("the brand does not say \"{phrase}\"");
            let mut hits = as_written.find_words(folded).peekable();
            if hits.peek().is_none() && as_read.find_words(folded).next().is_some() {
                findings.push(Finding::blocking(Rule::BannedPhrase, *phrase, why.as_str()));
            }
            for (start, end) in hits {
                let words: String = text.chars().skip(start).take(end - start).collect();
                let place = Span { field, start, end };
                findings.push(Finding::blocking(Rule::BannedPhrase, words, why.as_str()).at(place));
            }
        }
        for word in mixed_script_words(text) {
            let why = "letters of several scripts in one word can disguise it";
            findings.push(Finding::blocking(Rule::BannedPhrase, word, why));
        }
        for mark in BIDI.find_iter(text) {
            let why = "an invisible mark changes the order in which the text is shown";
            findings.push(Finding::blocking(Rule::BannedPhrase, "", why).at(span(field, text, mark.range())));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::variant::{Field, Message, Slot, Usage};

    fn found(body: &str) -> Vec<(String, Option<Span>)> {
        let slots =
            Slots::from([("perk".to_owned(), Slot { attribute: "perk".to_owned(), fallback: "free".to_owned() })]);
        let message = Message { subject: None, body: body.to_owned() };
        let draft = Draft { message, claims: Vec::new(), usage: Usage::default() };
        let findings = check(&draft, &["Risk-free".to_owned()], &slots);
        findings.into_iter().map(|finding| (finding.text, finding.span)).collect()
    }

    #[test]
    fn a_banned_phrase_is_found_with_its_place_also_where_a_slot_completes_it() {
        let place = Span { field: Field::Body, start: 4, end: 13 };
        assert_eq!(found("Été RISK FREE."), [("RISK FREE".to_owned(), Some(place))]);
        assert_eq!(found("A risk {{perk}} trial."), [("Risk-free".to_owned(), None)]);
        assert_eq!(found("Brisk freedom."), []);
    }

    #[test]
    fn disguises_are_found_whatever_they_hide() {
        assert_eq!(found("A t\u{435}st").len(), 1);
        assert_eq!(found("A \u{202e}tset").len(), 1);
    }
}
