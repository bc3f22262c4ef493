//! HTTP/1.1 as the host speaks it to a handler: on loopback, each byte of the framing chosen, connections kept.

use std::{io, sync::Mutex};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::outcome::Answer;

/// Bytes in each piece of a body that the host sends in pieces.
const PIECE: usize = 1_024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Path and query, as they stand in the request line.
    pub target: String,
    /// In the order and case in which they are sent; the framing's own is added.
    pub headers: Vec<(String, String)>,
    pub framing: Framing,
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The host in Azure.
    Chunked,
    /// The local tools.
    Length,
    /// No body and no word of it.
    None,
}

impl Request {
    pub fn get(target: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            framing: Framing::None,
            body: Vec::new(),
        }
    }

    fn to_bytes(&self, port: u16) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let mut header = |name: &str, value: &str| bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            header("Host", &format!("127.0.0.1:{port}"));
        }
        for (name, value) in &self.headers {
            header(name, value);
        }
        match self.framing {
            Framing::Chunked => header("Transfer-Encoding", "chunked"),
            Framing::Length => header("Content-Length", &self.body.len().to_string()),
            Framing::None => assert!(self.body.is_empty(), "a body needs a framing"),
        }
        bytes.extend(b"\r\n");
        if self.framing == Framing::Chunked {
            for piece in self.body.chunks(PIECE) {
                bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
                bytes.extend(piece);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend(&self.body);
        }
        bytes
    }
}

/// To one port. Clones of nothing: all calls share what is idle.
#[derive(Debug)]
pub struct Connections {
    port: u16,
    idle: Mutex<Vec<BufReader<TcpStream>>>,
}

impl Connections {
    pub fn new(port: u16) -> Self {
        Self { port, idle: Mutex::default() }
    }

    /// One request, one answer.
    pub async fn send(&self, request: &Request) -> io::Result<Answer> {
        let bytes = request.to_bytes(self.port);
        let mut connection = match self.idle() {
            Some(connection) => connection,
            None => BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).await?),
        };
        let (answer, is_kept) = exchange(&mut connection, &bytes, &request.method).await?;
        if is_kept {
            self.idle.lock().unwrap().push(connection);
        }
        Ok(answer)
    }

    /// One that nobody has closed meanwhile.
    fn idle(&self) -> Option<BufReader<TcpStream>> {
        let is_open = |connection: &BufReader<TcpStream>| {
            connection.get_ref().try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        std::iter::from_fn(|| self.idle.lock().unwrap().pop()).find(is_open)
    }

    /// Of a handler that is gone.
    pub fn forget(&self) {
        self.idle.lock().unwrap().clear();
    }
}

async fn exchange(connection: &mut BufReader<TcpStream>, request: &[u8], method: &str) -> io::Result<(Answer, bool)> {
    // A server may answer and close before it has read all: what it said counts.
    let written = connection.get_mut().write_all(request).await;
    let mut head = Vec::new();
    loop {
        let line_at = head.len();
        if connection.read_until(b'\n', &mut head).await? == 0 {
            let closed = io::Error::new(io::ErrorKind::ConnectionReset, "closed without a whole answer");
            return Err(written.err().unwrap_or(closed));
        }
        if !matches!(&head[line_at..], b"\r\n" | b"\n") {
            continue;
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut headers);
        let status = parsed.parse(&head).map_err(io::Error::other)?;
        assert!(status.is_complete(), "an empty line ends a head");
        let status = parsed.code.expect("a complete head has a status");
        if status / 100 == 1 {
            head.clear();
            continue;
        }
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = parsed.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        let is_framed = body(connection, method, &mut answer).await?;
        let is_kept = is_framed && answer.header("connection") != Some("close") && written.is_ok();
        return Ok((answer, is_kept));
    }
}

/// Returns whether its end was told otherwise than by closing the connection.
async fn body(connection: &mut BufReader<TcpStream>, method: &str, answer: &mut Answer) -> io::Result<bool> {
    if method == "HEAD" || matches!(answer.status, 204 | 304) {
        return Ok(true);
    }
    if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut line = Vec::new();
            connection.read_until(b'\n', &mut line).await?;
            let size = match httparse::parse_chunk_size(&line) {
                Ok(httparse::Status::Complete((_, size))) => size,
                _ => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no size of a chunk")),
            };
            let at = answer.body.len();
            answer.body.resize(at + usize::try_from(size).expect("it fits into memory"), 0);
            connection.read_exact(&mut answer.body[at..]).await?;
            let mut end = Vec::new();
            connection.read_until(b'\n', &mut end).await?;
            if end != b"\r\n" {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk does not end with its line"));
            }
            if size == 0 {
                return Ok(true);
            }
        }
    }
    if let Some(length) = answer.header("content-length") {
        let length = length.parse().map_err(io::Error::other)?;
        answer.body.resize(length, 0);
        connection.read_exact(&mut answer.body).await?;
        return Ok(true);
    }
    connection.read_to_end(&mut answer.body).await?;
    Ok(false)
}
