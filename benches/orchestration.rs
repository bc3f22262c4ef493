//! What durability costs: items a second, operations on the store per item, time and memory for thousands of shards
//! whose work itself costs nothing; beside them, in the same run, what the same store takes for the least that such an
//! item must do, one after the other: its message is sent, received and deleted, its record kept, its arrival noted.
//!
//! ```sh
//! cargo bench --bench orchestration                          # memory and embedded; Azurite where Node.js is
//! cargo bench --bench orchestration -- embedded 2000         # this
//! ```
//!
//! Each measurement is a process of its own, so that its peak memory is its own.

#[path = "../tests/azurite/mod.rs"]
mod azurite;
#[path = "../tests/durable/faults.rs"]
#[allow(dead_code)]
mod faults;
#[path = "../tests/durable/simulated.rs"]
#[allow(dead_code)]
mod simulated;

use std::{
    error::Error,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use cpo::{
    config::Campaign,
    domain::digest::Digest,
    orchestration::{
        arrivals,
        engine::{Clock, Engine},
        host::Host,
        instance::Status,
        names::{self, Run},
        stage::Stage,
        start::{self, Source, Start},
    },
    store::{Azure, BlobPath, Embedded, Memory, Precondition, QueueName, Store},
};
use serde::{Deserialize, Serialize};

use crate::{
    faults::Faults,
    simulated::{Shape, Simulated},
};

const CHILD: &str = "--measure";
/// Items of the baseline.
const BASELINE: u32 = 500;

#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    /// Items a second of the baseline.
    baseline: f64,
    seconds: f64,
    items: u32,
    /// Reads, writes, appends, lists, sent and deleted messages.
    operations: u64,
    instance_bytes: usize,
    /// Reading the log of all shards and counting them.
    fan_in_seconds: f64,
    peak_bytes: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let [first, store, shards] = arguments.as_slice()
        && first == CHILD
    {
        println!("{}", serde_json::to_string(&runtime.block_on(measure(store, shards.parse()?))?)?);
        return Ok(());
    }
    let has_node = Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    let cases: Vec<(String, u32)> = match arguments.as_slice() {
        [store, shards] => vec![(store.clone(), shards.parse()?)],
        _ => [("memory", 2_000), ("memory", 10_000), ("embedded", 2_000), ("embedded", 10_000), ("azurite", 2_000)]
            .into_iter()
            .filter(|(store, _)| *store != "azurite" || has_node)
            .map(|(store, shards)| (store.to_owned(), shards))
            .collect(),
    };
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "store",
        "shards",
        "items",
        "seconds",
        "items/s",
        "baseline items/s",
        "operations/item",
        "fan-in",
        "instance",
        "peak memory",
    ]);
    for (store, shards) in cases {
        let output = Command::new(std::env::current_exe()?).args([CHILD, &store, &shards.to_string()]).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let measured: Measured = serde_json::from_slice(&output.stdout)?;
        table.add_row([
            store,
            shards.to_string(),
            measured.items.to_string(),
            format!("{:.2} s", measured.seconds),
            format!("{:.0}", f64::from(measured.items) / measured.seconds),
            format!("{:.0}", measured.baseline),
            format!("{:.2}", measured.operations as f64 / f64::from(measured.items)),
            format!("{:.1} ms", measured.fan_in_seconds * 1e3),
            format!("{} bytes", measured.instance_bytes),
            format!("{:.0} MB", measured.peak_bytes as f64 / 1e6),
        ]);
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    println!("{} cores.\n\n{table}", std::thread::available_parallelism()?);
    Ok(())
}

