//! `messages/<shard>.jsonl`: every message that was written for one customer, approved or not, a line each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{
    variant::Variant,
    verdict::{Decision, Verdict},
};

/// A message for one customer. No other variant has its variant's id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PersonalMessage {
    pub schema: Schema,
    pub customer_id: String,
    #[serde(flatten)]
    pub variant: Variant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    #[serde(rename = "message/1")]
    V1,
}

/// What became of the customers whom an arm reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Get a message of their own.
    pub approved: u64,
    /// These and the following get their segment's.
    pub blocked: u64,
    pub needs_review: u64,
    /// Nothing is known of them that may be told.
    pub unknown: u64,
    /// Why messages are not approved, in words.
    pub reasons: BTreeMap<String, u64>,
}

impl Counts {
    pub fn add(&mut self, verdict: &Verdict) {
        match verdict.decision {
            Decision::Approved => self.approved += 1,
            Decision::Blocked => self.blocked += 1,
            Decision::NeedsReview => self.needs_review += 1,
        }
        if let Some(rule) = verdict.reason() {
            *self.reasons.entry(rule.in_words().to_owned()).or_default() += 1;
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.approved += other.approved;
        self.blocked += other.blocked;
        self.needs_review += other.needs_review;
        self.unknown += other.unknown;
        for (reason, messages) in other.reasons {
            *self.reasons.entry(reason).or_default() += messages;
        }
    }

    pub fn written(&self) -> u64 {
        self.approved + self.blocked + self.needs_review
    }
}

pub fn to_lines(messages: &[PersonalMessage]) -> serde_json::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for message in messages {
        serde_json::to_writer(&mut lines, message)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// What [`to_lines`] wrote.
pub fn from_lines(lines: &[u8]) -> serde_json::Result<Vec<PersonalMessage>> {
    serde_json::Deserializer::from_slice(lines).into_iter().collect()
}
