//! Slots must be the campaign's own, and nothing may be left that somebody meant to fill in.

use std::sync::LazyLock;

use regex::Regex;

use crate::domain::{
    variant::{Draft, Slots, slot_marks},
    verdict::{Finding, Rule},
};

use super::{fields, span};

/// Any brace is a left-over once the slots are taken out.
static LEFT_OVER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x) [{}] | \$\( | \[\s*\p{L}[^\]]*\] | <\s*/?\s*[\p{L}!?%][^>]*> | %[\p{L}_]{2,}% | __\p{L}+__
        | (?i: \b(?: x{3,} | tb[cd] | todo | fixme | lorem | ipsum )\b )",
    )
    .expect("the pattern is a constant")
});

pub fn check(draft: &Draft, slots: &Slots) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (field, text) in fields(&draft.message) {
        // Blanked by as many bytes, so that what is found next keeps its place.
        let mut rest = text.to_owned();
        for (range, name) in slot_marks(text) {
            if slots.contains_key(name) {
                rest.replace_range(range.clone(), &" ".repeat(range.len()));
            } else {
                let why = "the campaign declares no such slot";
                let finding = Finding::blocking(Rule::UnresolvedSlot, &text[range.clone()], why);
                findings.push(finding.at(span(field, text, range)));
            }
        }
        for left in LEFT_OVER.find_iter(&rest) {
            findings.push(
                Finding::blocking(
                    Rule::UnresolvedSlot,
                    left.as_str(),
                    "this looks like something left to be filled in",
                )
                .at(span(field, text, left.range())),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::variant::{Message, Slot, Usage};

    fn findings(body: &str) -> usize {
        let slot = Slot { attribute: "first_name".to_owned(), fallback: "there".to_owned() };
        let message = Message { subject: None, body: body.to_owned() };
        let draft = Draft { message, claims: Vec::new(), usage: Usage::default() };
        check(&draft, &Slots::from([("first_name".to_owned(), slot)])).len()
    }

    #[test]
    fn only_declared_slots_pass() {
        assert_eq!(findings("Hi {{first_name}}, 50% off, 3 < 4 > 2, p. [12], XX, Todorov, 5% to 10%"), 0);
        for body in [
            "{{name}}",
            "{first_name}",
            "{{first_name}",
            "{{ first_name }}",
            "{{first_name",
            "{{{first_name}}}",
            "{% if %}",
            "${name}",
            "$(name)",
            "[Name]",
            "[ first name ]",
            "<name>",
            "<b>",
            "</b>",
            "%NAME%",
            "__NAME__",
            "XXX",
            "TBD",
            "todo",
            "Lorem ipsum",
            "{{first_name|upper}}",
            "{{FIRST_NAME}}",
        ] {
            assert!(findings(body) > 0, "{body}");
        }
    }
}
