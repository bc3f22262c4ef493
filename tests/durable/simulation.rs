//! Whole campaigns in virtual time, over the memory store, with everything going wrong.
//!
//! A process is an engine with its host over a store of its own that can die; what it leaves is in the store below.

use std::{path::Path, sync::Arc, time::Duration};

use cpo::{
    config::Campaign,
    domain::{digest::Digest, id::CampaignId, money::Usd},
    orchestration::{
        client::{Answer, View},
        engine::{Clock, Engine},
        follow,
        host::Host,
        instance::{Approval, EventId, Failure, Request, Status},
        stage::Stage,
        start::{self, Source, Start},
        workshop::Trouble,
    },
    store::{Memory, Store},
};
use jiff::Timestamp;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::{
    checker,
    faults::{Fault, Faults},
    simulated::{self, Shape, Simulated},
};

mod promises;

/// More than any campaign here may take, whatever happens.
const LONG: Duration = Duration::from_secs(20 * 3_600);

const SECOND: Duration = Duration::from_secs(1);

struct World {
    memory: Store,
    agents: Arc<Simulated>,
    began: Instant,
    start: Start,
}

impl World {
    async fn new(agents: Arc<Simulated>) -> Self {
        Self::with(agents, |_| ()).await
    }

    async fn with(agents: Arc<Simulated>, change: impl FnOnce(&mut Campaign)) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter/campaign.toml");
        let mut campaign = Campaign::read(&file).unwrap();
        change(&mut campaign);
        let start = Start {
            schema: start::Schema::V1,
            campaign,
            documents: Digest::of("library"),
            content: Digest::of("content"),
            content_folder: "content".into(),
            customers: Source::File {
                path: "customers.csv".into(),
                name: "customers.csv".into(),
                bytes: 1,
                modified: Timestamp::UNIX_EPOCH,
            },
            suppression: None,
            shard_rows: 1,
            engine: "test".to_owned(),
            prices: None,
        };
        let world = Self { memory: Memory::default().store(), agents, began: Instant::now(), start };
        world.engine(&world.memory).start(&world.start, b"library".to_vec()).await.unwrap();
        world
    }

    fn campaign(&self) -> &CampaignId {
        &self.start.campaign.campaign.id
    }

    fn engine(&self, store: &Store) -> Arc<Engine> {
        let began = self.began;
        let clock = move || Timestamp::UNIX_EPOCH + began.elapsed();
        self.engine_with_clock(store, clock)
    }

    fn engine_with_clock(&self, store: &Store, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Arc<Engine> {
        Arc::new(Engine::new(store.clone(), self.agents.clone(), Clock(Arc::new(clock))))
    }

    fn host(&self, store: &Store) -> Host {
        Host::new(self.engine(store), Duration::from_secs(30), Duration::from_secs(60), false)
    }

    /// A process that works until it dies.
    async fn process(&self, faults: &Arc<Faults>) {
        let host = self.host(&faults.store());
        tokio::select! {
            served = host.serve() => panic!("the host ended: {served:?}"),
            () = faults.death() => {}
        }
    }

    async fn view(&self) -> View {
        self.engine(&self.memory).status(self.campaign()).await.unwrap()
    }

    async fn at_rest(&self) -> View {
        loop {
            let view = self.view().await;
            if view.status.is_final() || view.gate.is_some() && view.status == Status::Running {
                return view;
            }
            assert!(self.began.elapsed() < LONG, "the campaign does not end: {view:#?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Works with one healthy process until nothing happens any more.
    async fn finish(&self) -> View {
        let host = self.host(&self.memory);
        tokio::select! {
            served = host.serve() => panic!("the host ended: {served:?}"),
            view = self.at_rest() => view,
        }
    }

    /// Lets one healthy process work for so long.
    async fn work_for(&self, seconds: u64) {
        let host = self.host(&self.memory);
        let _ = tokio::time::timeout(Duration::from_secs(seconds), host.serve()).await;
    }

    async fn ask(&self, id: &str, request: Request) {
        self.engine(&self.memory).request(self.campaign(), EventId::new(id).unwrap(), request).await.unwrap();
    }

    /// Lets whatever is still on the queues be handled, then looks at everything.
    async fn assert_sound(&self, what: &str) {
        self.work_for(300).await;
        let mut wrong = checker::complaints(&self.memory, self.campaign(), Some(&self.agents)).await;
        let waiting = checker::waiting(&self.memory).await;
        if waiting > 0 {
            wrong.push(format!("{waiting} messages are left"));
        }
        assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
    }

    fn calls_of_most_worked_item(&self) -> u32 {
        self.agents.journal.lock().unwrap().calls.values().copied().max().unwrap_or_default()
    }
}

fn approval(digest: Digest) -> Request {
    Request::Decide { approval: Approval { digest, decision: Digest::of("yes to all"), by: "a person".to_owned() } }
}

fn because(reason: &str) -> String {
    reason.to_owned()
}

#[tokio::test(start_paused = true)]
async fn an_undisturbed_campaign_does_every_item_once() {
    let world = World::new(Simulated::new(Shape { shards: 20, passes: 2, ..Shape::SMALL })).await;
    assert_eq!(world.finish().await.status, Status::Completed);
    assert_eq!(world.calls_of_most_worked_item(), 1);
    world.assert_sound("undisturbed").await;
}

/// Calls on the store that a small campaign makes while nothing goes wrong.
async fn calls_of_a_small_campaign() -> u64 {
    let world = World::new(Simulated::new(Shape::SMALL)).await;
    let faults = Faults::new(world.memory.clone(), |_, _| None);
    tokio::select! {
        () = world.process(&faults) => {}
        _ = world.at_rest() => {}
    }
    faults.calls()
}

/// One fault at the k-th call of the first process, for every k.
async fn at_every_call(fault: Fault) {
    let calls = calls_of_a_small_campaign().await;
    assert!(calls > 100, "{calls}");
    for k in 1..=calls {
        let world = World::new(Simulated::new(Shape::SMALL)).await;
        let faults = Faults::new(world.memory.clone(), move |call, _| (call == k).then_some(fault));
        tokio::select! {
            () = world.process(&faults) => {}
            _ = world.at_rest() => {}
        }
        let view = world.finish().await;
        assert_eq!(view.status, Status::Completed, "{fault:?} at call {k}");
        world.assert_sound(&format!("{fault:?} at call {k}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_death_before_any_call_loses_nothing() {
    at_every_call(Fault::DieBefore).await;
}

#[tokio::test(start_paused = true)]
async fn a_death_after_any_call_loses_nothing() {
    at_every_call(Fault::DieAfter).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_loses_nothing() {
    at_every_call(Fault::Fail).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_answer_is_lost_does_nothing_twice() {
    at_every_call(Fault::LoseAnswer).await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_store_is_no_failure() {
    at_every_call(Fault::Throttle).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_minutes_does_no_harm() {
    at_every_call(Fault::Delay(Duration::from_secs(150))).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_twice_or_never_does_no_harm() {
    at_every_call(Fault::Duplicate).await;
    at_every_call(Fault::Lose).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_message_that_waited_for_its_claim_pays_for_nothing_again() {
    let world = World::new(Simulated::new(Shape { allowance: dollars(0.1), ..Shape::SMALL })).await;
    // Of two copies of each draft's message one asks for the claim, and is let in when the other has long done the work.
    let mut leases = 0;
    let faults = Faults::new(world.memory.clone(), move |_, what| match what {
        "send generate" => Some(Fault::Duplicate),
        what if what.starts_with("lease") => {
            leases += 1;
            (leases % 2 == 1).then_some(Fault::Delay(Duration::from_secs(5)))
        }
        _ => None,
    });
    tokio::select! {
        () = world.process(&faults) => {}
        view = world.at_rest() => assert_eq!(view.status, Status::Completed),
    }
    assert_eq!(world.calls_of_most_worked_item(), 1);
    world.assert_sound("claimed late").await;
}

/// Three processes, every call of which may go wrong, each replaced when it dies; after an hour all is well.
async fn storm(seed: u64) {
    let shape =
        Shape { shards: 9, passes: 1, queries: 3, variants: 7, needs_review: 0, personal: 9, allowance: dollars(0.01) };
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let harm: f64 = chance.random_range(0.002..0.08);
    let world = World::new(Simulated::new(shape)).await;
    let calm = world.began + Duration::from_secs(3_600);
    let processes = (0..3).map(|process| {
        let (world, mut chance) = (&world, ChaCha8Rng::seed_from_u64(seed ^ (process + 1) << 32));
        async move {
            loop {
                let mut dice = ChaCha8Rng::seed_from_u64(chance.random());
                let faults = Faults::new(world.memory.clone(), move |_, _| {
                    (Instant::now() < calm && dice.random_bool(harm)).then(|| match dice.random_range(0..8) {
                        0 => Fault::Fail,
                        1 => Fault::Throttle,
                        2 => Fault::LoseAnswer,
                        3 => Fault::Delay(Duration::from_secs(dice.random_range(0..90))),
                        4 => Fault::Duplicate,
                        5 => Fault::Lose,
                        6 => Fault::DieBefore,
                        _ => Fault::DieAfter,
                    })
                });
                world.process(&faults).await;
                tokio::time::sleep(Duration::from_millis(chance.random_range(0..30_000))).await;
            }
        }
    });
    let view = tokio::select! {
        _ = futures::future::join_all(processes) => unreachable!("processes are replaced for ever"),
        view = world.at_rest() => view,
    };
    // A message that was handed out in vain five times ends in a tombstone, and a campaign with one may have failed.
    let mut view = view;
    for round in 0..20 {
        if matches!(view.status, Status::Completed) {
            break;
        }
        assert!(matches!(view.status, Status::Failed { .. }), "seed {seed}: {:?}", view.status);
        world.ask(&format!("rewind-{round}"), Request::Rewind { reason: because("storm") }).await;
        world.work_for(120).await;
        view = world.finish().await;
    }
    world.assert_sound(&format!("seed {seed}")).await;
}

fn dollars(amount: f64) -> Usd {
    Usd::from_dollars(amount).unwrap()
}

#[tokio::test(start_paused = true)]
async fn storms_of_everything_over_three_processes_lose_nothing() {
    let seeds: u64 = std::env::var("CPO_STORMS").map_or(60, |count| count.parse().unwrap());
    for seed in 0..seeds {
        storm(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_sweeper_alone_finishes_a_campaign_whose_messages_are_lost() {
    let world = World::new(Simulated::new(Shape::SMALL)).await;
    // Every queue is emptied each 40 seconds, whatever is on it.
    let thief = async {
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_secs(40)).await;
            checker::lose_all(&world.memory).await;
        }
        std::future::pending::<()>().await;
    };
    // And of those sent, two out of three are lost.
    let mut count = 0;
    let faults = Faults::new(world.memory.clone(), move |_, what| {
        count += u32::from(what.starts_with("send"));
        (what.starts_with("send") && count % 3 != 0).then_some(Fault::Lose)
    });
    tokio::select! {
        () = thief => {}
        () = world.process(&faults) => {}
        view = world.at_rest() => assert_eq!(view.status, Status::Completed),
    }
    world.assert_sound("lost messages").await;
}

#[tokio::test(start_paused = true)]
async fn eight_turns_at_once_give_one_history() {
    let world = World::new(Simulated::new(Shape { shards: 30, ..Shape::SMALL })).await;
    let hosts: Vec<Host> = (0..8).map(|_| world.host(&world.memory)).collect();
    let wakes = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let engines = (0..8).map(|_| world.engine(&world.memory));
            let wake = cpo::orchestration::item::Wake {
                schema: cpo::orchestration::item::WakeSchema::V1,
                campaign: world.campaign().clone(),
                group: None,
            };
            let turns = engines.map(|engine| {
                let wake = wake.clone();
                async move { engine.turn(&wake).await }
            });
            for turn in futures::future::join_all(turns).await {
                turn.unwrap();
            }
        }
    };
    tokio::select! {
        _ = futures::future::join_all(hosts.iter().map(Host::serve)) => {}
        () = wakes => {}
        view = world.at_rest() => assert_eq!(view.status, Status::Completed),
    }
    world.assert_sound("conflicts").await;
}

#[tokio::test(start_paused = true)]
async fn throttling_never_counts_as_failure() {
    // Every draft is refused thirty times before it is written.
    let agents = Simulated::moody(Shape::SMALL, Duration::from_millis(5), |item, calls| {
        if item.step.stage == Stage::Generate && calls < 30 { Err(simulated::throttled(60)) } else { Ok(()) }
    });
    let world = World::new(agents).await;
    assert_eq!(world.finish().await.status, Status::Completed);
    let view = world.view().await;
    assert!(view.stages.iter().all(|stage| stage.failed == 0), "{view:#?}");
    world.assert_sound("throttled").await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_ends_as_a_tombstone_and_a_rewind_does_it_alone() {
    // Shard 1 cannot be delivered until it was tried eight times.
    let agents = Simulated::moody(Shape::SMALL, Duration::from_millis(5), |item, calls| {
        let is_cursed = item.step.stage == Stage::Deliver && item.index == 1 && calls < 8;
        if is_cursed { Err(simulated::broken()) } else { Ok(()) }
    });
    let world = World::new(agents).await;
    let view = world.finish().await;
    let failure = Failure::ItemsFailed { step: Stage::Deliver.into(), failed: 1, planned: 3 };
    assert_eq!(view.status, Status::Failed { failure });
    for round in 0..2 {
        world.ask(&format!("again-{round}"), Request::Rewind { reason: because("mended") }).await;
        world.work_for(600).await;
    }
    let calls = |stage: Stage, index| world.agents.journal.lock().unwrap().calls[&(1, stage.into(), index)];
    assert_eq!(calls(Stage::Deliver, 1), 9);
    assert_eq!((calls(Stage::Deliver, 0), calls(Stage::Deliver, 2), calls(Stage::Label, 1)), (1, 1, 1));
    world.assert_sound("rewound").await;
}

#[tokio::test(start_paused = true)]
async fn tolerated_failures_do_not_stop_a_campaign_and_can_be_done_later() {
    let agents = Simulated::moody(Shape { shards: 10, ..Shape::SMALL }, Duration::from_millis(5), |item, calls| {
        let is_cursed = item.step.stage == Stage::Deliver && item.index == 4 && calls < 5;
        let is_lost = item.step.stage == Stage::Generate && item.index == 0;
        if is_cursed || is_lost { Err(simulated::broken()) } else { Ok(()) }
    });
    let world = World::with(agents, |campaign| {
        campaign.run.tolerated_failures.deliver = cpo::domain::share::Share::new(0.1).unwrap();
    })
    .await;
    let view = world.finish().await;
    assert_eq!(view.status, Status::Completed);
    let failed = |view: &View, stage: Stage| {
        view.stages.iter().find(|view| view.step == stage.into()).map(|view| (view.done, view.failed))
    };
    assert_eq!(failed(&view, Stage::Deliver), Some((9, 1)));
    assert_eq!(failed(&view, Stage::Generate), Some((2, 1)));
    // What could not be written is screened too, which blocks it.
    assert_eq!(failed(&view, Stage::Screen), Some((3, 0)));
    world.assert_sound("tolerated").await;

    world.ask("again", Request::Rewind { reason: because("the disk is back") }).await;
    world.work_for(600).await;
    let view = world.view().await;
    assert_eq!(failed(&view, Stage::Deliver), Some((10, 0)));
    // Too late for the draft: its cell has fallen back.
    assert_eq!(failed(&view, Stage::Generate), Some((2, 1)));
    world.assert_sound("redriven").await;
}

#[tokio::test(start_paused = true)]
async fn a_suspended_campaign_does_nothing_until_it_is_resumed() {
    let world =
        World::new(Simulated::moody(Shape { shards: 50, ..Shape::SMALL }, Duration::from_secs(7), |_, _| Ok(()))).await;
    let host = world.host(&world.memory);
    let asking = async {
        tokio::time::sleep(Duration::from_secs(40)).await;
        world.ask("stop", Request::Suspend { reason: because("wait") }).await;
        // What was under way ends; then nothing is done for a day.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let before = world.agents.journal.lock().unwrap().calls.clone();
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!(world.agents.journal.lock().unwrap().calls, before);
        assert!(matches!(world.view().await.status, Status::Suspended { .. }));
        world.ask("go", Request::Resume { reason: because("on") }).await;
        // The same again changes nothing.
        world.ask("stop", Request::Suspend { reason: because("wait") }).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.at_rest().await
    };
    tokio::select! {
        _ = host.serve() => {}
        view = asking => assert_eq!(view.status, Status::Completed),
    }
    assert_eq!(world.calls_of_most_worked_item(), 1);
    world.assert_sound("suspended").await;
}

#[tokio::test(start_paused = true)]
async fn a_terminated_campaign_stops_and_a_restart_begins_anew() {
    let world = World::new(Simulated::moody(Shape::SMALL, Duration::from_secs(5), |_, _| Ok(()))).await;
    let host = world.host(&world.memory);
    let asking = async {
        tokio::time::sleep(Duration::from_secs(12)).await;
        world.ask("end", Request::Terminate { reason: because("wrong offer") }).await;
        tokio::time::sleep(Duration::from_secs(300)).await;
        let view = world.view().await;
        assert_eq!(view.status, Status::Terminated { reason: because("wrong offer") });
        let engine = world.engine(&world.memory);
        let id = EventId::new("anew").unwrap();
        engine.restart(&world.start, b"library".to_vec(), id).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.at_rest().await
    };
    tokio::select! {
        _ = host.serve() => {}
        view = asking => {
            assert_eq!((view.status, view.generation), (Status::Completed, 2));
        }
    }
    world.assert_sound("restarted").await;
    let engine = world.engine(&world.memory);
    engine.purge(world.campaign()).await.unwrap();
    assert_eq!(world.memory.blobs.list(None).await.unwrap(), []);
}

fn gated() -> Arc<Simulated> {
    Simulated::new(Shape { needs_review: 1, ..Shape::SMALL })
}

#[tokio::test(start_paused = true)]
async fn a_gate_costs_nothing_while_it_waits_and_opens_for_what_was_looked_at() {
    let world = World::new(gated()).await;
    let view = world.finish().await;
    assert_eq!(view.gate.map(|gate| gate.digest), Some(Simulated::digest()));
    let faults = Faults::new(world.memory.clone(), |_, _| None);
    let host = world.host(&faults.store());
    let _ = tokio::time::timeout(Duration::from_secs(3_600), host.serve()).await;
    // A host asks its queues, and its sweeper looks once a minute; nobody writes or sends anything.
    let counts = faults.counts.lock().unwrap().clone();
    for kind in ["append", "send", "delete", "lease", "extend"] {
        assert_eq!(counts.get(kind), None, "{counts:?}");
    }
    assert!(counts.get("put").is_none_or(|puts| *puts <= 60), "{counts:?}");

    world.ask("other", approval(Digest::of("something else"))).await;
    world.work_for(60).await;
    assert!(world.view().await.gate.is_some());
    world.ask("this", approval(Simulated::digest())).await;
    world.work_for(60).await;
    assert_eq!(world.view().await.status, Status::Completed);
    world.assert_sound("approved").await;
}

#[tokio::test(start_paused = true)]
async fn an_approval_may_come_before_its_gate() {
    let world = World::new(gated()).await;
    world.ask("early", approval(Simulated::digest())).await;
    assert_eq!(world.finish().await.status, Status::Completed);
    world.assert_sound("early").await;
}

#[tokio::test(start_paused = true)]
async fn deadlines_end_what_does_not_end_by_itself() {
    let agents = Simulated::moody(Shape::SMALL, Duration::from_millis(5), |item, _| {
        if item.step.stage == Stage::Label { Err(simulated::throttled(600)) } else { Ok(()) }
    });
    let world = World::with(agents, |campaign| campaign.run.stage_deadline_minutes = 120).await;
    let failure = Failure::StageDeadline { step: Stage::Label.into() };
    assert_eq!(world.finish().await.status, Status::Failed { failure });
    assert!(world.began.elapsed() < Duration::from_secs(3 * 3_600));

    let world = World::with(gated(), |campaign| campaign.run.approval_deadline_minutes = 60).await;
    world.finish().await;
    tokio::time::sleep(Duration::from_secs(3_700)).await;
    world.work_for(120).await;
    assert_eq!(world.view().await.status, Status::Failed { failure: Failure::ApprovalDeadline });
    // A person who comes late can still take it up.
    world.ask("late", Request::Rewind { reason: because("back from holiday") }).await;
    world.ask("yes", approval(Simulated::digest())).await;
    world.work_for(120).await;
    assert_eq!(world.view().await.status, Status::Completed);
    world.assert_sound("late approval").await;
}

#[tokio::test(start_paused = true)]
async fn a_campaign_that_could_cost_more_than_its_budget_spends_nothing() {
    let shape = Shape { variants: 100, allowance: dollars(0.1), ..Shape::SMALL };
    let world = World::with(Simulated::new(shape), |campaign| campaign.budget.max_usd = Some(dollars(9.99))).await;
    let failure = Failure::OverBudget { reserve: dollars(10.0), cap: dollars(9.99) };
    assert_eq!(world.finish().await.status, Status::Failed { failure });
    assert_eq!(world.agents.journal.lock().unwrap().spent, Usd::ZERO);

    let world = World::with(Simulated::new(shape), |campaign| campaign.budget.max_usd = Some(dollars(10.0))).await;
    assert_eq!(world.finish().await.status, Status::Completed);
    world.assert_sound("within budget").await;
}

#[tokio::test(start_paused = true)]
async fn tries_that_fail_spend_of_the_same_allowance_and_are_in_the_ledger() {
    let shape = Shape { variants: 10, allowance: dollars(1.0), ..Shape::SMALL };
    // Every draft fails four times, and each try costs: the fourth has too little left to ask anybody.
    let agents = Simulated::moody(shape, Duration::from_millis(5), |item, calls| {
        if item.step.stage == Stage::Generate && calls < 4 { Err(simulated::broken()) } else { Ok(()) }
    });
    let world = World::with(agents, |campaign| campaign.budget.max_usd = Some(dollars(10.0))).await;
    assert_eq!(world.finish().await.status, Status::Completed);
    assert_eq!(world.agents.journal.lock().unwrap().spent, dollars(9.0));
    assert_eq!(world.view().await.budget.settled, dollars(9.0));
    world.assert_sound("costly failures").await;
}

#[tokio::test(start_paused = true)]
async fn clocks_that_jump_change_nothing_but_times() {
    let world =
        World::new(Simulated::moody(Shape { shards: 12, ..Shape::SMALL }, Duration::from_secs(3), |_, _| Ok(()))).await;
    let began = world.began;
    let skewed = |minutes: i64| {
        // Some minutes ahead or behind, and every ten seconds the other way round.
        world.engine_with_clock(&world.memory, move || {
            let sign = if began.elapsed().as_secs() / 10 % 2 == 0 { 1 } else { -1 };
            Timestamp::UNIX_EPOCH + began.elapsed() + jiff::SignedDuration::from_mins(sign * minutes)
        })
    };
    let hosts = [skewed(5), skewed(-5)]
        .map(|engine| Host::new(engine, Duration::from_secs(30), Duration::from_secs(60), false));
    tokio::select! {
        _ = futures::future::join_all(hosts.iter().map(Host::serve)) => {}
        view = world.at_rest() => assert_eq!(view.status, Status::Completed),
    }
    world.assert_sound("skewed clocks").await;
}

#[tokio::test(start_paused = true)]
async fn owners_mistakes_end_at_once_and_say_what_to_mend() {
    let agents = Simulated::moody(Shape::SMALL, Duration::from_millis(5), |item, _| {
        if item.step.stage != Stage::Retrieve {
            return Ok(());
        }
        let problem = cpo::domain::problem::Problem::new("no content for gold", "add a document");
        Err(Trouble::Problems(vec![problem]))
    });
    let world = World::new(agents).await;
    let failure = Failure::ItemsFailed { step: Stage::Retrieve.into(), failed: 2, planned: 2 };
    assert_eq!(world.finish().await.status, Status::Failed { failure });
    assert_eq!(world.calls_of_most_worked_item(), 1);
}

/// Storage operations per item, and the instance's size, as shards grow.
#[tokio::test(start_paused = true)]
async fn operations_grow_with_the_items_and_the_instance_does_not() {
    let mut per_item = Vec::new();
    for shards in [100, 2_000, 10_000] {
        let agents =
            Simulated::moody(Shape { shards, passes: 0, ..Shape::SMALL }, Duration::from_micros(10), |_, _| Ok(()));
        let world = World::new(agents).await;
        let faults = Faults::new(world.memory.clone(), |_, _| None);
        tokio::select! {
            () = world.process(&faults) => {}
            view = world.at_rest() => assert_eq!(view.status, Status::Completed),
        }
        let counts = faults.counts.lock().unwrap().clone();
        let items = f64::from(2 * shards);
        let of = |kind: &str| counts.get(kind).copied().unwrap_or_default() as f64 / items;
        // Per item: its message sent and deleted, its record sought and stored, its arrival appended.
        let operations = of("get") + of("put") + of("append") + of("list") + of("send") + of("delete message");
        per_item.push(operations);
        println!("{shards} shards: {operations:.2} operations an item: {counts:?}");
        let bytes = world.memory.blobs.get(&cpo::orchestration::names::instance(world.campaign())).await.unwrap();
        assert!(bytes.bytes.len() < 8_192, "{}", bytes.bytes.len());
    }
    assert!(per_item[2] <= 5.0 * 1.2, "{per_item:?}");
    assert!(per_item[2] <= per_item[0], "{per_item:?}");
}

#[tokio::test(start_paused = true)]
async fn who_follows_a_campaign_is_not_fooled_by_a_request_that_is_taken_in_while_they_look() {
    let world = World::new(Simulated::new(Shape { needs_review: 1, ..Shape::SMALL })).await;
    assert!(world.finish().await.gate.is_some());
    // They see the campaign wait, and then an inbox from which the decision has gone.
    let inbox_comes_late =
        |_, call: &str| (call.starts_with("list") && call.contains("inbox")).then_some(Fault::Delay(5 * SECOND));
    let theirs = world.engine(&Faults::new(world.memory.clone(), inbox_comes_late).store());
    let deciding = async {
        tokio::time::sleep(SECOND).await;
        let engine = world.engine(&world.memory);
        engine.ask(world.campaign(), approval(Simulated::digest())).await.unwrap()
    };
    let following = follow::until_rest(&theirs, world.campaign(), &|_| ());
    let host = world.host(&world.memory);
    let both = async { tokio::join!(deciding, following) };
    let (answer, view) = host.serve_until(both).await.unwrap();
    assert_eq!((answer, view.unwrap().status), (Answer::Taken, Status::Completed));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_though_nobody_works_on_the_campaign() {
    let world = World::new(Simulated::new(Shape::SMALL)).await;
    let engine = world.engine(&world.memory);
    let ask = |request| engine.ask(world.campaign(), request);
    let suspended = ask(Request::Suspend { reason: because("later") }).await.unwrap();
    let again = ask(Request::Suspend { reason: because("later") }).await.unwrap();
    assert_eq!(suspended, Answer::Taken);
    assert!(matches!(again, Answer::Refused { .. }), "{again:?}");
    assert_eq!(ask(Request::Resume { reason: because("now") }).await.unwrap(), Answer::Taken);
    assert_eq!(world.finish().await.status, Status::Completed);
    world.assert_sound("answered").await;
}
