//! Real processes killed in the middle of real campaigns, and what a power cut makes of their folders.
//!
//! `CPO_KILLS` says how much is killed: a number, or `all`; little enough for every day where it is absent.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use cpo::{
    agents::generation::{Brief, Writer, composer::Composer},
    domain::{
        money::Usd,
        variant::{Draft, Usage},
    },
    orchestration::{
        campaign::{self, Means},
        names,
        stage::Stage,
        workshop::Providers,
    },
    providers::{Meter, ProviderError},
    store::{BlobPath, Embedded, Store},
};
use futures::{StreamExt as _, stream};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::{
    faults::{Fault, Faults},
    real::{self, Folder, Method},
};

/// So that a few dozen customers make several shards.
const SHARD_ROWS: u32 = 16;
/// Children and runs at once.
const AT_ONCE: usize = 2;

fn kills(every_day: u64, all: u64) -> u64 {
    match std::env::var("CPO_KILLS") {
        Ok(kills) if kills == "all" => all,
        Ok(kills) => kills.parse().expect("CPO_KILLS is a number or `all`"),
        Err(_) => every_day,
    }
}

fn means() -> Means {
    means_with(Arc::default())
}

fn means_with(writer: Arc<Paid>) -> Means {
    Means { shard_rows: Some(SHARD_ROWS), providers: Providers { writer, ..Providers::default() }, ..Means::default() }
}

/// Small, but with every stage, several shards and several passes.
fn small() -> Folder {
    let folder = Folder::new(Method::Rfm, 48).edited("candidates = 2", "candidates = 1");
    folder
        .edited("channels = [\"email\", \"sms\"]", "channels = [\"email\"]")
        .edited("sms = \"Reply", "# sms = \"Reply")
        .edited("mode = \"segment\"", "mode = \"customer\"\nfields = [\"first_name\", \"tier\"] #")
}

/// Dies at the call on its store that it is told of, without a word: no destructor runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process that other tests start"]
async fn the_process_that_dies() {
    let (Some(folder), Ok(death)) = (std::env::var_os("CPO_TEST_FOLDER"), std::env::var("CPO_TEST_DEATH")) else {
        return;
    };
    let (when, call) = death.split_once(' ').unwrap();
    let fault = if when == "before" { Fault::DieBefore } else { Fault::DieAfter };
    let call: u64 = call.parse().unwrap();
    let store = move |store| {
        let faults = Faults::new(store, move |number, _| (number == call).then_some(fault));
        let dying = Arc::clone(&faults);
        tokio::spawn(async move {
            dying.death().await;
            std::process::abort();
        });
        faults.store()
    };
    let means = Means { store: Box::new(store), ..means() };
    campaign::run_with(real::inputs(Path::new(&folder)), means, &|_| ()).await.unwrap();
}

/// Runs the campaign of a folder in a process that dies. It may have been complete before that.
async fn run_until_death(folder: &Folder, death: &str) -> ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::the_process_that_dies", "--ignored"])
        .env("CPO_TEST_FOLDER", folder.path(""))
        .env("CPO_TEST_DEATH", death)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap()
}

/// What an undisturbed run gives, and how many calls on its store it makes.
async fn undisturbed(folder: &Folder) -> (BTreeMap<String, Vec<u8>>, u64) {
    let counted: Arc<Mutex<Option<Arc<Faults>>>> = Arc::default();
    let counting = Arc::clone(&counted);
    let store = move |store| {
        let faults = Faults::new(store, |_, _| None);
        *counting.lock().unwrap() = Some(Arc::clone(&faults));
        faults.store()
    };
    let ended = folder.run(Means { store: Box::new(store), ..means() }).await;
    assert!(real::is_complete(&ended), "{ended:?}");
    let wrong = folder.complaints().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let calls = counted.lock().unwrap().as_ref().unwrap().calls();
    (folder.given(), calls)
}

/// That the folder holds the same as one that was left in peace. Reports tell when and how long.
#[track_caller]
fn assert_same(folder: &Folder, expected: &BTreeMap<String, Vec<u8>>, what: &str) {
    assert_same_files(folder.given(), expected, what);
}

#[track_caller]
pub fn assert_same_files(given: BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>, what: &str) {
    let without_reports = |files: BTreeMap<String, Vec<u8>>| -> BTreeMap<String, Vec<u8>> {
        files.into_iter().filter(|(name, _)| !name.starts_with("report.")).collect()
    };
    let (given, expected) = (without_reports(given), without_reports(expected.clone()));
    assert_eq!(given.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}");
    let other: Vec<_> = given.iter().filter(|(name, bytes)| expected[*name] != **bytes).map(|(name, _)| name).collect();
    assert!(other.is_empty(), "{what}: others are {other:?}");
}

