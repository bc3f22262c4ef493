//! What single customers were given, recorded before they are given it.
//!
//! Requests that come while a record is being written share the next one: a log grows by as many records as the store
//! has time for, however many requests there are.
//!
//! **For readers:** all logs of a run together are its exposures. Lines with the same `key` and `customer` are one
//! exposure, the one with the earliest `at`: a request that was made again, or whose record was written although the
//! store could not say so. A line says what was going to be given; that its answer also arrived only the asker knows.
//!
//! **If the process dies**, a request that was answered has its line. One that was not may have it.

use std::{
    mem,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    domain::{
        channel::Channel,
        experiment::DeliveryStatus,
        id::{ArmName, Locale, SegmentName, VariantId},
    },
    orchestration::names::Run,
    store::Blobs,
};

/// One line of a log. Customers who may not be contacted have none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exposure {
    pub schema: Schema,
    /// The request's.
    pub key: String,
    pub at: Timestamp,
    pub customer: String,
    pub segment: SegmentName,
    /// `holdout`, `control` or an arm's name.
    pub arm: ArmName,
    /// `assigned` and `fallback` were given `variant`, the others nothing.
    pub status: DeliveryStatus,
    pub channel: Option<Channel>,
    pub locale: Option<Locale>,
    pub variant: Option<VariantId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    #[serde(rename = "exposure/1")]
    V1,
}

/// As many records as any store's log can hold.
const LOG_RECORDS: u64 = 50_000;
/// Of lines that wait: well below the 4 MiB that a record can have, with room for the last one.
const WAITING_BYTES: usize = 3 << 20;

/// Nobody may be given anything now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the exposure could not be recorded, so there is no message: ask again with the same key")]
pub struct NotRecorded;

/// The exposures of one run that this process records.
#[derive(Debug)]
pub struct Exposures {
    run: Run,
    /// Nobody else's, so that nobody else can fill these logs.
    writer: Uuid,
    waiting: Mutex<Batch>,
    /// Held while a record is written.
    part: Arc<tokio::sync::Mutex<Part>>,
}

/// Lines that become one record, and what came of it.
#[derive(Debug, Default)]
struct Batch {
    lines: Vec<u8>,
    outcome: Arc<OnceLock<Result<(), NotRecorded>>>,
}

/// The log that is written to: one an hour, and another one where it is full or may be.
#[derive(Debug, Default)]
struct Part {
    hour: String,
    number: u32,
}

impl Exposures {
    pub fn new(run: Run) -> Self {
        Self { run, writer: Uuid::new_v4(), waiting: Mutex::default(), part: Arc::default() }
    }

    /// Returns when it is recorded. If the caller goes away meanwhile, it may or may not be.
    pub async fn record(&self, blobs: &Arc<dyn Blobs>, exposure: &Exposure) -> Result<(), NotRecorded> {
        let outcome = self.wait_with(exposure)?;
        let part = Arc::clone(&self.part).lock_owned().await;
        if let Some(outcome) = outcome.get() {
            return *outcome;
        }
        let batch = mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if !Arc::ptr_eq(&batch.outcome, &outcome) {
            // Whoever took it could not say what came of it: it panicked.
            return Err(NotRecorded);
        }
        // A task of its own, since others wait for it too.
        let (blobs, run, writer) = (Arc::clone(blobs), self.run.clone(), self.writer);
        let hour = exposure.at.strftime("%Y-%m-%d-%H").to_string();
        let written = tokio::spawn(async move {
            let mut part = part;
            let written = part.append(blobs.as_ref(), &run, writer, hour, batch.lines).await;
            // Set before the next one may write.
            *batch.outcome.get_or_init(|| written)
        });
        written.await.unwrap_or(Err(NotRecorded))
    }

    fn wait_with(&self, exposure: &Exposure) -> Result<Arc<OnceLock<Result<(), NotRecorded>>>, NotRecorded> {
        let mut line = serde_json::to_vec(exposure).expect("texts and times are plain data");
        line.push(b'\n');
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.lines.len() > WAITING_BYTES {
            tracing::warn!("exposures come faster than the store takes them");
            return Err(NotRecorded);
        }
        waiting.lines.extend(line);
        Ok(Arc::clone(&waiting.outcome))
    }
}

impl Part {
    async fn append(
        &mut self,
        blobs: &dyn Blobs,
        run: &Run,
        writer: Uuid,
        hour: String,
        lines: Vec<u8>,
    ) -> Result<(), NotRecorded> {
        if self.hour != hour {
            *self = Self { hour, number: 1 };
        }
        let log = run.exposures(&format!("{}-{writer}-{}", self.hour, self.number));
        match blobs.append(&log, lines).await {
            Ok(records) => {
                if records >= LOG_RECORDS {
                    self.number += 1;
                }
                Ok(())
            }
            Err(error) => {
                // It may have been the log's last record.
                self.number += 1;
                tracing::error!(%error, "an exposure cannot be recorded");
                Err(NotRecorded)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::Ordering, time::Duration};

    use futures::future::join_all;

    use super::{super::tests::Slow, *};
    use crate::{domain::id::CampaignId, store::Memory};

    #[test]
    fn a_line_of_an_earlier_version_is_still_read() {
        let line = include_str!("../../../tests/data/formats/exposure-1.json");
        let exposure: Exposure = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&exposure).unwrap(), line.trim_end());
    }

