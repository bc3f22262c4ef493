//! A server that answers from a script, faults of connections included, and keeps what it was sent.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};

/// Listens on a port of its own, for as long as the test's runtime.
#[derive(Clone)]
pub struct Scripted {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<dyn Fn(&Request) -> Reply + Send + Sync>,
    requests: Mutex<Vec<Request>>,
    arrived: watch::Sender<usize>,
    released: watch::Sender<bool>,
}

/// As it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// From 0, over all connections.
    pub number: usize,
    /// From 0, by when it was made.
    pub connection: usize,
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    pub fn query(&self) -> BTreeMap<String, String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.target))
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    end: End,
    is_held: bool,
    after: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    /// The connection ends in an orderly way in the middle of the body.
    Half,
    /// It is reset there.
    ResetMidway,
    /// It is reset before anything is said.
    Reset,
    Never,
}

impl Reply {
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let reply = Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            end: End::Whole,
            is_held: false,
            after: Duration::ZERO,
        };
        reply.header("content-type", content_type)
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// Without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), end: End::Whole, is_held: false, after: Duration::ZERO }
    }

    /// The connection is reset.
    pub fn reset() -> Self {
        Self { end: End::Reset, ..Self::empty(0) }
    }

    /// The connection stays open, and nothing is said.
    pub fn never() -> Self {
        Self { end: End::Never, ..Self::empty(0) }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The length of all of the body, and half of it.
    pub fn half(self) -> Self {
        Self { end: End::Half, ..self }
    }

    pub fn reset_midway(self) -> Self {
        Self { end: End::ResetMidway, ..self }
    }

    /// Not said before [`Scripted::release`].
    pub fn held(self) -> Self {
        Self { is_held: true, ..self }
    }

    /// In virtual time, or where the time is what is measured.
    pub fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub fn with_type(mut self, content_type: &str) -> Self {
        self.headers.retain(|(name, _)| name != "content-type");
        self.header("content-type", content_type)
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub fn with_body(self, body: Vec<u8>) -> Self {
        Self { body, ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} X\r\n", self.status);
        // No answer with this status has a body, nor a length.
        if self.status != 204 {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let said = if self.end == End::Whole { self.body.len() } else { self.body.len() / 2 };
        [head.as_bytes(), &self.body[..said]].concat()
    }
}

impl Scripted {
    pub async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_after(Duration::ZERO, script).await
    }

    /// Refuses connections for so long: in virtual time, or where the time is what is measured.
    pub async fn start_after(wait: Duration, script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            requests: Mutex::default(),
            arrived: watch::Sender::new(0),
            released: watch::Sender::new(false),
        });
        let serving = Arc::clone(&shared);
        if wait.is_zero() {
            tokio::spawn(serve(socket.listen(1_024).unwrap(), serving));
        } else {
            tokio::spawn(async move {
                // The port is nobody else's meanwhile.
                tokio::time::sleep(wait).await;
                serve(socket.listen(1_024).unwrap(), serving).await;
            });
        }
        Self { address, shared }
    }

    /// Refuses connections for as long as the test's runtime lives.
    pub async fn nobody() -> Self {
        Self::start_after(Duration::MAX, |_| unreachable!("nobody listens")).await
    }

    /// One reply after the other; the last is for all that follow.
    pub async fn in_turn(replies: impl Into<Vec<Reply>>) -> Self {
        let replies = replies.into();
        Self::start(move |request| replies[request.number.min(replies.len() - 1)].clone()).await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests up to now, in the order in which they were read.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Returns when this many requests have come.
    pub async fn arrived(&self, requests: usize) {
        self.shared.arrived.subscribe().wait_for(|arrived| *arrived >= requests).await.unwrap();
    }

    /// All that is held is said, now and from now on.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let connections = AtomicUsize::new(0);
    while let Ok((stream, _)) = listener.accept().await {
        let number = connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        // Its end is the client's to judge.
        tokio::spawn(async move { converse(stream, number, &shared).await.ok() });
    }
}

async fn converse(mut stream: TcpStream, connection: usize, shared: &Shared) -> io::Result<()> {
    let mut received = Vec::new();
    while let Some(request) = read(&mut stream, &mut received).await? {
        let request = {
            let mut requests = shared.requests.lock().unwrap();
            let request = Request { number: requests.len(), connection, ..request };
            requests.push(request.clone());
            shared.arrived.send_replace(requests.len());
            request
        };
        let reply = (shared.script)(&request);
        if reply.is_held {
            let mut released = shared.released.subscribe();
            // An error: the server is gone, and nobody waits.
            let _ = released.wait_for(|released| *released).await;
        }
        tokio::time::sleep(reply.after).await;
        if reply.end == End::Never {
            std::future::pending::<()>().await;
        }
        if reply.end != End::Reset {
            stream.write_all(&reply.bytes()).await?;
        }
        match reply.end {
            End::Whole => {}
            End::Half => return stream.shutdown().await,
            End::Reset | End::ResetMidway | End::Never => return stream.set_zero_linger(),
        }
    }
    Ok(())
}

/// `None`: the client has ended the connection. What was received beyond the request stays.
async fn read(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let (mut request, start, length) = loop {
        if let Some(head) = head(received) {
            break head;
        }
        if stream.read_buf(received).await? == 0 {
            return Ok(None);
        }
    };
    while received.len() < start + length {
        if stream.read_buf(received).await? == 0 {
            return Ok(None);
        }
    }
    request.body = received[start..start + length].to_vec();
    received.drain(..start + length);
    Ok(Some(request))
}

/// A request without its body, where that begins, and its length.
fn head(received: &[u8]) -> Option<(Request, usize, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(start) = parsed.parse(received).expect("clients speak HTTP") else { return None };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("clients send headers in UTF-8");
    let request = Request {
        number: 0,
        connection: 0,
        method: parsed.method.unwrap().to_owned(),
        target: parsed.path.unwrap().to_owned(),
        headers: parsed.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect(),
        body: Vec::new(),
    };
    assert_eq!(request.header("transfer-encoding"), None, "requests tell their length");
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    Some((request, start, length))
}