/// The composer, which counts how often it is asked and wants to be paid for it: of what costs nothing two copies may be
/// worked on at once.
#[derive(Default)]
struct Paid(AtomicU64);

#[async_trait]
impl Writer for Paid {
    fn name(&self) -> &str {
        Composer.name()
    }

    fn most(&self) -> Usd {
        Usd::from_dollars(0.01).unwrap()
    }

    async fn write(&self, brief: &Brief<'_>, meter: &Meter) -> Result<Draft, ProviderError> {
        let reserved = meter.reserve("paid", self.most())?;
        self.0.fetch_add(1, Ordering::SeqCst);
        let usage = Usage { requests: 1, cost_usd: Usd::from_dollars(0.004).unwrap(), ..Usage::default() };
        reserved.settle(usage);
        Ok(Draft { usage, ..Composer.write(brief, meter).await? })
    }
}

/// The records of a stage, by name; none where there is no run.
async fn records(store: Option<&Store>, stage: Stage) -> BTreeMap<BlobPath, Vec<u8>> {
    let mut records = BTreeMap::new();
    let Some(store) = store else { return records };
    for path in store.blobs.list(Some(&real::run().items(stage.into()))).await.unwrap() {
        records.insert(path.clone(), store.blobs.get(&path).await.unwrap().bytes);
    }
    records
}

/// The customers whose messages were kept, by shard and row; each is there once.
async fn kept(store: Option<&Store>) -> BTreeSet<(u32, u64)> {
    let mut kept = BTreeSet::new();
    let Some(store) = store else { return kept };
    for shard in 0..48 / SHARD_ROWS {
        let path = real::run().spent(Stage::Personalize.into(), shard, 1);
        let Ok(log) = store.blobs.get(&path).await else { continue };
        for line in serde_json::Deserializer::from_slice(&log.bytes).into_iter::<serde_json::Value>() {
            let line = line.unwrap();
            assert!(line["kept"]["judged"].is_object(), "{line}");
            let row = line["kept"]["row"].as_u64().unwrap();
            assert!(kept.insert((shard, row)), "paid for twice: {line}");
        }
    }
    kept
}

/// What a dead process left, without taking anything over.
fn left_in(folder: &Path) -> Option<Store> {
    Embedded::is_in(folder).then(|| Embedded::open(folder, real::run().folder()).unwrap().store())
}

