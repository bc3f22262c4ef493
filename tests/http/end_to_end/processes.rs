//! The app as processes: `cpo dev` on one account, one that answers HTTP and others that only work. They end with the
//! test.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::net::TcpSocket;

/// Seconds after which another process is handed what a dead one had in hand.
const VISIBILITY: &str = "3";

pub struct Processes {
    account: String,
    /// Bound and never listened on: while the process that answers there is dead, nobody else is given its port.
    port: TcpSocket,
    /// The first one answers HTTP.
    running: Vec<Child>,
    /// Of each process, in the order in which they were started.
    logs: TempDir,
    started: usize,
}

impl Processes {
    pub fn start(account: String, workers: usize) -> Self {
        let port = TcpSocket::new_v4().unwrap();
        port.set_reuseaddr(true).unwrap();
        port.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let logs = tempfile::tempdir().unwrap();
        let mut processes = Self { account, port, running: Vec::new(), logs, started: 0 };
        processes.running = (0..=workers).map(|place| processes.another(place)).collect();
        processes
    }

    /// Where it is answered, by one or the next.
    pub fn address(&self) -> String {
        format!("http://{}", self.port.local_addr().unwrap())
    }

    pub fn count(&self) -> usize {
        self.running.len()
    }

    fn another(&mut self, place: usize) -> Child {
        let log = File::create(self.logs.path().join(self.started.to_string())).unwrap();
        self.started += 1;
        let mut command = Command::new(env!("CARGO_BIN_EXE_cpo"));
        command.args(["dev", "--storage", &self.account, "--visibility", VISIBILITY]);
        match place {
            0 => command.args(["--port", &self.port.local_addr().unwrap().port().to_string()]),
            _ => command.arg("--worker"),
        };
        command.env("CPO_LOG", "warn,cpo=info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().unwrap()
    }

    /// As `kill -9` does; another one takes its place.
    pub fn replace(&mut self, place: usize) {
        end(&mut self.running[place]);
        self.running[place] = self.another(place);
    }

    /// How many items each process brought through.
    pub fn items(&self) -> Vec<usize> {
        let items = |log: &String| log.lines().filter(|line| line.contains(": item campaign=")).count();
        self.said().iter().map(items).collect()
    }

    /// What each process has said, in the order in which they were started.
    fn said(&self) -> Vec<String> {
        (0..self.started).map(|log| fs::read_to_string(self.logs.path().join(log.to_string())).unwrap()).collect()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.running.iter_mut().for_each(end);
        if std::thread::panicking() {
            for (number, said) in self.said().iter().enumerate() {
                let last: Vec<_> = said.lines().rev().take(20).collect();
                println!("process {number} said last:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

fn end(process: &mut Child) {
    // It may have ended by itself.
    let _ = process.kill();
    process.wait().unwrap();
}
