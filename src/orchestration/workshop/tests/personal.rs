//! Messages for single customers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;

use super::driver::{Driver, Manner, add_up, deliveries, downloaded, plan, starter, verified};
use crate::{
    agents::{
        experimentation::deliveries::Table,
        generation::{
            Brief, Writer,
            composer::Composer,
            messages::{self, Counts, PersonalMessage},
        },
        safety::{AsRead, HarmScreen, Lexicon, Screened},
    },
    domain::{
        id::DocumentId,
        money::Usd,
        share::Share,
        variant::{Draft, Usage, Variant},
        verdict::Decision,
    },
    orchestration::{
        explain::{Explanation, Outcome},
        finished::{RunFiles, Variants},
        instance::{Request, Status},
        item::Item,
        layout,
        messages::Messages,
        recalls::{self, Recall},
        spent,
        stage::{Stage, Step},
        start::Start,
        workshop::{Agents as _, Providers, Setback, Trouble, personalize::Personalized},
    },
    providers::{ErrorKind, Meter, ProviderError},
    store::table,
};

const PERSONAL: &[(&str, &str)] = &[(
    "mode = \"segment\"",
    "mode = \"customer\"\nfields = [\"first_name\", \"tier\", \"recency_days\", \"monetary\"]\n# ",
)];

async fn driver(providers: Providers, shard_rows: u32, manner: Manner) -> Driver {
    let (start, library) = plan(PERSONAL).unwrap().start(&starter().join("customers.csv")).unwrap();
    Driver::with(Start { shard_rows, ..start }, library, providers, manner).await
}

fn step() -> Step {
    Stage::Personalize.into()
}

fn cents(cents: usize) -> Usd {
    Usd::from_dollars(cents as f64 / 100.0).unwrap()
}

/// By customer.
async fn messages(driver: &Driver) -> BTreeMap<String, Variant> {
    let files = driver.files().await;
    let folder = format!("{}/", layout::MESSAGES);
    let lines = files.iter().filter(|(path, _)| path.as_str().starts_with(&folder));
    let messages = lines.flat_map(|(_, lines)| messages::from_lines(lines).unwrap());
    messages.map(|PersonalMessage { customer_id, variant, .. }| (customer_id, variant)).collect()
}

/// (status, arm, variant, reason) by customer.
async fn delivered(driver: &Driver) -> BTreeMap<String, [String; 4]> {
    let mut rows = BTreeMap::new();
    for (_, bytes) in driver.files().await.iter().filter(|(path, _)| path.as_str().starts_with(layout::DELIVERIES)) {
        for row in Table::new(&table::decode(bytes.clone()).unwrap()).unwrap().rows() {
            let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
            let columns = [row.status.to_owned(), row.arm.to_owned(), owned(row.variant), owned(row.reason)];
            rows.insert(row.customer.to_owned(), columns);
        }
    }
    rows
}

#[tokio::test]
async fn whoever_an_arm_reaches_gets_their_own_message_and_everybody_else_what_they_had() {
    let mut segments = Driver::new(&[], 4, Manner::InOrder).await;
    segments.play().await;
    let before = delivered(&segments).await;
    let mut outcomes = Vec::new();
    for manner in [Manner::InOrder, Manner::Backwards, Manner::Twice] {
        let mut driver = driver(Providers::default(), 4, manner).await;
        driver.play().await;
        assert_eq!(driver.instance.status, Status::Completed);
        let (files, summary) = (driver.files().await, driver.summary().await);
        add_up(&summary);
        let (after, messages) = (delivered(&driver).await, messages(&driver).await);
        let mut personal = 0;
        for (customer, [status, arm, variant, _]) in &after {
            let [status_before, arm_before, variant_before, _] = &before[customer];
            assert_eq!((status, arm), (status_before, arm_before), "{customer}");
            if status == "assigned" && arm != "control" {
                let message = &messages[customer];
                assert_eq!((message.id.as_str(), message.verdict.decision), (variant.as_str(), Decision::Approved));
                personal += 1;
            } else {
                assert_eq!(variant, variant_before, "{customer}");
                assert!(!messages.contains_key(customer), "{customer}");
            }
        }
        assert!(personal > 5, "{personal}");
        assert_eq!(summary.personal, Some(Counts { approved: personal, ..Counts::default() }));
        outcomes.push((verified(&files), files));
    }
    assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]));
    assert_ne!(deliveries(&outcomes[0].1), deliveries(&segments.files().await));
}

