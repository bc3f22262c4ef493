//! What is known of a customer: typed attributes, declared by the campaign file.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeType {
    /// A finite decimal number; stored as `f64`.
    Number,
    /// A whole number below 2^53 in size; stored as `f64`, exactly.
    Integer,
    /// `true/false`, `yes/no`, `y/n`, `1/0`, any case.
    Boolean,
    Text,
    /// `2026-11-22`, or a timestamp that starts so.
    Date,
}

impl AttributeType {
    pub fn is_numeric(self) -> bool {
        matches!(self, Self::Number | Self::Integer)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Text => "text",
            Self::Date => "date",
        }
    }
}

/// One attribute as the campaign declares it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attribute {
    /// The name in rules, slots and the product's tables.
    pub name: String,
    /// The column of the customer file.
    pub column: String,
    #[serde(rename = "type")]
    pub kind: AttributeType,
    /// Inclusive, numbers only.
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// The only values allowed, text only; empty: any.
    pub values: Vec<String>,
    /// A row without a value is bad.
    pub required: bool,
}

/// All attributes in a fixed order: the order of columns in every shard.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Attributes(Vec<Attribute>);

impl Attributes {
    /// Sorted by name, so that the order of a campaign file's lines means nothing.
    pub fn new(mut attributes: Vec<Attribute>) -> Self {
        attributes.sort_by(|a, b| a.name.cmp(&b.name));
        Self(attributes)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Attribute> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.position(name).map(|index| &self.0[index])
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        self.0.binary_search_by(|attribute| attribute.name.as_str().cmp(name)).ok()
    }
}

/// Names the product knows the meaning of. Any other name is text unless the campaign file declares a type.
pub const CONSENT: &str = "consent";
pub const SUPPRESSED: &str = "suppressed";
pub const CHANNEL: &str = "channel";
pub const LOCALE: &str = "locale";

/// The type and range that a well-known attribute name has when the campaign file declares none.
pub fn well_known(name: &str) -> Option<(AttributeType, Option<f64>, Option<f64>)> {
    use AttributeType::{Boolean, Date, Integer, Number, Text};
    let known = match name {
        CONSENT | SUPPRESSED | "consent_email" | "consent_sms" | "consent_push" | "consent_in_app" => {
            (Boolean, None, None)
        }
        "recency_days" | "last_engagement_days" => (Number, Some(0.0), None),
        "frequency" | "purchase_frequency" | "orders" | "visits" => (Number, Some(0.0), None),
        "monetary" | "avg_order_value" | "total_spend" | "lifetime_value" | "history" => (Number, None, None),
        "age" => (Number, Some(0.0), Some(130.0)),
        "tenure_days" => (Number, Some(0.0), None),
        "open_rate" | "click_rate" | "historical_open_rate" | "historical_click_rate" => (Number, Some(0.0), Some(1.0)),
        "signup_date" | "last_purchase_date" => (Date, None, None),
        "children" => (Integer, Some(0.0), None),
        "first_name" | "last_name" | "email" | "location" | "city" | "country" | "tier" | CHANNEL | LOCALE => {
            (Text, None, None)
        }
        _ => return None,
    };
    Some(known)
}
