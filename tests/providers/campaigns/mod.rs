//! Whole campaigns, one of whose services shows a fault: nothing goes out that the screen did not pass, what is blocked says
//! why, the files hold together, and the ledger holds all that was charged.

mod world;

use cpo::{domain::verdict::Decision, orchestration::instance::Status};

use self::world::{Part, Trouble, When, World};
use crate::faults::{Fault, let_time_pass};

#[tokio::test(start_paused = true)]
async fn without_a_fault_every_message_is_written_screened_delivered_tracked_and_paid_for() {
    let_time_pass();
    let world = World::run(None).await;
    assert_eq!(world.view.status, Status::Completed, "{:#?}", world.reasons().await);
    let variants = world.variants().await;
    for variant in &variants {
        assert_eq!(variant.verdict.decision, Decision::Approved, "{variant:#?}");
        assert_eq!(variant.usage.requests, 1);
    }
    assert!(variants.len() >= 8, "{}", variants.len());
    assert!(world.delivered().await > 0);
    assert_eq!(world.complaints().await, [""; 0]);
    assert_eq!(world.swept().await, 0);
    assert_eq!(world.tracking.runs(world::id().as_str()).len(), 1);
}

/// A campaign in this trouble, and that nothing is wrong with its end.
async fn campaign(part: Part, fault: Fault, when: When) -> World {
    let world = World::run(Some(Trouble { part, fault, when })).await;
    // Who must mend something is told so; whether that ends the campaign depends on the items that met it.
    let is_misconfigured = matches!(fault, Fault::Status(302 | 401 | 403 | 404));
    let (status, reasons) = (&world.view.status, world.reasons().await);
    let is_told = reasons.iter().any(|reason| reason.contains("cpo doctor"));
    // An index that is not there is made.
    let is_mended = part == Part::Search && fault == Fault::Status(404);
    // Without passages there is nothing to write from.
    let is_stuck = when == When::Always && part != Part::Model;
    let is_right = match status {
        _ if is_misconfigured => is_told || is_mended,
        Status::Completed => !is_stuck,
        _ => is_stuck && !reasons.is_empty(),
    };
    assert!(is_right, "{part:?}, {fault:?}, {when:?}: {status:?}, {reasons:#?}");
    let wrong = world.complaints().await;
    assert!(wrong.is_empty(), "{part:?}, {fault:?}, {when:?}: {}", wrong.join("\n"));
    world
}

/// Those that pass by themselves, and are waited for.
const OUTAGES: [Fault; 6] =
    [Fault::Refused, Fault::Reset, Fault::Status(429), Fault::RetryAfter(429), Fault::Status(500), Fault::Status(503)];

async fn matrix(part: Part) {
    let_time_pass();
    for fault in Fault::ALL.into_iter().filter(|fault| *fault != Fault::Refused) {
        campaign(part, fault, When::EveryThird).await;
    }
    for fault in OUTAGES {
        campaign(part, fault, When::AtFirst).await;
    }
    // Nothing is written, found or passed: nobody gets anything.
    for fault in [Fault::Status(400), Fault::Status(403)] {
        let world = campaign(part, fault, When::Always).await;
        assert_eq!(world.delivered().await, 0, "{part:?}, {fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_the_model_does_nothing_goes_out_unscreened_and_the_ledger_holds_what_was_charged() {
    matrix(Part::Model).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_the_embeddings_do_nothing_goes_out_unscreened_and_the_ledger_holds_what_was_charged() {
    matrix(Part::Embeddings).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_the_screen_does_nothing_goes_out_unscreened_and_the_ledger_holds_what_was_charged() {
    matrix(Part::Safety).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_the_index_does_nothing_goes_out_unscreened_and_the_ledger_holds_what_was_charged() {
    matrix(Part::Search).await;
}

#[tokio::test(start_paused = true)]
async fn a_question_that_the_shields_put_off_is_paid_for_once() {
    let_time_pass();
    let undisturbed = World::run(None).await.ranked_queries();
    assert!(undisturbed > 0);
    for fault in OUTAGES {
        let world = campaign(Part::Safety, fault, When::AtFirst).await;
        assert_eq!(world.ranked_queries(), undisturbed, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_only_asks_to_wait_costs_nobody_a_message() {
    let_time_pass();
    let undisturbed = World::run(None).await.delivered().await;
    for part in [Part::Model, Part::Embeddings, Part::Safety, Part::Search] {
        // A message is asked about in pairs of calls: of each pair one is put off.
        let when = if part == Part::Safety { When::EveryOther } else { When::Half };
        for fault in [Fault::Status(429), Fault::RetryAfter(429), Fault::RetryAfter(503)] {
            let world = campaign(part, fault, when).await;
            assert_eq!(world.delivered().await, undisturbed, "{part:?}, {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_the_tracking_server_does_campaigns_end_the_same_and_it_is_told_when_it_is_well() {
    let_time_pass();
    let undisturbed = World::run(None).await.timeless().await;
    for fault in Fault::ALL {
        let world = World::run(Some(Trouble { part: Part::Tracking, fault, when: When::Always })).await;
        assert_eq!(world.view.status, Status::Completed, "{fault:?}: {:#?}", world.reasons().await);
        assert_eq!(world.complaints().await, [""; 0], "{fault:?}");
        let differs = |(path, bytes): (_, &Vec<u8>)| undisturbed.get(path) != Some(bytes);
        let other: Vec<_> = world
            .timeless()
            .await
            .iter()
            .filter(|(path, bytes)| differs((*path, *bytes)))
            .map(|(path, _)| path.to_string())
            .collect();
        assert_eq!(other, [""; 0], "{fault:?}");
        if fault != Fault::Refused {
            world.swept().await;
            let runs = world.tracking.runs(world::id().as_str());
            assert_eq!(runs.len(), 1, "{fault:?}");
            assert_eq!(runs[0].status, "FINISHED", "{fault:?}");
            assert!(world.tracking.files(&runs[0]).contains_key("report.html"), "{fault:?}");
        }
    }
}
