//! The fault matrix: each service, each fault.
//!
//! [`clients`]: every call of every client, and what it says became of it. [`agents`]: what an agent is told, and what the
//! meter counts. [`token`]: the identity whose token signs the calls. What becomes of whole campaigns is in
//! [`crate::campaigns`].

mod agents;
mod clients;
mod token;

use std::time::Duration;

use cpo::providers::ErrorKind;

use crate::scripted::{Reply, Request, Scripted};

/// What a service does to a call. Where there is an answer at all, it is the good one: nobody may take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing listens.
    Refused,
    /// In virtual time.
    Slow,
    Silent,
    Reset,
    ResetMidway,
    Half,
    Status(u16),
    RetryAfter(u16),
    WrongType,
    Large,
    NotUtf8,
}

impl Fault {
    pub const ALL: [Self; 22] = [
        Self::Refused,
        Self::Slow,
        Self::Silent,
        Self::Reset,
        Self::ResetMidway,
        Self::Half,
        Self::Status(302),
        Self::Status(400),
        Self::Status(401),
        Self::Status(403),
        Self::Status(404),
        Self::Status(408),
        Self::Status(409),
        Self::Status(413),
        Self::Status(429),
        Self::RetryAfter(429),
        Self::Status(500),
        Self::Status(503),
        Self::RetryAfter(503),
        Self::WrongType,
        Self::Large,
        Self::NotUtf8,
    ];
    /// Less than any call waits for its answer.
    const SLOW: Duration = Duration::from_secs(15);
    const WAIT: Duration = Duration::from_secs(2);

    pub fn of(self, good: Reply) -> Reply {
        match self {
            Self::Refused => unreachable!("there is nobody to answer"),
            Self::Slow => good.after(Self::SLOW),
            Self::Silent => Reply::never(),
            Self::Reset => Reply::reset(),
            Self::ResetMidway => good.reset_midway(),
            Self::Half => good.half(),
            Self::Status(status) => good.with_status(status),
            Self::RetryAfter(status) => good.with_status(status).header("retry-after", "2"),
            Self::WrongType => good.with_type("text/html"),
            Self::Large => {
                let mut body = good.body().to_vec();
                body.resize(10 << 20, b' ');
                good.with_body(body)
            }
            Self::NotUtf8 => {
                let body = String::from_utf8(good.body().to_vec()).unwrap();
                let (first, rest) = body.split_once('{').unwrap();
                good.with_body([first.as_bytes(), b"{\"name\": \"\xff\",", rest.as_bytes()].concat())
            }
        }
    }

    /// A service that shows it at every call.
    pub async fn shown(self, good: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Scripted {
        match self {
            Self::Refused => Scripted::nobody().await,
            _ => Scripted::start(move |request| self.of(good(request))).await,
        }
    }

    /// `None`: no fault.
    pub fn kind(self) -> Option<ErrorKind> {
        Some(match self {
            Self::Slow => return None,
            Self::Status(302 | 401 | 403 | 404) => ErrorKind::Misconfigured,
            Self::Status(400 | 413) => ErrorKind::Rejected,
            Self::Status(429) => ErrorKind::Throttled { retry_after: None },
            Self::RetryAfter(_) => ErrorKind::Throttled { retry_after: Some(Self::WAIT) },
            _ => ErrorKind::Unavailable,
        })
    }

    /// Whether the service may have charged for the call.
    pub fn may_have_cost(self) -> bool {
        match self {
            Self::Status(status) => matches!(status, 408 | 500),
            Self::Refused | Self::RetryAfter(_) => false,
            _ => true,
        }
    }

    /// How often the one stack of all clients asks.
    pub fn requests(self) -> usize {
        match self {
            Self::Refused => 0,
            Self::Status(409 | 503) => 3,
            _ => 1,
        }
    }
}

/// Lets virtual time pass by four milliseconds, and what comes over a connection arrive between them: otherwise time jumps to
/// the end of whatever waits for an answer.
pub fn let_time_pass() {
    tokio::spawn(async {
        loop {
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    });
}

/// What is wrong in any cell, together.
fn assert_none(wrong: Vec<Option<String>>) {
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
