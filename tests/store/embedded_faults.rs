//! The embedded store where things go wrong: processes die, files are torn, disks cannot be written.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use cpo::store::{BlobPath, Embedded, Error, Precondition, QueueName, Store};
use rusqlite::Connection;

const HOUR: Duration = Duration::from_secs(3_600);
const DATABASE: &str = ".state.sqlite";
const WAL: &str = ".state.sqlite-wal";

fn open(folder: &Path) -> Result<Embedded, Error> {
    Embedded::open(folder, BlobPath::new("campaigns/spring/1").unwrap())
}

fn path(path: &str) -> BlobPath {
    BlobPath::new(path).unwrap()
}

fn queue() -> QueueName {
    QueueName::new("work").unwrap()
}

/// The step `i` of a history in which each step is one call. Three parts of the database take turns.
async fn step(store: &Store, i: usize) {
    let number = format!("{i};").into_bytes();
    match i % 3 {
        0 => drop(store.blobs.put(&path("state/last"), number, Precondition::None).await.unwrap()),
        1 => drop(store.blobs.append(&path("state/log"), number).await.unwrap()),
        _ => store.queues.send(&queue(), number, Duration::ZERO).await.unwrap(),
    }
}

/// What is there after some steps: the last one put, those appended, those sent.
fn after(steps: usize) -> [String; 3] {
    let of = |part: usize| (0..steps).filter(move |i| i % 3 == part).map(|i| format!("{i};"));
    [of(0).next_back().unwrap_or_default(), of(1).collect(), of(2).collect()]
}

async fn found(store: &Store) -> [String; 3] {
    let text = async |name: &str| match store.blobs.get(&path(name)).await {
        Ok(blob) => String::from_utf8(blob.bytes).unwrap(),
        Err(Error::NotFound { .. }) => String::new(),
        Err(error) => panic!("{error:?}"),
    };
    let mut sent = BTreeMap::new();
    loop {
        let deliveries = store.queues.receive(&queue(), 32, HOUR).await.unwrap();
        if deliveries.is_empty() {
            break;
        }
        for delivery in deliveries {
            sent.insert(delivery.id.parse::<u64>().unwrap(), String::from_utf8(delivery.body).unwrap());
        }
    }
    [text("state/last").await, text("state/log").await, sent.into_values().collect()]
}

#[tokio::test]
async fn a_torn_wal_gives_an_earlier_moment_of_the_whole_database() {
    const STEPS: usize = 60;
    let folder = tempfile::tempdir().unwrap();
    let embedded = open(folder.path()).unwrap();
    for i in 0..STEPS {
        step(&embedded.store(), i).await;
    }
    let (database, wal) = (fs::read(folder.path().join(DATABASE)).unwrap(), fs::read(folder.path().join(WAL)).unwrap());

    let frame = 24 + 4_096;
    let frames = (0..).map(|i| 32 + i * frame).take_while(|end| *end <= wal.len());
    let near_frames = frames.step_by(7).flat_map(|end| [end - 1, end, end + 1, end + 24]);
    let anywhere = (0..wal.len()).step_by(9_973);
    let mut cuts: Vec<usize> = near_frames.chain(anywhere).chain([wal.len()]).filter(|cut| *cut <= wal.len()).collect();
    cuts.sort_unstable();

    let mut moments = Vec::new();
    for cut in cuts {
        let mut zeroed = wal.clone();
        zeroed[cut..].fill(0);
        for torn in [&wal[..cut], &zeroed] {
            let copy = tempfile::tempdir().unwrap();
            fs::write(copy.path().join(DATABASE), &database).unwrap();
            fs::write(copy.path().join(WAL), torn).unwrap();
            let reopened = open(copy.path()).unwrap();
            let found = found(&reopened.store()).await;
            let moment = (0..=STEPS).find(|steps| after(*steps) == found);
            let moment = moment.unwrap_or_else(|| panic!("cut at {cut}: {found:?} never was"));
            let check: String = Connection::open(copy.path().join(DATABASE))
                .and_then(|connection| connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)))
                .unwrap();
            assert_eq!(check, "ok", "cut at {cut}");
            // What is lost can be done again.
            step(&reopened.store(), moment).await;
            moments.push(moment);
        }
    }
    assert!(moments.is_sorted(), "a longer log is never an earlier moment: {moments:?}");
    assert_eq!((moments.first(), moments.last()), (Some(&0), Some(&STEPS)));
}

