//! What items cost in calls to the store, and by which prices a campaign counts.

use std::sync::Arc;

use futures::future::try_join_all;
use serde_json::json;

use super::{
    driver::{Driver, Manner, plan, starter},
    watched::Watched,
};
use crate::{
    domain::estimate,
    orchestration::{
        stage::Stage,
        start::Start,
        workshop::{Agents as _, Designed, Providers, Workshop},
    },
    providers::{Services, prices::List},
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

#[tokio::test]
async fn a_campaign_counts_by_the_prices_that_were_known_when_it_was_started() {
    let model = [("[budget]", "[providers]\ngeneration = \"azure_openai\"\n\n[budget]")];
    let services = Arc::new(Services::new(|name| {
        let value = match name {
            "AZURE_OPENAI_ENDPOINT" => "https://nobody.invalid",
            "AZURE_OPENAI_API_KEY" => "a-key",
            "AZURE_OPENAI_DEPLOYMENT" => "gpt-4.1-nano",
            _ => return None,
        };
        Some(value.to_owned())
    }));
    let expected = async |list: List| {
        let (start, library) = plan(&model).unwrap().start(&starter().join("customers.csv")).unwrap();
        let start = Start { prices: Some(list), ..start };
        let providers = Providers { services: Arc::clone(&services), ..Providers::default() };
        let mut driver = Driver::with(start, library, providers, Manner::InOrder).await;
        driver.play_until(Stage::Retrieve).await;
        let designed: Designed = driver.output(Stage::Design.into(), 0).await;
        let assumes = designed.estimate.iter().flat_map(|stage| stage.assumes.clone()).collect::<Vec<_>>();
        (estimate::expected(&designed.estimate).dollars(), assumes)
    };
    let (now, _) = expected(List::shipped()).await;
    // Half of what it costs today.
    let models = json!({"gpt-4.1-nano": {"input": 0.05, "cached_input": 0.0125, "output": 0.20}});
    let list = json!({"read_on": "2025-01-01", "prices": {"models": models}});
    let (then, assumes) = expected(serde_json::from_value(list).unwrap()).await;
    assert!(now > 0.0 && (now / then - 2.0).abs() < 0.001, "{now} {then}");
    assert!(assumes.contains(&"prices as read on 2025-01-01".to_owned()), "{assumes:?}");
}
