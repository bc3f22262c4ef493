//! The handler's process: when it is ready, and what happens when it ends.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::{mpsc, watch},
    time::Instant,
};
use uuid::Uuid;

use super::{
    package::Package,
    wire::{Connections, Request},
};

/// Between two looks whether it is ready.
const PROBE_EVERY: Duration = Duration::from_millis(25);
/// The last of them ends the host.
const MOST_ERRORS: u32 = 3;
const RESTART_ASKED_FOR: i32 = 200;
/// The shell's codes.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// The host's own process, which can end without the handler: the handler is a child of its. The first line is the
/// handler's process id.
const HOST: &str = r#"sh -c 'echo $$; exec "$@"' handler "$@"; exit $?"#;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Started {
        worker: Uuid,
    },
    Ready {
        worker: Uuid,
        after: Duration,
    },
    NeverReady {
        worker: Uuid,
    },
    /// 128 and the number of the signal, where one ended it.
    Ended {
        worker: Uuid,
        code: i32,
    },
    /// By the host, for a call that took too long.
    Killed {
        worker: Uuid,
    },
    TimedOut {
        invocation: String,
    },
    CannotStart,
    /// The third error.
    HostEnds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Starting,
    /// Also where the process ended with 0: nobody looks after it then.
    Ready,
    /// No call is taken any more.
    HostEnded,
}

#[derive(Debug, PartialEq, Eq)]
enum Order {
    Restart,
    Kill,
    LetGo,
}

/// What a process says, line by line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Out,
    Error,
}

#[derive(Debug)]
pub struct Process {
    package: Arc<Package>,
    environment: Vec<(String, String)>,
    pub port: u16,
    pub connections: Connections,
    state: watch::Sender<State>,
    orders: mpsc::UnboundedSender<Order>,
    pid: Mutex<Option<Pid>>,
    events: Mutex<Vec<Event>>,
    said: Mutex<Vec<(Stream, String)>>,
}

impl Process {
    pub fn start(package: Arc<Package>, environment: Vec<(String, String)>) -> Arc<Self> {
        // As the host does: somebody else may take it before the handler does.
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let (orders, received) = mpsc::unbounded_channel();
        let process = Arc::new(Self {
            package,
            environment,
            port,
            connections: Connections::new(port),
            state: watch::Sender::new(State::Starting),
            orders,
            pid: Mutex::default(),
            events: Mutex::default(),
            said: Mutex::default(),
        });
        tokio::spawn(process.clone().look_after(received));
        process
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    pub fn said(&self) -> MutexGuard<'_, Vec<(Stream, String)>> {
        self.said.lock().unwrap()
    }

