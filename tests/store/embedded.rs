use std::{fs, path::Path, time::Duration};

use cpo::store::{BlobPath, Embedded, Error, Precondition};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn containers_that_are_folders_conform() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open_with(folder.path(), &["campaigns", "content"]).unwrap().store();
    for below in ["campaigns/suite", "state/suite"] {
        let subject = Subject { store: store.clone(), folder: path(below), shortest_lease: Duration::from_secs(1) };
        conformance::blobs(&subject).await;
        conformance::long_lists(&subject).await;
    }
}

#[tokio::test]
async fn a_file_that_is_put_into_a_containers_folder_by_hand_is_a_blob() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Embedded::open_with(folder.path(), &["campaigns", "content"]).unwrap().store().blobs;
    fs::create_dir_all(folder.path().join("content/spring")).unwrap();
    fs::write(folder.path().join("content/spring/offer.md"), b"ten percent").unwrap();
    fs::write(folder.path().join("elsewhere.md"), b"no container").unwrap();
    blobs.put(&path("content2/x"), b"{}".to_vec(), Precondition::Absent).await.unwrap();

    assert_eq!(blobs.get(&path("content/spring/offer.md")).await.unwrap().bytes, b"ten percent");
    assert_eq!(blobs.list(None).await.unwrap(), [path("content/spring/offer.md"), path("content2/x")]);
    assert_eq!(blobs.list(Some(&path("content"))).await.unwrap(), [path("content/spring/offer.md")]);
    assert_eq!(blobs.list(Some(&path("campaigns"))).await.unwrap(), []);
}

/// What a user finds in the folder of a campaign.
#[tokio::test]
async fn what_is_below_home_is_a_plain_file_and_the_rest_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path()).store().blobs;
    let below_home = |name: &str| path(&format!("{HOME}/{name}"));
    blobs.put(&below_home("segments/model.json"), b"{}".to_vec(), Precondition::Absent).await.unwrap();
    let from = folder.path().join("from");
    fs::write(&from, b"table").unwrap();
    blobs.put_file(&below_home("segments/labels.parquet"), &from, Precondition::Absent).await.unwrap();
    blobs.put(&path("state/instance.json"), b"{}".to_vec(), Precondition::Absent).await.unwrap();
    blobs.put(&path("campaigns/spring/10/x"), b"{}".to_vec(), Precondition::Absent).await.unwrap();
    blobs.append(&below_home("log"), b"record".to_vec()).await.unwrap();

    assert_eq!(fs::read(folder.path().join("segments/model.json")).unwrap(), b"{}");
    assert_eq!(fs::read(folder.path().join("segments/labels.parquet")).unwrap(), b"table");
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with(".state.sqlite"));
    assert_eq!(names, ["segments"]);

    let all = blobs.list(None).await.unwrap();
    let named = [
        path("campaigns/spring/10/x"),
        below_home("log"),
        below_home("segments/labels.parquet"),
        below_home("segments/model.json"),
        path("state/instance.json"),
    ];
    let mut named = named.to_vec();
    named.sort();
    assert_eq!(all, named);
    for folder in ["campaigns", "campaigns/spring", HOME] {
        let within: Vec<_> =
            named.iter().filter(|name| name.as_str().starts_with(&format!("{folder}/"))).cloned().collect();
        assert_eq!(blobs.list(Some(&path(folder))).await.unwrap(), within, "{folder}");
    }
}

/// A moved file often comes from a place for temporary ones, which are private.
#[cfg(unix)]
#[tokio::test]
async fn a_file_that_was_moved_in_can_be_read_by_whoever_reads_the_others() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path()).store().blobs;
    let from = tempfile::NamedTempFile::new_in(folder.path()).unwrap().keep().unwrap().1;
    blobs.put(&path(&format!("{HOME}/written")), b"x".to_vec(), Precondition::None).await.unwrap();
    blobs.put_file(&path(&format!("{HOME}/moved")), &from, Precondition::None).await.unwrap();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
    assert_eq!(mode("moved"), mode("written"));
}

#[tokio::test]
async fn the_stores_own_files_are_no_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path()).store().blobs;
    for name in [".state.sqlite", ".state.sqlite-wal", "segments/.tmpAbC"] {
        let own = path(&format!("{HOME}/{name}"));
        assert!(matches!(blobs.put(&own, b"x".to_vec(), Precondition::None).await, Err(Error::Permanent { .. })));
        assert!(matches!(blobs.get(&own).await, Err(Error::NotFound { .. })));
        blobs.delete(&own).await.unwrap();
    }
    assert!(folder.path().join(".state.sqlite").exists());
}

/// The file system has no compare-and-swap. The suite's few writes seldom meet; these do.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn swaps_of_a_file_by_many_threads_are_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = open(folder.path()).store().blobs;
    let counter = path(&format!("{HOME}/counter"));
    blobs.put(&counter, Vec::new(), Precondition::Absent).await.unwrap();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (blobs, counter) = (blobs.clone(), counter.clone());
            tokio::spawn(async move {
                let mut swaps = 0;
                for _ in 0..1_000 {
                    let blob = blobs.get(&counter).await.unwrap();
                    let longer = vec![b'|'; blob.bytes.len() + 1];
                    match blobs.put(&counter, longer, Precondition::Match(blob.etag)).await {
                        Ok(_) => swaps += 1,
                        Err(Error::PreconditionFailed { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
                swaps
            })
        })
        .collect();
    let mut swaps = 0;
    for task in tasks {
        swaps += task.await.unwrap();
    }
    assert_eq!(blobs.get(&counter).await.unwrap().bytes.len(), swaps);
}
