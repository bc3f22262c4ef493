//! What sets functions off: messages of queues, and timers.

use std::{sync::Arc, time::Duration};

use cpo::store::{Delivery, QueueName, Store};
use jiff::Timestamp;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{
    envelope::{self, Message, System},
    host::Host,
    outcome::Ending,
    wire::Framing,
};

/// For so long a message in hand is hidden from others.
const VISIBILITY: Duration = Duration::from_secs(600);

/// At work until it is stopped.
#[derive(Debug)]
pub struct Pump {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Pump {
    /// For every function of the package that has a queue or a timer. `timers`: how often they go off, whatever their
    /// schedule says.
    pub fn start(host: &Host, store: &Store, timers: Duration) -> Self {
        let mut tasks = JoinSet::new();
        let stop = watch::Sender::new(false);
        for (name, function) in &host.package.functions {
            let stopped = stop.subscribe();
            match function.trigger().kind.as_str() {
                "queueTrigger" => {
                    let queue = Queue {
                        name: queue_name(function.trigger().queue_name.as_deref().expect("a queue has a name")),
                        function: name.clone(),
                        host: host.clone(),
                        store: store.clone(),
                    };
                    tasks.spawn(Arc::new(queue).pump(stopped));
                }
                "timerTrigger" => {
                    tasks.spawn(tick(host.clone(), name.clone(), timers, stopped));
                }
                _ => {}
            }
        }
        Self { tasks, stop }
    }

    /// Takes nothing more, and returns when nothing is in hand any more.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.tasks.join_all().await;
    }
}

/// Of a queue or of its poison queue.
fn queue_name(name: &str) -> QueueName {
    match name.strip_suffix("-poison") {
        Some(queue) => QueueName::new(queue).unwrap().poison(),
        None => QueueName::new(name).unwrap(),
    }
}

async fn tick(host: Host, name: String, every: Duration, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(every) => {}
        }
        let tick = envelope::timer(host.function(&name), &System::new(&name), false);
        // One that failed goes off again the next time.
        host.invoke(&name, tick, Framing::Chunked).await;
    }
}

#[derive(Debug)]
struct Queue {
    name: QueueName,
    function: String,
    host: Host,
    store: Store,
}

impl Queue {
    async fn pump(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let settings = self.host.package.settings.queues.clone();
        let places = Arc::new(Semaphore::new(settings.batch_size + settings.new_batch_threshold));
        let mut in_hand = JoinSet::new();
        while !*stopped.borrow() {
            while in_hand.try_join_next().is_some() {}
            let free = places.available_permits();
            let received = if free >= settings.batch_size {
                // An emulator under load may refuse; the next look finds what is there.
                self.store.queues.receive(&self.name, settings.batch_size, VISIBILITY).await.unwrap_or_default()
            } else {
                Vec::new()
            };
            if received.is_empty() {
                tokio::select! {
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                    () = tokio::time::sleep(self.host.package.settings.times.poll) => {}
                }
                continue;
            }
            for delivery in received {
                let place = places.clone().try_acquire_owned().expect("no more were asked for than there are places");
                let queue = self.clone();
                in_hand.spawn(async move {
                    queue.handle(delivery).await;
                    drop(place);
                });
            }
        }
        in_hand.join_all().await;
    }

    async fn handle(&self, mut delivery: Delivery) {
        let most = self.host.package.settings.queues.max_deliveries;
        let queues = &self.store.queues;
        if delivery.deliveries > most {
            return self.give_up(delivery).await;
        }
        let message = Message {
            id: delivery.id.clone(),
            receipt: delivery.receipt.clone(),
            body: delivery.body.clone(),
            deliveries: delivery.deliveries,
            inserted: Timestamp::now(),
        };
        let function = self.host.function(&self.function);
        let ending = match envelope::queue(function, &System::new(&self.function), &message) {
            Some(envelope) => self.host.invoke(&self.function, envelope, Framing::Chunked).await.ending,
            None => Ending::Failed("it is no text".to_owned()),
        };
        let ended = match ending {
            Ending::Succeeded => queues.delete(&delivery).await,
            _ if delivery.deliveries >= most => return self.give_up(delivery).await,
            _ => queues.extend(&mut delivery, self.host.package.settings.times.hide_failed).await,
        };
        // It comes again when its time is over.
        drop(ended);
    }

    /// A copy, then the message is deleted. What is in a poison queue has nowhere to go.
    async fn give_up(&self, delivery: Delivery) {
        if self.name.as_str().ends_with("-poison") {
            return;
        }
        let queues = &self.store.queues;
        if queues.send(&self.name.poison(), delivery.body.clone(), Duration::ZERO).await.is_ok() {
            drop(queues.delete(&delivery).await);
        }
    }
}
