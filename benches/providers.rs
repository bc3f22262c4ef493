//! A campaign whose services answer after a fixed time: how far from the sum of one call of each it ends.
//!
//! 250 customers, 5 segments, 3 tones; a model that takes 3 s, an index that takes 0.1 s, a screen that takes 0.15 s, in a
//! process of their own. Prompt Shields are off: they would be another call. The limit is 1.15 times 3.25 s.
//!
//! Then 10,000 customers with a message for each, 200 calls at once: how many of the 200 are under way on average. The
//! limit is an overhead of 5 %.
//!
//! ```sh
//! cargo bench --bench providers
//! ```
//!
//! A first campaign uploads the content to the index; the others find it there.

#[path = "../tests/providers/doubles.rs"]
mod doubles;
#[path = "../tests/providers/scripted.rs"]
#[allow(dead_code)]
mod scripted;

use std::{
    collections::BTreeMap,
    error::Error,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    num::NonZeroUsize,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use cpo::{
    orchestration::{
        campaign::{self, Ended, Inputs, Means},
        stage::Stage,
        summary::Summary,
        workshop::Providers,
    },
    providers::{CALLS, Services},
};
use doubles::Index;
use scripted::Scripted;

const SERVE: &str = "--serve";
const MODEL: Duration = Duration::from_secs(3);
const SEARCH: Duration = Duration::from_millis(100);
const SCREEN: Duration = Duration::from_millis(150);
const LIMIT: f64 = 1.15;
const RUNS: usize = 3;
const CUSTOMERS: usize = 10_000;
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(200).expect("200 is not 0");
const OVERHEAD: f64 = 0.05;
const STARTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/starter");

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if std::env::args().any(|argument| argument == SERVE) {
        return runtime.block_on(serve());
    }
    let mut servers =
        Command::new(std::env::current_exe()?).arg(SERVE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let urls = urls(&mut servers)?;
    let sum = (MODEL + SEARCH + SCREEN).as_secs_f64();
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    let stages = [Stage::Retrieve, Stage::Generate, Stage::Screen];
    let named = stages.map(|stage| stage.to_string());
    table.set_header(["run".to_owned(), "campaign".to_owned()].into_iter().chain(named).chain(["x".to_owned()]));
    let mut best = f64::INFINITY;
    for run in 0..=RUNS {
        let began = Instant::now();
        let summary = runtime.block_on(campaign(&urls, campaign_file()?, 250, CALLS))?;
        let seconds = began.elapsed().as_secs_f64();
        if run > 0 {
            best = best.min(seconds);
        }
        let name = if run == 0 { "the first".to_owned() } else { run.to_string() };
        let took = stages.map(|stage| {
            let timing = summary.stages.iter().find(|timing| timing.stage == stage);
            timing.map_or_else(String::new, |timing| format!("{:.2} s", timing.seconds))
        });
        let row = [name, format!("{seconds:.2} s")].into_iter().chain(took);
        table.add_row(row.chain([format!("{:.2}", seconds / sum)]));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}\n");
    println!("one call of each: {sum:.2} s; the limit is {LIMIT} times that; {CALLS} calls of a provider at once");
    let share = best / sum;
    println!("the best of {RUNS}: {share:.2} times, {}", if share <= LIMIT { "within it" } else { "beyond it" });
    let summary = runtime.block_on(campaign(&urls, personal(&campaign_file()?), CUSTOMERS, AT_ONCE))?;
    let counts = summary.personal.ok_or("the campaign has personal messages")?;
    let took = summary.stages.iter().find(|timing| timing.stage == Stage::Personalize).ok_or("it has the stage")?;
    let least = (counts.written() as f64 / AT_ONCE.get() as f64) * MODEL.as_secs_f64();
    let overhead = took.seconds / least - 1.0;
    println!("\n{CUSTOMERS} customers, {} messages of their own, {} approved", counts.written(), counts.approved);
    println!(
        "{:.1} s for them, {least:.1} s with {AT_ONCE} calls of {MODEL:?} under way all the time: {:.1} on average",
        took.seconds,
        AT_ONCE.get() as f64 * least / took.seconds
    );
    let judged = if overhead <= OVERHEAD { "within" } else { "beyond" };
    println!("overhead {:.1} %, {judged} the limit of {:.0} %", overhead * 100.0, OVERHEAD * 100.0);
    drop(servers.stdin.take());
    servers.wait()?;
    Ok(())
}

/// The services, until standard input ends.
async fn serve() -> Result<(), Box<dyn Error>> {
    let index = Index::default();
    let servers = BTreeMap::from([
        ("model", Scripted::start(|request| doubles::writes(request).after(MODEL)).await),
        ("screen", Scripted::start(|request| doubles::passes(request).after(SCREEN)).await),
        ("search", Scripted::start(move |request| index.answers(request).after(SEARCH)).await),
    ]);
    for (name, server) in &servers {
        println!("{name} {}", server.url());
    }
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    end.await??;
    Ok(())
}

fn urls(servers: &mut Child) -> Result<BTreeMap<String, String>, Box<dyn Error>> {
    let output = servers.stdout.take().ok_or("it has an output")?;
    let lines = BufReader::new(output).lines().take(3);
    lines
        .map(|line| {
            let line = line?;
            let (name, url) = line.split_once(' ').ok_or("a name and an address")?;
            Ok((name.to_owned(), url.to_owned()))
        })
        .collect()
}

async fn campaign(
    urls: &BTreeMap<String, String>,
    campaign_file: String,
    customers: usize,
    calls: NonZeroUsize,
) -> Result<Summary, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("campaign.toml"), campaign_file)?;
    fs::write(folder.path().join("customers.csv"), self::customers(customers))?;
    let urls = urls.clone();
    let services = Services::new(move |name| match name {
        "OPENAI_BASE_URL" => Some(format!("{}/v1", urls["model"])),
        "OPENAI_MODEL" => Some("writer".to_owned()),
        "AZURE_CONTENT_SAFETY_ENDPOINT" => Some(urls["screen"].clone()),
        "AZURE_SEARCH_ENDPOINT" => Some(urls["search"].clone()),
        "AZURE_CONTENT_SAFETY_KEY" | "AZURE_SEARCH_API_KEY" => Some("key".to_owned()),
        _ => None,
    });
    let inputs = Inputs {
        campaign_file: folder.path().join("campaign.toml"),
        customers: folder.path().join("customers.csv"),
        content: Some(Path::new(STARTER).join("content")),
        out: folder.path().join("out"),
        replace: false,
        simulate: false,
        storage: None,
    };
    let providers = Providers { services: Arc::new(services), calls, ..Providers::default() };
    let means = Means { providers, ..Means::default() };
    match campaign::run_with(inputs, means, &|_| ()).await? {
        Ended::Complete(summary) => Ok(*summary),
        ended => Err(format!("{ended:?}").into()),
    }
}

