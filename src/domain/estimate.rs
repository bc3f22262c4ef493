//! What a campaign is expected to cost, before any provider is asked.

use serde::{Deserialize, Serialize};

use super::money::Usd;

/// All questions of one stage to one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageEstimate {
    pub stage: String,
    pub provider: String,
    /// Each takes one call, and more where an answer must be repaired.
    pub questions: u32,
    pub expected_usd: Usd,
    /// So much of the budget is set aside.
    pub most_usd: Usd,
    /// What these rest on, a sentence each.
    pub assumes: Vec<String>,
}

pub fn expected(stages: &[StageEstimate]) -> Usd {
    stages.iter().map(|stage| stage.expected_usd).sum()
}

pub fn most(stages: &[StageEstimate]) -> Usd {
    stages.iter().map(|stage| stage.most_usd).sum()
}
