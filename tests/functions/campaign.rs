//! A campaign whose every turn and item a Functions host asks for ends as one on a single machine does.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cpo::{
    domain::{digest::Digest, id::CampaignId},
    orchestration::{
        campaign::{self, Ended, Inputs, Means},
        engine::{Clock, Engine},
        instance::Status,
        names::Run,
        plan::Plan,
        stage::Agent,
        start::{Source, Start},
        workshop::{Providers, Workshop},
        workspace,
    },
    store::{BlobPath, Files, Precondition, Store},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::{
    app::Deployed,
    double::{
        envelope::{self, Message, System},
        host::Host,
        outcome::Ending,
        package::Times,
        process::Event,
        pump::Pump,
        wire::Framing,
    },
};

const SHARD_ROWS: u32 = 16;
const CUSTOMERS: usize = 400;
/// A message may be in hand at each of them and still has a try left: nothing is given up.
const KILLS: usize = 4;
const SWEEP_EVERY: Duration = Duration::from_secs(2);

fn id() -> CampaignId {
    CampaignId::new("first-campaign").unwrap()
}

/// The starter campaign with customers of its own.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter");
        let text = fs::read_to_string(starter.join("campaign.toml")).unwrap();
        assert!(text.contains("# date = "));
        fs::write(folder.path("campaign.toml"), text.replacen("# date = ", "date = ", 1)).unwrap();
        fs::create_dir(folder.path("content")).unwrap();
        for entry in fs::read_dir(starter.join("content")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path("content").join(entry.file_name())).unwrap();
        }
        let mut customers =
            "customer_id,first_name,tier,days_since_order,orders_12m,avg_order_value,marketing_opt_in,sms_opt_in\n"
                .to_owned();
        for i in 0..CUSTOMERS {
            let (name, tier) = (["Ada", "Ben", "Cleo", ""][i % 4], ["Basic", "Plus"][i % 2]);
            let (days, orders, value) = (i * 37 % 300, i * 7 % 13, i * 13 % 60 + 5);
            let consent = if i % 11 == 0 { "no" } else { "yes" };
            customers.push_str(&format!("C-{i:05},{name},{tier},{days},{orders},{value}.50,{consent},yes\n"));
        }
        fs::write(folder.path("customers.csv"), customers).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn inputs(&self) -> Inputs {
        Inputs {
            campaign_file: self.path("campaign.toml"),
            customers: self.path("customers.csv"),
            content: None,
            out: self.path("out"),
            replace: false,
            simulate: false,
            storage: None,
        }
    }

    /// What it gives on this machine, alone and in peace.
    async fn run_alone(&self) -> BTreeMap<String, Vec<u8>> {
        let means = Means { shard_rows: Some(SHARD_ROWS), ..Means::default() };
        let ended = campaign::run_with(self.inputs(), means, &|_| ()).await;
        assert!(matches!(ended, Ok(Ended::Complete(_))), "{ended:?}");
        let files = Files::new(workspace::target(&self.path("out"), &id()));
        files.list(None).unwrap().iter().map(|name| (name.to_string(), files.get(name).unwrap())).collect()
    }

    /// Starts it in a store and leaves the work to whoever is asked.
    async fn start(&self, engine: &Engine) {
        let inputs = self.inputs();
        let plan = Plan::read(&inputs.campaign_file, None, |_| None).unwrap();
        let (start, library) = plan.start(&inputs.customers).unwrap();
        let customers = fs::read(&inputs.customers).unwrap();
        let path = BlobPath::new(format!("uploads/{}.csv", Digest::of(&customers))).unwrap();
        engine.store.blobs.put(&path, customers, Precondition::Absent).await.unwrap();
        let source = Source::Blob { path, etag: None, name: inputs.customers };
        let start = Start { shard_rows: SHARD_ROWS, customers: source, ..start };
        engine.start(&start, library).await.unwrap();
    }
}

/// One that asks and looks, and does no items.
fn client(store: Store) -> Engine {
    let workshop = Workshop::new(store.clone(), std::env::temp_dir(), Providers::default());
    Engine::new(store, Arc::new(workshop), Clock::default())
}

/// A host's minutes are a test's moments.
fn hasty(times: &mut Times) {
    times.hide_failed = Duration::ZERO;
    times.poll = Duration::from_millis(20);
}

async fn is_over(engine: &Engine) -> bool {
    let status = engine.status(&id()).await.unwrap().status;
    assert!(matches!(status, Status::Running | Status::Completed), "{status:?}");
    status == Status::Completed
}

