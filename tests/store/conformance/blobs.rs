//! Blobs, logs and leases.

use std::{fs, time::Duration};

use cpo::store::{BlobPath, Error, Precondition};
use tokio::time::{Instant, sleep};

use super::{GRAIN, Subject, assert_error, hold, is_sorted_and_distinct, side_by_side, until};

pub async fn all(subject: &Subject) {
    hold!(
        subject,
        what_was_put_is_there_until_it_is_deleted,
        the_head_of_a_blob_is_its_beginning,
        every_write_gives_a_new_etag,
        a_stale_match_is_refused_and_changes_nothing,
        of_many_who_create_exactly_one_wins,
        counting_by_compare_and_swap_loses_nothing,
        a_reader_sees_whole_writes_only,
        any_name_is_kept_as_it_is,
        files_of_megabytes_go_in_and_out,
        a_log_counts_and_keeps_its_records,
        of_many_who_append_nobody_is_lost,
        a_log_is_in_the_way_of_a_blob,
        a_list_holds_what_is_below_a_folder,
        folders_come_in_pages_whatever_is_in_them,
        a_lease_has_one_holder,
        of_many_who_want_a_lease_exactly_one_gets_it,
        a_lease_hinders_no_write_and_is_not_listed,
        a_lease_runs_out,
        a_renewed_lease_counts_anew,
    );
}

async fn what_was_put_is_there_until_it_is_deleted(subject: Subject) {
    let blobs = &subject.store.blobs;
    let path = subject.path("blob");
    assert_error!(blobs.get(&path).await, NotFound);
    for bytes in [b"\x00\xff bytes".to_vec(), Vec::new(), vec![7; 300_000]] {
        let etag = blobs.put(&path, bytes.clone(), Precondition::None).await.unwrap();
        let blob = blobs.get(&path).await.unwrap();
        assert_eq!(blob.etag, etag);
        assert!(blob.bytes == bytes, "{} bytes came back for {}", blob.bytes.len(), bytes.len());
    }
    blobs.delete(&path).await.unwrap();
    assert_error!(blobs.get(&path).await, NotFound);
    blobs.delete(&path).await.unwrap();
}

async fn the_head_of_a_blob_is_its_beginning(subject: Subject) {
    let blobs = &subject.store.blobs;
    let path = subject.path("blob");
    assert_error!(blobs.head(&path, 0).await, NotFound);
    for len in [0, 1, 300_000] {
        let bytes: Vec<u8> = (0..len).map(|i: u32| i as u8).collect();
        let etag = blobs.put(&path, bytes.clone(), Precondition::None).await.unwrap();
        for most in [0, 1, 299_999, 300_000, 64 << 20] {
            let head = blobs.head(&path, most).await.unwrap();
            assert_eq!((&head.etag, head.len), (&etag, u64::from(len)));
            assert!(head.bytes == bytes[..bytes.len().min(most)], "{most} of {len}");
        }
    }
}

async fn every_write_gives_a_new_etag(subject: Subject) {
    let blobs = &subject.store.blobs;
    let path = subject.path("blob");
    let mut etags = Vec::new();
    for _ in 0..4 {
        etags.push(blobs.put(&path, b"equal".to_vec(), Precondition::None).await.unwrap());
        let last = Precondition::Match(etags.last().unwrap().clone());
        etags.push(blobs.put(&path, b"equal".to_vec(), last).await.unwrap());
        blobs.delete(&path).await.unwrap();
        etags.push(blobs.put(&path, b"equal".to_vec(), Precondition::Absent).await.unwrap());
    }
    for (i, etag) in etags.iter().enumerate() {
        assert!(!etags[..i].contains(etag), "the write {i} has the tag of an earlier one: {etags:?}");
    }
}

