//! Slots must be the campaign's own, and nothing may be left that somebody meant to fill in.

use std::sync::LazyLock;

use regex::Regex;

use crate::domain::{
    variant::{self, Draft, Slots},
    verdict::{Finding, Rule},
};

use super::{fields, span};

static SLOT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{\{([a-z][a-z0-9_]*)\}\}").expect("the pattern is a constant"));

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
        let rest = SLOT.replace_all(text, |slot: &regex::Captures<'_>| {
            if slots.contains_key(&slot[1]) { " ".repeat(slot[0].len()) } else { slot[0].to_owned() }
        });
        for slot in SLOT.find_iter(&rest) {
            findings.push(
                Finding::blocking(Rule::UnresolvedSlot, slot.as_str(), "the campaign declares no such slot").at(span(
                    field,
                    text,
                    slot.range(),
                )),
            );
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

/// The text with `value` of each slot's fallback in its place; other names stay.
pub fn filled(text: &str, slots: &Slots, value: impl Fn(&str) -> String) -> String {
    variant::filled(text, |name| slots.get(name).map(|declared| value(&declared.fallback)))
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
