//! What a person decides, and what becomes of it.

use super::driver::{Driver, Manner};
use crate::{
    agents::experimentation::deliveries::Table,
    domain::{
        customer::ShardId,
        decision::{Approved, Decision, Schema},
        digest::Digest,
        verdict::{self, Rule},
    },
    orchestration::{
        finished::Variants,
        instance::{Approval, Request, Status},
        layout,
        recalls::{self, Recall},
        stage::Stage,
        workshop::{Collected, Trouble},
    },
    store::table,
};

const ALWAYS: &[(&str, &str)] = &[("approval = \"when_flagged\"", "approval = \"always\"")];

/// As far as the gate, and what waits there.
async fn gated() -> (Driver, Collected, Digest) {
    let mut driver = Driver::new(ALWAYS, 10, Manner::Twice).await;
    driver.play().await;
    let digest = driver.instance.gate.as_ref().unwrap().digest;
    let collected: Collected = driver.output(Stage::Collect.into(), 0).await;
    (driver, collected, digest)
}

async fn decide(driver: &mut Driver, decision: Decision, digest: Digest) {
    let (stored, by) = (driver.put_input(&decision).await, decision.by);
    driver.ask(Request::Decide { approval: Approval { digest, decision: stored, by } });
}

fn decision(digest: Digest, approved: Approved) -> Decision {
    Decision { schema: Schema::V1, digest, approved, by: "Ada".to_owned(), note: None }
}

#[tokio::test]
async fn only_what_a_person_approved_goes_out_and_the_rest_says_who_declined() {
    let (mut driver, collected, digest) = gated().await;
    let chosen = collected.variants[0].id.clone();
    let decided = decision(digest, Approved::Only(vec![chosen.clone()]));
    decide(&mut driver, decided.clone(), digest).await;
    // Too late: what is released is decided.
    decide(&mut driver, decision(digest, Approved::All), digest).await;
    driver.play().await;
    assert_eq!(driver.instance.status, Status::Completed);
    let files = driver.files().await;
    let released: Variants = serde_json::from_slice(&files[&layout::blob(layout::VARIANTS)]).unwrap();
    assert_eq!(released.decision, Some(decided));
    for variant in &released.variants {
        let findings = &variant.verdict.findings;
        let is_declined = findings.iter().any(|finding| finding.rule == Rule::Declined && finding.why.contains("Ada"));
        let expected = if variant.id == chosen { verdict::Decision::Approved } else { verdict::Decision::Blocked };
        assert_eq!((variant.verdict.decision, is_declined), (expected, variant.id != chosen), "{}", variant.id);
    }
    let summary = driver.summary().await;
    assert_eq!((summary.variants.approved, summary.variants.needs_review), (1, 0));
    assert!(summary.customers.held > 0 && summary.customers.assigned > 0);
}

#[tokio::test]
async fn a_decision_on_other_variants_releases_nothing() {
    let (mut driver, _, digest) = gated().await;
    let other = Digest::of("other variants");
    decide(&mut driver, decision(other, Approved::All), other).await;
    assert!(driver.instance.gate.is_some());
    // An approval that names a decision on something else.
    decide(&mut driver, decision(other, Approved::All), digest).await;
    let refused = driver.perform(Stage::Release.into(), 0).await;
    assert!(matches!(refused, Err(Trouble::Defect(_))), "{refused:?}");
}

#[tokio::test]
async fn what_is_recalled_during_a_delivery_goes_to_nobody_whose_item_begins_later() {
    let mut driver = Driver::new(&[], 10, Manner::Twice).await;
    driver.play_until(Stage::Deliver).await;
    let files = driver.files().await;
    let Variants { variants, .. } = serde_json::from_slice(&files[&layout::blob(layout::VARIANTS)]).unwrap();
    let begun = driver.perform(Stage::Deliver.into(), 0).await.unwrap();
    for document in variants.iter().flat_map(|variant| &variant.claims).map(|claim| claim.citation.passage.document()) {
        let recall = Recall {
            document: document.parse().unwrap(),
            by: "Ada".into(),
            reason: "wrong".into(),
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        recalls::recall(driver.store.blobs.as_ref(), recall).await.unwrap();
    }
    // Another worker at the same item writes the same.
    let again = driver.perform(Stage::Deliver.into(), 0).await.unwrap();
    assert_eq!(again.value.get(), begun.value.get());
    driver.play().await;
    assert_eq!(driver.instance.status, Status::Completed);
    let files = driver.files().await;
    let sent = |shard| {
        let rows = table::decode(files[&layout::table(layout::DELIVERIES, ShardId(shard))].clone()).unwrap();
        let rows = Table::new(&rows).unwrap();
        let held = rows.rows().filter(|row| row.reason.is_some_and(|reason| reason.contains("recalled"))).count();
        (rows.rows().filter(|row| row.variant.is_some()).count(), held)
    };
    let ((sent_before, held_before), (sent_after, held_after)) = (sent(0), sent(1));
    assert!(sent_before > 0 && held_before == 0, "{sent_before} {held_before}");
    assert!(sent_after == 0 && held_after > 0, "{sent_after} {held_after}");
}
