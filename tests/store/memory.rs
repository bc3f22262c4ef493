use std::time::Duration;

use cpo::store::{BlobPath, Memory};

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
