use std::time::Duration;

use cpo::store::{BlobPath, Error, Memory};

use crate::conformance::{self, Subject};

fn subject() -> Subject {
    Subject {
        store: Memory::default().store(),
        folder: BlobPath::new("campaigns/spring/1").unwrap(),
        shortest_lease: Duration::from_secs(1),
    }
}

#[tokio::test(start_paused = true)]
async fn blobs_conform_on_a_paused_clock() {
    conformance::blobs(&subject()).await;
    conformance::long_lists(&subject()).await;
}

#[tokio::test(start_paused = true)]
async fn queues_conform_on_a_paused_clock() {
    conformance::queues(&subject()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn blobs_conform_with_threads() {
    conformance::blobs(&subject()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn queues_conform_with_threads() {
    conformance::queues(&subject()).await;
}

#[tokio::test]
async fn a_full_log_takes_no_record() {
    let Subject { store, folder: log, .. } = subject();
    for count in 1..=50_000 {
        assert_eq!(store.blobs.append(&log, vec![1]).await.unwrap(), count);
    }
    assert!(matches!(store.blobs.append(&log, vec![1]).await, Err(Error::Permanent { .. })));
    assert_eq!(store.blobs.get(&log).await.unwrap().bytes.len(), 50_000);
}