/// Writes as the composer does, for a cent a call.
#[derive(Default)]
struct Paid {
    /// What it was told, call by call, of single customers.
    told: Mutex<Vec<String>>,
    /// How it fails whom.
    fails: Option<fn(&str, usize) -> Option<ErrorKind>>,
}

#[async_trait]
impl Writer for Paid {
    fn name(&self) -> &str {
        "paid/1"
    }

    fn most(&self) -> Usd {
        cents(3)
    }

    async fn write(&self, brief: &Brief<'_>, meter: &Meter) -> Result<Draft, ProviderError> {
        let usage = Usage { requests: 1, cost_usd: cents(1), ..Usage::default() };
        meter.reserve("paid", cents(1))?.settle(usage);
        if let Some(customer) = brief.customer {
            let customer = serde_json::to_string(customer).unwrap();
            let earlier = {
                let mut told = self.told.lock().unwrap();
                told.push(customer.clone());
                told.iter().filter(|told| **told == customer).count() - 1
            };
            if let Some(kind) = self.fails.and_then(|fails| fails(&customer, earlier)) {
                return Err(ProviderError { provider: "paid", kind, message: "no".to_owned() });
            }
        }
        Ok(Draft { usage, ..Composer.write(brief, meter).await? })
    }
}

/// The lexicon, which is out of order once in a while.
#[derive(Default)]
struct Moody {
    lexicon: Lexicon,
    is_down: AtomicBool,
    flags: AtomicBool,
    asked: AtomicUsize,
}

#[async_trait]
impl HarmScreen for Moody {
    async fn screen(&self, message: &AsRead<'_>, meter: &Meter) -> Result<Screened, ProviderError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.is_down.swap(false, Ordering::Relaxed) {
            let message = "down".to_owned();
            return Err(ProviderError { provider: "moody", kind: ErrorKind::Unavailable, message });
        }
        let mut screened = self.lexicon.screen(message, meter).await?;
        if self.flags.load(Ordering::Relaxed) {
            let severity = |level| serde_json::json!({"hate": 0, "sexual": 0, "violence": level, "self_harm": 0});
            screened.severities = serde_json::from_value(severity(1)).unwrap();
        }
        Ok(screened)
    }
}

