//! What single faults at chosen places must not do.

use cpo::orchestration::{arrivals, instance::ENGINE, names, names::Run};

use super::*;
use crate::faults::Faults;

impl World {
    /// A process without a sweeper, which works until it dies.
    async fn process_without_sweeper(&self, faults: &Arc<Faults>) {
        let never = Duration::from_secs(365 * 24 * 3_600);
        let host = Host::new(self.engine(&faults.store()), Duration::from_secs(30), never, false);
        tokio::select! {
            served = host.serve() => panic!("the host ended: {served:?}"),
            () = faults.death() => {}
        }
    }
}

/// Only lost messages need the sweeper: what a dead process had in hand comes again by itself.
#[tokio::test(start_paused = true)]
async fn a_death_at_any_call_is_overcome_without_the_sweeper() {
    let calls = calls_of_a_small_campaign().await;
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        for k in 1..=calls {
            let world = World::new(Simulated::new(Shape::SMALL)).await;
            let faults = Faults::new(world.memory.clone(), move |call, _| (call == k).then_some(fault));
            let healthy = Faults::new(world.memory.clone(), |_, _| None);
            tokio::select! {
                () = async {
                    world.process_without_sweeper(&faults).await;
                    world.process_without_sweeper(&healthy).await;
                } => {}
                view = world.at_rest() => assert_eq!(view.status, Status::Completed, "{fault:?} at call {k}"),
            }
            world.assert_sound(&format!("{fault:?} at call {k}")).await;
        }
    }
}

/// Blob Storage answers 503 to whatever is asked of a stage's records for a quarter of an hour, while the queues work.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_busy_for_long_makes_no_item_fail() {
    let world = World::new(Simulated::new(Shape { shards: 20, ..Shape::SMALL })).await;
    let began = world.began;
    let faults = Faults::new(world.memory.clone(), move |_, what| {
        let is_busy = what.contains("/items/label") && began.elapsed() < Duration::from_secs(900);
        is_busy.then_some(Fault::Throttle)
    });
    tokio::select! {
        () = world.process_without_sweeper(&faults) => {}
        view = world.at_rest() => {
            assert_eq!(view.status, Status::Completed);
            assert!(view.stages.iter().all(|stage| stage.failed == 0), "{view:#?}");
        }
    }
    world.assert_sound("busy").await;
}

/// One turn is slow to take an ended campaign off the sweeper's list; meanwhile another one restarts it.
#[tokio::test(start_paused = true)]
async fn a_restarted_campaign_stays_on_the_sweepers_list() {
    let world = World::new(Simulated::moody(Shape::SMALL, Duration::from_secs(200), |_, _| Ok(()))).await;
    world.ask("end", Request::Terminate { reason: because("wrong offer") }).await;
    let slow = Faults::new(world.memory.clone(), |_, what| {
        what.starts_with("delete active/").then_some(Fault::Delay(Duration::from_secs(60)))
    });
    let late = world.engine(&slow.store());
    let quick = world.engine(&world.memory);
    let restarting = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        quick.restart(&world.start, b"library".to_vec(), EventId::new("anew").unwrap()).await.unwrap();
        quick.sweep().await.unwrap();
        assert_eq!(world.view().await.status, Status::Running);
    };
    let (swept, ()) = futures::future::join(late.sweep(), restarting).await;
    swept.unwrap();
    assert_eq!((world.view().await.status, world.view().await.generation), (Status::Running, 2));
    world.memory.blobs.get(&names::active(world.campaign())).await.expect("it is on the list");
    world.finish().await;
    world.assert_sound("restarted").await;
}

/// In a rolling update an older program meets a campaign of a newer one, for hours.
#[tokio::test(start_paused = true)]
async fn a_newer_programs_campaign_is_left_alone_and_gathers_no_messages() {
    let world = World::new(Simulated::new(Shape::SMALL)).await;
    let path = names::instance(world.campaign());
    let mut instance = world.engine(&world.memory).load(world.campaign()).await.unwrap().unwrap().instance;
    instance.engine = ENGINE + 1;
    let bytes = serde_json::to_vec(&instance).unwrap();
    world.memory.blobs.put(&path, bytes.clone(), cpo::store::Precondition::None).await.unwrap();
    world.work_for(3 * 3_600).await;
    assert_eq!(world.memory.blobs.get(&path).await.unwrap().bytes, bytes);
    // The wake of its start still goes round, for a newer program.
    let waiting = checker::waiting(&world.memory).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(waiting + checker::waiting(&world.memory).await, 1);
}

