//! Azurite, Microsoft's emulator of Azure Storage, for tests: a process of its own for each test binary, an account of
//! its own for each test.
//!
//! Needs Node.js 20 or later. What is run is the npm package.

// Each test binary uses a part of it.
#![allow(dead_code)]

#[path = "../npm/mod.rs"]
pub mod npm;

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tempfile::TempDir;

const VERSION: &str = "3.35.0";
/// Of all accounts: `account key`, in Base64.
pub const KEY: &str = "YWNjb3VudCBrZXk=";
const ACCOUNTS: usize = 1_000;

/// The connection string of an account that nobody else uses.
pub fn account() -> String {
    shared().account()
}

/// The emulator of this test binary.
pub fn shared() -> &'static Azurite {
    // Nobody drops it, so it must leave nothing behind.
    static SHARED: LazyLock<Azurite> = LazyLock::new(|| Azurite::start_in(None, &[]));
    &SHARED
}

/// An emulator that is there for nobody else, and can be ended and started again. Ends with its owner, and with the
/// process whatever happens.
pub struct Azurite {
    process: Child,
    blob_port: u16,
    queue_port: u16,
    options: Vec<String>,
    /// Where it keeps what it holds; `None`: in memory.
    folder: Option<TempDir>,
    accounts: AtomicUsize,
}

impl Azurite {
    /// On free ports, with further options of the command line.
    pub fn start(options: &[&str]) -> Self {
        Self::start_in(Some(tempfile::tempdir().unwrap()), options)
    }

    fn start_in(folder: Option<TempDir>, options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let (process, blob_port, queue_port) = run(&options, folder.as_ref(), 0, 0);
        Self { process, blob_port, queue_port, options, folder, accounts: AtomicUsize::new(0) }
    }

    /// The connection string of an account that nobody else uses.
    pub fn account(&self) -> String {
        let name = self.account_name();
        let (blobs, queues) = self.endpoints(&name);
        format!("AccountName={name};AccountKey={KEY};BlobEndpoint={blobs};QueueEndpoint={queues}")
    }

    pub fn account_name(&self) -> String {
        let number = self.accounts.fetch_add(1, Ordering::Relaxed);
        assert!(number < ACCOUNTS, "there are no more than {ACCOUNTS} accounts");
        name(number)
    }

    /// Of blobs and queues.
    pub fn endpoints(&self, account: &str) -> (String, String) {
        let scheme = if self.options.iter().any(|option| option == "--cert") { "https" } else { "http" };
        let at = |port: u16| format!("{scheme}://127.0.0.1:{port}/{account}");
        (at(self.blob_port), at(self.queue_port))
    }

    /// As a power cut does: what it wrote last may be lost.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// In an orderly way: what it said it had written is there when it is started again.
    pub fn stop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }

    /// Where it was before, with the same content.
    pub fn start_again(&mut self) {
        let (process, ..) = run(&self.options, self.folder.as_ref(), self.blob_port, self.queue_port);
        self.process = process;
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn name(number: usize) -> String {
    format!("account{number:03}")
}

/// Returns the process and the ports on which it listens (0: any).
fn run(options: &[String], folder: Option<&TempDir>, blob_port: u16, queue_port: u16) -> (Child, u16, u16) {
    let mut accounts = String::new();
    for number in 0..ACCOUNTS {
        write!(accounts, "{}:{KEY};", name(number)).unwrap();
    }
    let (blob_port, queue_port) = (blob_port.to_string(), queue_port.to_string());
    let mut command = npm::node("azurite", VERSION, "dist/src/azurite.js");
    command
        .args(["--blobPort", &blob_port, "--queuePort", &queue_port, "--tablePort", "0"])
        // Seconds. It is five otherwise, and a client that sends just then finds its connection closed.
        .args(["--blobKeepAliveTimeout", "600", "--queueKeepAliveTimeout", "600"])
        .args(["--silent", "--disableTelemetry"])
        .args(options)
        .env("AZURITE_ACCOUNTS", accounts)
        .stdout(Stdio::piped());
    match folder {
        Some(folder) => command.arg("--location").arg(folder.path()),
        None => command.arg("--inMemoryPersistence"),
    };
    let mut process = command.spawn().expect("these tests need Node.js 20 or later as `node` on the PATH");
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut listens = |service: &str| {
        let prefix = format!("Azurite {service} service is successfully listening at ");
        let address = lines.find_map(|line| line.strip_prefix(&prefix).map(str::to_owned));
        let address = address.unwrap_or_else(|| panic!("Azurite did not start: no {service} service"));
        address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("the address ends with a port")
    };
    let (blob_port, queue_port) = (listens("Blob"), listens("Queue"));
    // Whatever it says later must not fill the pipe.
    thread::spawn(move || lines.for_each(drop));
    (process, blob_port, queue_port)
}
