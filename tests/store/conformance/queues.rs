//! Queues.

use std::{collections::BTreeSet, time::Duration};

use cpo::store::{Delivery, QueueName};
use tokio::time::{Instant, timeout};

use super::{GRAIN, PATIENCE, Subject, assert_error, hold, side_by_side, until};

pub async fn all(subject: &Subject) {
    hold!(
        subject,
        every_message_is_handed_out_and_none_twice_while_hidden,
        of_many_who_receive_no_two_get_the_same_message,
        a_delayed_message_comes_late,
        a_message_not_deleted_comes_again_and_counts,
        an_extended_message_stays_hidden_and_its_older_receipt_is_void,
        a_deleted_message_never_comes_back,
        bodies_are_text_up_to_48_kib,
        queues_do_not_mix,
        who_waits_hears_of_a_message,
        who_waits_hears_of_a_delayed_message,
        who_waits_in_vain_is_let_go,
    );
}

const NOW: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// A queue that no other run of the suite on the same account has used.
fn queue(name: &str) -> QueueName {
    let run = uuid::Uuid::new_v4().simple().to_string();
    QueueName::new(format!("{name}-{}", &run[..12])).unwrap()
}

async fn next(subject: &Subject, queue: &QueueName, visibility: Duration) -> Delivery {
    until(|| async { subject.store.queues.receive(queue, 1, visibility).await.unwrap().pop() }).await
}

async fn every_message_is_handed_out_and_none_twice_while_hidden(subject: Subject) {
    let queues = &subject.store.queues;
    let queue = queue("all");
    assert_eq!(queues.receive(&queue, 32, HOUR).await.unwrap(), []);
    for i in 0..50 {
        queues.send(&queue, i.to_string().into(), NOW).await.unwrap();
    }
    let mut bodies = BTreeSet::new();
    while bodies.len() < 50 {
        let deliveries = until(|| async {
            let deliveries = queues.receive(&queue, 20, HOUR).await.unwrap();
            (!deliveries.is_empty()).then_some(deliveries)
        })
        .await;
        assert!(deliveries.len() <= 20);
        for delivery in deliveries {
            assert_eq!((&delivery.queue, delivery.deliveries), (&queue, 1));
            assert!(bodies.insert(delivery.body), "handed out twice");
        }
    }
    assert_eq!(queues.receive(&queue, 32, HOUR).await.unwrap(), []);
}

async fn of_many_who_receive_no_two_get_the_same_message(subject: Subject) {
    let queue = queue("many");
    for i in b'!'..b'~' {
        subject.store.queues.send(&queue, vec![i], NOW).await.unwrap();
    }
    let received = side_by_side((0..6).map(|_| {
        let (queues, queue) = (subject.store.queues.clone(), queue.clone());
        async move {
            let mut received = Vec::new();
            loop {
                let deliveries = queues.receive(&queue, 7, HOUR).await.unwrap();
                if deliveries.is_empty() {
                    return received;
                }
                for delivery in deliveries {
                    queues.delete(&delivery).await.unwrap();
                    received.push(delivery.body[0]);
                }
            }
        }
    }))
    .await;
    let mut received = received.concat();
    received.sort_unstable();
    assert_eq!(received, (b'!'..b'~').collect::<Vec<u8>>());
}

async fn a_delayed_message_comes_late(subject: Subject) {
    let queue = queue("delay");
    let start = Instant::now();
    subject.store.queues.send(&queue, b"late".to_vec(), 2 * SECOND).await.unwrap();
    assert_eq!(next(&subject, &queue, HOUR).await.deliveries, 1);
    assert!(start.elapsed() + GRAIN >= 2 * SECOND, "it came after {:?}", start.elapsed());
}

async fn a_message_not_deleted_comes_again_and_counts(subject: Subject) {
    let queues = &subject.store.queues;
    let queue = queue("again");
    queues.send(&queue, b"body".to_vec(), NOW).await.unwrap();
    let start = Instant::now();
    let first = next(&subject, &queue, SECOND).await;
    let mut second = next(&subject, &queue, SECOND).await;
    assert!(start.elapsed() + GRAIN >= SECOND, "it came again after {:?}", start.elapsed());
    let third = next(&subject, &queue, HOUR).await;

    let bodies = [&first, &second, &third].map(|delivery| (&delivery.body[..], delivery.deliveries));
    assert_eq!(bodies, [(&b"body"[..], 1), (b"body", 2), (b"body", 3)]);
    assert_error!(queues.delete(&first).await, NotFound);
    assert_error!(queues.extend(&mut second, HOUR).await, NotFound);
    queues.delete(&third).await.unwrap();
    assert_error!(queues.delete(&third).await, NotFound);
}

