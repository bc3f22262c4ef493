//! What a person says of the variants that wait for them.

use serde::{Deserialize, Serialize};

use crate::domain::{
    digest::Digest,
    id::VariantId,
    variant::Variant,
    verdict::{self, Finding, Rule},
};

/// One decision on all variants of a run that need a review. It cannot lift a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    pub schema: Schema,
    /// Of the variants that were looked at, as they were judged. The decision is worth nothing for any others.
    pub digest: Digest,
    pub approved: Approved,
    /// Who decided.
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    #[serde(rename = "decision/1")]
    V1,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approved {
    All,
    Only(Vec<VariantId>),
}

impl Decision {
    /// What waited for a review is approved or blocked after it; all else stays as it was.
    pub fn apply(&self, variant: &mut Variant) {
        let verdict = &mut variant.verdict;
        if verdict.decision != verdict::Decision::NeedsReview {
            return;
        }
        let is_approved = match &self.approved {
            Approved::All => true,
            Approved::Only(ids) => ids.contains(&variant.id),
        };
        if is_approved {
            verdict.decision = verdict::Decision::Approved;
            return;
        }
        verdict.decision = verdict::Decision::Blocked;
        verdict.findings.push(Finding {
            rule: Rule::Declined,
            blocks: true,
            span: None,
            text: String::new(),
            passage: None,
            why: format!("{} did not approve it", self.by),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        id::{ArmName, Locale},
        variant::{Cell, Draft, Usage},
        verdict::Verdict,
    };

    fn variant(candidate: usize, decision: verdict::Decision) -> Variant {
        let cell = Cell {
            segment: None,
            arm: ArmName::new("control").unwrap(),
            channel: crate::domain::channel::Channel::Email,
            locale: Locale::new("en").unwrap(),
        };
        Variant {
            id: cell.variant_id(candidate),
            cell,
            message: Draft::nothing().message,
            claims: Vec::new(),
            verdict: Verdict { decision, findings: Vec::new(), severities: None },
            writer: "test".to_owned(),
            usage: Usage::default(),
        }
    }

    #[test]
    fn a_person_decides_on_what_waits_for_them_and_on_nothing_else() {
        use verdict::Decision::{Approved as Passed, Blocked, NeedsReview};
        let cases = [
            (Approved::All, [Passed, Blocked, Passed, Passed]),
            (
                Approved::Only(vec![variant(2, NeedsReview).id, variant(1, NeedsReview).id]),
                [Passed, Blocked, Passed, Blocked],
            ),
            (Approved::Only(Vec::new()), [Passed, Blocked, Blocked, Blocked]),
        ];
        for (approved, expected) in cases {
            let decision =
                Decision { schema: Schema::V1, digest: Digest::of(""), approved, by: "Ada".to_owned(), note: None };
            let mut variants = [Passed, Blocked, NeedsReview, NeedsReview];
            for (candidate, (verdict, expected)) in (0..).zip(variants.iter_mut().zip(expected)) {
                let mut variant = variant(candidate, *verdict);
                decision.apply(&mut variant);
                assert_eq!(variant.verdict.decision, expected, "{decision:?}");
                let is_declined = variant.verdict.findings.iter().any(|finding| finding.rule == Rule::Declined);
                assert_eq!(is_declined, *verdict == NeedsReview && expected == Blocked);
            }
        }
    }
}
