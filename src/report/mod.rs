//! The report: one self-contained HTML file that a marketer can read, and the same data as JSON.
//!
//! [`Report`] is the data (`report.json`), [`Report::html`] the page. Whoever has new outcomes reads the JSON back,
//! sets [`Report::results`] and renders again.

mod answer;
mod cards;
mod charts;
mod costs;
mod gallery;
mod message;
mod numbers;
mod page;
mod results;
mod sources;

#[cfg(test)]
mod sample;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

pub use sources::{SourceDocument, Sources, UnusedDocument};

use crate::{
    agents::{
        experimentation::{analysis::Results, design::Design},
        generation::messages::Counts,
    },
    config::campaign::SegmentationMethod,
    domain::{
        attribute::AttributeType,
        channel::Channel,
        digest::Digest,
        estimate::StageEstimate,
        id::{ArmName, CampaignId, Locale, SegmentName},
        money::Usd,
        segment::{Segment, SegmentProfile},
        variant::{Slots, Usage, Variant},
    },
};

/// Everything that is said of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: Schema,
    pub campaign: CampaignFacts,
    pub funnel: Funnel,
    pub data_quality: DataQuality,
    pub segmentation: Segmentation,
    pub sources: Sources,
    pub variants: Vec<Variant>,
    /// What the messages' slots are filled with where a customer has no value.
    pub slots: Slots,
    /// `None`: all messages are for segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<PersonalMessages>,
    pub design: Design,
    /// Customers per segment and arm (`holdout` and `control` included), whatever could be delivered.
    pub assigned: Vec<AssignedCount>,
    /// `None` until outcomes are known. `results.simulated` marks all that derives from invented ones.
    pub results: Option<Results>,
    pub cost: Cost,
    pub timings: Vec<StageTime>,
    pub files: Vec<FileEntry>,
    /// Work that was given up, and that the campaign went on without.
    #[serde(default)]
    pub failures: Vec<FailedItem>,
    /// `None`: it is tracked nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<Tracking>,
}

/// Where a tracking server has the run, or will have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracking {
    /// Without user and password.
    pub server: String,
    pub experiment: String,
    /// The value of its tag `cpo_run`: campaign, generation and start.
    pub tag: String,
    /// `None`: it was not there yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
}

/// The shape of `report.json`; any other is refused when it is read back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    #[default]
    #[serde(rename = "report/1")]
    V1,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignFacts {
    pub id: CampaignId,
    pub name: String,
    pub brand: String,
    /// The day for which approvals, validity and offers were judged.
    pub date: Date,
    /// Of the frozen campaign file.
    pub digest: Digest,
    pub purpose: String,
    /// A sentence: what permits contact, and where it is recorded.
    pub legal_basis: String,
    pub channels: Vec<Channel>,
    pub locales: Vec<Locale>,
}

/// Messages that were written for single customers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PersonalMessages {
    /// The attributes that the writer was told.
    pub fields: Vec<String>,
    pub counts: Counts,
    /// Some of those that are approved and of those that are not.
    pub examples: Vec<Variant>,
}

/// Where every row of the customer file ended; the parts add up to `read`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Funnel {
    pub read: u64,
    pub quarantined: u64,
    pub duplicates: u64,
    pub suppressed: Vec<ReasonCount>,
    pub holdout: u64,
    /// Would get a message and cannot, by reason.
    pub held: Vec<ReasonCount>,
    /// Get the control message in place of their arm's.
    pub fallback: u64,
    /// Get a message of the arm they were assigned to.
    pub assigned: u64,
    /// Of shards whose delivery was given up: they have no arm and get nothing.
    #[serde(default)]
    pub undelivered: u64,
}

impl Funnel {
    pub fn suppressed(&self) -> u64 {
        self.suppressed.iter().map(|reason| reason.customers).sum()
    }

    pub fn held(&self) -> u64 {
        self.held.iter().map(|reason| reason.customers).sum()
    }

    pub fn contactable(&self) -> u64 {
        self.holdout + self.held() + self.fallback + self.assigned + self.undelivered
    }

