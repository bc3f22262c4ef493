//! A server that says what an emulator cannot be brought to say.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// Ends with the process.
pub struct Stub {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    /// Answers each request (its first line, headers and body) with what `answer` gives; `None` closes the connection, as
    /// does an answer that breaks off within its headers.
    pub fn start(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (requests, answer) = (seen.clone(), Arc::new(answer));
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (requests, answer) = (requests.clone(), answer.clone());
                thread::spawn(move || {
                    let mut connection = BufReader::new(connection.unwrap());
                    while let Some(request) = read(&mut connection) {
                        let reply = answer(&request);
                        requests.lock().unwrap().push(request);
                        let Some(reply) = reply else { return };
                        connection.get_mut().write_all(reply.as_bytes()).unwrap();
                        if !reply.contains("\r\n\r\n") {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, seen }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A connection string for a storage account that this is.
    pub fn account(&self) -> String {
        let url = self.url();
        format!("AccountName=stub;AccountKey=c2VjcmV0;BlobEndpoint={url}/stub;QueueEndpoint={url}/stub")
    }

    /// All requests up to now.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

pub fn reply(status: u16, headers: &[&str], body: &str) -> String {
    let mut reply = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        reply.push_str(header);
        reply.push_str("\r\n");
    }
    reply + "\r\n" + body
}

fn read(connection: &mut BufReader<TcpStream>) -> Option<String> {
    let mut request = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        request.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    Some(request + &String::from_utf8_lossy(&body))
}
