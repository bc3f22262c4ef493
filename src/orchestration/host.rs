//! What calls the engine where no Functions host does: queues and timers in this process.
//!
//! It keeps that host's rules: messages are handed out with a visibility that is renewed at half of it, deleted when
//! they were handled, and moved to the poison queue (copied, then deleted) when they were handed out too often.

use std::{sync::Arc, time::Duration};

use futures::future::try_join_all;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    engine::Engine,
    stage::Agent,
    worker::{MAX_DELIVERIES, WorkError},
};
use crate::store::{self, Delivery, QueueName};

/// How long to wait for messages before asking again, where no store tells that they are there: ever longer while
/// there are none, for each look is paid.
const FIRST_NAP: Duration = Duration::from_millis(50);
const LAST_NAP: Duration = Duration::from_secs(1);
/// For what is given up nobody hurries.
const LAST_NAP_OF_POISON: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct Host {
    engine: Arc<Engine>,
    /// How long after the death of a process its messages come to another.
    visibility: Duration,
    /// How often the sweeper is called.
    sweep_every: Duration,
    /// Whether a store that fails for good (a full disk, a missing right) ends the host rather than be tried again.
    stop_on_failure: bool,
}

/// Messages of one queue in hand.
type Tasks = JoinSet<Result<(), store::Error>>;

/// What a queue's messages are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    Orchestrate,
    Work(Agent),
    GiveUp,
    /// Hears of files.
    StorageEvents,
}

impl Host {
    pub fn new(engine: Arc<Engine>, visibility: Duration, sweep_every: Duration, stop_on_failure: bool) -> Self {
        Self { engine, visibility, sweep_every, stop_on_failure }
    }

    /// Serves all queues until the future is dropped, which leaves what is in hand to come again.
    pub async fn serve(&self) -> Result<(), store::Error> {
        self.serve_until(std::future::pending()).await
    }

