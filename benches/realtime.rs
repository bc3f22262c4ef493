//! One customer at a time over HTTP: requests a second and how long they take, with some connections at once; beside
//! them, in the same run, the same connections asking the same server for `GET /`, which does nothing.
//!
//! ```sh
//! cargo bench --bench realtime                 # 1, 8, 32 and 128 connections
//! cargo bench --bench realtime -- 8 64         # these
//! ```
//!
//! Everything is in one process on the loopback address: the server on the embedded store, where each answer's exposure
//! is recorded before it is given, and the clients, which take their share of the processor.

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use cpo::{
    functions::{self, App, access::Access, api::uploads::UploadUrls},
    orchestration::{
        engine::{Clock, Engine},
        host::Host,
        instance::Status,
        plan::Plan,
        workshop::{Providers, Workshop},
    },
    store::Embedded,
};
use serde_json::json;
use tokio::net::TcpListener;

/// In the campaign's file; who is asked about is somebody else.
const CUSTOMERS: u32 = 2_000;
/// Of one measurement.
const REQUESTS: u32 = 20_000;
const CONTAINERS: &[&str] = &["campaigns"];

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let mut connections: Vec<u32> = arguments.map(|count| count.parse()).collect::<Result<_, _>>()?;
    if connections.is_empty() {
        connections = vec![1, 8, 32, 128];
    }
    cpo::tls::set_up();
    let folder = tempfile::tempdir()?;
    let app = app(folder.path()).await?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { axum::serve(listener, functions::router(app)).await });
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["request", "connections", "requests/s", "p50", "p99", "longest"]);
    for connections in connections {
        for request in [Request::Nothing, Request::Personalize] {
            // The first ones read the campaign and make the connections.
            measure(address, request, connections, REQUESTS / 20).await?;
            let Measured { seconds, mut latencies } = measure(address, request, connections, REQUESTS).await?;
            latencies.sort_unstable();
            let at = |share: f64| milliseconds(latencies[((latencies.len() - 1) as f64 * share) as usize]);
            table.add_row([
                request.as_str().to_owned(),
                connections.to_string(),
                format!("{:.0}", latencies.len() as f64 / seconds),
                at(0.5),
                at(0.99),
                at(1.0),
            ]);
        }
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    println!("{REQUESTS} requests each, {} cores.\n\n{table}", std::thread::available_parallelism()?);
    server.abort();
    Ok(())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

#[derive(Debug, Clone, Copy)]
enum Request {
    Nothing,
    Personalize,
}

impl Request {
    fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "GET /",
            Self::Personalize => "POST /api/personalize",
        }
    }

    fn of(self, client: &reqwest::Client, address: SocketAddr, number: u32) -> reqwest::RequestBuilder {
        match self {
            Self::Nothing => client.get(format!("http://{address}/")),
            Self::Personalize => {
                let question = json!({
                    "campaign": "first-campaign",
                    "customer": {"id": format!("N-{number:06}"), "attributes": {
                        "first_name": "Olga", "consent": "yes", "consent_sms": "yes", "tier": "Plus",
                        "recency_days": number % 400, "frequency": number % 12, "monetary": 17.6,
                    }},
                });
                let client = client.post(format!("http://{address}/api/personalize"));
                client.header("content-type", "application/json").body(question.to_string())
            }
        }
    }
}

struct Measured {
    seconds: f64,
    latencies: Vec<Duration>,
}

async fn measure(address: SocketAddr, request: Request, connections: u32, requests: u32) -> Result<Measured, Failure> {
    let since = Instant::now();
    let clients = (0..connections).map(|connection| {
        tokio::spawn(async move {
            let client = reqwest::Client::builder().pool_max_idle_per_host(1).no_proxy().build()?;
            let mut latencies = Vec::new();
            for number in (connection..requests).step_by(connections as usize) {
                let since = Instant::now();
                let response = request.of(&client, address, number).send().await?.error_for_status()?;
                response.bytes().await?;
                latencies.push(since.elapsed());
            }
            Ok::<_, Failure>(latencies)
        })
    });
    let mut latencies = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        latencies.extend(client.await??);
    }
    Ok(Measured { seconds: since.elapsed().as_secs_f64(), latencies })
}

/// The app on a folder in which the starter campaign has run.
async fn app(folder: &Path) -> Result<App, Failure> {
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/starter");
    let mut file = fs::read_to_string(starter.join("customers.csv"))?.lines().next().unwrap_or_default().to_owned();
    for number in 0..CUSTOMERS {
        write!(file, "\nC-{number},Olga,Plus,{},{},17.60,yes,yes", number % 400, number % 12)?;
    }
    fs::write(folder.join("customers.csv"), file)?;
    let plan = Plan::read(&starter.join("campaign.toml"), None, |_| Some(jiff::civil::date(2026, 11, 22)))?;
    let (start, library) = plan.start(&folder.join("customers.csv"))?;
    let store = Embedded::open_with(folder, CONTAINERS)?.store();
    let workshop = Workshop::new(store.clone(), folder.join("scratch"), Providers::default());
    let engine = Arc::new(Engine::new(store, Arc::new(workshop), Clock::default()));
    let campaign = start.campaign.campaign.id.clone();
    engine.start(&start, library).await?;
    let host = Host::new(Arc::clone(&engine), Duration::from_secs(60), Duration::from_secs(60), true);
    let completed = async {
        let mut progress = engine.progress();
        loop {
            match engine.held(&campaign).await?.instance.status {
                Status::Completed => return Ok::<_, Failure>(()),
                Status::Running => progress.changed().await?,
                other => return Err(format!("{other:?}").into()),
            }
        }
    };
    host.serve_until(completed).await??;
    let scratch = folder.join("scratch").into();
    Ok(App { engine, scratch, uploads: UploadUrls::Here, access: Access::Local, realtime: Arc::default() })
}