    pub fn tell(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    pub fn pid(&self) -> Option<Pid> {
        *self.pid.lock().unwrap()
    }

    /// When calls can be made, or never will.
    pub async fn settled(&self) -> State {
        let mut state = self.state.subscribe();
        *state.wait_for(|state| *state != State::Starting).await.expect("the sender is `self`'s")
    }

    /// Kills it and starts another one.
    pub fn restart(&self) {
        let _ = self.orders.send(Order::Restart);
    }

    /// As an operating system does that is out of memory.
    pub fn kill(&self) {
        if let Some(pid) = self.pid() {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }

    /// The host ends, and the handler with it.
    pub async fn end(&self) {
        self.leave(Order::Kill).await;
    }

    /// The host ends, and the handler does not. Returns when it did so by itself.
    pub async fn let_go(&self) {
        self.leave(Order::LetGo).await;
    }

    async fn leave(&self, order: Order) {
        // Whoever looks after it may have ended before.
        let _ = self.orders.send(order);
        self.orders.closed().await;
    }

    async fn look_after(self: Arc<Self>, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut errors: Vec<Instant> = Vec::new();
        loop {
            self.state.send_replace(State::Starting);
            self.connections.forget();
            let worker = Uuid::new_v4();
            let mut running = Running::start(&self, worker).await;
            let end = self.life(&mut running, worker, &mut orders).await;
            *self.pid.lock().unwrap() = None;
            match end {
                End::Restarted => {}
                End::Error => {
                    let now = Instant::now();
                    if errors.last().is_some_and(|last| now - *last > self.package.settings.times.forgive) {
                        errors.clear();
                    }
                    errors.push(now);
                    if errors.len() == MOST_ERRORS as usize {
                        self.tell(Event::HostEnds);
                        break;
                    }
                }
                // It goes on as if it were still starting.
                End::NeverBegan => {
                    self.tell(Event::CannotStart);
                    while !matches!(orders.recv().await, Some(Order::Kill | Order::LetGo) | None) {}
                    break;
                }
                End::Left => break,
            }
        }
        self.state.send_replace(State::HostEnded);
    }

    /// Of one process.
    async fn life(&self, running: &mut Running, worker: Uuid, orders: &mut mpsc::UnboundedReceiver<Order>) -> End {
        self.tell(Event::Started { worker });
        let started = Instant::now();
        let mut ready = std::pin::pin!(self.probe());
        let mut never = std::pin::pin!(tokio::time::sleep(self.package.settings.times.ready));
        // Which ended with 0, so that nobody minds.
        let mut is_over = false;
        let mut is_ready = false;
        loop {
            tokio::select! {
                () = &mut ready, if !is_ready => {
                    is_ready = true;
                    self.tell(Event::Ready { worker, after: started.elapsed() });
                    self.state.send_replace(State::Ready);
                }
                () = &mut never, if !is_ready => {
                    self.tell(Event::NeverReady { worker });
                    running.kill().await;
                    return End::Error;
                }
                code = running.ended(), if !is_over => {
                    if matches!(code, NOT_EXECUTABLE | NOT_FOUND) {
                        return End::NeverBegan;
                    }
                    running.heard_out().await;
                    self.tell(Event::Ended { worker, code });
                    match code {
                        0 => is_over = true,
                        RESTART_ASKED_FOR => return End::Restarted,
                        _ => return End::Error,
                    }
                }
                order = orders.recv() => {
                    match order {
                        Some(Order::Restart) => {
                            self.tell(Event::Killed { worker });
                            running.kill().await;
                            return End::Restarted;
                        }
                        Some(Order::LetGo) => {
                            self.state.send_replace(State::HostEnded);
                            running.orphan().await;
                        }
                        Some(Order::Kill) | None => {
                            self.state.send_replace(State::HostEnded);
                            running.kill().await;
                        }
                    }
                    return End::Left;
                }
            }
        }
    }

    async fn probe(&self) {
        loop {
            match self.connections.send(&Request::get("/")).await {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    tokio::time::sleep(PROBE_EVERY).await;
                }
                // Any answer will do.
                _ => return,
            }
        }
    }
}

enum End {
    Restarted,
    Error,
    NeverBegan,
    Left,
}

/// One process of the handler, and the host's above it. All that is left of them ends when it is dropped.
struct Running {
    host: Child,
    group: Pid,
    handler: Pid,
    listening: Vec<tokio::task::JoinHandle<()>>,
}

impl Running {
    async fn start(process: &Arc<Process>, worker: Uuid) -> Self {
        let package = &process.package;
        let (port, worker) = (process.port.to_string(), worker.to_string());
        let mut host = Command::new("sh")
            .args(["-c", HOST, "host"])
            .args(&package.command)
            .current_dir(&package.folder)
            .envs(process.environment.iter().map(|(name, value)| (name, value)))
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", &port)
            .env("FUNCTIONS_HTTPWORKER_PORT", &port)
            .env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &worker)
            .env("FUNCTIONS_HTTPWORKER_ID", &worker)
            .env("FUNCTIONS_APP_ROOT_PATH", &package.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("there is a shell");
        let group = pid(host.id().expect("it was not waited for"));
        let mut out = BufReader::new(host.stdout.take().expect("it is piped"));
        let mut first = String::new();
        out.read_line(&mut first).await.expect("it is a pipe");
        let handler = pid(first.trim().parse().expect("the first line is a process id"));
        let error = BufReader::new(host.stderr.take().expect("it is piped"));
        let listening = vec![
            tokio::spawn(listen(process.clone(), Stream::Out, out)),
            tokio::spawn(listen(process.clone(), Stream::Error, error)),
        ];
        *process.pid.lock().unwrap() = Some(handler);
        Self { host, group, handler, listening }
    }

    async fn ended(&mut self) -> i32 {
        let status = self.host.wait().await.expect("nobody else waits for it");
        status.code().unwrap_or(137)
    }

    async fn kill(&mut self) {
        let _ = rustix::process::kill_process(self.handler, Signal::KILL);
        self.ended().await;
        self.heard_out().await;
    }

    /// Its pipes close when it ends.
    async fn orphan(&mut self) {
        self.host.kill().await.expect("it is our child");
        self.heard_out().await;
    }

    async fn heard_out(&mut self) {
        for listening in self.listening.drain(..) {
            listening.await.expect("listening does not panic");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process_group(self.group, Signal::KILL);
    }
}

fn pid(raw: u32) -> Pid {
    i32::try_from(raw).ok().and_then(Pid::from_raw).expect("it is a process id")
}

async fn listen(process: Arc<Process>, stream: Stream, from: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        process.said.lock().unwrap().push((stream, line));
    }
}