#[tokio::test]
async fn nothing_that_was_paid_for_is_asked_again_whatever_went_wrong_beside_it() {
    let fails: fn(&str, usize) -> Option<ErrorKind> = |customer, earlier| match earlier {
        _ if customer.contains("Hugo") => Some(ErrorKind::Rejected),
        0 if customer.contains("Liam") => Some(ErrorKind::Unavailable),
        1 if customer.contains("Liam") => Some(ErrorKind::Throttled { retry_after: None }),
        _ => None,
    };
    let (writer, screen) = (Arc::new(Paid { fails: Some(fails), ..Paid::default() }), Arc::new(Moody::default()));
    let providers = Providers { writer: writer.clone(), screen: screen.clone(), ..Providers::default() };
    let mut driver = driver(providers, 64, Manner::InOrder).await;
    driver.play_until(Stage::Personalize).await;
    let planned = driver.instance.plan.unwrap();
    assert_eq!((planned.personal, planned.allowances.personalize), (1, cents(3 * 64)));
    screen.is_down.store(true, Ordering::Relaxed);

    let item = driver.item(step(), 0);
    let mut noted = Usd::ZERO;
    let mut kinds = Vec::new();
    let output = loop {
        match driver.workshop.perform(&item, &driver.instance).await {
            Ok(output) => break output,
            Err(Setback { trouble: Trouble::Provider(error), usage }) => {
                kinds.push(error.kind);
                noted = noted + usage.cost_usd;
            }
            Err(Setback { trouble, .. }) => panic!("{trouble}"),
        }
        assert!(kinds.len() < 9, "{kinds:?}");
    };
    assert_eq!(kinds, [ErrorKind::Throttled { retry_after: None }; 2]);
    let told = writer.told.lock().unwrap().clone();
    let distinct: BTreeSet<&String> = told.iter().collect();
    let again = told.len() - distinct.len();
    let liams = distinct.iter().filter(|customer| customer.contains("Liam")).count();
    assert!(liams > 0 && again == 2 * liams, "{told:?}");

    let kept = spent::total(driver.store.blobs.as_ref(), &item).await.unwrap().cost_usd;
    assert_eq!(kept + noted + output.usage.cost_usd, cents(told.len()));
    let Personalized { counts, .. } = serde_json::from_str(output.value.get()).unwrap();
    let hugos = distinct.iter().filter(|customer| customer.contains("Hugo")).count() as u64;
    assert!(hugos > 0 && counts.written() == distinct.len() as u64, "{counts:?}");
    assert_eq!((counts.blocked, &counts.reasons), (hugos, &[("A check could not be made".to_owned(), hugos)].into()));

    // Whoever does it again, after a death or a rewind, asks for nothing.
    let next = Item { attempt: 2, ..item };
    let again = driver.workshop.perform(&next, &driver.instance).await.unwrap();
    assert_eq!((again.value.get(), again.usage), (output.value.get(), Usage::default()));
    assert_eq!(writer.told.lock().unwrap().len(), told.len());

    driver.play().await;
    let (rows, messages) = (delivered(&driver).await, messages(&driver).await);
    let released: Variants = {
        let files = driver.files().await;
        serde_json::from_slice(&files[&layout::blob(layout::VARIANTS)]).unwrap()
    };
    let refused: Vec<_> =
        messages.iter().filter(|(_, message)| message.verdict.decision == Decision::Blocked).collect();
    assert_eq!(refused.len() as u64, hugos);
    for (customer, _) in refused {
        let [status, _, variant, reason] = &rows[customer];
        assert_eq!(status, "assigned");
        assert!(released.variants.iter().any(|released| released.id.as_str() == variant), "{variant}");
        assert_eq!(reason, "the segment's message instead of a personal one: A check could not be made");
    }
}

#[tokio::test]
async fn whoever_cannot_be_written_to_holds_up_nobody_else() {
    let fails: fn(&str, usize) -> Option<ErrorKind> =
        |customer, _| customer.contains("Liam").then_some(ErrorKind::Unavailable);
    let writer = Arc::new(Paid { fails: Some(fails), ..Paid::default() });
    let providers = Providers { writer: writer.clone(), ..Providers::default() };
    let mut driver = driver(providers, 64, Manner::InOrder).await;
    driver.play_until(Stage::Personalize).await;
    let item = driver.item(step(), 0);
    let mut tries = 1;
    let output = loop {
        match driver.workshop.perform(&item, &driver.instance).await {
            Ok(output) => break output,
            Err(_) => tries += 1,
        }
        assert!(tries < crate::orchestration::worker::MAX_DELIVERIES as usize);
    };
    let Personalized { counts, .. } = serde_json::from_str(output.value.get()).unwrap();
    assert!(counts.blocked == 1 && counts.approved > 10, "{counts:?}");
    assert_eq!(writer.told.lock().unwrap().len(), counts.approved as usize + 3);
}

