//! Claims must be where they say they are: nothing else can be judged otherwise.

use crate::domain::{
    variant::Draft,
    verdict::{Finding, Rule},
};

use super::{byte_range, claimed, fields};

pub fn check(draft: &Draft) -> Vec<Finding> {
    let mut findings = Vec::new();
    for claim in &draft.claims {
        let text = draft.message.field(claim.span.field);
        let stands_there = byte_range(text, claim.span.start, claim.span.end)
            .is_some_and(|range| !text[range.clone()].trim().is_empty() && text[range] == claim.text);
        if !stands_there {
            findings.push(Finding::on_claim(
                Rule::CheckFailed,
                claim,
                "the message does not hold this claim at its span",
            ));
        }
    }
    for (field, text) in fields(&draft.message) {
        for pair in claimed(draft, field, text).windows(2) {
            if pair[1].0.start < pair[0].0.end {
                findings.push(Finding::on_claim(Rule::CheckFailed, pair[1].1, "the claim overlaps another one"));
            }
        }
    }
    findings
}
