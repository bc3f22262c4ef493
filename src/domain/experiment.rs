//! Assignment and delivery: who gets what, and why not.

use serde::{Deserialize, Serialize};

/// The arms that every campaign can have beside its own.
pub const CONTROL: &str = "control";
pub const HOLDOUT: &str = "holdout";

/// What becomes of one customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// A message of the assigned arm is ready to go out.
    Assigned,
    /// No approved variant of the assigned cell: the control message goes out; analysis by assignment stays valid.
    Fallback,
    /// Nothing may go out; the reason says why.
    Held,
    Holdout,
}

impl DeliveryStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Fallback => "fallback",
            Self::Held => "held",
            Self::Holdout => "holdout",
        }
    }
}
