//! The host: calls of functions, time-outs, HTTP that is handed on, the end.

use std::{io, path::Path, sync::Arc, time::Duration};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{sync::watch, time::Instant};
use url::form_urlencoded;
use uuid::Uuid;

use super::{
    function::Function,
    outcome::{Answer, Ending, Outcome},
    package::{Package, Times},
    process::{Event, Process, State},
    wire::{Framing, Request},
};

const VERSION: &str = "4.1037.0.0";
const AGENT: &str = "Azure-Functions-Host/4.1037.0.0";
const INVOCATION: &str = "X-Azure-Functions-InvocationId";
const HOST_VERSION: &str = "X-Azure-Functions-HostVersion";
/// Of a request without a body whose connection closes before it is answered.
const TRIES_OF_FORWARDING: u32 = 4;
const TRIES_OF_PROXYING: u32 = 40;
const TRIES_OF_PROXYING_POST: u32 = 10;

#[derive(Debug, Clone)]
pub struct Host {
    pub package: Arc<Package>,
    pub process: Arc<Process>,
    /// Calls in hand.
    http: watch::Sender<usize>,
    queues: watch::Sender<usize>,
}

/// How a host that was told to end did so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// Nothing was in hand any more, or only HTTP calls that were cut off: the handler was killed.
    Killed,
    /// A message was still in hand: the handler was left behind. It has ended since.
    Orphaned,
}

/// Which of the two ways HTTP is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    Forwarding,
    Proxying,
}

struct InHand<'a>(&'a watch::Sender<usize>);