/// One death of a process at a call of its store; the next run goes on from there, and does nothing again that was done.
async fn dies_and_goes_on(death: &str, expected: &BTreeMap<String, Vec<u8>>) {
    let folder = small();
    let status = run_until_death(&folder, death).await;
    if status.success() {
        // A process makes some calls more or less than another.
        return assert_same(&folder, expected, death);
    }
    let written = records(left_in(&folder.working()).as_ref(), Stage::Generate).await;
    let kept = kept(left_in(&folder.working()).as_ref()).await;
    let was_complete = !folder.working().exists() && Embedded::is_in(&folder.target());
    let writer = Arc::new(Paid::default());
    let ended = folder.run(means_with(writer.clone())).await;
    assert!(real::is_complete(&ended), "{death}: {ended:?}");
    let wrong = folder.complaints().await;
    assert!(wrong.is_empty(), "{death}:\n{}", wrong.join("\n"));
    assert_same(&folder, expected, death);
    let all = records(Some(&folder.store()), Stage::Generate).await;
    assert!(written.iter().all(|(path, record)| all.get(path) == Some(record)), "{death}: a record was changed");
    let personal = self::kept(Some(&folder.store())).await;
    let missing = if was_complete { 0 } else { all.len() - written.len() + personal.len() - kept.len() };
    let both = format!("{} and {}", all.len(), personal.len());
    assert!(kept.is_subset(&personal) && personal.len() > 20, "{death}: {both}");
    assert_eq!(writer.0.load(Ordering::SeqCst), missing as u64, "{death}: drafts written after it, of {both}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_at_any_call_loses_nothing_and_does_nothing_twice() {
    let (expected, calls) = undisturbed(&small()).await;
    let kills = kills(16, 2 * calls).min(2 * calls);
    let deaths = (0..kills).map(|i| {
        // Spread over all calls: before one, after the next.
        let call = 1 + i * calls / kills;
        if i % 2 == 0 { format!("before {call}") } else { format!("after {call}") }
    });
    println!("{calls} calls, {kills} deaths");
    stream::iter(deaths)
        .for_each_concurrent(AT_ONCE, |death| {
            let expected = &expected;
            async move { dies_and_goes_on(&death, expected).await }
        })
        .await;
}

/// `cpo run`, as people start it.
fn cpo_run(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cpo"));
    command.current_dir(folder.path("")).args(["run", "campaign.toml", "--customers", "customers.csv"]);
    command
}

pub fn completes(folder: &Folder, what: &str) {
    let output = cpo_run(folder).output().unwrap();
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Every record that a dead process left; none before the customers are read: such a run begins anew.
async fn all_records(store: &Store) -> BTreeMap<BlobPath, Vec<u8>> {
    if records(Some(store), Stage::Ingest).await.is_empty() {
        return BTreeMap::new();
    }
    let mut all = BTreeMap::new();
    for path in store.blobs.list(Some(&names::folder(&real::id()))).await.unwrap() {
        if path.as_str().contains("/items/") {
            all.insert(path.clone(), store.blobs.get(&path).await.unwrap().bytes);
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_again_and_again_ends_as_if_it_had_been_left_in_peace() {
    let campaigns = kills(4, 300);
    let deaths = if campaigns > 4 { 15 } else { 4 };
    let seed = real::seed();
    for (method, number) in [Method::KMeans, Method::Rfm].into_iter().zip(0..) {
        let expected = Folder::new(method, 300);
        completes(&expected, "undisturbed");
        let expected = expected.given();
        let mine = (0..campaigns).filter(|campaign| campaign % 2 == number);
        stream::iter(mine)
            .for_each_concurrent(AT_ONCE, |campaign| {
                let (random, expected) = (ChaCha8Rng::seed_from_u64(seed + campaign), &expected);
                async move { killed_at_random(random, deaths, method, expected).await }
            })
            .await;
    }
}

async fn killed_at_random(mut random: ChaCha8Rng, deaths: u64, method: Method, expected: &BTreeMap<String, Vec<u8>>) {
    let folder = Folder::new(method, 300);
    let mut known = BTreeMap::new();
    for _ in 0..deaths {
        let mut process = cpo_run(&folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(random.random_range(100..2_500))).await;
        process.kill().unwrap();
        process.wait().unwrap();
        let Some(store) = left_in(&folder.working()) else { continue };
        let found = all_records(&store).await;
        let changed: Vec<_> = known.iter().filter(|(path, record)| found.get(*path) != Some(record)).collect();
        assert!(changed.is_empty(), "what was done was done again: {changed:?}");
        known = found;
    }
    completes(&folder, "in peace at last");
    let wrong = folder.complaints().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_same(&folder, expected, "killed at random");
    let found = all_records(&folder.store()).await;
    assert!(known.iter().all(|(path, record)| found.get(path) == Some(record)), "what was done was done again");
}

/// Where a power cut may have cut a log of SQLite: only behind what the database has taken over from it, for that was
/// synced before.
fn possible_cuts(folder: &Path) -> Vec<usize> {
    let state = |ending: &str| fs::read(folder.join(format!(".state.sqlite{ending}"))).unwrap();
    let (wal, index) = (state("-wal"), state("-shm"));
    // https://www.sqlite.org/walformat.html: the WAL header and its frames; nBackfill in the index.
    let page = u32::from_be_bytes(wal[8..12].try_into().unwrap()) as usize;
    let taken_over = u32::from_ne_bytes(index[96..100].try_into().unwrap()) as usize;
    let first = 32 + taken_over * (24 + page);
    let cuts = kills(6, 200) as usize;
    (0..=cuts).map(|i| first + i * wal.len().saturating_sub(first) / cuts).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_power_cut_a_campaign_ends_the_same_or_is_refused_in_plain_words() {
    let (expected, calls) = undisturbed(&small()).await;
    for third in 1..3 {
        let folder = small();
        let status = run_until_death(&folder, &format!("after {}", third * calls / 3)).await;
        assert!(!status.success());
        let cuts = possible_cuts(&folder.working());
        stream::iter(cuts)
            .for_each_concurrent(AT_ONCE, |cut| {
                let (folder, expected) = (&folder, &expected);
                async move { goes_on_after_a_cut(folder, cut, expected).await }
            })
            .await;
    }
}

/// Files are newer than the state here.
async fn goes_on_after_a_cut(dead: &Folder, cut: usize, expected: &BTreeMap<String, Vec<u8>>) {
    let folder = dead.copied();
    // SQLite makes the index anew where there is none.
    fs::remove_file(folder.working().join(".state.sqlite-shm")).unwrap();
    File::options().write(true).open(folder.working().join(".state.sqlite-wal")).unwrap().set_len(cut as u64).unwrap();
    let what = format!("the log was cut at {cut}");
    let ended = folder.run(means()).await;
    assert!(real::is_complete(&ended), "{what}: {ended:?}");
    let wrong = folder.complaints().await;
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
    assert_same(&folder, expected, &what);
}
