//! What items cost in calls to the store.

use futures::future::try_join_all;

use super::{
    driver::{Driver, Manner},
    watched::Watched,
};
use crate::orchestration::{
    stage::Stage,
    workshop::{Agents as _, Providers, Workshop},
};

/// All items of a stage at once, by a process that has done nothing before.
async fn calls(driver: &Driver, stage: Stage) -> Vec<(&'static str, u32)> {
    let (watched, store) = Watched::over(&driver.store, None);
    let scratch = tempfile::tempdir().unwrap();
    let workshop = Workshop::new(store, scratch.path().to_owned(), Providers::default());
    let planned = driver.instance.stage(stage.into()).unwrap().planned;
    let items: Vec<_> = (0..planned).map(|index| driver.item(stage.into(), index)).collect();
    try_join_all(items.iter().map(|item| workshop.perform(item, &driver.instance))).await.unwrap();
    watched.calls()
}

#[tokio::test]
async fn what_items_share_is_read_once_and_each_item_adds_only_its_own() {
    let mut driver = Driver::new(&[], 2, Manner::InOrder).await;
    // The start, ingest's record, the model; and each shard's table, read and written.
    driver.play_until(Stage::Label).await;
    let shards = driver.instance.stage(Stage::Label.into()).unwrap().planned;
    assert_eq!(calls(&driver, Stage::Label).await, [("get", 3 + shards), ("put", shards)]);
    // The start, design's record, the content; and each answer's record. Nothing of the customers.
    driver.play_until(Stage::Generate).await;
    let variants = driver.instance.stage(Stage::Generate.into()).unwrap().planned;
    assert_eq!(calls(&driver, Stage::Generate).await, [("get", 3 + variants)]);
    // The start, ingest's, design's and release's record, the variants, the model; and each shard's two tables, read,
    // and one written; and what was recalled, looked up and written.
    driver.play_until(Stage::Deliver).await;
    let expected = [("get", 6 + 2 * shards), ("list", shards), ("put", 2 * shards)];
    assert_eq!(calls(&driver, Stage::Deliver).await, expected);
}