    fn reached(&self) -> u64 {
        self.fallback + self.assigned
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    pub reason: String,
    pub customers: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataQuality {
    /// The customer file as the user named it.
    pub file: String,
    /// What a reader should know, most important first.
    pub warnings: Vec<String>,
    pub columns: Vec<ColumnQuality>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnQuality {
    pub attribute: String,
    pub column: String,
    #[serde(rename = "type")]
    pub kind: AttributeType,
    /// Rows with a usable value.
    pub values: u64,
    pub missing: u64,
    pub bad: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segmentation {
    pub method: SegmentationMethod,
    pub segments: Vec<SegmentFacts>,
    /// E.g. which rules overlap, and which of them won.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentFacts {
    pub segment: Segment,
    pub profile: SegmentProfile,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedCount {
    pub segment: SegmentName,
    pub arm: ArmName,
    pub customers: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    pub stages: Vec<StageCost>,
    /// The campaign's limit; `None`: none was set.
    pub max_usd: Option<Usd>,
    /// What was expected when the campaign was designed.
    #[serde(default)]
    pub estimate: Vec<StageEstimate>,
}

impl Cost {
    fn total(&self) -> Usage {
        let mut total = Usage::default();
        self.stages.iter().for_each(|stage| total += stage.usage);
        total
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageCost {
    pub stage: String,
    pub provider: String,
    pub usage: Usage,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    pub stage: String,
    pub seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Relative to the campaign's folder.
    pub path: String,
    /// What is in it, in a few words.
    pub what: String,
    pub bytes: u64,
    pub digest: Digest,
}

/// A work item that was tried as often as it may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedItem {
    pub stage: String,
    /// The number of the shard or variant, from 0.
    pub item: u32,
    pub reason: String,
    /// Who therefore get nothing at all.
    pub customers: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A report whose counts contradict each other is not shown to anybody.
    #[error("the report's counts do not add up: {0}")]
    DoesNotAddUp(String),
    #[error("the report's page: {0}")]
    Page(#[from] minijinja::Error),
    #[error("the report's chart: {0}")]
    Chart(String),
}

impl Report {
    /// True if any outcome was invented.
    pub fn is_simulated(&self) -> bool {
        self.results.as_ref().is_some_and(|results| results.simulated)
    }

    /// The whole page: styles and charts inside, no script, nothing loaded from anywhere.
    pub fn html(&self) -> Result<String, Error> {
        self.check()?;
        page::render(self)
    }

    fn check(&self) -> Result<(), Error> {
        let funnel = &self.funnel;
        let parts = funnel.quarantined + funnel.duplicates + funnel.suppressed() + funnel.contactable();
        if parts != funnel.read {
            return Err(Error::DoesNotAddUp(format!("{} customers were read, {parts} are accounted for", funnel.read)));
        }
        let assigned: u64 = self.assigned.iter().map(|count| count.customers).sum();
        if assigned + funnel.undelivered != funnel.contactable() {
            return Err(Error::DoesNotAddUp(format!(
                "{} customers may be contacted, {assigned} have an arm, the delivery of {} was given up",
                funnel.contactable(),
                funnel.undelivered
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_lost_between_two_counts_stops_the_report() {
        let mut report = sample::report();
        report.funnel.fallback -= 1;
        assert!(matches!(report.html(), Err(Error::DoesNotAddUp(_))));

        let mut report = sample::report();
        report.assigned[0].customers += 1;
        assert!(matches!(report.html(), Err(Error::DoesNotAddUp(_))));
    }

    #[test]
    fn the_json_reads_back_and_renders_the_same_page() {
        let report = sample::with_results(true);
        let json = serde_json::to_string(&report).unwrap();
        let again: Report = serde_json::from_str(&json).unwrap();
        assert_eq!(again.html().unwrap(), report.html().unwrap());
        assert!(serde_json::from_str::<Report>(&json.replace("report/1", "report/2")).is_err());
    }
}
