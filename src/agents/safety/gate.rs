//! The gate that every draft must pass.

use std::collections::BTreeSet;

use jiff::civil::Date;

use crate::{
    agents::{
        retrieval::{Hit, library::Library},
        safety::{
            HarmScreen,
            checks::{banned, coverage, facts, grounding, harm, lengths, required, slots, structure},
            fact::Notation,
        },
    },
    config::campaign::{ApprovalPolicy, Brand, Safety},
    domain::{
        phrases::PhraseBook,
        variant::{Cell, Draft, Slots},
        verdict::{Decision, Finding, Severities, Verdict},
    },
};

/// All that is needed to judge the drafts of one cell.
#[derive(Clone, Copy)]
pub struct Gate<'a> {
    pub library: &'a Library,
    /// The campaign's date.
    pub date: Date,
    /// What retrieval gave for the cell: nothing else may be cited.
    pub allowed: &'a [Hit],
    pub phrases: &'a PhraseBook,
    pub brand: &'a Brand,
    pub slots: &'a Slots,
    pub safety: &'a Safety,
    pub screen: &'a dyn HarmScreen,
}

impl Gate<'_> {
    /// Makes every check. A check that cannot be made is a finding that blocks, so there is always a verdict.
    pub async fn judge(&self, cell: &Cell, draft: &Draft) -> Verdict {
        let mut findings = self.check_text(cell, draft);
        let (severities, harms) = harm::check(self.screen, &self.as_read(draft), &self.safety.block_at).await;
        findings.extend(harms);
        Verdict { decision: decide(&findings, severities.as_ref(), self.safety.approval), findings, severities }
    }

    /// All checks but the harm screen: a function of its arguments.
    pub fn check_text(&self, cell: &Cell, draft: &Draft) -> Vec<Finding> {
        let notation = match cell.locale.as_str().split('-').next() {
            Some("en") => Notation::English,
            _ => Notation::AsWritten,
        };
        let sources = grounding::Sources {
            library: self.library,
            allowed: self.allowed,
            date: self.date,
            segment: cell.segment.as_ref(),
            notation,
        };
        let coverage = coverage::check(draft, self.phrases);
        let documents = self.library.documents().iter();
        let products: BTreeSet<&str> = documents
            .flat_map(|document| document.products.iter().map(String::as_str))
            .filter(|product| !product.is_empty())
            .collect();

        let mut findings = structure::check(draft);
        findings.extend(grounding::check(draft, &sources));
        findings.extend(facts::check(draft, &coverage.phrases, &products, self.brand, cell.channel, notation));
        findings.extend(coverage.findings);
        findings.extend(slots::check(draft, self.slots));
        findings.extend(lengths::check(draft, cell.channel, self.slots));
        findings.extend(banned::check(draft, &self.brand.banned, self.slots));
        findings.extend(required::check(draft, cell.channel, &self.brand.required));
        findings
    }

    /// The message as a customer without any value would read it.
    fn as_read(&self, draft: &Draft) -> String {
        let subject = draft.message.subject.as_deref().unwrap_or_default();
        slots::filled(&format!("{subject}\n\n{}", draft.message.body), self.slots, str::to_owned)
    }
}

fn decide(findings: &[Finding], severities: Option<&Severities>, policy: ApprovalPolicy) -> Decision {
    let is_blocked = severities.is_none() || findings.iter().any(|finding| finding.blocks);
    match policy {
        _ if is_blocked => Decision::Blocked,
        ApprovalPolicy::Always => Decision::NeedsReview,
        ApprovalPolicy::WhenFlagged if !findings.is_empty() => Decision::NeedsReview,
        ApprovalPolicy::WhenFlagged | ApprovalPolicy::Never => Decision::Approved,
    }
}