#[tokio::test]
async fn shards_that_fail_stop_the_campaign_and_a_rewind_pays_for_nothing_twice() {
    let fails: fn(&str, usize) -> Option<ErrorKind> =
        |customer, earlier| (earlier == 0 && !customer.contains("Dev")).then_some(ErrorKind::Misconfigured);
    let writer = Arc::new(Paid { fails: Some(fails), ..Paid::default() });
    let providers = Providers { writer: writer.clone(), ..Providers::default() };
    let mut driver = driver(providers, 64, Manner::InOrder).await;
    driver.play_until(Stage::Personalize).await;
    assert!(matches!(driver.perform(step(), 0).await, Err(Trouble::Problems(_))));
    driver.fails = |step, _| step.stage == Stage::Personalize;
    driver.play().await;
    assert!(matches!(driver.instance.status, Status::Failed { .. }), "{:?}", driver.instance.status);

    driver.fails = |_, _| false;
    driver.ask(Request::Rewind { reason: "mended".to_owned() });
    driver.play().await;
    assert_eq!(driver.instance.status, Status::Completed);
    let counts = driver.summary().await.personal.unwrap();
    assert_eq!((counts.blocked, counts.needs_review), (0, 0));
    let told = writer.told.lock().unwrap();
    let devs = told.iter().filter(|customer| customer.contains("Dev"));
    assert_eq!(devs.clone().count(), devs.collect::<BTreeSet<_>>().len(), "{told:?}");
}

#[tokio::test]
async fn what_an_attempt_had_no_allowance_for_is_written_in_the_next_one() {
    let writer = Arc::new(Paid::default());
    let mut driver = driver(Providers { writer: writer.clone(), ..Providers::default() }, 64, Manner::InOrder).await;
    driver.play_until(Stage::Personalize).await;
    let item = driver.item(step(), 0);
    let poor = Item { allowance: cents(5), ..item.clone() };
    let output = driver.workshop.perform(&poor, &driver.instance).await.unwrap();
    let Personalized { counts, .. } = serde_json::from_str(output.value.get()).unwrap();
    assert!(counts.approved == 0 && counts.blocked > 10, "{counts:?}");
    let next = Item { attempt: 2, ..item };
    let output = driver.workshop.perform(&next, &driver.instance).await.unwrap();
    let Personalized { counts, .. } = serde_json::from_str(output.value.get()).unwrap();
    assert!(counts.blocked == 0 && counts.approved > 10, "{counts:?}");
}

#[tokio::test]
async fn a_message_that_a_person_would_have_to_look_at_gives_way_to_the_segments() {
    let screen = Arc::new(Moody::default());
    let mut driver = driver(Providers { screen: screen.clone(), ..Providers::default() }, 7, Manner::InOrder).await;
    driver.play_until(Stage::Personalize).await;
    screen.flags.store(true, Ordering::Relaxed);
    driver.play().await;
    let summary = driver.summary().await;
    let counts = summary.personal.unwrap();
    assert!(counts.needs_review > 5 && counts.written() == counts.needs_review, "{counts:?}");
    let messages = messages(&driver).await;
    for [status, arm, variant, reason] in delivered(&driver).await.values() {
        assert!(messages.values().all(|message| message.id.as_str() != variant), "{variant}");
        let is_reached = status == "assigned" && arm != "control";
        assert_eq!(reason.contains("instead of a personal one: Harmful or notable content"), is_reached, "{reason}");
    }
}

#[tokio::test]
async fn the_same_words_for_the_same_cell_are_screened_once() {
    let screen = Arc::new(Moody::default());
    let mut driver = driver(Providers { screen: screen.clone(), ..Providers::default() }, 7, Manner::InOrder).await;
    driver.play_until(Stage::Personalize).await;
    let before = screen.asked.load(Ordering::Relaxed);
    driver.play_until(Stage::Deliver).await;
    let messages = messages(&driver).await;
    let distinct: BTreeSet<String> = messages
        .values()
        .map(|Variant { cell, message, claims, .. }| serde_json::to_string(&(cell, message, claims)).unwrap())
        .collect();
    assert!(distinct.len() < messages.len(), "{} of {}", distinct.len(), messages.len());
    assert_eq!(screen.asked.load(Ordering::Relaxed) - before, distinct.len());
}

