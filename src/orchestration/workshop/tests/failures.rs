//! Items that are given up, providers that do not answer, files that dead attempts left.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    driver::{Driver, Manner, add_up, deliveries, downloaded, plan, starter, verified},
    watched::Watched,
};
use crate::{
    agents::{
        experimentation::deliveries::Table,
        generation::{Brief, Writer, composer::Composer},
    },
    domain::{
        customer::ShardId,
        money::Usd,
        share::Share,
        variant::{Draft, Usage},
        verdict::Decision,
    },
    orchestration::{
        deliveries as finished,
        finished::{RunFiles, Variants},
        instance::{Request, Status},
        layout,
        ledger::Ledger,
        stage::Stage,
        workshop::{Agents as _, Providers, Setback, Trouble, Workshop},
    },
    providers::{ErrorKind, Meter, ProviderError},
    report::Report,
    store::{self, Precondition},
};

/// The third shard's delivery, one draft and one verdict are given up, each in its first attempt.
async fn with_failures() -> Driver {
    let mut driver = Driver::new(&[], 5, Manner::InOrder).await;
    driver.instance.policy.run.tolerated_failures.deliver = Share::new(0.5).unwrap();
    driver.fails =
        |step, index| matches!((step.stage, index), (Stage::Deliver, 2) | (Stage::Generate, 0) | (Stage::Screen, 3));
    driver.play_until(Stage::Deliver).await;
    // A worker that died before its record was written left this.
    let stray = driver.run().file(&layout::table(layout::DELIVERIES, ShardId(2)));
    driver.store.blobs.put(&stray, b"half a table".to_vec(), Precondition::None).await.unwrap();
    driver.play().await;
    driver
}

#[tokio::test]
async fn what_was_given_up_stands_in_the_report_and_nobody_disappears() {
    let driver = with_failures().await;
    assert_eq!(driver.instance.status, Status::Completed);
    let files = driver.files().await;
    verified(&files);
    let mut delivered = Vec::new();
    let visit = |shard: ShardId, _: &Table| {
        delivered.push(shard.0);
        Ok(())
    };
    let folder = downloaded(&files);
    finished::for_each(&RunFiles::in_folder(folder.path()), visit).await.unwrap();
    assert!(
        !delivered.contains(&2)
            && delivered.len() as u32 == driver.instance.stage(Stage::Deliver.into()).unwrap().planned - 1
    );
    let summary = driver.summary().await;
    add_up(&summary);
    assert_eq!(summary.customers.undelivered, 5);
    let report: Report = serde_json::from_slice(&files[&layout::blob(layout::REPORT_JSON)]).unwrap();
    let failures: Vec<_> =
        report.failures.iter().map(|failed| (failed.stage.as_str(), failed.item, failed.customers)).collect();
    assert_eq!(failures, [("generate", 0, 0), ("screen", 3, 0), ("deliver", 2, 5)]);
    let html = String::from_utf8(files[&layout::blob(layout::REPORT_HTML)].clone()).unwrap();
    assert!(html.contains("the worker died") && html.contains("Not delivered"));

    let released: Variants = serde_json::from_slice(&files[&layout::blob(layout::VARIANTS)]).unwrap();
    for (index, variant) in released.variants.iter().enumerate() {
        let is_lost = index == 0 || index == 3;
        assert_eq!(variant.verdict.decision == Decision::Blocked, is_lost, "{}", variant.id);
        assert_eq!(variant.message.body.is_empty(), index == 0, "a draft that was not judged is shown");
    }
}

#[tokio::test]
async fn a_rewind_delivers_what_was_given_up_and_closes_again() {
    let mut driver = with_failures().await;
    let before = deliveries(&driver.files().await);
    driver.fails = |_, _| false;
    driver.ask(Request::Rewind { reason: "the worker is mended".to_owned() });
    driver.play().await;
    assert_eq!(driver.instance.status, Status::Completed);
    let files = driver.files().await;
    let after = deliveries(&files);
    assert_eq!(after.len(), before.len() + 5);
    assert!(before.iter().all(|(customer, row)| after[customer] == *row));
    verified(&files);
    let summary = driver.summary().await;
    add_up(&summary);
    assert_eq!(summary.customers.undelivered, 0);
}

#[tokio::test]
async fn a_close_that_slept_through_a_rewind_does_not_undo_the_newer_one() {
    let mut driver = with_failures().await;
    let (item, before) = (driver.item(Stage::Close.into(), 0), driver.instance.clone());
    let ledger = driver.run().file(&layout::blob(layout::LEDGER));
    let (watched, store) = Watched::over(&driver.store, Some(ledger));
    let scratch = tempfile::tempdir().unwrap();
    let workshop = Workshop::new(store, scratch.path().to_owned(), Providers::default());
    let sleeper = tokio::spawn(async move { workshop.perform(&item, &before).await });
    watched.asleep.notified().await;

    driver.fails = |_, _| false;
    driver.ask(Request::Rewind { reason: "the worker is mended".to_owned() });
    driver.play().await;
    let files = driver.files().await;
    watched.wake.notify_one();
    // The ledger is the same in both; the audit is not.
    let refused = sleeper.await.unwrap().map_err(|setback| setback.trouble);
    assert!(matches!(refused, Err(Trouble::Store(store::Error::PreconditionFailed { .. }))), "{refused:?}");
    assert_eq!(driver.files().await, files);
}

