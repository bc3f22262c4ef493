//! Queue Storage. Bodies travel as the text that they are.
//!
//! A Functions host has one encoding for all of an app's queues, and Event Grid writes plain text. To take Base64 for what
//! it encodes as well would make other bytes of a message that merely looks like it.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use azure_core::{error::ErrorKind, http::headers::HeaderName};
use azure_storage_queue::{
    QueueClient, QueueServiceClient,
    models::{QueueClientReceiveMessagesOptions, QueueClientSendMessageOptions, QueueMessage, ReceivedMessage},
};
use futures::future::select_all;
use tokio::{sync::Notify, time::timeout};

use super::call::{Effect, Failure, SHORT, call};
use crate::store::{Delivery, Error, QueueName, Queues, limits};

pub struct AzureQueues {
    service: QueueServiceClient,
    /// Of messages that this process has sent.
    sent: Mutex<HashMap<QueueName, Arc<Notify>>>,
}

/// Of a message that stays until it is deleted.
const FOREVER: i32 = -1;
static POP_RECEIPT: HeaderName = HeaderName::from_static("x-ms-popreceipt");
/// Nothing tells what other processes send, or that a message is visible again. Whoever waits is let go after so long,
/// and may look; to look for him would only be one request more.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl fmt::Debug for AzureQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AzureQueues").field(&self.service.url().as_str()).finish()
    }
}

impl AzureQueues {
    pub fn new(service: QueueServiceClient) -> Self {
        Self { service, sent: Mutex::default() }
    }

    fn client(&self, queue: &QueueName) -> Result<QueueClient, Error> {
        let failed = |error: azure_core::Error| Error::Permanent { what: queue.to_string(), source: error.into() };
        self.service.queue_client(queue.as_str()).map_err(failed)
    }

    fn sent(&self, queue: &QueueName) -> Arc<Notify> {
        // Nobody panics while he has it.
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.entry(queue.clone()).or_default().clone()
    }
}

#[async_trait]
impl Queues for AzureQueues {
    async fn send(&self, queue: &QueueName, body: Vec<u8>, delay: Duration) -> Result<(), Error> {
        let text = limits::message(queue, &body)?;
        let client = self.client(queue)?;
        let sent = making_the_queue(&client, Effect::Write, || async {
            let message = QueueMessage { message_text: Some(text.to_owned()) };
            let options = QueueClientSendMessageOptions {
                message_time_to_live: Some(FOREVER),
                visibility_timeout: Some(seconds(delay)),
                ..Default::default()
            };
            client.send_message(message.try_into()?, Some(options)).await
        });
        sent.await.map_err(|failure| failure.about(queue))?;
        if delay.is_zero() {
            self.sent(queue).notify_one();
        }
        Ok(())
    }

    /// A call whose answer is lost is made again: its messages are hidden for a while in either case.
    async fn receive(&self, queue: &QueueName, limit: usize, visibility: Duration) -> Result<Vec<Delivery>, Error> {
        let client = self.client(queue)?;
        let limit = limit.min(limits::RECEIVE);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let received = making_the_queue(&client, Effect::Read, || async {
            let options = QueueClientReceiveMessagesOptions {
                number_of_messages: Some(limit as i32),
                visibility_timeout: Some(seconds(visibility)),
                ..Default::default()
            };
            client.receive_messages(Some(options)).await?.into_model()
        });
        let messages = received.await.map_err(|failure| failure.about(queue))?.items.unwrap_or_default();
        let deliveries = messages.into_iter().map(|message| delivery(queue, message));
        deliveries.collect::<Option<_>>().ok_or_else(|| Error::Transient {
            what: queue.to_string(),
            source: "Azure Storage handed out a message without its id or receipt".into(),
        })
    }

    async fn extend(&self, delivery: &mut Delivery, visibility: Duration) -> Result<(), Error> {
        let client = self.client(&delivery.queue)?;
        let extended = call(Effect::Write, SHORT, || async {
            let answer = client.update_message(&delivery.id, &delivery.receipt, seconds(visibility), None).await?;
            let receipt = answer.headers().get_optional_string(&POP_RECEIPT);
            receipt.ok_or_else(|| azure_core::Error::with_message(ErrorKind::DataConversion, "no receipt came back"))
        });
        delivery.receipt = extended.await.map_err(|failure| failure.about(&of(delivery)))?;
        Ok(())
    }

    async fn delete(&self, delivery: &Delivery) -> Result<(), Error> {
        let client = self.client(&delivery.queue)?;
        let deleted = call(Effect::Write, SHORT, || client.delete_message(&delivery.id, &delivery.receipt, None));
        deleted.await.map_err(|failure| failure.about(&of(delivery)))?;
        Ok(())
    }

    async fn wait(&self, queues: &[QueueName], at_most: Duration) {
        let sent: Vec<_> = queues.iter().map(|queue| self.sent(queue)).collect();
        let heard = async {
            match sent.is_empty() {
                true => std::future::pending().await,
                false => drop(select_all(sent.iter().map(|sent| Box::pin(sent.notified()))).await),
            }
        };
        // That there was nothing is as good a reason to come back.
        let _ = timeout(at_most.min(LONGEST_WAIT), heard).await;
    }
}

/// Makes the queue where it is missing.
async fn making_the_queue<T, F>(client: &QueueClient, effect: Effect, attempt: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = azure_core::Result<T>>,
{
    match call(effect, SHORT, &attempt).await {
        Err(failure) if failure.code() == "QueueNotFound" => {}
        done => return done,
    }
    match call(Effect::Write, SHORT, || client.create(None)).await {
        Err(failure) if failure.code() != "QueueAlreadyExists" => Err(failure),
        _ => call(effect, SHORT, &attempt).await,
    }
}

fn delivery(queue: &QueueName, message: ReceivedMessage) -> Option<Delivery> {
    Some(Delivery {
        queue: queue.clone(),
        id: message.message_id?,
        receipt: message.pop_receipt?,
        // Somebody else may have put anything there. Whoever reads it finds that it makes no sense.
        body: message.message_text.unwrap_or_default().into_bytes(),
        deliveries: u32::try_from(message.dequeue_count?).unwrap_or(u32::MAX),
    })
}

fn of(delivery: &Delivery) -> String {
    format!("a message of queue {}", delivery.queue)
}

/// Not less than that.
fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis().div_ceil(1_000)).unwrap_or(i32::MAX)
}