impl<'a> InHand<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Host {
    /// `shorten`: what a test makes of the package's times.
    pub fn start(folder: &Path, environment: Vec<(String, String)>, shorten: impl FnOnce(&mut Times)) -> Self {
        let mut package = Package::read(folder);
        shorten(&mut package.settings.times);
        let package = Arc::new(package);
        let process = Process::start(package.clone(), environment);
        Self { package, process, http: watch::Sender::default(), queues: watch::Sender::default() }
    }

    pub fn function(&self, name: &str) -> &Function {
        self.package.functions.get(name).unwrap_or_else(|| panic!("there is no function {name}"))
    }

    fn times(&self) -> &Times {
        &self.package.settings.times
    }

    /// Calls a function by its envelope. The id is the host's, another for each call.
    pub async fn invoke(&self, function: &str, envelope: Vec<u8>, framing: Framing) -> Outcome {
        self.invoke_as(&Uuid::new_v4().to_string(), function, envelope, framing).await
    }

    pub async fn invoke_as(&self, id: &str, function: &str, envelope: Vec<u8>, framing: Framing) -> Outcome {
        let _in_hand = InHand::new(&self.queues);
        let headers = [
            ("Content-Type", "application/json; charset=utf-8"),
            (HOST_VERSION, VERSION),
            (INVOCATION, id),
            ("User-Agent", AGENT),
        ];
        let request = Request {
            method: "POST".to_owned(),
            target: format!("/{function}"),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            framing,
            body: envelope,
        };
        let known = self.function(function);
        match self.within_time(id, self.called(&request, 1)).await {
            Some(Ok(answer)) => {
                let mut outcome = Outcome::of(known, &answer);
                if outcome.ending == Ending::Hung {
                    // Nobody tells it that the answer came: only time ends it.
                    self.within_time::<()>(id, std::future::pending()).await;
                    outcome.reply.status = 500;
                }
                outcome
            }
            Some(Err(error)) => Outcome::failed(error.to_string()),
            None => Outcome::failed("it took too long"),
        }
    }

    /// `None`: it was not over in time. A while later the process is killed for it.
    async fn within_time<T>(&self, id: &str, call: impl Future<Output = T>) -> Option<T> {
        let ended = tokio::time::timeout(self.times().function, call).await;
        if ended.is_err() {
            self.process.tell(Event::TimedOut { invocation: id.to_owned() });
            let (process, kill) = (self.process.clone(), self.times().kill);
            tokio::spawn(async move {
                tokio::time::sleep(kill).await;
                process.restart();
            });
        }
        ended.ok()
    }

    /// Sends it, again where nothing came back. While the process starts it waits.
    async fn called(&self, request: &Request, tries: u32) -> io::Result<Answer> {
        let patience = 4 * self.times().ready;
        match tokio::time::timeout(patience, self.process.settled()).await {
            Ok(State::HostEnded) => return Err(io::Error::other("the host has ended")),
            Ok(_) => {}
            Err(_) => return Err(io::Error::other("the handler never came up, and the host ends")),
        }
        let mut tried = 0;
        loop {
            tried += 1;
            match self.process.connections.send(request).await {
                Err(_) if tried < tries => {}
                answered => return answered,
            }
        }
    }

    /// An HTTP call from outside, handed to the handler: what its client is told.
    pub async fn http(&self, passing: Passing, request: Request) -> Answer {
        let _in_hand = InHand::new(&self.http);
        let status = |status| Answer { status, headers: Vec::new(), body: Vec::new() };
        let Some(function) = self.route(&request.method, &request.target) else { return status(404) };
        assert!(self.function(function).is_forwarded(), "the double hands on HTTP only to functions of nothing else");
        let settings = &self.package.settings;
        let is_enabled = if passing == Passing::Forwarding { settings.forwarding } else { settings.proxying };
        assert!(is_enabled, "host.json does not ask for {passing:?}");
        let id = Uuid::new_v4().to_string();
        let has_body = request.framing == Framing::Chunked || !request.body.is_empty();
        let (passed, tries) = match passing {
            // It looks at the length, and then there is none.
            Passing::Forwarding if request.framing == Framing::Chunked => return status(500),
            Passing::Forwarding => (forwarded(request, &id), TRIES_OF_FORWARDING),
            Passing::Proxying => {
                let is_post = request.method == "POST";
                let tries = if is_post { TRIES_OF_PROXYING_POST } else { TRIES_OF_PROXYING };
                (proxied(request, &id, self.process.port), tries)
            }
        };
        let tries = if has_body { 1 } else { tries };
        match self.within_time(&id, self.called(&passed, tries)).await {
            Some(Ok(answer)) => answer,
            Some(Err(_)) | None => status(500),
        }
    }

    /// The first in the order of names whose route and methods fit.
    fn route(&self, method: &str, target: &str) -> Option<&str> {
        let path = target.split('?').next().unwrap_or_default().trim_start_matches('/');
        let fits = |function: &Function| {
            let trigger = function.trigger();
            let methods = trigger.methods.as_deref().unwrap_or_default();
            trigger.kind == "httpTrigger"
                && (methods.is_empty() || methods.iter().any(|allowed| allowed.eq_ignore_ascii_case(method)))
                && trigger.route.as_deref().is_some_and(|route| matches(route, path))
        };
        self.package.functions.iter().find(|(_, function)| fits(function)).map(|(name, _)| name.as_str())
    }

    /// As SIGTERM does: nothing new is taken (that is the caller's part), what is in hand gets some time, and then the
    /// handler is killed without a word, or forgotten.
    pub async fn end(self) -> Farewell {
        let drained = async |calls: &watch::Sender<usize>, patience: Duration| {
            let mut calls = calls.subscribe();
            tokio::time::timeout(patience, calls.wait_for(|calls| *calls == 0)).await.is_ok()
        };
        let http = drained(&self.http, self.times().drain_http);
        let queues = drained(&self.queues, self.times().drain_queues);
        let (_, is_idle) = tokio::join!(http, queues);
        if is_idle {
            self.process.end().await;
            Farewell::Killed
        } else {
            self.process.let_go().await;
            Farewell::Orphaned
        }
    }

    /// Waits until something happened to the process.
    pub async fn until(&self, what: impl Fn(&[Event]) -> bool) {
        let begun = Instant::now();
        while !what(&self.process.events()) {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing of it in {:?}", self.process.events());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Of a route such as `api/{*path}` or `items/{id}/{name?}`; letters in any case.
fn matches(route: &str, path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    for part in route.split('/') {
        if part.starts_with("{*") {
            return true;
        }
        let parameter = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        match (parameter, segments.next()) {
            (Some(name), None) if name.ends_with('?') => {}
            (Some(_), Some(_)) => {}
            (None, Some(segment)) if part.eq_ignore_ascii_case(segment) => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

const NOT_FORWARDED: [&str; 4] = ["content-encoding", "content-md5", "content-language", "expires"];
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Made anew from what the host understood of it.
fn forwarded(request: Request, id: &str) -> Request {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut grouped: Vec<(String, Vec<String>)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = utf8_percent_encode(&value, UNRESERVED).to_string();
        match grouped.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => grouped.push((name.into_owned(), vec![value])),
        }
    }
    let pairs: Vec<_> = grouped
        .into_iter()
        .map(|(name, values)| format!("{}={}", utf8_percent_encode(&name, UNRESERVED), values.join(",")))
        .collect();
    let target = match pairs.is_empty() {
        true => resolved(path),
        false => format!("{}?{}", resolved(path), pairs.join("&")),
    };
    let mut headers: Vec<(String, String)> = Vec::new();
    let (mut agent, mut kind) = (AGENT.to_owned(), None);
    let (mut ids, mut versions) = (id.to_owned(), VERSION.to_owned());
    for (name, value) in request.headers {
        match name.to_ascii_lowercase().as_str() {
            dropped if NOT_FORWARDED.contains(&dropped) => {}
            "content-length" | "transfer-encoding" => {}
            "content-type" => kind = Some((name, value)),
            "user-agent" => agent = format!("{value} {AGENT}"),
            own if own == INVOCATION.to_ascii_lowercase() => ids = format!("{value}, {id}"),
            own if own == HOST_VERSION.to_ascii_lowercase() => versions = format!("{value}, {VERSION}"),
            _ => headers.push((name, value)),
        }
    }
    headers.extend([
        (HOST_VERSION.to_owned(), versions),
        (INVOCATION.to_owned(), ids),
        ("User-Agent".to_owned(), agent),
    ]);
    let framing = if request.body.is_empty() { Framing::None } else { Framing::Length };
    if framing == Framing::Length {
        headers.extend(kind);
    }
    Request { target, headers, framing, ..request }
}

/// Without `.` and `..`, as the host's type for addresses resolves them.
fn resolved(path: &str) -> String {
    let base = url::Url::parse("http://host/").expect("it is one");
    base.join(path).map_or_else(|_| path.to_owned(), |url| url.path().to_owned())
}

/// As it came, but for what a proxy adds and must not let through.
fn proxied(request: Request, id: &str, port: u16) -> Request {
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (request.target.as_str(), String::new()),
    };
    // A slash that was escaped stays escaped by being escaped again.
    let target = format!("{}{query}", path.replace("%2F", "%252F").replace("%2f", "%252f"));
    let client_host = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let client_host = client_host.map_or_else(|| "127.0.0.1:7071".to_owned(), |(_, host)| host.clone());
    let is_ours = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("x-azure-functions-") || name.starts_with("x-forwarded-") || name == "x-ms-invocation-id"
    };
    let is_framing = |name: &str| {
        ["host", "content-length", "transfer-encoding"].iter().any(|framing| name.eq_ignore_ascii_case(framing))
    };
    let mut headers = vec![("Host".to_owned(), format!("127.0.0.1:{port}"))];
    headers.extend(request.headers.into_iter().filter(|(name, _)| !is_ours(name) && !is_framing(name)));
    let own = [
        (HOST_VERSION, VERSION),
        (INVOCATION, id),
        ("x-ms-invocation-id", id),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Host", &client_host),
        ("X-Forwarded-Proto", "http"),
    ];
    headers.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    Request { target, headers, ..request }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded;

    fn client(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let framing = if body.is_empty() { Framing::None } else { Framing::Length };
        Request { method: method.to_owned(), target: target.to_owned(), headers, framing, body: body.to_vec() }
    }

    fn last_id(request: &Request) -> String {
        let (_, ids) = request.headers.iter().find(|(name, _)| name == INVOCATION).unwrap();
        ids.rsplit(", ").next().unwrap().to_owned()
    }

    fn sorted(mut request: Request) -> Request {
        request.headers.sort();
        request
    }

    #[test]
    fn forwarded_requests_are_those_of_the_real_host() {
        let host = ("Host", "127.0.0.1:7071");
        let encoding = ("Accept-Encoding", "identity");
        let cases = [
            (
                "forward-get",
                client(
                    "GET",
                    "/api/items/42/bob?x=1&x=2&sp=a%20b%2Fc+d&empty=&flag",
                    &[
                        host,
                        ("Accept", "text/*"),
                        ("Connection", "keep-alive"),
                        ("User-Agent", "myagent/1.0"),
                        encoding,
                        ("Cookie", "a=b; c=d"),
                        ("X-Multi", "a"),
                        ("x-functions-key", "zz"),
                    ],
                    b"",
                ),
            ),
            (
                "forward-spoofed-headers",
                client(
                    "POST",
                    "/api/./x/../items/42",
                    &[
                        host,
                        encoding,
                        (INVOCATION, "spoof"),
                        (HOST_VERSION, "9"),
                        ("X-Forwarded-For", "1.2.3.4"),
                        ("X-MS-CLIENT-PRINCIPAL", "abc"),
                    ],
                    b"x",
                ),
            ),
            (
                "forward-png-content-headers-dropped",
                client(
                    "POST",
                    "/api/items/42",
                    &[
                        host,
                        encoding,
                        ("Content-Type", "image/png"),
                        ("Content-Encoding", "gzip"),
                        ("Expires", "0"),
                        ("Content-MD5", "x"),
                        ("Content-Language", "en"),
                    ],
                    b"\x89PNG\xff\xfe",
                ),
            ),
        ];
        for (name, request) in cases {
            let recorded = recorded::request(name);
            let sent = forwarded(request, &last_id(&recorded));
            assert_eq!(sorted(sent), sorted(recorded), "{name}");
        }
    }

    #[test]
    fn proxied_requests_are_those_of_the_real_host() {
        let host = ("Host", "127.0.0.1:7071");
        let recorded = recorded::request("proxy-get-pct2F");
        let target = "/API/Items/42/a%2Fb%20c/?q=%C3%A9";
        let spoofed = [host, ("Accept-Encoding", "identity"), (INVOCATION, "spoof"), ("X-Forwarded-For", "1.2.3.4")];
        let request = client("GET", target, &spoofed, b"");
        let sent = proxied(request, &last_id(&recorded), 41191);
        assert_eq!(sorted(sent), sorted(recorded));
    }

    #[test]
    fn routes_fit_in_any_case_and_a_catch_all_takes_everything_below_it() {
        assert!(matches("api/{*path}", "API/items/42"));
        assert!(matches("api/items/{id}/{name?}", "api/Items/42"));
        assert!(!matches("api/items/{id}", "api/items/42/more"));
        assert!(!matches("api/items/{id}", "api/items"));
    }
}
