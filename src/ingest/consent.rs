//! Who may be contacted. Fails closed: what is not a clear yes is a no.

use std::fmt;

use arrow_array::{Array, BooleanArray};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::domain::{
    attribute::{self, AttributeType, Attributes},
    channel::Channel,
    problem::Problem,
};

/// Why a customer goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    OnSuppressionList,
    Suppressed,
    NoConsent,
    ConsentNotRecorded,
    ConsentUnreadable,
    NoPermittedChannel,
}

impl Refusal {
    pub const ALL: [Self; 6] = [
        Self::OnSuppressionList,
        Self::Suppressed,
        Self::NoConsent,
        Self::ConsentNotRecorded,
        Self::ConsentUnreadable,
        Self::NoPermittedChannel,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnSuppressionList => "on the suppression list",
            Self::Suppressed => "suppressed",
            Self::NoConsent => "no consent",
            Self::ConsentNotRecorded => "consent not recorded",
            Self::ConsentUnreadable => "consent could not be read",
            Self::NoPermittedChannel => "no permitted channel",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Refusal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let refusal = Self::ALL.into_iter().find(|refusal| refusal.as_str() == text);
        refusal.ok_or_else(|| de::Error::custom("not a reason for which customers are not contacted"))
    }
}

/// Channels of a campaign.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelSet(pub u8);

impl ChannelSet {
    pub fn insert(&mut self, channel: Channel) {
        self.0 |= 1 << channel as u8;
    }

    pub fn contains(self, channel: Channel) -> bool {
        self.0 & (1 << channel as u8) != 0
    }

    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a row answers to a question of consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    Missing,
    Unreadable,
}

impl Answer {
    /// One per row. A value that could not be read is missing in `values`; the caller overlays it.
    pub fn of_column(values: &BooleanArray) -> Vec<Self> {
        let answer = |row| match values.is_valid(row).then(|| values.value(row)) {
            Some(true) => Self::Yes,
            Some(false) => Self::No,
            None => Self::Missing,
        };
        (0..values.len()).map(answer).collect()
    }
}

/// What one row says about contacting its customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub refusal: Option<Refusal>,
    /// Channels of the campaign that the row does not permit.
    pub refused: ChannelSet,
}

/// Where consent is recorded, as positions in the [`Attributes`].
#[derive(Debug, Clone)]
pub struct Consent {
    suppressed: Option<usize>,
    consent: Option<usize>,
    channels: Vec<(Channel, Option<usize>)>,
}

impl Consent {
    /// Refuses a consent attribute that is not a boolean: nothing in it could count as a yes.
    pub fn new(attributes: &Attributes, channels: &[Channel]) -> Result<Self, Vec<Problem>> {
        let consent = Self {
            suppressed: attributes.position(attribute::SUPPRESSED),
            consent: attributes.position(attribute::CONSENT),
            channels: channels.iter().map(|c| (*c, attributes.position(c.consent_attribute()))).collect(),
        };
        let problems: Vec<_> = consent
            .attributes()
            .filter_map(|position| attributes.iter().nth(position))
            .filter(|attribute| attribute.kind != AttributeType::Boolean)
            .map(|attribute| {
                Problem::new(
                    format!(
                        "`{}` decides who may be contacted and is declared as {}",
                        attribute.name,
                        attribute.kind.as_str()
                    ),
                    "declare `type = \"boolean\"`, or leave the type out",
                )
                .at_field(format!("customers.columns.{}", attribute.name))
            })
            .collect();
        if problems.is_empty() { Ok(consent) } else { Err(problems) }
    }

    /// The attributes that must be asked of every row.
    pub fn attributes(&self) -> impl Iterator<Item = usize> + '_ {
        let channels = self.channels.iter().filter_map(|(_, position)| *position);
        self.suppressed.into_iter().chain(self.consent).chain(channels)
    }

    pub fn judge(&self, on_suppression_list: bool, answer: impl Fn(usize) -> Answer) -> Standing {
        let mut refused = ChannelSet::default();
        for (channel, position) in &self.channels {
            if position.is_some_and(|position| answer(position) != Answer::Yes) {
                refused.insert(*channel);
            }
        }
        let refusal = if on_suppression_list {
            Some(Refusal::OnSuppressionList)
        } else {
            self.suppressed
                .and_then(|position| match answer(position) {
                    Answer::Yes => Some(Refusal::Suppressed),
                    Answer::Unreadable => Some(Refusal::ConsentUnreadable),
                    Answer::No | Answer::Missing => None,
                })
                .or_else(|| match answer(self.consent?) {
                    Answer::Yes => None,
                    Answer::No => Some(Refusal::NoConsent),
                    Answer::Missing => Some(Refusal::ConsentNotRecorded),
                    Answer::Unreadable => Some(Refusal::ConsentUnreadable),
                })
                .or_else(|| self.channel_refusal(refused))
        };
        Standing { refusal, refused }
    }

    /// Whether any channel of the campaign is left.
    pub fn channel_refusal(&self, refused: ChannelSet) -> Option<Refusal> {
        let none_left = self.channels.iter().all(|(channel, _)| refused.contains(*channel));
        none_left.then_some(Refusal::NoPermittedChannel)
    }

    /// The channels whose consent a file records.
    pub fn recorded_channels(&self) -> impl Iterator<Item = (Channel, usize)> + '_ {
        self.channels.iter().filter_map(|(channel, position)| Some((*channel, (*position)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attribute::Attribute;

    fn consent(names: &[&str], channels: &[Channel]) -> Consent {
        let attribute = |name: &&str| Attribute {
            name: (*name).to_owned(),
            column: (*name).to_owned(),
            kind: AttributeType::Boolean,
            min: None,
            max: None,
            values: Vec::new(),
            required: false,
        };
        Consent::new(&Attributes::new(names.iter().map(attribute).collect()), channels).unwrap()
    }

    #[test]
    fn only_a_clear_yes_is_consent() {
        let consent = consent(&["consent"], &[Channel::Email]);
        let refusal = |answer| consent.judge(false, |_| answer).refusal;
        assert_eq!(refusal(Answer::Yes), None);
        assert_eq!(refusal(Answer::No), Some(Refusal::NoConsent));
        assert_eq!(refusal(Answer::Missing), Some(Refusal::ConsentNotRecorded));
        assert_eq!(refusal(Answer::Unreadable), Some(Refusal::ConsentUnreadable));
        assert_eq!(consent.judge(true, |_| Answer::Yes).refusal, Some(Refusal::OnSuppressionList));
    }

    #[test]
    fn a_customer_needs_one_permitted_channel_and_an_unrecorded_channel_is_permitted() {
        let both = consent(&["consent_email", "consent_sms"], &[Channel::Email, Channel::Sms]);
        let only_sms = both.judge(false, |position| if position == 1 { Answer::Yes } else { Answer::Missing });
        assert_eq!(only_sms.refusal, None);
        assert!(only_sms.refused.contains(Channel::Email) && !only_sms.refused.contains(Channel::Sms));
        assert_eq!(both.judge(false, |_| Answer::No).refusal, Some(Refusal::NoPermittedChannel));
        let push_unrecorded = consent(&["consent_email"], &[Channel::Email, Channel::Push]);
        assert_eq!(push_unrecorded.judge(false, |_| Answer::No).refusal, None);
    }
}