    fn slow(records: u64, lose_answers: bool) -> Arc<Slow> {
        Arc::new(Slow { records, lose_answers, ..Slow::new(Memory::default().store().blobs) })
    }

    fn run() -> Run {
        Run { campaign: CampaignId::new("spring").unwrap(), generation: 1 }
    }

    fn exposure(number: usize, at: &str) -> Exposure {
        Exposure {
            schema: Schema::V1,
            key: format!("key {number}"),
            at: at.parse().unwrap(),
            customer: format!("C-{number}"),
            segment: SegmentName::new("Everyone").unwrap(),
            arm: ArmName::new("friendly").unwrap(),
            status: DeliveryStatus::Held,
            channel: None,
            locale: None,
            variant: None,
        }
    }

    const AT: &str = "2026-11-23T01:59:00Z";

    /// The logs' names, and all that is in them.
    async fn logs(blobs: &dyn Blobs) -> (Vec<String>, Vec<Exposure>) {
        let (mut names, mut lines) = (Vec::new(), Vec::new());
        for path in blobs.list(Some(&run().folder())).await.unwrap() {
            let bytes = blobs.get(&path).await.unwrap().bytes;
            let read = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.extend(read.map(|line| serde_json::from_slice::<Exposure>(line).unwrap()));
            names.push(path.to_string());
        }
        (names, lines)
    }

    #[tokio::test(start_paused = true)]
    async fn requests_at_once_share_a_record_and_each_has_its_line() {
        let slow = slow(0, false);
        let (blobs, exposures) = (Arc::clone(&slow) as Arc<dyn Blobs>, Exposures::new(run()));
        let all: Vec<_> = (0..200).map(|number| exposure(number, AT)).collect();
        let recorded = join_all(all.iter().map(|exposure| exposures.record(&blobs, exposure))).await;
        assert!(recorded.iter().all(Result::is_ok));
        // The first does not wait for others; they wait for it.
        assert_eq!(slow.appends.load(Ordering::Relaxed), 2);
        let (names, lines) = logs(blobs.as_ref()).await;
        assert_eq!(lines, all);
        let [name] = &names[..] else { panic!("{names:?}") };
        assert!(
            name.starts_with("campaigns/spring/1/exposures/2026-11-23-01-") && name.ends_with("-1.jsonl"),
            "{name}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_takes_nobody_elses_line_along() {
        let slow = slow(0, false);
        let (blobs, exposures) = (Arc::clone(&slow) as Arc<dyn Blobs>, Arc::new(Exposures::new(run())));
        let record = |number: usize| {
            let (blobs, exposures) = (Arc::clone(&blobs), Arc::clone(&exposures));
            tokio::spawn(async move { exposures.record(&blobs, &exposure(number, AT)).await })
        };
        let (leader, follower) = (record(0), record(1));
        tokio::time::sleep(Duration::from_millis(10)).await;
        leader.abort();
        let later = record(2);
        assert_eq!((follower.await.unwrap(), later.await.unwrap()), (Ok(()), Ok(())));
        assert_eq!(logs(blobs.as_ref()).await.1.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_log_a_new_hour_and_a_failure_each_begin_another_log() {
        let full = slow(LOG_RECORDS - 1, false);
        let blobs = Arc::clone(&full) as Arc<dyn Blobs>;
        let exposures = Exposures::new(run());
        for (number, at) in [AT, AT, "2026-11-23T02:00:00Z"].into_iter().enumerate() {
            exposures.record(&blobs, &exposure(number, at)).await.unwrap();
        }
        let (names, lines) = logs(blobs.as_ref()).await;
        let ends: Vec<_> = names.iter().map(|name| (name.contains("-02-"), name.ends_with("-2.jsonl"))).collect();
        assert_eq!((ends, lines.len()), (vec![(false, false), (false, true), (true, false)], 3));

        // Every asker is told, and the record that was written all the same is there again under the same key.
        let blobs: Arc<dyn Blobs> = slow(0, true);
        let exposures = Exposures::new(run());
        for _ in 0..2 {
            assert_eq!(exposures.record(&blobs, &exposure(7, AT)).await, Err(NotRecorded));
        }
        let (names, lines) = logs(blobs.as_ref()).await;
        assert_eq!((names.len(), lines), (2, vec![exposure(7, AT), exposure(7, AT)]));
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_a_record_can_hold_is_refused_and_not_lost() {
        let blobs: Arc<dyn Blobs> = slow(0, false);
        let exposures = Exposures::new(run());
        let large = |number| Exposure { key: "k".repeat(100_000), ..exposure(number, AT) };
        let all: Vec<_> = (0..40).map(large).collect();
        let recorded = join_all(all.iter().map(|exposure| exposures.record(&blobs, exposure))).await;
        let taken = recorded.iter().filter(|recorded| recorded.is_ok()).count();
        assert!((30..40).contains(&taken), "{taken}");
        assert_eq!(logs(blobs.as_ref()).await.1.len(), taken);
    }
}
