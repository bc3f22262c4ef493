//! What the gates say of a text.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::domain::{id::PassageId, variant::Span};

/// Only [`Decision::Approved`] may ever reach a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Approved,
    Blocked,
    /// Nothing is wrong enough to block, but a person must look first.
    NeedsReview,
}

/// The outcome of all checks on one variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    pub decision: Decision,
    /// Why it is not approved, or what a reviewer should know; empty for a clean text.
    pub findings: Vec<Finding>,
    /// `None`: the harm screen gave no usable answer (which blocks).
    pub severities: Option<Severities>,
}

impl Verdict {
    /// The rule that keeps the text from being sent.
    pub fn reason(&self) -> Option<Rule> {
        let is_weighty = |finding: &&Finding| finding.blocks || self.decision == Decision::NeedsReview;
        let finding = self.findings.iter().find(is_weighty).filter(|_| self.decision != Decision::Approved);
        finding.map(|finding| finding.rule)
    }
}

/// One thing that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    pub rule: Rule,
    /// Whether it blocks by itself; otherwise it asks for a review.
    pub blocks: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// The words at fault.
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passage: Option<PassageId>,
    pub why: String,
}

/// The checks, by the name that reports and machines use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Words that assert something and cite nothing.
    Uncited,
    /// The cited passage is unknown, not usable on the campaign's date, or of another version.
    SourceNotUsable,
    /// The cited words are not where the citation says.
    QuoteMismatch,
    /// The claim is not what the cited words say.
    NotSupported,
    /// A number, price, percentage, date or code differs from the source.
    FactMismatch,
    /// A product is named in another way than the source does.
    ProductMismatch,
    /// `{{x}}` without such a slot, or a placeholder left behind.
    UnresolvedSlot,
    TooLong,
    EmptyText,
    BannedPhrase,
    MissingRequiredText,
    /// A harm category at or above its threshold, or notable below it.
    Harm,
    /// Words that mean to take over a language model which reads them.
    PromptAttack,
    /// A check could not be made: error, time-out, missing category, unknown value.
    CheckFailed,
    /// A person looked at it and did not approve it.
    Declined,
    /// A document that it cites was recalled before it went out.
    Recalled,
}

impl Rule {
    /// For people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Uncited => "Claim without a source",
            Self::SourceNotUsable => "Source may not be used",
            Self::QuoteMismatch => "Quoted words are not in the source",
            Self::NotSupported => "Source does not say this",
            Self::FactMismatch => "Number, date or code differs from the source",
            Self::ProductMismatch => "Product name differs from the source",
            Self::UnresolvedSlot => "Placeholder left open",
            Self::TooLong => "Too long for the channel",
            Self::EmptyText => "Empty text",
            Self::BannedPhrase => "Banned phrase",
            Self::MissingRequiredText => "Required text is missing",
            Self::Harm => "Harmful or notable content",
            Self::PromptAttack => "Attack on a language model",
            Self::CheckFailed => "A check could not be made",
            Self::Declined => "A person did not approve it",
            Self::Recalled => "Its source was recalled",
        }
    }
}

/// The four harm categories of Azure AI Content Safety.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Harm {
    Hate,
    Sexual,
    Violence,
    SelfHarm,
}

impl Harm {
    pub const ALL: [Self; 4] = [Self::Hate, Self::Sexual, Self::Violence, Self::SelfHarm];
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hate => "hate",
            Self::Sexual => "sexual",
            Self::Violence => "violence",
            Self::SelfHarm => "self-harm",
        })
    }
}

/// 0 (nothing) to 7 (severe).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(maximum = 7)]
pub struct Severity(u8);

impl Severity {
    pub fn new(level: u8) -> Option<Self> {
        (level <= 7).then_some(Self(level))
    }

    pub fn level(self) -> u8 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Severity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u8::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom("a severity is a whole number from 0 to 7"))
    }
}

/// How finely a screen tells severities apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum SeverityLevels {
    /// 0, 2, 4 and 6.
    #[default]
    Four,
    /// 0 to 7.
    Eight,
}

impl SeverityLevels {
    pub fn has(self, severity: Severity) -> bool {
        match self {
            Self::Four => [0, 2, 4, 6].contains(&severity.level()),
            Self::Eight => true,
        }
    }
}

impl TryFrom<u8> for SeverityLevels {
    type Error = &'static str;

    fn try_from(levels: u8) -> Result<Self, &'static str> {
        match levels {
            4 => Ok(Self::Four),
            8 => Ok(Self::Eight),
            _ => Err("there are 4 severity levels or 8"),
        }
    }
}

impl From<SeverityLevels> for u8 {
    fn from(levels: SeverityLevels) -> Self {
        match levels {
            SeverityLevels::Four => 4,
            SeverityLevels::Eight => 8,
        }
    }
}

/// One severity for each category: a screen that leaves one out has not answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Severities {
    pub hate: Severity,
    pub sexual: Severity,
    pub violence: Severity,
    pub self_harm: Severity,
}

impl Severities {
    /// Of each category, what is worse.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        Self {
            hate: self.hate.max(other.hate),
            sexual: self.sexual.max(other.sexual),
            violence: self.violence.max(other.violence),
            self_harm: self.self_harm.max(other.self_harm),
        }
    }

    pub fn of(&self, harm: Harm) -> Severity {
        match harm {
            Harm::Hate => self.hate,
            Harm::Sexual => self.sexual,
            Harm::Violence => self.violence,
            Harm::SelfHarm => self.self_harm,
        }
    }
}
