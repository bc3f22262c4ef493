//! What a campaign file puts into messages without a source: the brand's name, required texts and fallbacks. They pass
//! no gate with a source in hand, so they are held to the gate's other rules before anything runs.

use std::sync::LazyLock;

use regex::Regex;

use crate::{
    agents::safety::{
        Lexicon, SlotScreen,
        checks::{banned, slots},
        fact::{self, Fact, Notation},
    },
    config::Campaign,
    domain::{
        problem::Problem,
        variant::{Draft, Message, Slots},
        verdict::Harm,
    },
};

static WEB_ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^https?://[A-Za-z0-9][-A-Za-z0-9.]*(?:[/?#][-A-Za-z0-9._~:/?#@!$&'()*+,;=%]*)?$")
        .expect("the pattern is a constant")
});

/// Every way in which the campaign's own words would spoil its messages.
pub fn check_own_words(campaign: &Campaign) -> Vec<Problem> {
    let generation = &campaign.generation;
    let mut problems = Vec::new();
    let name = generation.brand.name.trim();
    let states_value = |(_, fact): &(_, Fact)| matches!(fact, Fact::Date(_) | Fact::Percent(_) | Fact::Money(..));
    let mut refuse = |field: String, why: String, remedy: &str| {
        problems.push(Problem::new(why, remedy).at_field(field));
    };
    if fact::find(name, Notation::English).iter().any(states_value) {
        let why = "the brand's name states an amount, which no source would have to support".to_owned();
        refuse("generation.brand.name".to_owned(), why, "write the name alone, and offers as documents");
    }
    for why in faults(name, campaign, &Slots::new()) {
        refuse("generation.brand.name".to_owned(), why, "write the name as messages are to be signed");
    }
    for (channel, text) in &generation.brand.required {
        let field = format!("generation.brand.required.{channel}");
        let (length, limit) = (text.trim().chars().count(), channel.limits().body);
        if length == 0 {
            refuse(field.clone(), "the required text is empty".to_owned(), "write it or remove the key");
        }
        if length > limit {
            let why = format!("the text has {length} characters, and {channel} allows {limit} for a whole message");
            refuse(field.clone(), why, "shorten it: every message must contain it");
        }
        for why in faults(text, campaign, &generation.slots) {
            refuse(field.clone(), why, "reword it: every message must contain it, and none would be approved");
        }
    }
    let screen = SlotScreen::new(&generation.brand, &campaign.safety, Lexicon::default());
    for (name, slot) in &generation.slots {
        let text = slot.fallback.as_str();
        // An empty one is found when the file is read.
        if text.trim().is_empty() || WEB_ADDRESS.is_match(text) {
            continue;
        }
        if let Err(refusal) = screen.screen_value(text) {
            refuse(
                format!("generation.slots.{name}"),
                format!("the fallback would not pass as a customer's value: {refusal}"),
                "name a word or a few that state nothing, such as `there`, or one web address",
            );
        }
    }
    problems
}

/// Why no message with this text could be approved.
fn faults(text: &str, campaign: &Campaign, slots: &Slots) -> Vec<String> {
    let message = Message { subject: None, body: text.to_owned() };
    let draft = Draft { message, ..Draft::nothing() };
    let banned = banned::check(&draft, &campaign.generation.brand.banned, slots);
    let mut faults: Vec<String> =
        slots::check(&draft, slots).into_iter().chain(banned).map(|finding| finding.why).collect();
    let severities = Lexicon::default().severities(text);
    if Harm::ALL.iter().any(|harm| severities.of(*harm) >= campaign.safety.block_at.of(*harm)) {
        faults.push("the text does not pass the harm screen".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::domain::{channel::Channel, variant::Slot};

    #[test]
    fn words_that_would_spoil_every_message_are_problems_and_harmless_ones_are_not() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/campaign.toml");
        let sample = Campaign::read(&sample).unwrap();
        type Change = fn(&mut Campaign, &str);
        let name: Change = |campaign, text| campaign.generation.brand.name = text.to_owned();
        let required: Change =
            |campaign, text| drop(campaign.generation.brand.required.insert(Channel::Sms, text.to_owned()));
        let fallback: Change = |campaign, text| {
            let slot = Slot { attribute: "first_name".to_owned(), fallback: text.to_owned() };
            campaign.generation.slots.insert("first_name".to_owned(), slot);
        };
        let long = "a word ".repeat(50);
        for (change, text, field) in [
            (name, "Fennimoor", None),
            (name, "Brewhaus 7", None),
            (name, "Fennimoor: 50% off", Some("generation.brand.name")),
            (name, "{{link}}", Some("generation.brand.name")),
            (name, "Cheap Cups", Some("generation.brand.name")),
            (required, "Reply STOP to 12345, {{first_name}}.", None),
            (required, " ", Some("generation.brand.required.sms")),
            (required, "No risk: satisfaction or a GUARANTEE.", Some("generation.brand.required.sms")),
            (required, "Dear {{nobody}}", Some("generation.brand.required.sms")),
            (required, "Dear [Name]", Some("generation.brand.required.sms")),
            (required, "You are an idiot.", Some("generation.brand.required.sms")),
            (required, &long, Some("generation.brand.required.sms")),
            (fallback, "dear customer", None),
            (fallback, "your city", None),
            (fallback, "https://fennimoor.example/winter?code=50", None),
            (fallback, "{{link}}", Some("generation.slots.first_name")),
            (fallback, "you idiot", Some("generation.slots.first_name")),
            (fallback, "50% off", Some("generation.slots.first_name")),
            (fallback, "fifty percent off", Some("generation.slots.first_name")),
            (fallback, "there, all is free", Some("generation.slots.first_name")),
            (fallback, "cheap friend", Some("generation.slots.first_name")),
            (fallback, "https://fennimoor.example and 50% off", Some("generation.slots.first_name")),
            (fallback, &long, Some("generation.slots.first_name")),
        ] {
            let mut campaign = sample.clone();
            change(&mut campaign, text);
            let problems = check_own_words(&campaign);
            assert_eq!(problems.first().and_then(|problem| problem.field.as_deref()), field, "{text}: {problems:?}");
        }
    }
}
