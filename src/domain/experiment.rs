//! Assignment and delivery: who gets what, and why not.

use serde::{Deserialize, Serialize};

use crate::domain::id::ArmName;

/// What the experiment decided for a customer. It never changes afterwards, whatever can be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assignment {
    /// Gets nothing, on purpose.
    Holdout,
    /// `control` or one of the campaign's arms.
    Arm(ArmName),
}

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