/// The starter's, with five segments and three tones, by e-mail.
fn campaign_file() -> Result<String, Box<dyn Error>> {
    let text = fs::read_to_string(Path::new(STARTER).join("campaign.toml"))?;
    let (before, rest) = text.split_once("[[segmentation.rules]]").ok_or("it has rules")?;
    let (_, after) = rest.split_once("# --- what may be said").ok_or("content follows the rules")?;
    let mut rules = String::new();
    for (name, least) in [("Regulars", 12), ("Often", 9), ("Now and then", 6), ("Seldom", 3)] {
        write!(rules, "[[segmentation.rules]]\nname = \"{name}\"\nwhen = \"frequency >= {least}.0\"\n\n")?;
    }
    rules.push_str("[[segmentation.rules]]\nname = \"Everyone else\"\n\n# --- what may be said");
    let text = [before, &rules, after].concat();
    let text = text.replace("# date = ", "date = ").replace("[\"email\", \"sms\"]", "[\"email\"]");
    let text = text.replace("sms = \"Reply STOP to opt out.\"", "");
    let third = "[[experiment.arms]]\nname = \"premium\"\ntone = \"premium\"\n\n# --- what it may cost";
    let text = text.replace("# --- what it may cost", third);
    let providers = "\n[providers]\ngeneration = \"openai\"\nsafety = \"azure_content_safety\"\nretrieval = \
                     \"azure_search\"\n\n[safety.content_safety]\nprompt_shields = false\n";
    Ok(text + providers)
}

/// With a message for nearly every customer.
fn personal(campaign_file: &str) -> String {
    let text = campaign_file.replace("mode = \"segment\"", "mode = \"customer\"\nfields = [\"tier\", \"frequency\"] #");
    let lines = text.lines().map(|line| match line.split(' ').next() {
        Some("control") => "control = 0.02",
        Some("holdout") => "holdout = 0.0",
        Some("max_usd") => "max_usd = 1000.0",
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn customers(count: usize) -> String {
    let mut text =
        "customer_id,first_name,tier,days_since_order,orders_12m,avg_order_value,marketing_opt_in,sms_opt_in\n"
            .to_owned();
    for i in 0..count {
        let (days, orders, value) = (i * 37 % 300, i * 7 % 15, i * 13 % 60 + 5);
        text.push_str(&format!("C-{i:05},Ada,Basic,{days},{orders},{value}.50,yes,yes\n"));
    }
    text
}
