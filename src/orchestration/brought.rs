//! Files of outcomes on their way into a campaign's results.
//!
//! Whoever hears of a file, by a call or an event, first writes down that it waits, then marks its campaign, then sends
//! a message. The message's handler takes the file in where the campaign is complete, and else leaves it: the turn that
//! completes the campaign sends for what waits by then, and so does the sweeper when nothing has come of it. So no file
//! is lost, whoever dies, and one that comes before its campaign has begun is taken in when that has ended.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    client::ClientError,
    engine::{Engine, Held},
    instance::Status,
    names,
    outcomes::{self, OutcomesError},
};
use crate::{
    domain::{digest::Digest, id::CampaignId, problem::Problem},
    store::{self, BlobPath, Precondition},
};

/// A file that so many tries have brought nowhere ends the process each time, or takes too long.
const MAX_TRIES: u32 = 20;
/// After so long without an end a try counts as dead: longer than a Functions host lets one take.
const DEAD: SignedDuration = SignedDuration::from_mins(10);

/// A file that somebody heard of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Brought {
    pub schema: Schema,
    pub upload: BlobPath,
    /// Since when it stands so.
    pub at: Timestamp,
    pub standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    #[serde(rename = "outcomes-file/1")]
    V1,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Standing {
    /// For its campaign, or for somebody to take it in.
    Waiting { tries: u32, begun: Option<Timestamp> },
    /// The results tell of it.
    Taken,
    /// It cannot be analysed; the results are as if it were not there.
    Refused { problems: Vec<Problem> },
}

impl Brought {
    /// Of the file, in addresses.
    pub fn key(upload: &BlobPath) -> Digest {
        Digest::of(upload.as_str())
    }
}

impl Engine {
    /// Has a file of outcomes taken in: soon where its campaign is complete, else when it is. The same file again is
    /// looked at again, which changes nothing.
    pub async fn bring_outcomes(&self, campaign: &CampaignId, upload: &BlobPath) -> Result<Brought, OutcomesError> {
        match self.store.blobs.head(upload, 0).await {
            Err(store::Error::NotFound { .. }) => return Err(OutcomesError::NoFile(upload.clone())),
            head => drop(head?),
        }
        let brought = self.note_outcomes(campaign, upload, Standing::Waiting { tries: 0, begun: None }).await?;
        self.mark_active(campaign).await?;
        self.announce_file(upload).await?;
        Ok(brought)
    }

    /// Takes in a file that is there, or another one under its name. An error is worth another try.
    pub(super) async fn outcomes_arrived(&self, upload: &BlobPath) -> Result<(), store::Error> {
        let Some(Ok(campaign)) = upload.as_str().split('/').nth(1).map(CampaignId::new) else { return Ok(()) };
        let tries = match self.brought_outcomes(&campaign, Brought::key(upload)).await?.map(|known| known.standing) {
            Some(Standing::Waiting { tries, .. }) => tries,
            _ => 0,
        };
        let held = self.load(&campaign).await?;
        if held.is_none_or(|Held { instance, .. }| instance.status != Status::Completed) {
            self.note_outcomes(&campaign, upload, Standing::Waiting { tries: 0, begun: None }).await?;
            return self.mark_active(&campaign).await;
        }
        if tries == MAX_TRIES {
            let problem = Problem::new(
                format!("{MAX_TRIES} tries to analyse it have not come to an end"),
                "bring it in several smaller files, a row per customer in each",
            );
            let problems = vec![problem.in_file(upload.as_str())];
            return self.note_outcomes(&campaign, upload, Standing::Refused { problems }).await.map(drop);
        }
        let waiting = Standing::Waiting { tries: tries + 1, begun: Some(self.now()) };
        self.note_outcomes(&campaign, upload, waiting).await?;
        self.mark_active(&campaign).await?;
        let standing = match outcomes::arrived(self, &campaign, upload).await {
            Ok(()) => Standing::Taken,
            Err(OutcomesError::Problems(problems)) => Standing::Refused { problems },
            Err(OutcomesError::NoFile(_)) => {
                return self.store.blobs.delete(&names::outcomes_file(&campaign, Brought::key(upload))).await;
            }
            Err(OutcomesError::Client(ClientError::Store(error))) => return Err(error),
            Err(OutcomesError::Failed(error)) => {
                return Err(store::Error::Transient { what: upload.to_string(), source: error.into() });
            }
            // It was restarted or purged meanwhile.
            Err(OutcomesError::NotComplete(_) | OutcomesError::Client(_)) => return Ok(()),
        };
        if let Standing::Refused { problems } = &standing {
            tracing::warn!(%campaign, %upload, problems = problems.len(), "outcomes cannot be analysed");
        }
        self.note_outcomes(&campaign, upload, standing).await.map(drop)
    }

    /// Sends for the files that wait for a campaign that is complete. Whether any do.
    pub(super) async fn send_for_outcomes(&self, campaign: &CampaignId) -> Result<bool, store::Error> {
        let mut any = false;
        for Brought { upload, standing, .. } in self.all_brought_outcomes(campaign).await? {
            let Standing::Waiting { begun, .. } = standing else { continue };
            any = true;
            if begun.is_none_or(|begun| self.now().duration_since(begun) > DEAD) {
                self.announce_file(&upload).await?;
            }
        }
        Ok(any)
    }

    /// How a file stands; `None`: nobody has heard of it.
    pub async fn brought_outcomes(&self, campaign: &CampaignId, key: Digest) -> Result<Option<Brought>, store::Error> {
        let path = names::outcomes_file(campaign, key);
        match self.store.blobs.get(&path).await {
            Ok(blob) => serde_json::from_slice(&blob.bytes)
                .map(Some)
                .map_err(|error| store::Error::Permanent { what: path.to_string(), source: error.into() }),
            Err(store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All that somebody heard of, by their paths.
    pub async fn all_brought_outcomes(&self, campaign: &CampaignId) -> Result<Vec<Brought>, store::Error> {
        let mut all = Vec::new();
        for path in self.store.blobs.list(Some(&names::outcomes_files(campaign))).await? {
            let key = path.as_str().rsplit('/').next().and_then(|name| name.strip_suffix(".json")?.parse().ok());
            if let Some(key) = key {
                all.extend(self.brought_outcomes(campaign, key).await?);
            }
        }
        all.sort_by(|a, b| a.upload.cmp(&b.upload));
        Ok(all)
    }

    /// Who writes last decides: if that is somebody who heard of the file before it was taken in, it is taken in again.
    async fn note_outcomes(
        &self,
        campaign: &CampaignId,
        upload: &BlobPath,
        standing: Standing,
    ) -> Result<Brought, store::Error> {
        let brought = Brought { schema: Schema::V1, upload: upload.clone(), at: self.now(), standing };
        let bytes = serde_json::to_vec(&brought).expect("texts and times are plain data");
        let path = names::outcomes_file(campaign, Brought::key(upload));
        self.store.blobs.put(&path, bytes, Precondition::None).await?;
        Ok(brought)
    }
}
