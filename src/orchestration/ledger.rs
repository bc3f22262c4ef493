//! `ledger.json`: what every provider call cost.

use serde::{Deserialize, Serialize};

use crate::domain::{estimate::StageEstimate, money::Usd, variant::Usage};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    pub schema: String,
    /// The most the campaign may cost.
    pub cap_usd: Option<Usd>,
    /// What its calls could have cost together.
    #[serde(default)]
    pub reserved_usd: Usd,
    pub entries: Vec<Entry>,
    /// What the stages were expected to cost when the campaign was designed; empty if an earlier version designed it.
    #[serde(default)]
    pub estimate: Vec<StageEstimate>,
    pub total_usd: Usd,
    /// Per customer who may be contacted.
    pub per_customer_usd: f64,
}

/// All calls of one stage to one provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub stage: String,
    pub provider: String,
    #[serde(flatten)]
    pub usage: Usage,
}

impl Ledger {
    pub fn new(
        entries: Vec<Entry>,
        estimate: Vec<StageEstimate>,
        cap_usd: Option<Usd>,
        reserved_usd: Usd,
        customers: u64,
    ) -> Self {
        let total_usd = entries.iter().map(|entry| entry.usage.cost_usd).sum::<Usd>();
        let per_customer_usd = if customers == 0 { 0.0 } else { total_usd.dollars() / customers as f64 };
        Self { schema: "ledger/1".to_owned(), cap_usd, reserved_usd, entries, estimate, total_usd, per_customer_usd }
    }
}
