//! Where customers come from, and what is wrong with what was given.

use std::{fs, path::Path};

use jiff::civil::date;

use super::driver::{Driver, Manner, deliveries, plan, starter};
use crate::{
    domain::problem::Problem,
    orchestration::{
        layout,
        plan::Plan,
        stage::Stage,
        start::{Source, Start},
        workshop::{Providers, Trouble},
    },
    store::{BlobPath, Memory, Precondition},
};

fn problem(trouble: Trouble) -> Problem {
    match trouble {
        Trouble::Problems(problems) => problems.into_iter().next().unwrap(),
        other => panic!("{other}"),
    }
}

/// A copy of the starter's folder with a suppression list, and what it is started with.
fn with_suppression(folder: &Path) -> (Start, Vec<u8>) {
    let text = fs::read_to_string(starter().join("campaign.toml")).unwrap();
    let text = text.replace("# suppression = \"suppressed.csv\" #", "suppression = \"suppressed.csv\" #");
    fs::write(folder.join("campaign.toml"), text).unwrap();
    fs::write(folder.join("suppressed.csv"), "C-003\n").unwrap();
    fs::copy(starter().join("customers.csv"), folder.join("customers.csv")).unwrap();
    let day = Some(date(2026, 11, 22));
    let plan = Plan::read(&folder.join("campaign.toml"), Some(&starter().join("content")), |_| day).unwrap();
    plan.start(&folder.join("customers.csv")).unwrap()
}

async fn ingested(start: Start, library: Vec<u8>) -> Result<Driver, Trouble> {
    let mut driver = Driver::with(start, library, Providers::default(), Manner::InOrder).await;
    driver.play_stage(Stage::Ingest.into()).await?;
    Ok(driver)
}

#[tokio::test]
async fn a_file_that_was_changed_after_the_start_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (start, library) = with_suppression(folder.path());
    let driver = ingested(start.clone(), library.clone()).await.unwrap();
    assert!(String::from_utf8_lossy(&driver.files().await[&layout::blob(layout::SUPPRESSED)]).contains("C-003"));

    // Of the same size and time: the digest tells.
    let list = folder.path().join("suppressed.csv");
    let modified = fs::metadata(&list).unwrap().modified().unwrap();
    fs::write(&list, "C-004\n").unwrap();
    fs::File::options().write(true).open(&list).unwrap().set_modified(modified).unwrap();
    let refused = problem(ingested(start.clone(), library.clone()).await.err().unwrap());
    assert_eq!(refused.file.as_deref(), Some(list.as_path()));
    assert!(refused.message.contains("suppression list was changed"), "{refused}");

    let customers = folder.path().join("customers.csv");
    fs::write(&customers, fs::read_to_string(&customers).unwrap() + "C-999,A,Basic,1,1,1,yes,yes\n").unwrap();
    let refused = problem(ingested(start, library).await.err().unwrap());
    assert_eq!(refused.file.as_deref(), Some(customers.as_path()));
    assert!(refused.message.contains("customer file was changed"), "{refused}");
}

#[tokio::test]
async fn customers_in_the_store_are_read_like_a_file_and_problems_name_them_as_their_owner_does() {
    let mut from_file = Driver::new(&[], 7, Manner::InOrder).await;
    from_file.play().await;

    let (start, library) = plan(&[]).unwrap().start(&starter().join("customers.csv")).unwrap();
    let upload = BlobPath::new("uploads/customers").unwrap();
    let blob =
        |etag: &str| Source::Blob { path: upload.clone(), etag: Some(etag.to_owned()), name: "spring.csv".into() };
    let bytes = fs::read(starter().join("customers.csv")).unwrap();
    for (bytes, expected) in [(bytes, None), (b"customer_id\nC-1\n".to_vec(), Some("spring.csv"))] {
        let store = Memory::default().store();
        let etag = store.blobs.put(&upload, bytes.clone(), Precondition::Absent).await.unwrap();
        let start = Start { customers: blob(&etag.0), shard_rows: 7, ..start.clone() };
        let mut driver = Driver::on(store, start, library.clone(), Providers::default(), Manner::InOrder).await;
        match expected {
            None => {
                driver.play().await;
                assert_eq!(deliveries(&driver.files().await), deliveries(&from_file.files().await));
                driver.store.blobs.put(&upload, bytes, Precondition::None).await.unwrap();
                let refused = problem(driver.perform(Stage::Ingest.into(), 0).await.unwrap_err());
                assert!(refused.message.contains("was changed"), "{refused}");
            }
            Some(name) => {
                let refused = problem(driver.perform(Stage::Ingest.into(), 0).await.unwrap_err());
                assert_eq!(refused.file.as_deref(), Some(Path::new(name)), "{refused}");
            }
        }
    }
}

#[tokio::test]
async fn a_segment_for_which_nothing_may_be_said_stops_the_campaign_before_anything_is_written() {
    let too_early = Some(date(2001, 1, 1));
    let plan = Plan::read(&starter().join("campaign.toml"), None, |_| too_early).unwrap();
    let (start, library) = plan.start(&starter().join("customers.csv")).unwrap();
    let mut driver = Driver::with(start, library, Providers::default(), Manner::InOrder).await;
    driver.play_until(Stage::Retrieve).await;
    let refused = problem(driver.perform(Stage::Retrieve.into(), 0).await.unwrap_err());
    assert!(refused.message.contains("no approved content for segment `Regulars` on email in en"), "{refused}");
}