#[tokio::test]
async fn a_message_whose_source_is_recalled_before_its_delivery_goes_to_nobody() {
    let mut driver = driver(Providers::default(), 64, Manner::InOrder).await;
    driver.play_until(Stage::Deliver).await;
    let messages = messages(&driver).await;
    let cited = messages.values().next().unwrap().claims[0].citation.passage.document().to_owned();
    let document = DocumentId::new(cited).unwrap();
    let recall = Recall {
        document: document.clone(),
        by: "Ada".into(),
        reason: "wrong".into(),
        at: "2026-11-22T10:00:00Z".parse().unwrap(),
    };
    recalls::recall(driver.store.blobs.as_ref(), recall).await.unwrap();
    driver.play().await;
    let wanted = [document].into();
    let mut withdrawn = 0;
    for (customer, [_, _, variant, reason]) in delivered(&driver).await {
        let Some(message) = messages.get(&customer) else { continue };
        let is_recalled = recalls::cites(message, &wanted);
        assert_eq!(message.id.as_str() != variant, is_recalled, "{customer}");
        assert_eq!(reason.contains("recalled"), is_recalled, "{reason}");
        withdrawn += usize::from(is_recalled);
    }
    assert!(withdrawn > 0);
}

#[tokio::test]
async fn a_shard_whose_messages_were_given_up_gets_its_segments_and_leaves_nothing_behind() {
    let mut driver = driver(Providers::default(), 10, Manner::InOrder).await;
    driver.instance.policy.run.tolerated_failures.personalize = Share::ONE;
    driver.play_until(Stage::Personalize).await;
    // A worker that died after it had written, and before anybody knew.
    driver.perform(step(), 1).await.unwrap();
    driver.fails = |step, index| step.stage == Stage::Personalize && index == 1;
    driver.play().await;
    assert_eq!(driver.instance.status, Status::Completed);
    let files = driver.files().await;
    assert!(!files.contains_key(&layout::lines(layout::MESSAGES, crate::domain::customer::ShardId(1))));
    verified(&files);
    let folder = downloaded(&files);
    let files = RunFiles::in_folder(folder.path());
    let mut messages = Messages::read(&files).await.unwrap();
    let mut personal = [0, 0];
    for shard in crate::orchestration::deliveries::shards(&files).await.unwrap() {
        messages.turn_to(&files, shard).await.unwrap();
        let table = crate::orchestration::deliveries::of_shard(&files, shard).await.unwrap();
        for row in table.rows() {
            let Some(id) = row.variant else { continue };
            assert_eq!(messages.get(id).unwrap().verdict.decision, Decision::Approved);
            let own = messages.written_for(row.customer).is_some();
            assert!(!own || id == messages.written_for(row.customer).unwrap().id.as_str());
            personal[usize::from(shard.0 == 1)] += usize::from(own);
            let is_told = row.reason.is_some_and(|reason| reason.contains("were given up"));
            assert_eq!(is_told, shard.0 == 1 && row.status == "assigned" && row.arm != "control");
            let explained = Explanation::of(&files, row.customer, folder.path()).await.unwrap().unwrap();
            let Outcome::Planned(planned) = explained.outcome else { panic!("{} is suppressed", row.customer) };
            assert_eq!(planned.personal.is_some(), own);
            if let Some(personal) = planned.personal {
                let names: Vec<&str> = personal.told.keys().map(String::as_str).collect();
                assert_eq!(names, ["first_name", "monetary", "recency_days", "tier"]);
            }
        }
    }
    assert!(personal[0] > 5 && personal[1] == 0, "{personal:?}");
}
