//! Several worker processes on one storage account (Azurite's): killed, cut off from it, and counted.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use cpo::{
    domain::digest::Digest,
    orchestration::{
        campaign::Means,
        engine::{Clock, Engine},
        follow,
        host::Host,
        instance::{Instance, Progress, Status},
        names,
        plan::Plan,
        stage::{Agent, Stage},
        start::{Source, Start},
        workshop::{Providers, Workshop},
    },
    store::{Azure, BlobPath, Memory, Precondition, Store},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::{
    azurite::{self, Azurite},
    checker,
    faults::Faults,
    killed,
    real::{self, Folder, Method},
};

const SHARD_ROWS: u32 = 16;
/// Seconds after which another process is handed what a dead one had in hand.
const VISIBILITY: &str = "2";

fn store_of(account: &str) -> Store {
    Azure::open(account).unwrap().store()
}

/// One that asks and looks, and does no items.
fn client(store: Store) -> Engine {
    let workshop = Workshop::new(store.clone(), std::env::temp_dir(), Providers::default());
    Engine::new(store, Arc::new(workshop), Clock::default())
}

/// What the campaign of a folder gives on this machine, alone and in peace.
async fn alone(folder: &Folder) -> BTreeMap<String, Vec<u8>> {
    let ended = folder.run(Means { shard_rows: Some(SHARD_ROWS), ..Means::default() }).await;
    assert!(real::is_complete(&ended), "{ended:?}");
    folder.given()
}

/// Starts the campaign of a folder in a store, as `cpo run --storage` does, and leaves the work to others.
async fn start(folder: &Folder, engine: &Engine) {
    let inputs = folder.inputs();
    let plan = Plan::read(&inputs.campaign_file, None, |_| None).unwrap();
    let (start, library) = plan.start(&inputs.customers).unwrap();
    let customers = fs::read(&inputs.customers).unwrap();
    let path = BlobPath::new(format!("uploads/{}.csv", Digest::of(&customers))).unwrap();
    engine.store.blobs.put(&path, customers, Precondition::Absent).await.unwrap();
    let source = Source::Blob { path, etag: None, name: inputs.customers };
    let start = Start { shard_rows: SHARD_ROWS, customers: source, ..start };
    engine.start(&start, library).await.unwrap();
}

/// The run's files in the store: name to bytes.
async fn given(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let folder = real::run().folder();
    let mut given = BTreeMap::new();
    for path in store.blobs.list(Some(&folder)).await.unwrap() {
        let name = path.as_str().strip_prefix(folder.as_str()).unwrap().trim_start_matches('/').to_owned();
        given.insert(name, store.blobs.get(&path).await.unwrap().bytes);
    }
    given
}

