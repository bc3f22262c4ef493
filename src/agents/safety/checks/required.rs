//! Texts that every message of a channel must carry.

use std::collections::BTreeMap;

use crate::domain::{
    channel::Channel,
    variant::Draft,
    verdict::{Finding, Rule},
};

use super::one_blank;

pub fn check(draft: &Draft, channel: Channel, required: &BTreeMap<Channel, String>) -> Option<Finding> {
    let text = required.get(&channel)?;
    let is_there = one_blank(&draft.message.body).contains(&one_blank(text));
    (!is_there).then(|| {
        Finding::blocking(Rule::MissingRequiredText, text, format!("every {channel} message must contain this text"))
    })
}