/// Same files as alone, but for the report, which tells when and how long; nothing given up.
async fn check(store: &Store, expected: BTreeMap<String, Vec<u8>>) {
    let folder = Run { campaign: id(), generation: 1 }.folder();
    let mut given = BTreeMap::new();
    for path in store.blobs.list(Some(&folder)).await.unwrap() {
        let name = path.as_str().strip_prefix(folder.as_str()).unwrap().trim_start_matches('/').to_owned();
        given.insert(name, store.blobs.get(&path).await.unwrap().bytes);
    }
    let without_reports = |files: BTreeMap<String, Vec<u8>>| -> BTreeMap<String, Vec<u8>> {
        files.into_iter().filter(|(name, _)| !name.starts_with("report.")).collect()
    };
    let (given, expected) = (without_reports(given), without_reports(expected));
    assert!(expected.keys().any(|name| name.starts_with("deliveries/")));
    assert_eq!(given.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let other: Vec<_> = given.iter().filter(|(name, bytes)| expected[*name] != **bytes).map(|(name, _)| name).collect();
    assert!(other.is_empty(), "others are {other:?}");
    for agent in Agent::ALL {
        let given_up = store.queues.receive(&agent.queue().poison(), 32, Duration::from_secs(600)).await.unwrap();
        assert!(given_up.is_empty(), "{} messages to {agent:?} were given up", given_up.len());
    }
}

/// A turn's message, which the queue holds, eight times at once and as if it had been handed out before.
async fn storm(host: &Host, store: &Store) {
    let queue = Engine::orchestrate();
    let mut waiting = store.queues.receive(&queue, 1, Duration::from_secs(1)).await.unwrap();
    let turn = waiting.pop().expect("a start sends a message");
    let calls = (0..8).map(|i| {
        let (id, receipt) = (turn.id.clone(), turn.receipt.clone());
        let (body, inserted) = (turn.body.clone(), jiff::Timestamp::now());
        let message = Message { id, receipt, body, deliveries: 1 + i % 6, inserted };
        let envelope = envelope::queue(host.function("orchestrate"), &System::new("orchestrate"), &message).unwrap();
        host.invoke("orchestrate", envelope, Framing::Chunked)
    });
    for outcome in futures::future::join_all(calls).await {
        assert_eq!(outcome.ending, Ending::Succeeded);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_under_a_host_ends_as_one_alone_though_its_first_turn_is_asked_for_eight_times() {
    let folder = Folder::new();
    let expected = folder.run_alone().await;
    let app = Deployed::new();
    let store = app.store();
    let engine = client(store.clone());
    folder.start(&engine).await;
    let host = app.host(hasty);
    storm(&host, &store).await;
    let pump = Pump::start(&host, &store, SWEEP_EVERY);
    while !is_over(&engine).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    pump.stop().await;
    let events = host.process.events();
    assert!(matches!(events[..], [Event::Started { .. }, Event::Ready { .. }]), "{events:?}");
    check(&store, expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_whose_handler_is_killed_again_and_again_ends_as_one_alone() {
    let seed = std::env::var("CPO_SEED")
        .map_or_else(|_| u64::from(uuid::Uuid::new_v4().as_fields().0), |seed| seed.parse().unwrap());
    println!("CPO_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let folder = Folder::new();
    let expected = folder.run_alone().await;
    let app = Deployed::new();
    let store = app.store();
    let engine = client(store.clone());
    folder.start(&engine).await;

    let (mut kills, mut hosts) = (0, 0);
    // By what is done, not by the clock: a fast machine is not killed less.
    let mut next = random.random_range(1..6);
    while !is_over(&engine).await {
        // The third death ends a host; the platform starts another one.
        hosts += 1;
        let host = app.host(hasty);
        let pump = Pump::start(&host, &store, SWEEP_EVERY);
        while !host.process.events().contains(&Event::HostEnds) && !is_over(&engine).await {
            let stages = engine.status(&id()).await.unwrap().stages;
            let is_up = host.process.pid().is_some();
            if is_up && kills < KILLS && stages.iter().map(|stage| stage.done).sum::<u32>() >= next {
                host.process.kill();
                kills += 1;
                next += random.random_range(3..15);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        pump.stop().await;
    }
    println!("{kills} kills, {hosts} hosts");
    assert_eq!(kills, KILLS);
    check(&store, expected).await;
}