async fn an_extended_message_stays_hidden_and_its_older_receipt_is_void(subject: Subject) {
    let queues = &subject.store.queues;
    let queue = queue("extend");
    queues.send(&queue, b"body".to_vec(), NOW).await.unwrap();
    let received = next(&subject, &queue, SECOND).await;
    let mut extended = received.clone();
    let start = Instant::now();
    queues.extend(&mut extended, 3 * SECOND).await.unwrap();
    assert_eq!((&extended.id, extended.deliveries), (&received.id, 1));
    assert_ne!(extended.receipt, received.receipt);
    assert_error!(queues.delete(&received).await, NotFound);
    assert_error!(queues.extend(&mut received.clone(), HOUR).await, NotFound);

    let again = next(&subject, &queue, HOUR).await;
    assert!(start.elapsed() + GRAIN >= 3 * SECOND, "it came again after {:?}", start.elapsed());
    assert_eq!((&again.body[..], again.deliveries), (&b"body"[..], 2));
    assert_error!(queues.extend(&mut extended, HOUR).await, NotFound);
    queues.delete(&again).await.unwrap();
}

async fn a_deleted_message_never_comes_back(subject: Subject) {
    let queues = &subject.store.queues;
    let queue = queue("delete");
    queues.send(&queue, b"done".to_vec(), NOW).await.unwrap();
    let mut done = next(&subject, &queue, SECOND).await;
    queues.extend(&mut done, SECOND).await.unwrap();
    queues.delete(&done).await.unwrap();
    assert_error!(queues.extend(&mut done, SECOND).await, NotFound);
    // By the time this one comes, the deleted one would have come as well.
    queues.send(&queue, b"later".to_vec(), 2 * SECOND).await.unwrap();
    assert_eq!(next(&subject, &queue, HOUR).await.body, b"later");
    assert_eq!(queues.receive(&queue, 32, HOUR).await.unwrap(), []);
}

async fn bodies_are_text_up_to_48_kib(subject: Subject) {
    let queues = &subject.store.queues;
    let queue = queue("text");
    let most = "é".repeat(24 * 1_024);
    for body in ["<a>&amp;\n]]>\"'\u{1f600}", "aGVsbG8=", "", &most] {
        queues.send(&queue, body.into(), NOW).await.unwrap();
        let delivery = next(&subject, &queue, HOUR).await;
        assert!(delivery.body == body.as_bytes(), "{} bytes came back for {}", delivery.body.len(), body.len());
        queues.delete(&delivery).await.unwrap();
    }
    for refused in [format!("{most}a").into_bytes(), b"\xff".to_vec(), b"a\0".to_vec(), b"\x1b[1m".to_vec()] {
        assert_error!(queues.send(&queue, refused, NOW).await, Permanent);
    }
    assert_eq!(queues.receive(&queue, 32, HOUR).await.unwrap(), []);
}

async fn queues_do_not_mix(subject: Subject) {
    let queues = &subject.store.queues;
    let (a, b) = (queue("mix"), queue("mix"));
    for queue in [&a, &b, &a.poison()] {
        queues.send(queue, queue.as_str().into(), NOW).await.unwrap();
    }
    for queue in [&b, &a.poison(), &a] {
        assert_eq!(next(&subject, queue, HOUR).await.body, queue.as_str().as_bytes());
        assert_eq!(queues.receive(queue, 32, HOUR).await.unwrap(), []);
    }
}

/// What somebody gets who receives, and waits for `at_most` whenever there is nothing.
async fn waited_for(subject: &Subject, from: &[QueueName], at_most: Duration) -> Delivery {
    timeout(PATIENCE, async {
        loop {
            for queue in from {
                if let Some(delivery) = subject.store.queues.receive(queue, 1, HOUR).await.unwrap().pop() {
                    return delivery;
                }
            }
            subject.store.queues.wait(from, at_most).await;
        }
    })
    .await
    .expect("a wait ends when a message is there")
}

async fn who_waits_hears_of_a_message(subject: Subject) {
    let queues = [queue("hear"), queue("hear")];
    for i in b'0'..=b'9' {
        let waiting = {
            let (subject, queues) = (subject.clone(), queues.clone());
            tokio::spawn(async move { waited_for(&subject, &queues, HOUR).await })
        };
        tokio::task::yield_now().await;
        subject.store.queues.send(&queues[usize::from(i % 2)], vec![i], NOW).await.unwrap();
        let delivery = waiting.await.unwrap();
        assert_eq!(delivery.body, [i]);
        subject.store.queues.delete(&delivery).await.unwrap();
    }
}

async fn who_waits_hears_of_a_delayed_message(subject: Subject) {
    let queue = queue("hear-late");
    subject.store.queues.send(&queue, b"late".to_vec(), SECOND).await.unwrap();
    assert_eq!(waited_for(&subject, &[queue], HOUR).await.body, b"late");
}

async fn who_waits_in_vain_is_let_go(subject: Subject) {
    timeout(PATIENCE, subject.store.queues.wait(&[queue("vain")], SECOND)).await.expect("the wait is bounded");
}
