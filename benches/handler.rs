//! What the Functions handler costs: the time from its start to its first answer, memory at rest and under load, and calls a
//! second of an envelope and of the HTTP API over 8 connections. The baseline is `GET /` of the same process.
//!
//! ```sh
//! cargo bench --bench handler
//! cargo bench --bench handler -- dist/cpo        # another executable, such as a package's
//! ```
//!
//! No call reaches the storage account, which need not be there: this is about the handler alone.

use std::{
    error::Error,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use reqwest::{Client, Method, StatusCode};

const STARTS: usize = 21;
const CONNECTIONS: usize = 8;
/// Of each kind, after as many that are not counted on each connection as `WARM_UP` says.
const CALLS: usize = 40_000;
const WARM_UP: usize = 500;

/// A message that went to the poison queue: decoded, logged, answered.
const ENVELOPE: &str = r#"{"Data":{"message":"eyJldmVudFR5cGUiOiJNaWNyb3NvZnQuU3RvcmFnZS5CbG9iQ3JlYXRlZCJ9"},"Metadata":{"DequeueCount":"1","Id":"\"dd45aadb-2c62-4106-abef-5157fc66fd55\"","sys":{"MethodName":"storage-events-poison","UtcNow":"2026-11-22T17:03:11.4589237Z","RandGuid":"9e8d38c1-c101-49e5-8839-85367057b8cc"}}}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args().skip(1).find(|argument| argument != "--bench");
    let executable = given.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_cpo")), PathBuf::from);
    cpo::tls::set_up();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&executable))
}

async fn measure(executable: &Path) -> Result<(), Box<dyn Error>> {
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(Handler::start(executable).await?.started_in);
    }
    starts.sort_unstable();
    let handler = Handler::start(executable).await?;
    let at_rest = handler.memory("VmRSS")?;
    let mut table = table(&["call", "calls/s", "p50", "p99"]);
    for (method, path, body, status) in [
        (Method::GET, "/", "", StatusCode::OK),
        (Method::POST, "/storage-events-poison", ENVELOPE, StatusCode::OK),
        // A campaign that lacks everything: read, checked, refused with its problems.
        (Method::POST, "/api/campaigns", "{}", StatusCode::UNPROCESSABLE_ENTITY),
        (Method::GET, "/api/openapi.json", "", StatusCode::OK),
    ] {
        let label = format!("`{method} {path}`");
        let (seconds, times) = handler.drive(method, path, body, status).await?;
        let share = |share: f64| milliseconds(times[(times.len() as f64 * share) as usize]);
        table.add_row([label, format!("{:.0}", times.len() as f64 / seconds), share(0.5), share(0.99)]);
    }
    println!("{table}\n");
    let mut table = self::table(&["executable", "start, median", "start, slowest", "memory at rest", "memory, most"]);
    table.add_row([
        format!("{:.1} MB", fs::metadata(executable)?.len() as f64 / 1e6),
        milliseconds(starts[STARTS / 2]),
        milliseconds(starts[STARTS - 1]),
        format!("{} MB", at_rest / 1024),
        format!("{} MB", handler.memory("VmHWM")? / 1024),
    ]);
    println!("{table}");
    Ok(())
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header.to_vec());
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

struct Handler {
    process: Child,
    url: String,
    /// From before the process was made to its first answer.
    started_in: Duration,
}

impl Handler {
    async fn start(executable: &Path) -> Result<Self, Box<dyn Error>> {
        // As the host does: a port that is free now.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let client = Client::new();
        let begun = Instant::now();
        let process = Command::new(executable)
            .arg("serve")
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .env("CPO_STORAGE", "UseDevelopmentStorage=true")
            .stdout(Stdio::null())
            .spawn()?;
        let mut handler = Self { process, url: format!("http://127.0.0.1:{port}"), started_in: Duration::ZERO };
        while client.get(&handler.url).send().await.is_err() {
            if let Some(status) = handler.process.try_wait()? {
                return Err(format!("{} ended: {status}", executable.display()).into());
            }
            thread::sleep(Duration::from_micros(500));
        }
        handler.started_in = begun.elapsed();
        Ok(handler)
    }

    /// Seconds in all, and each call's time, sorted.
    async fn drive(
        &self,
        method: Method,
        path: &str,
        body: &'static str,
        expected: StatusCode,
    ) -> Result<(f64, Vec<Duration>), Box<dyn Error>> {
        let url = format!("{}{path}", self.url);
        let connection = async |calls: usize| {
            let client = Client::builder().pool_max_idle_per_host(1).build()?;
            let mut times = Vec::with_capacity(calls);
            let mut begun = Instant::now();
            for call in 0..WARM_UP + calls {
                if call == WARM_UP {
                    begun = Instant::now();
                }
                let sent = Instant::now();
                let request =
                    client.request(method.clone(), &url).header("content-type", "application/json").body(body);
                let answer = request.send().await?;
                if answer.status() != expected {
                    return Err(format!("{path} answers {}", answer.status()).into());
                }
                answer.bytes().await?;
                if call >= WARM_UP {
                    times.push(sent.elapsed());
                }
            }
            Ok::<_, Box<dyn Error>>((begun.elapsed(), times))
        };
        let all = futures::future::try_join_all((0..CONNECTIONS).map(|_| connection(CALLS / CONNECTIONS))).await?;
        let seconds = all.iter().map(|(time, _)| time.as_secs_f64()).fold(0.0, f64::max);
        let mut times: Vec<Duration> = all.into_iter().flat_map(|(_, times)| times).collect();
        times.sort_unstable();
        Ok((seconds, times))
    }

    /// In KiB.
    fn memory(&self, key: &str) -> Result<u64, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        Ok(line.and_then(|line| line.split_whitespace().next()).ok_or("the process has no such figure")?.parse()?)
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
