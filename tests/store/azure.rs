use std::time::Duration;

use cpo::store::{Azure, BlobPath, Store};

use crate::{
    azurite,
    conformance::{self, Subject},
};

fn store(location: &str) -> Store {
    Azure::open(location).unwrap().store()
}

fn subject() -> Subject {
    Subject {
        store: store(&azurite::account()),
        folder: BlobPath::new("campaigns/spring/1").unwrap(),
        shortest_lease: Duration::from_secs(15),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn blobs_conform() {
    conformance::blobs(&subject()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn queues_conform() {
    conformance::queues(&subject()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lists_conform_beyond_a_page() {
    conformance::long_lists(&subject()).await;
}