/// Prints each step after it was done, until it is killed.
#[tokio::test]
#[ignore = "a process that the next test starts and kills"]
async fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os("CPO_TEST_FOLDER") else { return };
    let embedded = open(Path::new(&folder)).unwrap();
    let first = std::env::var("CPO_TEST_STEP").unwrap().parse().unwrap();
    for i in first.. {
        step(&embedded.store(), i).await;
        println!("\nstep {i}");
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_it_was_told_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = 0;
    for lives in [1, 2, 7, 40, 3, 400, 25] {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded_faults::the_process_that_is_killed", "--ignored", "--nocapture"])
            .env("CPO_TEST_FOLDER", folder.path())
            .env("CPO_TEST_STEP", first.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut steps = lines.by_ref().filter_map(|line| line.unwrap().strip_prefix("step ")?.parse::<usize>().ok());
        let told = steps.nth(lives - 1).unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        // It went on until it died.
        let told = steps.last().unwrap_or(told);

        let embedded = open(folder.path()).unwrap();
        embedded.take_over().unwrap();
        let found = found(&embedded.store()).await;
        first =
            [told + 1, told + 2].into_iter().find(|steps| after(*steps) == found).expect("all it told, or one more");
        embedded.take_over().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let opening: Vec<_> = (0..6)
        .map(|_| {
            let folder = folder.path().to_owned();
            tokio::task::spawn_blocking(move || open(&folder).unwrap())
        })
        .collect();
    let counter = path("state/counter");
    let mut counting = Vec::new();
    for embedded in opening {
        let (embedded, counter) = (embedded.await.unwrap(), counter.clone());
        counting.push(tokio::spawn(async move {
            let blobs = embedded.store().blobs;
            for _ in 0..200 {
                loop {
                    let (count, when) = match blobs.get(&counter).await {
                        Ok(blob) => (blob.bytes.len(), Precondition::Match(blob.etag)),
                        Err(Error::NotFound { .. }) => (0, Precondition::Absent),
                        Err(error) => panic!("{error:?}"),
                    };
                    match blobs.put(&counter, vec![b'|'; count + 1], when).await {
                        Ok(_) => break,
                        Err(Error::PreconditionFailed { .. } | Error::AlreadyExists { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
        }));
    }
    for task in counting {
        task.await.unwrap();
    }
    let (here, there) = (open(folder.path()).unwrap().store(), open(folder.path()).unwrap().store());
    assert_eq!(here.blobs.get(&counter).await.unwrap().bytes.len(), 1_200);

    let waiting = tokio::spawn(async move { here.queues.wait(&[queue()], HOUR).await });
    there.queues.send(&queue(), b"from outside".to_vec(), Duration::ZERO).await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it hears of it").unwrap();
}

#[tokio::test]
async fn a_takeover_gives_back_what_a_dead_process_had_in_hand_and_only_that() {
    let folder = tempfile::tempdir().unwrap();
    let dead = open(folder.path()).unwrap().store();
    for body in [b"a", b"b"] {
        dead.queues.send(&queue(), body.to_vec(), Duration::ZERO).await.unwrap();
    }
    dead.queues.send(&queue(), b"late".to_vec(), HOUR).await.unwrap();
    let in_hand = dead.queues.receive(&queue(), 1, HOUR).await.unwrap().pop().unwrap();
    let lease = dead.blobs.lease(&path("work"), HOUR).await.unwrap();
    fs::create_dir_all(folder.path().join("segments")).unwrap();
    for file in ["segments/.tmpAbC", "segments/model.json"] {
        fs::write(folder.path().join(file), b"half").unwrap();
    }
    drop(dead);

    let embedded = open(folder.path()).unwrap();
    embedded.take_over().unwrap();
    embedded.take_over().unwrap();
    let store = embedded.store();
    assert!(matches!(store.queues.delete(&in_hand).await, Err(Error::NotFound { .. })));
    let deliveries = store.queues.receive(&queue(), 32, HOUR).await.unwrap();
    let bodies: Vec<_> = deliveries.iter().map(|delivery| (&delivery.body[..], delivery.deliveries)).collect();
    assert_eq!(bodies, [(&b"a"[..], 1), (b"b", 1)]);
    store.blobs.lease(&path("work"), HOUR).await.unwrap();
    assert!(matches!(store.blobs.renew(&lease).await, Err(Error::LeaseHeld { .. })));
    assert!(!folder.path().join("segments/.tmpAbC").exists());
    assert_eq!(store.blobs.list(None).await.unwrap(), [path("campaigns/spring/1/segments/model.json")]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_hides_nothing_for_longer() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap().store();
    store.queues.send(&queue(), b"body".to_vec(), Duration::ZERO).await.unwrap();
    assert_eq!(store.queues.receive(&queue(), 1, HOUR).await.unwrap().len(), 1);
    store.blobs.lease(&path("work"), HOUR).await.unwrap();
    assert_eq!(store.queues.receive(&queue(), 1, HOUR).await.unwrap(), []);

    // Everything was done a day from now.
    Connection::open(folder.path().join(DATABASE))
        .unwrap()
        .execute_batch(
            "UPDATE message SET hidden_from = hidden_from + 86400000, hidden_until = hidden_until + 86400000;
             UPDATE lease SET held_from = held_from + 86400000, held_until = held_until + 86400000;",
        )
        .unwrap();
    store.queues.wait(&[queue()], HOUR).await;
    assert_eq!(store.queues.receive(&queue(), 1, HOUR).await.unwrap()[0].deliveries, 2);
    store.blobs.lease(&path("work"), HOUR).await.unwrap();
    assert!(matches!(store.blobs.lease(&path("work"), HOUR).await, Err(Error::LeaseHeld { .. })));
}

#[track_caller]
fn assert_refused(opened: Result<Embedded, Error>, because: &str) {
    match opened {
        Err(error @ Error::Permanent { .. }) => assert!(error.to_string().contains(because), "{error}"),
        other => panic!("expected a refusal because of {because}: {other:?}"),
    }
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let connection = Connection::open(folder.path().join(DATABASE)).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    connection.close().unwrap();
    let before = fs::read(folder.path().join(DATABASE)).unwrap();
    assert_refused(open(folder.path()), "newer version");
    assert!(fs::read(folder.path().join(DATABASE)).unwrap() == before);
}

#[test]
fn a_damaged_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(DATABASE), [b'x'; 5_000]).unwrap();
    assert_refused(open(folder.path()), "damaged");
}

#[test]
fn a_folder_that_cannot_be_made_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(open(&file.path().join("below")), Err(Error::Permanent { .. })));
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let fresh = folder.path().join("fresh");
    let used = folder.path().join("used");
    fs::create_dir(&fresh).unwrap();
    drop(open(&used).unwrap());
    fs::set_permissions(used.join(DATABASE), fs::Permissions::from_mode(0o444)).unwrap();
    for folder in [&fresh, &used] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).unwrap();
    }
    // The administrator may write everywhere, and then there is nothing to refuse.
    if fs::write(fresh.join("probe"), b"").is_err() {
        assert_refused(open(&fresh), "cannot be written");
        assert_refused(open(&used), "cannot be written");
    }
    for folder in [&fresh, &used] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
