//! What a question costs as a rule. What it may cost at most is another matter: that much of the budget is set aside.

use crate::domain::money::Usd;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forecast {
    /// All calls of one question on average, those that repair an answer included.
    pub expected: Usd,
    /// What is done once for all of them, such as an index.
    pub once: Usd,
    /// What that rests on, a sentence each, for people. Empty where nothing is charged.
    pub assumes: Vec<String>,
}