/// That a campaign at rest is as it must be, with nothing failed, and gave the same as one that was worked on alone.
async fn check(store: &Store, expected: &BTreeMap<String, Vec<u8>>) {
    real::settle(store).await;
    let mut wrong = checker::complaints(store, &real::id(), None).await;
    let instance = store.blobs.get(&names::instance(&real::id())).await.unwrap().bytes;
    let instance: Instance = serde_json::from_slice(&instance).unwrap();
    for stage in &instance.stages {
        if !matches!(&stage.state, Progress::Closed { total, .. } if total.failed == 0) {
            wrong.push(format!("{}: {:?}", stage.step, stage.state));
        }
    }
    // What a dead process had in hand may still come again, and changes nothing. Nothing may have been given up.
    for agent in Agent::ALL {
        let given_up = store.queues.receive(&agent.queue().poison(), 32, Duration::from_secs(600)).await.unwrap();
        if !given_up.is_empty() {
            wrong.push(format!("{} messages to {agent:?} were given up", given_up.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    killed::assert_same_files(given(store).await, expected, "worked on by several");
}

/// `cpo dev --worker` processes; they end with the test.
struct Workers {
    account: String,
    at_work: Vec<Child>,
    logs: TempDir,
    started: usize,
}

impl Workers {
    fn start(account: &str, count: usize) -> Self {
        let logs = tempfile::tempdir().unwrap();
        let mut workers = Self { account: account.to_owned(), at_work: Vec::new(), logs, started: 0 };
        workers.at_work = (0..count).map(|_| workers.another()).collect();
        workers
    }

    fn log(&self, number: usize) -> PathBuf {
        self.logs.path().join(number.to_string())
    }

    fn another(&mut self) -> Child {
        let log = File::create(self.log(self.started)).unwrap();
        self.started += 1;
        Command::new(env!("CARGO_BIN_EXE_cpo"))
            .args(["dev", "--storage", &self.account, "--worker", "--visibility", VISIBILITY])
            .env("CPO_LOG", "warn,cpo=info")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// As `kill -9` does; another takes its place.
    fn replace(&mut self, which: usize) {
        let another = self.another();
        end(&mut std::mem::replace(&mut self.at_work[which], another));
    }

    fn stop(&mut self) {
        self.at_work.drain(..).for_each(|mut worker| end(&mut worker));
    }

    fn are_alive(&mut self) -> bool {
        self.at_work.iter_mut().all(|worker| worker.try_wait().unwrap().is_none())
    }

    /// What each process has said, in the order in which they were started.
    fn said(&self) -> Vec<String> {
        (0..self.started).map(|number| fs::read_to_string(self.log(number)).unwrap()).collect()
    }

    /// How many items each process brought through.
    fn items(&self) -> Vec<usize> {
        let items = |log: &String| log.lines().filter(|line| line.contains(": item campaign=")).count();
        self.said().iter().map(items).collect()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            for (number, said) in self.said().iter().enumerate() {
                let last: Vec<_> = said.lines().rev().take(20).collect();
                println!("worker {number} said last:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

fn end(process: &mut Child) {
    // It may have ended by itself.
    let _ = process.kill();
    process.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_are_killed_and_replaced_share_a_campaign_and_end_it_as_one_alone_does() {
    const KILLS: usize = 10;
    let mut random = ChaCha8Rng::seed_from_u64(real::seed());
    let folder = Folder::new(Method::Rules, 40 * SHARD_ROWS as usize * 11 / 10);
    let expected = alone(&folder).await;
    let shards = expected.keys().filter(|name| name.starts_with("deliveries/")).count();
    assert!(shards >= 40, "{shards} shards");
    let account = azurite::account();
    let store = store_of(&account);
    let engine = client(store.clone());
    start(&folder, &engine).await;

    let mut workers = Workers::start(&account, 3);
    let mut kills = 0;
    let begun = std::time::Instant::now();
    // By what is done, not by the clock: a fast machine is not killed less.
    let kill = async {
        let mut next = 1;
        while kills < KILLS {
            let stages = engine.status(&real::id()).await.unwrap().stages;
            if stages.iter().map(|stage| stage.done).sum::<u32>() < next {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            workers.replace(random.random_range(0..3));
            kills += 1;
            next += random.random_range(3..12);
        }
        std::future::pending::<()>().await;
    };
    let id = real::id();
    let view = tokio::select! {
        view = follow::until_rest(&engine, &id, &|_| ()) => view.unwrap(),
        () = kill => unreachable!("it never ends"),
    };
    println!("{kills} kills in {:?}, items {:?}", begun.elapsed(), workers.items());
    assert_eq!(view.status, Status::Completed);
    workers.stop();
    check(&store, &expected).await;
    assert!(kills >= 5, "it was over after {kills} kills");
    let shared = workers.items().into_iter().filter(|items| *items > 0).count();
    assert!(shared >= 3, "{shared} processes did something");
}

/// Workers wait out an outage of the store: nothing that it interrupts counts as a try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_live_through_an_outage_of_the_store_and_no_item_fails_of_it() {
    const OUTAGE: Duration = Duration::from_secs(4);
    let folder = Folder::new(Method::Rules, 40 * SHARD_ROWS as usize * 11 / 10);
    let expected = alone(&folder).await;
    let mut azurite = Azurite::start(&[]);
    let account = azurite.account();
    let store = store_of(&account);
    let engine = client(store.clone());
    start(&folder, &engine).await;

    let mut workers = Workers::start(&account, 2);
    while !half_of_the_labels_are_there(&engine).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    azurite.stop();
    tokio::time::sleep(OUTAGE).await;
    azurite.start_again();
    let view = follow::until_rest(&engine, &real::id(), &|_| ()).await.unwrap();
    assert_eq!(view.status, Status::Completed);
    assert!(workers.are_alive());
    workers.stop();
    let said = workers.said();
    assert!(said.iter().all(|said| said.contains("WARN")), "the outage was not noticed");
    check(&store, &expected).await;
}

async fn half_of_the_labels_are_there(engine: &Engine) -> bool {
    let stages = engine.status(&real::id()).await.unwrap().stages;
    let label = stages.iter().find(|stage| stage.step == Stage::Label.into());
    label.is_some_and(|label| {
        assert_eq!(label.closed, None, "it was over before the outage");
        2 * label.done >= label.planned
    })
}

fn counting(store: Store) -> Arc<Faults> {
    Faults::new(store, |_, _| None)
}

/// What a campaign must ask of its store, by kind of call. Messages come several at once, and looks for those that do
/// not come take their time: `receive` is not in it.
fn necessary(instance: &Instance) -> BTreeMap<&'static str, u64> {
    let planned =
        |stage: Stage| instance.stages.iter().find(|state| state.step == stage.into()).unwrap().planned.into();
    let (shards, queries, variants): (u64, u64, u64) =
        (planned(Stage::Deliver), planned(Stage::Retrieve), planned(Stage::Generate));
    let items: u64 = instance.stages.iter().map(|state| u64::from(state.planned)).sum();
    // Each is closed by one turn, which one wake sets off.
    let stages = instance.stages.len() as u64;
    let documents = 25;
    // A shard's table: read for its labels and for its deliveries. Its labels: read for its deliveries.
    let (tables_written, tables_read) = (3 * shards, 3 * shards);
    let records_read = items // Is there one already?
        + 2 * shards // What was labelled: by design. What was delivered: by close.
        + 2 * queries // By collect and close,
        + variants * (2 + 2) // as those of drafts and verdicts,
        + variants * (1 + 1) // and passages for the draft and for the verdict,
        + variants; // which also reads the draft.
    let recalls = shards; // What was recalled when a delivery began, looked up and written down.
    let arrivals_read = 3 * stages; // To send what is missing, to see that nothing is, to add up.
    let (states_read, states_written) = (2 * stages, 3 * stages); // Decided, archived, carried out.
    BTreeMap::from([
        ("send", items + stages),
        ("delete message", items + stages),
        ("append", items),
        ("put", items + tables_written + recalls + states_written + documents),
        ("get", records_read + tables_read + arrivals_read + states_read + documents),
        ("list", 2 * stages + recalls), // The inbox: in each turn.
        ("delete", 1),                  // The sweeper's mark.
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_makes_hardly_more_calls_than_it_must() {
    let folder = Folder::new(Method::Rules, 40 * SHARD_ROWS as usize * 11 / 10);
    let store = store_of(&azurite::account());
    let engine = client(store.clone());
    start(&folder, &engine).await;
    let counting = counting(store);
    let scratch = tempfile::tempdir().unwrap();
    let workshop = Workshop::new(counting.store(), scratch.path().to_owned(), Providers::default());
    let worker = Engine::new(counting.store(), Arc::new(workshop), Clock::default());
    let host = Host::new(Arc::new(worker), Duration::from_secs(60), Duration::from_secs(600), true);
    let id = real::id();
    tokio::select! {
        served = host.serve() => panic!("{served:?}"),
        view = follow::until_rest(&engine, &id, &|_| ()) => assert_eq!(view.unwrap().status, Status::Completed),
    }
    let necessary = necessary(&engine.held(&id).await.unwrap().instance);
    let mut counts = counting.counts.lock().unwrap().clone();
    counts.remove("receive");
    println!("calls {counts:?}\nof which are necessary {necessary:?}");
    for (kind, calls) in counts {
        let necessary = necessary.get(kind).copied().unwrap_or_default();
        assert!(10 * calls <= 12 * necessary, "{calls} times {kind}, where {necessary} are necessary");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_nothing_to_do_asks_seldom() {
    const SECONDS: u64 = 600;
    let counting = counting(Memory::default().store());
    let engine = client(counting.store());
    let host = Host::new(Arc::new(engine), Duration::from_secs(30), Duration::from_secs(30), false);
    let served = tokio::time::timeout(Duration::from_secs(SECONDS), host.serve()).await;
    assert!(served.is_err(), "{served:?}");
    let calls = counting.calls();
    assert!(calls <= 10 * SECONDS, "{calls} calls in {SECONDS} s");
}
