//! Queues as rows.
//!
//! A message is hidden from one moment until another. If the first of them is still to come, the clock was set back, and
//! the message is handed out rather than hidden for longer than anybody asked for.

use std::{pin::pin, time::Duration};

use async_trait::async_trait;
use rusqlite::{Connection, params};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    super::{Delivery, Error, QueueName, Queues, limits},
    Embedded,
    database::{Refusal, milliseconds, now},
};

/// How long it takes at most until somebody who waits hears of a message of another process, or of a delayed one.
const LOOK: Duration = Duration::from_millis(50);

#[async_trait]
impl Queues for Embedded {
    async fn send(&self, queue: &QueueName, body: Vec<u8>, delay: Duration) -> Result<(), Error> {
        limits::message(queue, &body)?;
        self.0.database.change(queue, |change| send(change, queue, &body, delay))?;
        if delay.is_zero() {
            self.0.sent.notify_waiters();
        }
        Ok(())
    }

    async fn receive(&self, queue: &QueueName, limit: usize, visibility: Duration) -> Result<Vec<Delivery>, Error> {
        self.0.database.change(queue, |change| receive(change, queue, limit.min(limits::RECEIVE), visibility))
    }

    async fn extend(&self, delivery: &mut Delivery, visibility: Duration) -> Result<(), Error> {
        let receipt = self.0.database.change(&delivery.queue, |change| extend(change, delivery, visibility))?;
        delivery.receipt = receipt;
        Ok(())
    }

    async fn delete(&self, delivery: &Delivery) -> Result<(), Error> {
        self.0.database.change(&delivery.queue, |change| delete(change, delivery))
    }

    async fn wait(&self, queues: &[QueueName], at_most: Duration) {
        let deadline = Instant::now() + at_most;
        loop {
            let mut sent = pin!(self.0.sent.notified());
            // From here on a message is noticed; the look that follows sees all earlier ones.
            sent.as_mut().enable();
            match queues.iter().map(|queue| self.has_visible(queue)).find(|visible| !matches!(visible, Ok(false))) {
                None => {}
                Some(Ok(_)) => return,
                // The caller will meet it when it receives.
                Some(Err(_)) => return sleep(LOOK).await,
            }
            tokio::select! {
                () = sent => {}
                () = sleep_until(deadline.min(Instant::now() + LOOK)) => {}
            }
            if Instant::now() >= deadline {
                return;
            }
        }
    }
}

impl Embedded {
    fn has_visible(&self, queue: &QueueName) -> Result<bool, Error> {
        self.0.database.read(queue, |connection| {
            let mut visible = connection.prepare_cached(
                "SELECT 1 FROM message WHERE queue = ?1 AND (hidden_until <= ?2 OR hidden_from > ?2)",
            )?;
            Ok(visible.exists(params![queue.as_str(), now()])?)
        })
    }
}

fn send(change: &Connection, queue: &QueueName, body: &[u8], delay: Duration) -> Result<(), Refusal> {
    let from = now();
    change
        .prepare_cached(
            "INSERT INTO message (queue, hidden_from, hidden_until, deliveries, body) VALUES (?, ?, ?, 0, ?)",
        )?
        .execute(params![queue.as_str(), from, from + milliseconds(delay), body])?;
    Ok(())
}

fn receive(
    change: &Connection,
    queue: &QueueName,
    limit: usize,
    visibility: Duration,
) -> Result<Vec<Delivery>, Refusal> {
    let from = now();
    // The order is the index's: with enough visible messages, hidden ones are not even looked at.
    let mut taken = change.prepare_cached(
        "UPDATE message SET hidden_from = ?2, hidden_until = ?3, deliveries = deliveries + 1, receipt = random()
         WHERE id IN (
             SELECT id FROM message WHERE queue = ?1 AND (hidden_until <= ?2 OR hidden_from > ?2)
             ORDER BY hidden_until, hidden_from, id LIMIT ?4
         )
         RETURNING id, receipt, body, deliveries",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let taken = taken.query_map(params![queue.as_str(), from, from + milliseconds(visibility), limit], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get(2)?, row.get(3)?))
    })?;
    let mut taken = taken.collect::<Result<Vec<_>, _>>()?;
    // The rows of an update come in no order.
    taken.sort_unstable_by_key(|&(id, ..)| id);
    let delivery = |(id, receipt, body, deliveries): (i64, i64, _, _)| Delivery {
        queue: queue.clone(),
        id: id.to_string(),
        receipt: receipt.to_string(),
        body,
        deliveries,
    };
    Ok(taken.into_iter().map(delivery).collect())
}

/// Its number and receipt, if we gave them out.
fn handed_out(delivery: &Delivery) -> Result<(i64, i64), Error> {
    match (delivery.id.parse(), delivery.receipt.parse()) {
        (Ok(id), Ok(receipt)) => Ok((id, receipt)),
        _ => Err(gone(delivery)),
    }
}

fn gone(delivery: &Delivery) -> Error {
    Error::NotFound { what: format!("a message of queue {}", delivery.queue) }
}

fn extend(change: &Connection, delivery: &Delivery, visibility: Duration) -> Result<String, Refusal> {
    let (id, receipt) = handed_out(delivery)?;
    let from = now();
    let mut extended = change.prepare_cached(
        "UPDATE message SET hidden_from = ?4, hidden_until = ?5, receipt = random()
         WHERE id = ?1 AND receipt = ?2 AND queue = ?3 RETURNING receipt",
    )?;
    let until = from + milliseconds(visibility);
    let mut receipts = extended.query(params![id, receipt, delivery.queue.as_str(), from, until])?;
    let receipt: i64 = receipts.next()?.ok_or_else(|| gone(delivery))?.get(0)?;
    Ok(receipt.to_string())
}

fn delete(change: &Connection, delivery: &Delivery) -> Result<(), Refusal> {
    let (id, receipt) = handed_out(delivery)?;
    let deleted = change
        .prepare_cached("DELETE FROM message WHERE id = ? AND receipt = ? AND queue = ?")?
        .execute(params![id, receipt, delivery.queue.as_str()])?;
    if deleted == 1 { Ok(()) } else { Err(gone(delivery).into()) }
}

/// Whatever was handed out is as it was before, at its old place in the queue.
pub fn take_back(change: &Connection) -> Result<(), Refusal> {
    change.execute(
        "UPDATE message SET hidden_until = hidden_from, deliveries = deliveries - 1, receipt = NULL
         WHERE receipt IS NOT NULL",
        [],
    )?;
    Ok(())
}
