//! Identifiers, checked when they are made.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {kind}: {rule}")]
pub struct InvalidId {
    kind: &'static str,
    value: String,
    rule: &'static str,
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn new(value: impl Into<String>) -> Result<Self, InvalidId> {
                let value = value.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&value) {
                    Ok(Self(value))
                } else {
                    let value = value.chars().take(64).collect();
                    Err(InvalidId { kind: $kind, value, rule: $rule })
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(value: &str) -> Result<Self, InvalidId> {
                Self::new(value)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

fn is_slug(value: &str, max: usize) -> bool {
    (1..=max).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !value.starts_with('-')
        && !value.ends_with('-')
}

fn is_label(value: &str, max_chars: usize) -> bool {
    !value.is_empty()
        && value.trim() == value
        && value.chars().count() <= max_chars
        && !value.chars().any(char::is_control)
}

id_type!(
    /// A campaign's idempotency key; also a folder and blob name.
    CampaignId,
    "campaign id",
    "use 1 to 63 lower-case letters, digits and inner hyphens",
    |v| is_slug(v, 63)
);
id_type!(
    /// The customer's id in the customer's own system: any printable text.
    CustomerId,
    "customer id",
    "use 1 to 256 printable characters without leading or trailing blanks",
    |v| is_label(v, 256)
);
id_type!(
    /// A segment as people call it, e.g. `High-Value Recent`.
    SegmentName,
    "segment name",
    "use 1 to 80 printable characters",
    |v| is_label(v, 80)
);
id_type!(
    /// An arm of the experiment; also part of variant ids.
    ArmName,
    "arm name",
    "use 1 to 40 lower-case letters, digits and inner hyphens",
    |v| is_slug(v, 40)
);
id_type!(
    /// An approved document. The `#` is kept for passage ids.
    DocumentId,
    "document id",
    "use 1 to 128 letters, digits, `.`, `_`, `-` or `/`",
    |v| (1..=128).contains(&v.len())
        && v.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
);
id_type!(
    /// `document#passage`.
    PassageId,
    "passage id",
    "write `document#passage`",
    |v| v.split_once('#').is_some_and(|(document, passage)| {
        DocumentId::new(document).is_ok() && is_label(passage, 64) && !passage.contains(['#', ']'])
    })
);
id_type!(
    /// Stable within a campaign: derived from the cell, see [`crate::domain::variant::Cell`].
    VariantId,
    "variant id",
    "use 1 to 200 printable characters",
    |v| is_label(v, 200)
);
id_type!(
    /// A list of words that a content safety service keeps; part of its addresses.
    BlocklistName,
    "blocklist name",
    "use 1 to 64 letters, digits, `.`, `_`, `~` or `-`",
    |v| (1..=64).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
        // Of an address, `.` and `..` are no names.
        && v.bytes().any(|b| b != b'.')
);
id_type!(
    /// BCP 47, language and optional region: `en`, `de-AT`.
    Locale,
    "locale",
    "use a language and an optional region, e.g. `en` or `de-AT`",
    |v| {
        let (language, region) = v.split_once('-').map_or((v, None), |(l, r)| (l, Some(r)));
        (2..=3).contains(&language.len())
            && language.bytes().all(|b| b.is_ascii_lowercase())
            && region.is_none_or(|r| {
                (r.len() == 2 && r.bytes().all(|b| b.is_ascii_uppercase()))
                    || (r.len() == 3 && r.bytes().all(|b| b.is_ascii_digit()))
            })
    }
);

impl Locale {
    /// `de` of `de-AT`.
    pub fn language(&self) -> &str {
        self.0.split_once('-').map_or(self.0.as_str(), |(language, _)| language)
    }
}

impl PassageId {
    pub fn document(&self) -> &str {
        self.0.split_once('#').map_or(self.0.as_str(), |(document, _)| document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_their_folder_or_break_a_citation_cannot_be_made() {
        for bad in ["", "../x", "A", "a b", "-a", "a-", "a/b", &"a".repeat(64)] {
            assert!(CampaignId::new(bad).is_err(), "{bad}");
        }
        for bad in ["doc", "doc#", "#p1", "doc#p1#p2", "doc#p]"] {
            assert!(PassageId::new(bad).is_err(), "{bad}");
        }
        for bad in ["EN", "e", "en-us", "en_US"] {
            assert!(Locale::new(bad).is_err(), "{bad}");
        }
        assert_eq!(PassageId::new("a/b#p1").unwrap().document(), "a/b");
    }

    #[test]
    fn deserializing_checks_too() {
        assert!(serde_json::from_str::<CampaignId>("\"../etc\"").is_err());
    }
}
