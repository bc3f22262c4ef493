//! The starter campaign, item by item: a driver plays the state machine in place of queues and workers.

mod costs;
mod driver;
mod failures;
mod people;
mod personal;
mod sources;
mod watched;

use self::driver::{Driver, Manner, add_up, deliveries, verified};
use crate::orchestration::instance::Status;

const RULES: &[(&str, &str)] = &[];
const RFM: &[(&str, &str)] = &[("method = \"rules\"", "method = \"rfm\""), (REGULARS, ""), (EVERYONE_ELSE, "")];
const KMEANS: &[(&str, &str)] = &[("method = \"rules\"", "method = \"kmeans\""), (REGULARS, ""), (EVERYONE_ELSE, "")];
const REGULARS: &str = r#"[[segmentation.rules]]           # the first rule that matches decides; the last needs no condition
name = "Regulars"
when = "frequency >= 4.0 && recency_days <= 60.0"
description = "order often and ordered lately""#;
const EVERYONE_ELSE: &str = r#"[[segmentation.rules]]
name = "Everyone else""#;
#[tokio::test]
async fn deliveries_do_not_depend_on_shards_order_or_repetition() {
    for edits in [RULES, RFM, KMEANS] {
        let mut whole = Driver::new(edits, 8_192, Manner::InOrder).await;
        whole.play().await;
        assert_eq!(whole.instance.status, Status::Completed);
        let expected = deliveries(&whole.files().await);
        assert!(!expected.is_empty());
        for shard_rows in [1, 4, 7] {
            let mut outcomes = Vec::new();
            for manner in [Manner::InOrder, Manner::Backwards, Manner::Twice] {
                let mut driver = Driver::new(edits, shard_rows, manner).await;
                driver.play().await;
                let files = driver.files().await;
                assert_eq!(deliveries(&files), expected);
                add_up(&driver.summary().await);
                outcomes.push((verified(&files), files));
            }
            assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "{shard_rows} customers a shard");
        }
    }
}