async fn measure(kind: &str, shards: u32) -> Result<Measured, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = match kind {
        "memory" => Memory::default().store(),
        "embedded" => Embedded::open(folder.path(), BlobPath::new("campaigns")?)?.store(),
        "azurite" => Azure::open(&azurite::account())?.store(),
        other => return Err(format!("there is no store `{other}`").into()),
    };
    let baseline = least(&store).await?;

    let shape = Shape { shards, passes: 1, ..Shape::SMALL };
    let agents = Simulated::moody(shape, Duration::ZERO, |_, _| Ok(()));
    let faults = Faults::new(store.clone(), |_, _| None);
    let engine = std::sync::Arc::new(Engine::new(faults.store(), agents, Clock::default()));
    let start = start()?;
    let campaign = &start.campaign.campaign.id;
    let since = Instant::now();
    engine.start(&start, b"library".to_vec()).await?;
    let host = Host::new(engine.clone(), Duration::from_secs(60), Duration::from_secs(60), true);
    let ended = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            // Reading is the measure's, not the campaign's.
            let bytes = store.blobs.get(&names::instance(campaign)).await?.bytes;
            let instance: cpo::orchestration::instance::Instance = serde_json::from_slice(&bytes)?;
            match instance.status {
                Status::Completed => return Ok::<_, Box<dyn Error>>((instance, bytes.len())),
                Status::Running => {}
                other => return Err(format!("{other:?}").into()),
            }
        }
    };
    let (instance, instance_bytes) = tokio::select! {
        served = host.serve() => return Err(format!("the host ended: {served:?}").into()),
        ended = ended => ended?,
    };
    let seconds = since.elapsed().as_secs_f64();
    let counts = faults.counts.lock().expect("nobody panicked").clone();
    let billed = ["get", "put", "append", "list", "delete", "send", "delete message", "lease", "extend"];
    let operations = billed.iter().filter_map(|kind| counts.get(kind)).sum();

    let since = Instant::now();
    let deliver = instance.stage(Stage::Deliver.into()).ok_or("nothing was delivered")?;
    let run = Run { campaign: campaign.clone(), generation: 1 };
    for group in 0..deliver.groups() {
        let log = arrivals::read(store.blobs.as_ref(), &run, deliver.step, group).await?;
        log.total(deliver, group).ok_or("a group is not through")?;
    }
    Ok(Measured {
        baseline,
        seconds,
        items: instance.stages.iter().map(|stage| stage.planned).sum(),
        operations,
        instance_bytes,
        fan_in_seconds: since.elapsed().as_secs_f64(),
        peak_bytes: peak_memory(),
    })
}

async fn least(store: &Store) -> Result<f64, Box<dyn Error>> {
    let queue = QueueName::new("baseline")?;
    let log = BlobPath::new("baseline/arrivals")?;
    let since = Instant::now();
    for number in 0..BASELINE {
        store.queues.send(&queue, vec![b'x'; 250], Duration::ZERO).await?;
        let [message] = &store.queues.receive(&queue, 1, Duration::from_secs(60)).await?[..] else {
            return Err("the message is not there".into());
        };
        let record = BlobPath::new(format!("baseline/{number:08}.json"))?;
        store.blobs.put(&record, vec![b'x'; 250], Precondition::Absent).await?;
        store.blobs.append(&log, vec![b'x'; 20]).await?;
        store.queues.delete(message).await?;
    }
    Ok(f64::from(BASELINE) / since.elapsed().as_secs_f64())
}

fn start() -> Result<Start, Box<dyn Error>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter/campaign.toml");
    Ok(Start {
        schema: start::Schema::V1,
        campaign: Campaign::read(&file).map_err(|error| format!("{error:?}"))?,
        documents: Digest::of("library"),
        content: Digest::of("content"),
        content_folder: "content".into(),
        customers: Source::File {
            path: "customers.csv".into(),
            name: "customers.csv".into(),
            bytes: 1,
            modified: jiff::Timestamp::UNIX_EPOCH,
        },
        suppression: None,
        shard_rows: 1,
        engine: "benchmark".to_owned(),
        prices: None,
    })
}

/// The high-water mark of this process's resident memory; 0 where the system does not tell (not Linux).
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    kilobytes.and_then(|kilobytes| kilobytes.trim().parse::<u64>().ok()).unwrap_or_default() * 1024
}
