//! What every store must do, whichever it is. A property runs as a task of its own, all of them side by side on one
//! store, and the suite names all that do not hold.
//!
//! Time is Tokio's. Properties that need time to pass ask again and again with a pause in between: under a paused clock
//! that takes no time, on a real one a second or two. Elapsed time is asserted from below only, and waits are bounded
//! generously, so that a slow machine fails nothing.

use std::{collections::BTreeSet, future::Future, time::Duration};

use cpo::store::{BlobPath, Store};
use futures::future::join_all;
use tokio::time::{Instant, sleep};

mod blobs;
mod queues;

/// A store on trial.
#[derive(Debug, Clone)]
pub struct Subject {
    pub store: Store,
    /// Blobs are written below this folder, of which the suite is the only user.
    pub folder: BlobPath,
    /// The lease that is waited for to run out: 15 seconds in Azure; others take less.
    pub shortest_lease: Duration,
}

impl Subject {
    fn path(&self, name: &str) -> BlobPath {
        BlobPath::new(format!("{}/{name}", self.folder)).unwrap()
    }

    fn within(&self, property: &str) -> Self {
        Self { folder: self.path(property), ..self.clone() }
    }
}

/// Runs the named properties side by side and fails with the names of those that panicked.
macro_rules! hold {
    ($subject:expr, $($property:ident),+ $(,)?) => {
        $crate::conformance::all_hold(vec![
            $((stringify!($property), tokio::spawn($property($subject.within(stringify!($property)))))),+
        ])
        .await
    };
}
use hold;

pub async fn blobs(subject: &Subject) {
    blobs::all(subject).await;
}

/// More than one page of names in Azure: 5,100 writes, for where they are cheap.
pub async fn long_lists(subject: &Subject) {
    blobs::a_list_is_complete_beyond_a_page(subject.within("long_lists")).await;
}

pub async fn queues(subject: &Subject) {
    queues::all(subject).await;
}

async fn all_hold(properties: Vec<(&'static str, tokio::task::JoinHandle<()>)>) {
    let mut broken = Vec::new();
    for (name, property) in properties {
        if property.await.is_err() {
            broken.push(name);
        }
    }
    assert!(broken.is_empty(), "do not hold: {broken:?} (the panics are above)");
}

/// The end of one of these is fatal to nobody: far beyond what any store takes.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
/// Stores keep time in milliseconds or worse.
const GRAIN: Duration = Duration::from_millis(50);

/// Asks until there is an answer.
async fn until<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "still nothing after {PATIENCE:?}");
        sleep(PAUSE).await;
    }
}

/// The results of tasks that really run at the same time where the runtime has several threads.
async fn side_by_side<T: Send + 'static, F>(tasks: impl IntoIterator<Item = F>) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    join_all(tasks).await.into_iter().map(|task| task.expect("no task panics")).collect()
}

fn is_sorted_and_distinct(names: &[BlobPath]) -> bool {
    names.iter().collect::<BTreeSet<_>>().into_iter().eq(names)
}

macro_rules! assert_error {
    ($result:expr, $kind:ident) => {
        match $result {
            Err(cpo::store::Error::$kind { .. }) => {}
            other => panic!("expected {}, got {other:?}", stringify!($kind)),
        }
    };
}
pub(crate) use assert_error;
