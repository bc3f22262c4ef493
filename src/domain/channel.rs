//! The channels a message can go through and what each of them can carry.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Email,
    Sms,
    Push,
    InApp,
}

/// Upper limits in characters (Unicode scalar values), slots filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// `None`: the channel has no subject or title.
    pub subject: Option<usize>,
    pub body: usize,
}

impl Channel {
    pub const ALL: [Self; 4] = [Self::Email, Self::Sms, Self::Push, Self::InApp];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
            Self::Push => "push",
            Self::InApp => "in_app",
        }
    }

    /// E-mail: subjects are cut by common clients after some 78 characters. SMS: two concatenated GSM-7 parts of
    /// 153. Push: what lock screens show of title and text. In-app: a card.
    pub fn limits(self) -> Limits {
        match self {
            Self::Email => Limits { subject: Some(78), body: 5_000 },
            Self::Sms => Limits { subject: None, body: 306 },
            Self::Push => Limits { subject: Some(50), body: 178 },
            Self::InApp => Limits { subject: Some(60), body: 400 },
        }
    }

    /// The customer attribute that says whether this channel is permitted, where the file has one.
    pub fn consent_attribute(self) -> &'static str {
        match self {
            Self::Email => "consent_email",
            Self::Sms => "consent_sms",
            Self::Push => "consent_push",
            Self::InApp => "consent_in_app",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