#[tokio::test(start_paused = true)]
async fn at_a_gate_the_sweeper_writes_nothing() {
    let world = World::new(gated()).await;
    world.finish().await;
    let faults = Faults::new(world.memory.clone(), |_, _| None);
    let host = world.host(&faults.store());
    let _ = tokio::time::timeout(Duration::from_secs(3_600), host.serve()).await;
    assert_eq!(faults.counts.lock().unwrap().get("put"), None);
}

/// Every line of every log comes twice, as when a worker dies after its arrival: what it cost is counted once.
#[tokio::test(start_paused = true)]
async fn arrivals_that_come_twice_count_once() {
    let shape = Shape { allowance: dollars(0.3), ..Shape::SMALL };
    let world = World::new(Simulated::new(shape)).await;
    let faults = Faults::new(world.memory.clone(), |_, what| what.starts_with("append").then_some(Fault::LoseAnswer));
    // The answers to all appends are lost, so that no worker ever gets to the end: each appends five times.
    let _ = tokio::time::timeout(Duration::from_secs(900), world.process(&faults)).await;
    let view = world.finish().await;
    assert_eq!(view.status, Status::Completed);
    let run = Run { campaign: world.campaign().clone(), generation: 1 };
    let log = arrivals::read(world.memory.blobs.as_ref(), &run, Stage::Ingest.into(), 0).await.unwrap();
    assert!(log.lines() > 1);
    world.assert_sound("appended twice").await;
}

/// Made the examples of version 1 that `tests/formats.rs` reads. They are never made again.
#[tokio::test(start_paused = true)]
#[ignore = "writes into the source"]
async fn write_the_examples() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/formats");
    let write = |name: &str, bytes: &[u8]| {
        use std::io::Write as _;
        let mut file = std::fs::File::create_new(folder.join(name)).expect("an example is written once");
        file.write_all(bytes).unwrap();
    };
    let shape = Shape { variants: 5, needs_review: 1, allowance: dollars(0.03), ..Shape::SMALL };
    let agents = Simulated::moody(shape, Duration::from_millis(20), |item, _| {
        let is_lost = item.step.stage == Stage::Generate && item.index == 2;
        if is_lost { Err(simulated::broken()) } else { Ok(()) }
    });
    let world = World::new(agents).await;
    let blobs = &world.memory.blobs;
    let read = async |path: &cpo::store::BlobPath| blobs.get(path).await.unwrap().bytes;
    let first = async |queue: &cpo::store::QueueName| {
        let mut received = world.memory.queues.receive(queue, 1, Duration::from_secs(1)).await.unwrap();
        received.remove(0).body
    };
    let campaign = world.campaign();
    write("wake-1.json", &first(&Engine::orchestrate()).await);
    write("start-1.json", &read(&names::input(campaign, Digest::of(serde_json::to_vec(&world.start).unwrap()))).await);
    world.engine(&world.memory).sweep().await.unwrap();
    write("item-1.json", &first(&cpo::orchestration::stage::Agent::Segment.queue()).await);
    world.ask("early", approval(Digest::of("other variants"))).await;
    write("request-1.json", &read(&names::request(campaign, &EventId::new("early").unwrap())).await);
    world.finish().await;
    world.ask("stop", Request::Suspend { reason: because("lunch") }).await;
    world.work_for(60).await;
    let run = Run { campaign: campaign.clone(), generation: 1 };
    write("arrivals-1.jsonl", &read(&run.arrivals(Stage::Generate.into(), 0)).await);
    write("record-1.json", &read(&run.item(Stage::Design.into(), 0, 1)).await);
    write("record-failed-1.json", &read(&run.item(Stage::Generate.into(), 2, 1)).await);
    write("instance-1.json", &read(&names::instance(campaign)).await);
    let version = world.engine(&world.memory).load(campaign).await.unwrap().unwrap().instance.version;
    write("history-1.json", &read(&names::history(campaign, version - 1)).await);
    let decision = cpo::domain::decision::Decision {
        schema: cpo::domain::decision::Schema::V1,
        digest: Simulated::digest(),
        approved: cpo::domain::decision::Approved::All,
        by: "a person".to_owned(),
        note: Some("the discount is agreed".to_owned()),
    };
    write("decision-1.json", &serde_json::to_vec(&decision).unwrap());
}

