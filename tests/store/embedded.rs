use std::{path::Path, time::Duration};

use cpo::store::{BlobPath, Embedded};

use crate::conformance::{self, Subject};

const HOME: &str = "campaigns/spring/1";

fn path(path: &str) -> BlobPath {
    BlobPath::new(path).unwrap()
}

fn open(folder: &Path) -> Embedded {
    Embedded::open(folder, path(HOME)).unwrap()
}

fn subject(folder: &Path, below: &str) -> Subject {
    Subject { store: open(folder).store(), folder: path(below), shortest_lease: Duration::from_secs(1) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_conform() {
    let folder = tempfile::tempdir().unwrap();
    let subject = subject(folder.path(), &format!("{HOME}/suite"));
    conformance::blobs(&subject).await;
    conformance::long_lists(&subject).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_conform() {
    let folder = tempfile::tempdir().unwrap();
    let subject = subject(folder.path(), "state/suite");
    conformance::blobs(&subject).await;
    conformance::long_lists(&subject).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn queues_conform() {
    let folder = tempfile::tempdir().unwrap();
    conformance::queues(&subject(folder.path(), "state/suite")).await;
}