#[tokio::test]
async fn torn_files_of_dead_attempts_are_replaced() {
    let mut whole = Driver::new(&[], 7, Manner::InOrder).await;
    whole.play().await;
    let expected = whole.files().await;
    let mut driver = Driver::new(&[], 7, Manner::InOrder).await;
    for path in expected.keys() {
        driver.store.blobs.put(&driver.run().file(path), b"PAR1".to_vec(), Precondition::None).await.unwrap();
    }
    driver.play().await;
    assert_eq!(driver.files().await, expected);
}

#[tokio::test]
async fn a_table_that_was_changed_after_its_record_is_not_worked_on() {
    let mut driver = Driver::new(&[], 7, Manner::InOrder).await;
    driver.play_until(Stage::Label).await;
    let shard = driver.run().file(&layout::table(layout::SHARDS, ShardId(0)));
    driver.store.blobs.put(&shard, b"PAR1".to_vec(), Precondition::None).await.unwrap();
    let refused = driver.perform(Stage::Label.into(), 0).await.unwrap_err();
    assert!(refused.to_string().contains("not what was recorded"), "{refused}");
}

/// Charges a cent a draft; for one arm it answers with an error.
struct Dear(ErrorKind);

#[async_trait]
impl Writer for Dear {
    fn name(&self) -> &str {
        "dear/1"
    }

    fn most(&self) -> Usd {
        Usd::from_dollars(0.02).unwrap()
    }

    async fn write(&self, brief: &Brief<'_>, meter: &Meter) -> Result<Draft, ProviderError> {
        let reserved = meter.reserve("dear", self.most())?;
        let usage = Usage { requests: 1, cost_usd: Usd::from_dollars(0.01).unwrap(), ..Usage::default() };
        reserved.settle(usage);
        if brief.cell.arm.as_str() == "friendly" {
            return Err(ProviderError { provider: "dear", kind: self.0, message: "no".to_owned() });
        }
        let draft = Composer.write(brief, meter).await?;
        Ok(Draft { usage, ..draft })
    }
}

async fn dear(kind: ErrorKind) -> Driver {
    let (start, library) = plan(&[]).unwrap().start(&starter().join("customers.csv")).unwrap();
    let providers = Providers { writer: Arc::new(Dear(kind)), ..Providers::default() };
    let mut driver = Driver::with(start, library, providers, Manner::InOrder).await;
    driver.play_until(Stage::Generate).await;
    driver
}

#[tokio::test]
async fn a_draft_that_is_refused_blocks_its_variant_and_its_cost_is_in_the_ledger() {
    let mut driver = dear(ErrorKind::Rejected).await;
    driver.play().await;
    let files = driver.files().await;
    let released: Variants = serde_json::from_slice(&files[&layout::blob(layout::VARIANTS)]).unwrap();
    for variant in &released.variants {
        let is_refused = variant.cell.arm.as_str() == "friendly";
        assert_eq!(variant.verdict.decision == Decision::Blocked, is_refused, "{}", variant.id);
        assert_eq!(variant.verdict.findings.iter().any(|finding| finding.why == "dear: no"), is_refused);
    }
    let cents = |cents: usize| Usd::from_dollars(cents as f64 / 100.0).unwrap();
    let ledger: Ledger = serde_json::from_slice(&files[&layout::blob(layout::LEDGER)]).unwrap();
    let variants = released.variants.len();
    assert_eq!((ledger.total_usd, ledger.reserved_usd), (cents(variants), cents(2 * variants)));
    assert_eq!(ledger.entries[0].provider, "dear/1");
}

#[tokio::test]
async fn a_writer_that_may_answer_later_leaves_its_cost_alone_and_a_throttled_one_gets_fewer_calls() {
    for (kind, limit) in [(ErrorKind::Unavailable, 64), (ErrorKind::Throttled { retry_after: None }, 32)] {
        let driver = dear(kind).await;
        let item = driver.item(Stage::Generate.into(), 0);
        let Setback { trouble, usage } = driver.workshop.perform(&item, &driver.instance).await.unwrap_err();
        assert!(matches!(trouble, Trouble::Provider(_)), "{trouble}");
        assert_eq!(usage.cost_usd, Usd::from_dollars(0.01).unwrap());
        assert_eq!(driver.workshop.limits.writer.limit(), limit);
    }
}