    /// Serves all queues until `end`. What is in hand then comes again, and nobody works on it here any more: the store
    /// can be closed.
    pub async fn serve_until<T>(&self, end: impl Future<Output = T>) -> Result<T, store::Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut duties = vec![
            (Engine::orchestrate(), Duty::Orchestrate, 4),
            (Engine::storage_event_queue(), Duty::StorageEvents, 1),
        ];
        for agent in Agent::ALL {
            let at_once = match agent {
                Agent::Retrieve | Agent::Generate | Agent::Screen => self.engine.agents.calls().get(),
                Agent::Segment | Agent::Experiment => cores + 1,
                Agent::Close => 1,
            };
            duties.push((agent.queue(), Duty::Work(agent), at_once));
            duties.push((agent.queue().poison(), Duty::GiveUp, 4));
        }
        let mut tasks: Vec<Tasks> = duties.iter().map(|_| Tasks::new()).collect();
        let ended = {
            let pumps = duties.into_iter().zip(&mut tasks);
            let queues =
                try_join_all(pumps.map(|((queue, duty, at_once), tasks)| self.pump(queue, duty, at_once, tasks)));
            // The others end only by an error.
            tokio::select! {
                ended = end => Ok(ended),
                Err(error) = queues => Err(error),
                Err(error) = self.sweep() => Err(error),
            }
        };
        for tasks in &mut tasks {
            tasks.shutdown().await;
        }
        ended
    }

    async fn sweep(&self) -> Result<(), store::Error> {
        loop {
            tokio::time::sleep(self.sweep_every).await;
            if let Err(error) = self.engine.sweep().await {
                self.survive(error)?;
            }
        }
    }

    /// Errors are told, and what was to be done is done later.
    fn survive(&self, error: store::Error) -> Result<(), store::Error> {
        if self.stop_on_failure && matches!(error, store::Error::Permanent { .. }) {
            return Err(error);
        }
        tracing::warn!(%error, "the store");
        Ok(())
    }

    async fn pump(&self, queue: QueueName, duty: Duty, at_once: usize, tasks: &mut Tasks) -> Result<(), store::Error> {
        let places = Arc::new(Semaphore::new(at_once));
        let last_nap = if duty == Duty::GiveUp { LAST_NAP_OF_POISON } else { LAST_NAP };
        let mut nap = FIRST_NAP;
        loop {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            while let Some(ended) = tasks.try_join_next() {
                match ended {
                    Ok(handled) => handled.or_else(|error| self.survive(error))?,
                    // The message comes again.
                    Err(panic) => tracing::error!(%panic, %queue, "a handler panicked"),
                }
            }
            let received =
                self.engine.store.queues.receive(&queue, 1 + places.available_permits().min(15), self.visibility);
            let mut deliveries = match received.await {
                Ok(deliveries) => deliveries.into_iter(),
                Err(error) => {
                    self.survive(error)?;
                    tokio::time::sleep(LAST_NAP).await;
                    continue;
                }
            };
            let Some(first) = deliveries.next() else {
                drop(place);
                self.engine.store.queues.wait(std::slice::from_ref(&queue), nap).await;
                nap = (2 * nap).min(last_nap);
                continue;
            };
            nap = FIRST_NAP;
            let mut places_taken = vec![place];
            let more = deliveries.len() as u32;
            if more > 0 {
                let more = places.clone().acquire_many_owned(more).await.expect("the semaphore is never closed");
                places_taken.extend(split(more));
            }
            for (delivery, place) in std::iter::once(first).chain(deliveries).zip(places_taken) {
                let host = self.clone();
                tasks.spawn(async move {
                    let handled = host.handle(delivery, duty).await;
                    drop(place);
                    handled
                });
            }
        }
    }

    /// Handles one message, keeping it hidden from others meanwhile.
    async fn handle(&self, mut delivery: Delivery, duty: Duty) -> Result<(), store::Error> {
        let queues = self.engine.store.queues.as_ref();
        // What is poison among the events waits for a person: the sweeper sees the files.
        if delivery.deliveries > MAX_DELIVERIES && matches!(duty, Duty::Work(_) | Duty::StorageEvents) {
            queues.send(&delivery.queue.poison(), delivery.body.clone(), Duration::ZERO).await?;
            return ignore_missing(queues.delete(&delivery).await);
        }
        let handled = {
            let (body, deliveries) = (delivery.body.clone(), delivery.deliveries);
            let mut work = Box::pin(async move {
                match duty {
                    Duty::Orchestrate => self.engine.orchestrate_message(&body).await.map_err(WorkError::from),
                    Duty::Work(_) => self.engine.work(&body, deliveries).await,
                    Duty::GiveUp => self.engine.give_up(&body).await,
                    Duty::StorageEvents => self.engine.storage_event_message(&body).await.map_err(WorkError::from),
                }
            });
            loop {
                tokio::select! {
                    handled = &mut work => break handled,
                    () = tokio::time::sleep(self.visibility / 2) => {
                        if let Err(error) = queues.extend(&mut delivery, self.visibility).await {
                            // Somebody else may get it too, which does no harm.
                            tracing::warn!(%error, "a message could not be kept hidden");
                        }
                    }
                }
            }
        };
        match handled {
            Ok(()) => ignore_missing(queues.delete(&delivery).await),
            Err(error) => {
                tracing::warn!(%error, queue = %delivery.queue, tries = delivery.deliveries, "a message comes again");
                let pause = Duration::from_secs(1 << delivery.deliveries.min(5));
                ignore_missing(queues.extend(&mut delivery, pause.min(self.visibility)).await)?;
                match error {
                    // Of an event, it says that the event is malformed: no reason to end.
                    WorkError::Store(error @ store::Error::Permanent { .. }) if duty != Duty::StorageEvents => {
                        Err(error)
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// Somebody else was handed the message meanwhile: it is theirs now.
fn ignore_missing(result: Result<(), store::Error>) -> Result<(), store::Error> {
    match result {
        Err(store::Error::NotFound { .. }) => Ok(()),
        result => result,
    }
}

fn split(mut permits: tokio::sync::OwnedSemaphorePermit) -> impl Iterator<Item = tokio::sync::OwnedSemaphorePermit> {
    std::iter::from_fn(move || permits.split(1))
}