async fn a_stale_match_is_refused_and_changes_nothing(subject: Subject) {
    let blobs = &subject.store.blobs;
    let path = subject.path("blob");
    let first = blobs.put(&path, b"1".to_vec(), Precondition::Absent).await.unwrap();
    let second = blobs.put(&path, b"2".to_vec(), Precondition::Match(first.clone())).await.unwrap();
    assert_error!(blobs.put(&path, b"3".to_vec(), Precondition::Match(first)).await, PreconditionFailed);
    assert_error!(blobs.put(&path, b"4".to_vec(), Precondition::Absent).await, AlreadyExists);
    assert_eq!(blobs.get(&path).await.unwrap().bytes, b"2");

    let absent = subject.path("absent");
    assert_error!(blobs.put(&absent, b"5".to_vec(), Precondition::Match(second.clone())).await, PreconditionFailed);
    assert_error!(blobs.get(&absent).await, NotFound);
    blobs.delete(&path).await.unwrap();
    assert_error!(blobs.put(&path, b"6".to_vec(), Precondition::Match(second)).await, PreconditionFailed);
    assert_error!(blobs.get(&path).await, NotFound);
}

async fn of_many_who_create_exactly_one_wins(subject: Subject) {
    for round in 0..5 {
        let path = subject.path(&format!("round {round}"));
        let tries = side_by_side((0..12u8).map(|task| {
            let (blobs, path) = (subject.store.blobs.clone(), path.clone());
            async move { (task, blobs.put(&path, vec![task; 1_000], Precondition::Absent).await) }
        }))
        .await;
        let mut winners = Vec::new();
        for (task, outcome) in tries {
            match outcome {
                Ok(etag) => winners.push((task, etag)),
                Err(Error::AlreadyExists { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        let [(winner, etag)] = &winners[..] else { panic!("{} winners", winners.len()) };
        let blob = subject.store.blobs.get(&path).await.unwrap();
        assert_eq!((blob.bytes, &blob.etag), (vec![*winner; 1_000], etag));
    }
}

async fn counting_by_compare_and_swap_loses_nothing(subject: Subject) {
    let path = subject.path("counter");
    subject.store.blobs.put(&path, b"0".to_vec(), Precondition::Absent).await.unwrap();
    side_by_side((0..5).map(|_| {
        let (blobs, path) = (subject.store.blobs.clone(), path.clone());
        async move {
            let mut left = 10;
            while left > 0 {
                let blob = blobs.get(&path).await.unwrap();
                let count: u32 = String::from_utf8(blob.bytes).unwrap().parse().unwrap();
                let next = (count + 1).to_string().into_bytes();
                match blobs.put(&path, next, Precondition::Match(blob.etag)).await {
                    Ok(_) => left -= 1,
                    Err(Error::PreconditionFailed { .. }) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    }))
    .await;
    assert_eq!(subject.store.blobs.get(&path).await.unwrap().bytes, b"50");
}

async fn a_reader_sees_whole_writes_only(subject: Subject) {
    let path = subject.path("blob");
    let size = |fill: u8| 40_000 + usize::from(fill) * 1_000;
    subject.store.blobs.put(&path, vec![0; size(0)], Precondition::None).await.unwrap();
    let writer = {
        let (blobs, path) = (subject.store.blobs.clone(), path.clone());
        tokio::spawn(async move {
            for fill in 1..40 {
                blobs.put(&path, vec![fill; size(fill)], Precondition::None).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    while !writer.is_finished() {
        let bytes = subject.store.blobs.get(&path).await.unwrap().bytes;
        assert!(bytes == vec![bytes[0]; size(bytes[0])], "{} bytes from {}", bytes.len(), bytes[0]);
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

async fn any_name_is_kept_as_it_is(subject: Subject) {
    let blobs = &subject.store.blobs;
    let names =
        ["a b", "a+b", "a%20b", "a%2Fb", "größe", "日本/語", "a'b\"c", "a?b=c&d", "a#b", "x=1,y;z", "🎉~@!$()[]{}"];
    for name in names {
        blobs.put(&subject.path(name), name.as_bytes().to_vec(), Precondition::Absent).await.unwrap();
    }
    for name in names {
        assert_eq!(blobs.get(&subject.path(name)).await.unwrap().bytes, name.as_bytes(), "{name}");
    }
    let mut expected: Vec<BlobPath> = names.iter().map(|name| subject.path(name)).collect();
    expected.sort();
    assert_eq!(blobs.list(Some(&subject.folder)).await.unwrap(), expected);
}

async fn files_of_megabytes_go_in_and_out(subject: Subject) {
    let blobs = &subject.store.blobs;
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let bytes: Vec<u8> = (0..6_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let path = subject.path("file");

    assert_error!(blobs.get_file(&path, &target).await, NotFound);
    fs::write(&source, &bytes).unwrap();
    let first = blobs.put_file(&path, &source, Precondition::Absent).await.unwrap();
    assert_eq!(blobs.get_file(&path, &target).await.unwrap(), first);
    assert!(fs::read(&target).unwrap() == bytes);
    assert!(blobs.get(&path).await.unwrap().bytes == bytes);

    fs::write(&source, b"another").unwrap();
    assert_error!(blobs.put_file(&path, &source, Precondition::Absent).await, AlreadyExists);
    assert_eq!(blobs.get(&path).await.unwrap().etag, first);
    fs::write(&source, b"another").unwrap();
    let second = blobs.put_file(&path, &source, Precondition::None).await.unwrap();
    assert_ne!(second, first);
    let blob = blobs.get(&path).await.unwrap();
    assert_eq!((blob.bytes, blob.etag), (b"another".to_vec(), second));
}

async fn a_log_counts_and_keeps_its_records(subject: Subject) {
    let blobs = &subject.store.blobs;
    let path = subject.path("log");
    assert_error!(blobs.get(&path).await, NotFound);
    let mut etags = Vec::new();
    let mut whole = Vec::new();
    for count in 1..=20u8 {
        let record = vec![count; 1 + usize::from(count) * 37];
        whole.extend_from_slice(&record);
        assert_eq!(blobs.append(&path, record).await.unwrap(), u64::from(count));
        let log = blobs.get(&path).await.unwrap();
        assert_eq!(log.bytes, whole);
        assert!(!etags.contains(&log.etag), "an append gives a new tag");
        etags.push(log.etag);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    blobs.get_file(&path, &file).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), whole);

    blobs.delete(&path).await.unwrap();
    assert_error!(blobs.get(&path).await, NotFound);
    assert_eq!(blobs.append(&path, b"anew".to_vec()).await.unwrap(), 1);
    assert_eq!(blobs.get(&path).await.unwrap().bytes, b"anew");
}

async fn of_many_who_append_nobody_is_lost(subject: Subject) {
    const WIDTH: usize = 24;
    let path = subject.path("log");
    let tasks = (0..8).map(|task| {
        let (blobs, path) = (subject.store.blobs.clone(), path.clone());
        async move {
            let mut counts = Vec::new();
            for i in 0..25 {
                let record = format!("{:<w$}\n", format!("task {task} record {i}"), w = WIDTH - 1);
                counts.push(blobs.append(&path, record.into_bytes()).await.unwrap());
            }
            counts
        }
    });
    let counts: Vec<u64> = side_by_side(tasks).await.into_iter().flatten().collect();
    assert_eq!(counts.iter().max(), Some(&200), "whoever came last saw all");

    let log = subject.store.blobs.get(&path).await.unwrap().bytes;
    let mut records: Vec<&str> = log.chunks(WIDTH).map(|record| str::from_utf8(record).unwrap().trim_end()).collect();
    records.sort_unstable();
    let mut expected: Vec<String> =
        (0..8).flat_map(|task| (0..25).map(move |i| format!("task {task} record {i}"))).collect();
    expected.sort_unstable();
    assert_eq!(records, expected);
}

async fn a_log_is_in_the_way_of_a_blob(subject: Subject) {
    let blobs = &subject.store.blobs;
    let (log, blob) = (subject.path("log"), subject.path("blob"));
    blobs.append(&log, b"record".to_vec()).await.unwrap();
    assert_error!(blobs.put(&log, b"blob".to_vec(), Precondition::Absent).await, AlreadyExists);
    assert_eq!(blobs.get(&log).await.unwrap().bytes, b"record");

    blobs.put(&blob, b"blob".to_vec(), Precondition::None).await.unwrap();
    assert!(blobs.append(&blob, b"record".to_vec()).await.is_err());
    assert_eq!(blobs.get(&blob).await.unwrap().bytes, b"blob");
}

async fn a_list_holds_what_is_below_a_folder(subject: Subject) {
    let blobs = &subject.store.blobs;
    let folder = |name: &str| subject.path(name);
    for name in ["b/z", "b/a/1", "b/a/2", "bc/1", "b-1"] {
        blobs.put(&folder(name), b"x".to_vec(), Precondition::None).await.unwrap();
    }
    blobs.append(&folder("b/m"), b"x".to_vec()).await.unwrap();
    let below = |names: &[&str]| names.iter().map(|name| folder(name)).collect::<Vec<_>>();

    assert_eq!(blobs.list(Some(&folder("b"))).await.unwrap(), below(&["b/a/1", "b/a/2", "b/m", "b/z"]));
    assert_eq!(blobs.list(Some(&folder("b/a"))).await.unwrap(), below(&["b/a/1", "b/a/2"]));
    assert_eq!(blobs.list(Some(&folder("b/a/1"))).await.unwrap(), [], "a blob is no folder");
    assert_eq!(blobs.list(Some(&folder("nothing"))).await.unwrap(), []);
    let all = below(&["b-1", "b/a/1", "b/a/2", "b/m", "b/z", "bc/1"]);
    assert_eq!(blobs.list(Some(&subject.folder)).await.unwrap(), all);

    let everything = blobs.list(None).await.unwrap();
    assert!(is_sorted_and_distinct(&everything));
    assert!(all.iter().all(|name| everything.contains(name)));

    blobs.delete(&folder("b/m")).await.unwrap();
    blobs.delete(&folder("b/a/2")).await.unwrap();
    assert_eq!(blobs.list(Some(&folder("b"))).await.unwrap(), below(&["b/a/1", "b/z"]));
}

async fn folders_come_in_pages_whatever_is_in_them(subject: Subject) {
    let blobs = &subject.store.blobs;
    for name in ["b/x/1", "b/x/2/3", "b-2/x", "b0/y", "c/z", "a", "bb/log"] {
        blobs.put(&subject.path(name), Vec::new(), Precondition::None).await.unwrap();
    }
    blobs.append(&subject.path("d/log"), b"1".to_vec()).await.unwrap();
    let all = async |prefix: &str, most: usize| {
        let (mut names, mut from) = (Vec::new(), None);
        loop {
            let page = blobs.folders(&subject.folder, prefix, from.as_deref(), most).await.unwrap();
            assert!(page.names.len() <= most);
            names.extend(page.names);
            from = page.next;
            if from.is_none() {
                return names;
            }
        }
    };
    for most in [1, 2, 3, 100] {
        assert_eq!(all("", most).await, ["b-2", "b", "b0", "bb", "c", "d"], "{most}");
        assert_eq!(all("b", most).await, ["b-2", "b", "b0", "bb"], "{most}");
        assert_eq!(all("b0", most).await, ["b0"], "{most}");
    }
    assert_eq!(all("x", 5).await, [""; 0]);
    let nowhere = blobs.folders(&subject.path("nowhere"), "", None, 5).await.unwrap();
    assert_eq!((nowhere.names, nowhere.next), (Vec::new(), None));
}

pub async fn a_list_is_complete_beyond_a_page(subject: Subject) {
    let names: Vec<BlobPath> = (0..5_100).map(|i| subject.path(&format!("{i:05}"))).collect();
    side_by_side(names.chunks(160).map(|names| {
        let (blobs, names) = (subject.store.blobs.clone(), names.to_vec());
        async move {
            for name in names {
                blobs.put(&name, b"x".to_vec(), Precondition::None).await.unwrap();
            }
        }
    }))
    .await;
    assert!(subject.store.blobs.list(Some(&subject.folder)).await.unwrap() == names);
}

const MINUTE: Duration = Duration::from_secs(60);

async fn a_lease_has_one_holder(subject: Subject) {
    let blobs = &subject.store.blobs;
    let path = subject.path("work");
    let first = blobs.lease(&path, MINUTE).await.unwrap();
    assert_error!(blobs.lease(&path, MINUTE).await, LeaseHeld);
    blobs.renew(&first).await.unwrap();
    assert_error!(blobs.lease(&path, MINUTE).await, LeaseHeld);
    blobs.release(&first).await.unwrap();

    let second = blobs.lease(&path, MINUTE).await.unwrap();
    assert_ne!(second.id, first.id);
    assert_error!(blobs.renew(&first).await, LeaseHeld);
    blobs.release(&first).await.unwrap();
    assert_error!(blobs.lease(&path, MINUTE).await, LeaseHeld);
    blobs.renew(&second).await.unwrap();
    blobs.release(&second).await.unwrap();
}

async fn of_many_who_want_a_lease_exactly_one_gets_it(subject: Subject) {
    for round in 0..5 {
        let path = subject.path(&format!("round {round}"));
        let tries = side_by_side((0..8).map(|_| {
            let (blobs, path) = (subject.store.blobs.clone(), path.clone());
            async move { blobs.lease(&path, MINUTE).await }
        }))
        .await;
        let mut holders = 0;
        for outcome in tries {
            match outcome {
                Ok(_) => holders += 1,
                Err(Error::LeaseHeld { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(holders, 1);
    }
}

async fn a_lease_hinders_no_write_and_is_not_listed(subject: Subject) {
    let blobs = &subject.store.blobs;
    let path = subject.path("blob");
    let lease = blobs.lease(&path, MINUTE).await.unwrap();
    assert_error!(blobs.get(&path).await, NotFound);
    assert_eq!(blobs.list(Some(&subject.folder)).await.unwrap(), []);
    blobs.put(&path, b"1".to_vec(), Precondition::Absent).await.unwrap();
    assert_eq!(blobs.list(Some(&subject.folder)).await.unwrap(), vec![path.clone()]);
    blobs.delete(&path).await.unwrap();
    assert_error!(blobs.lease(&path, MINUTE).await, LeaseHeld);
    blobs.release(&lease).await.unwrap();
    assert_eq!(blobs.list(Some(&subject.folder)).await.unwrap(), []);
}

async fn a_lease_runs_out(subject: Subject) {
    let blobs = &subject.store.blobs;
    let path = subject.path("work");
    let start = Instant::now();
    let lost = blobs.lease(&path, subject.shortest_lease).await.unwrap();
    let taken = until(|| async {
        match blobs.lease(&path, MINUTE).await {
            Ok(lease) => Some(lease),
            Err(Error::LeaseHeld { .. }) => None,
            Err(other) => panic!("{other:?}"),
        }
    })
    .await;
    assert!(start.elapsed() + GRAIN >= subject.shortest_lease, "it ran out after {:?}", start.elapsed());
    assert_error!(blobs.renew(&lost).await, LeaseHeld);
    blobs.release(&lost).await.unwrap();
    assert_error!(blobs.lease(&path, MINUTE).await, LeaseHeld);
    blobs.release(&taken).await.unwrap();
}

async fn a_renewed_lease_counts_anew(subject: Subject) {
    let blobs = &subject.store.blobs;
    let path = subject.path("work");
    let lease = blobs.lease(&path, subject.shortest_lease).await.unwrap();
    sleep(subject.shortest_lease / 2).await;
    let renewed = Instant::now();
    blobs.renew(&lease).await.unwrap();
    until(|| async { blobs.lease(&path, MINUTE).await.ok() }).await;
    assert!(renewed.elapsed() + GRAIN >= subject.shortest_lease, "it ran out after {:?}", renewed.elapsed());
}
