//! What a channel can carry, with the longest values that slots may have.

use crate::domain::{
    channel::Channel,
    variant::{Draft, Field, Slots, longest_filled},
    verdict::{Finding, Rule},
};

use super::fields;

pub fn check(draft: &Draft, channel: Channel, slots: &Slots) -> Vec<Finding> {
    let limits = channel.limits();
    let mut findings = Vec::new();
    if limits.subject.is_some() && draft.message.subject.is_none() {
        findings.push(Finding::blocking(Rule::EmptyText, "", format!("{channel} messages have a subject")));
    }
    for (field, text) in fields(&draft.message) {
        let limit = match field {
            Field::Subject => limits.subject.unwrap_or(0),
            Field::Body => limits.body,
        };
        let length = longest_filled(text, slots);
        if length > limit {
            let why = format!("{length} characters with slots filled; {channel} allows {limit} here");
            findings.push(Finding::blocking(Rule::TooLong, text, why));
        }
        if !text.contains(char::is_alphanumeric) {
            findings.push(Finding::blocking(Rule::EmptyText, text, "there is nothing to read"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::variant::{Message, Slot, Usage};

    fn rules(channel: Channel, subject: Option<&str>, body: &str) -> Vec<Rule> {
        let slot = Slot { attribute: "city".to_owned(), fallback: "x".repeat(50) };
        let message = Message { subject: subject.map(str::to_owned), body: body.to_owned() };
        let draft = Draft { message, claims: Vec::new(), usage: Usage::default() };
        check(&draft, channel, &Slots::from([("city".to_owned(), slot)])).iter().map(|f| f.rule).collect()
    }

    #[test]
    fn the_limit_itself_fits_and_one_more_does_not_slots_at_their_longest() {
        assert_eq!(rules(Channel::Sms, None, &"ä".repeat(306)), []);
        assert_eq!(rules(Channel::Sms, None, &"ä".repeat(307)), [Rule::TooLong]);
        assert_eq!(rules(Channel::Sms, None, &format!("{}{{{{city}}}}", "ä".repeat(256))), []);
        assert_eq!(rules(Channel::Sms, None, &format!("{}{{{{city}}}}", "ä".repeat(257))), [Rule::TooLong]);
    }

    #[test]
    fn a_subject_is_there_exactly_where_the_channel_has_one() {
        assert_eq!(rules(Channel::Email, Some("Hello"), "Hello"), []);
        assert_eq!(rules(Channel::Email, None, "Hello"), [Rule::EmptyText]);
        assert_eq!(rules(Channel::Email, Some(" "), "Hello"), [Rule::EmptyText]);
        assert_eq!(rules(Channel::Email, Some("Hello"), " \n"), [Rule::EmptyText]);
        assert_eq!(rules(Channel::Sms, Some("Hello"), "Hello"), [Rule::TooLong]);
    }
}