/// A process knows what another one decided when a message tells it to look.
#[tokio::test(start_paused = true)]
async fn three_processes_share_a_campaign_without_the_sweeper() {
    let world = World::new(Simulated::new(Shape { shards: 30, ..Shape::SMALL })).await;
    let healthy = || Faults::new(world.memory.clone(), |_, _| None);
    let processes = [healthy(), healthy(), healthy()];
    let view = tokio::select! {
        _ = futures::future::join_all(processes.iter().map(|process| world.process_without_sweeper(process))) => {
            unreachable!("nobody dies")
        }
        view = world.at_rest() => view,
    };
    assert_eq!(view.status, Status::Completed);
    assert!(world.began.elapsed() < Duration::from_secs(120), "{:?}", world.began.elapsed());
    world.assert_sound("three processes").await;
}

/// An approval that was given is never lost, whatever dies while it is taken in.
#[tokio::test(start_paused = true)]
async fn a_death_at_any_call_loses_no_request() {
    let calls = calls_of_a_small_campaign().await;
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        for k in 1..=calls {
            let world = World::new(gated()).await;
            world.ask("early", approval(Simulated::digest())).await;
            let faults = Faults::new(world.memory.clone(), move |call, _| (call == k).then_some(fault));
            tokio::select! {
                () = world.process(&faults) => {}
                _ = world.at_rest() => {}
            }
            assert_eq!(world.finish().await.status, Status::Completed, "{fault:?} at call {k}");
            world.assert_sound(&format!("{fault:?} at call {k}")).await;
        }
    }
}

/// Two workers on one item: whatever the second would say, the first is what counts.
#[tokio::test(start_paused = true)]
async fn the_first_record_that_is_stored_counts() {
    use cpo::orchestration::record::{self, Outcome, Record, Schema};
    let store = Memory::default().store();
    let run = Run { campaign: CampaignId::new("c").unwrap(), generation: 1 };
    let record = |said: &str| Record {
        schema: Schema::V1,
        step: Stage::Generate.into(),
        index: 3,
        attempt: 1,
        at: Timestamp::UNIX_EPOCH,
        usage: cpo::domain::variant::Usage::default(),
        result: Outcome::Done { fact: None, output: serde_json::value::to_raw_value(said).unwrap() },
    };
    let said = |record: Record| record.output::<String>().unwrap().unwrap();
    let lossy = Faults::new(store.clone(), |_, what| what.starts_with("put").then_some(Fault::LoseAnswer));
    for (blobs, says) in [(&store.blobs, "first"), (&lossy.store().blobs, "second"), (&store.blobs, "third")] {
        assert_eq!(said(record::write(blobs.as_ref(), &run, record(says)).await.unwrap()), "first");
    }
    let read = record::read(store.blobs.as_ref(), &run, Stage::Generate.into(), 3, 1).await.unwrap().unwrap();
    assert_eq!(said(read), "first");
}

/// The memory store answers at once, so that a turn over it is never interrupted. Here every call of every process
/// takes a moment of its own, and whatever can come between two calls does.
#[tokio::test(start_paused = true)]
async fn processes_that_come_between_each_others_calls_give_one_history() {
    for seed in 0..10 {
        println!("seed {seed}");
        let world = World::new(Simulated::new(Shape { shards: 12, needs_review: 1, ..Shape::SMALL })).await;
        let slow = |process: u64| {
            let mut dice = ChaCha8Rng::seed_from_u64(seed << 8 | process);
            Faults::new(world.memory.clone(), move |_, _| {
                Some(Fault::Delay(Duration::from_millis(dice.random_range(0..40))))
            })
        };
        let processes: Vec<_> = (0..4).map(slow).collect();
        let asking = async {
            for round in 0..6 {
                tokio::time::sleep(Duration::from_millis(150)).await;
                world.ask(&format!("stop-{round}"), Request::Suspend { reason: because("wait") }).await;
                // Of requests that wait together it is not said which is taken first.
                while world.view().await.status == Status::Running {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                world.ask(&format!("go-{round}"), Request::Resume { reason: because("on") }).await;
                while world.view().await.status != Status::Running {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            world.ask("yes", approval(Simulated::digest())).await;
            loop {
                let view = world.at_rest().await;
                if view.status.is_final() {
                    return view;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let view = tokio::select! {
            _ = futures::future::join_all(processes.iter().map(|process| world.process(process))) => {
                unreachable!("nobody dies")
            }
            view = asking => view,
        };
        assert_eq!(view.status, Status::Completed, "seed {seed}");
        world.assert_sound(&format!("seed {seed}")).await;
    }
}
