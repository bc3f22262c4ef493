//! The whole campaign at 10,000, 100,000 and 1,000,000 customers with segmentation by rules, and at the last size by
//! RFM and by k-means too: seconds, customers a second, peak memory, and the time of each stage; beside them, in the
//! same run, the baseline "the `csv` crate reads the same file and looks at every field" (one thread), which no
//! pipeline over CSV can beat by much.
//!
//! ```sh
//! cargo bench --bench campaign                    # all sizes
//! cargo bench --bench campaign -- 10000 100000    # these
//! ```
//!
//! Each measurement is a process of its own, so that its peak memory is its own.

#[path = "../examples/customers.rs"]
#[allow(dead_code)]
mod customers;

use std::{
    error::Error,
    fs::{self, File},
    io::{BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use cpo::orchestration::{
    campaign::{self, Ended, Inputs},
    stage::Stage,
    summary::Timing,
};
use serde::{Deserialize, Serialize};

const CHILD: &str = "--measure";
const SEED: u64 = 20_261_122;
const RUNS: usize = 3;
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/samples");

#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    seconds: f64,
    peak_bytes: u64,
    stages: Vec<Timing>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [first, folder] = arguments.as_slice()
        && first == CHILD
    {
        println!("{}", serde_json::to_string(&measure(Path::new(folder))?)?);
        return Ok(());
    }
    let sizes: Vec<u64> = match arguments.as_slice() {
        [] => vec![10_000, 100_000, 1_000_000],
        sizes => sizes.iter().map(|size| size.parse()).collect::<Result<_, _>>()?,
    };
    let mut totals = Table::new();
    totals.load_style(ASCII_MARKDOWN);
    totals.set_header([
        "customers",
        "segmentation",
        "file",
        "baseline",
        "campaign",
        "x baseline",
        "customers/s",
        "peak memory",
    ]);
    let mut stages = Table::new();
    stages.load_style(ASCII_MARKDOWN);
    let names = [
        Stage::Ingest,
        Stage::Profile,
        Stage::Label,
        Stage::Retrieve,
        Stage::Generate,
        Stage::Screen,
        Stage::Deliver,
        Stage::Close,
    ];
    stages.set_header(["customers", "segmentation"].into_iter().chain(names.map(Stage::as_str)));
    let last = sizes.last().copied().unwrap_or_default();
    let by_rules = sizes.into_iter().map(|size| (size, Method::Rules));
    for (size, method) in by_rules.chain([(last, Method::Rfm), (last, Method::Kmeans)]) {
        let folder = prepare(size, method)?;
        let baseline = median((0..RUNS).map(|_| read_with_csv(&folder)).collect::<Result<_, _>>()?);
        let mut runs: Vec<Measured> = (0..RUNS).map(|_| in_a_process(&folder)).collect::<Result<_, _>>()?;
        runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let peak = runs.iter().map(|run| run.peak_bytes).max().unwrap_or_default();
        let run = &runs[RUNS / 2];
        totals.add_row([
            size.to_string(),
            method.as_str().to_owned(),
            format!("{:.1} MB", fs::metadata(folder.join("customers.csv"))?.len() as f64 / 1e6),
            format!("{baseline:.2} s"),
            format!("{:.2} s", run.seconds),
            format!("{:.1}", run.seconds / baseline),
            format!("{:.0}", size as f64 / run.seconds),
            format!("{:.0} MB", peak as f64 / 1e6),
        ]);
        let seconds =
            |stage| run.stages.iter().filter(|timing| timing.stage == stage).map(|t| t.seconds).sum::<f64>() + 0.0;
        stages.add_row(
            [size.to_string(), method.as_str().to_owned()]
                .into_iter()
                .chain(names.map(|stage| format!("{:.3} s", seconds(stage)))),
        );
        fs::remove_dir_all(folder)?;
    }
    for table in [&mut totals, &mut stages] {
        table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    }
    println!("Median of {RUNS} runs, {} cores.\n\n{totals}\n\n{stages}", std::thread::available_parallelism()?);
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Method {
    Rules,
    Rfm,
    Kmeans,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Rfm => "rfm",
            Self::Kmeans => "kmeans",
        }
    }
}

/// The sample campaign over `size` generated customers.
fn prepare(size: u64, method: Method) -> Result<PathBuf, Box<dyn Error>> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("campaign-{size}"));
    fs::create_dir_all(&folder)?;
    let mut campaign: toml::Table = fs::read_to_string(Path::new(SAMPLES).join("campaign.toml"))?.parse()?;
    match method {
        Method::Rules => {}
        Method::Rfm => {
            campaign["segmentation"] = toml::Value::Table(toml::toml! { method = "rfm" });
            let columns = campaign["customers"]["columns"].as_table_mut().ok_or("the sample maps no column")?;
            columns.insert("frequency".to_owned(), "orders_12m".into());
            columns.insert("monetary".to_owned(), "avg_order_value".into());
        }
        Method::Kmeans => {
            let features = toml::toml! {
                method = "kmeans"
                features = ["recency_days", "orders_12m", "avg_order_value", "age"]
            };
            campaign["segmentation"] = toml::Value::Table(features);
        }
    }
    fs::write(folder.join("campaign.toml"), campaign.to_string())?;
    let mut out = BufWriter::new(File::create(folder.join("customers.csv"))?);
    customers::write_customers(size, SEED, &mut out)?;
    out.flush()?;
    let mut out = BufWriter::new(File::create(folder.join("suppressed.csv"))?);
    customers::write_suppressed(size, &mut out)?;
    out.flush()?;
    Ok(folder)
}

fn read_with_csv(folder: &Path) -> Result<f64, Box<dyn Error>> {
    let since = Instant::now();
    let mut reader = csv::Reader::from_reader(BufReader::new(File::open(folder.join("customers.csv"))?));
    let mut record = csv::StringRecord::new();
    let mut characters = 0;
    while reader.read_record(&mut record)? {
        characters += record.iter().map(str::len).sum::<usize>();
    }
    std::hint::black_box(characters);
    Ok(since.elapsed().as_secs_f64())
}

fn in_a_process(folder: &Path) -> Result<Measured, Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?).arg(CHILD).arg(folder).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn measure(folder: &Path) -> Result<Measured, Box<dyn Error>> {
    let inputs = Inputs {
        campaign_file: folder.join("campaign.toml"),
        customers: folder.join("customers.csv"),
        content: Some(Path::new(SAMPLES).join("content")),
        out: folder.join("out"),
        replace: true,
        simulate: false,
        storage: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let since = Instant::now();
    let Ended::Complete(summary) = runtime.block_on(campaign::run(inputs, &|_| {}))? else {
        return Err("the campaign is not complete".into());
    };
    Ok(Measured { seconds: since.elapsed().as_secs_f64(), peak_bytes: peak_memory(), stages: summary.stages })
}

/// The high-water mark of this process's resident memory; 0 where the system does not tell (not Linux).
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    kilobytes.and_then(|kilobytes| kilobytes.trim().parse::<u64>().ok()).unwrap_or_default() * 1024
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
