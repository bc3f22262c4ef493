//! The report of a run, from what its stages left.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use jiff::civil::Date;

use crate::{
    agents::{
        experimentation::{
            deliveries::{Counts, Tally},
            design::Design,
            words,
        },
        retrieval::{Retrieved, library::Library},
        segmentation::{Model, RuleOverlap},
    },
    config::Campaign,
    domain::{
        attribute::{CONSENT, SUPPRESSED},
        channel::Channel,
        id::PassageId,
        segment::{Segment, SegmentProfile},
        variant::Variant,
    },
    ingest::Ingested,
    orchestration::{finished::Frozen, ledger::Ledger, summary::Timing},
    report::{
        AssignedCount, CampaignFacts, ColumnQuality, Cost, DataQuality, FailedItem, FileEntry, Funnel,
        PersonalMessages, ReasonCount, Report, Schema, SegmentFacts, Segmentation, Sources, StageCost, StageTime,
        Tracking,
    },
};

/// All that a finished run knows of itself.
pub struct Finished<'a> {
    pub frozen: &'a Frozen,
    pub content: &'a Library,
    pub date: Date,
    pub customer_file: &'a Path,
    pub ingested: &'a Ingested,
    pub model: &'a Model,
    /// Those with customers.
    pub segments: &'a [Segment],
    pub profiles: &'a [SegmentProfile],
    pub overlaps: Vec<RuleOverlap>,
    pub retrieved: &'a [Retrieved],
    pub variants: &'a [Variant],
    pub design: &'a Design,
    /// Where the campaign wrote to customers one by one.
    pub personal: Option<PersonalMessages>,
    pub deliveries: &'a Tally,
    /// Customers of shards that were given up.
    pub undelivered: u64,
    pub failures: Vec<FailedItem>,
    pub ledger: &'a Ledger,
    pub timings: Vec<Timing>,
    pub files: Vec<FileEntry>,
    pub tracking: Option<Tracking>,
}

impl Finished<'_> {
    pub fn report(self) -> Report {
        let campaign = &self.frozen.campaign;
        let date = self.date;
        Report {
            schema: Schema::V1,
            campaign: CampaignFacts {
                id: campaign.campaign.id.clone(),
                name: campaign.campaign.name.clone(),
                brand: campaign.generation.brand.name.clone(),
                date,
                digest: self.frozen.digest,
                purpose: campaign.campaign.purpose.clone(),
                legal_basis: legal_basis(campaign),
                channels: campaign.campaign.channels.clone(),
                locales: campaign.campaign.locales.clone(),
            },
            funnel: self.funnel(),
            data_quality: self.data_quality(),
            segmentation: Segmentation {
                method: campaign.segmentation.method,
                segments: self
                    .segments
                    .iter()
                    .zip(self.profiles)
                    .map(|(segment, profile)| SegmentFacts { segment: segment.clone(), profile: profile.clone() })
                    .collect(),
                notes: self.overlaps.iter().map(overlap_in_words).collect(),
            },
            sources: Sources::of(self.content.documents(), self.retrieved.to_vec(), self.variants, date),
            variants: self.variants.to_vec(),
            slots: campaign.generation.slots.clone(),
            personal: self.personal.clone(),
            design: self.design.clone(),
            assigned: self.assigned(),
            results: None,
            cost: Cost {
                stages: self
                    .ledger
                    .entries
                    .iter()
                    .map(|entry| StageCost {
                        stage: entry.stage.clone(),
                        provider: entry.provider.clone(),
                        usage: entry.usage,
                    })
                    .collect(),
                max_usd: self.ledger.cap_usd,
                estimate: self.ledger.estimate.clone(),
            },
            timings: self
                .timings
                .iter()
                .map(|timing| StageTime { stage: timing.stage.as_str().to_owned(), seconds: timing.seconds })
                .collect(),
            files: self.files,
            failures: self.failures,
            tracking: self.tracking,
        }
    }

    fn funnel(&self) -> Funnel {
        let total = self.deliveries.total();
        Funnel {
            read: self.ingested.read,
            quarantined: self.ingested.quarantined,
            duplicates: self.ingested.duplicates,
            suppressed: reasons(&self.ingested.suppressed_by_reason),
            holdout: total.holdout,
            held: reasons(&self.deliveries.held),
            fallback: total.fallback,
            assigned: total.assigned,
            undelivered: self.undelivered,
        }
    }

    fn data_quality(&self) -> DataQuality {
        let quality = &self.ingested.quality;
        let columns: Vec<ColumnQuality> = quality
            .columns
            .iter()
            .map(|column| ColumnQuality {
                attribute: column.attribute.clone(),
                column: column.column.clone(),
                kind: column.kind,
                values: column.values,
                missing: column.missing,
                bad: column.bad,
            })
            .collect();
        let mut warnings = Vec::new();
        for column in &columns {
            let rows = column.values + column.missing + column.bad;
            if column.missing * 5 > rows {
                warnings.push(format!(
                    "`{}` is missing in {:.0} % of the rows",
                    column.attribute,
                    column.missing as f64 / rows as f64 * 100.0
                ));
            }
        }
        DataQuality { file: self.customer_file.display().to_string(), warnings, columns }
    }

    fn assigned(&self) -> Vec<AssignedCount> {
        let mut counts = Vec::new();
        for profile in self.profiles {
            let segment = self.model.segments().iter().position(|segment| segment.name == profile.name);
            for (arm, planned) in self.design.arms.iter().enumerate() {
                let of_cell =
                    |((s, a), _): &(&(u16, u16), &Counts)| Some(usize::from(*s)) == segment && usize::from(*a) == arm;
                let customers = self.deliveries.cells.iter().filter(of_cell).map(|(_, counts)| counts.total()).sum();
                counts.push(AssignedCount { segment: profile.name.clone(), arm: planned.name.clone(), customers });
            }
        }
        counts
    }
}

fn reasons<Reason: std::fmt::Display>(counts: &BTreeMap<Reason, u64>) -> Vec<ReasonCount> {
    counts.iter().map(|(reason, customers)| ReasonCount { reason: reason.to_string(), customers: *customers }).collect()
}

fn overlap_in_words(overlap: &RuleOverlap) -> String {
    format!(
        "{} customers match both `{}` and `{}`; of these two, `{}` stands first.",
        words::count(overlap.customers),
        overlap.winner,
        overlap.other,
        overlap.winner
    )
}

/// The passages that were kept from all messages, in words.
pub fn withheld(retrieved: &[Retrieved]) -> Vec<String> {
    let passages: BTreeSet<&PassageId> = retrieved.iter().flat_map(|answer| &answer.withheld).collect();
    let warning = |passage: &PassageId| {
        format!(
            "Passage `{passage}` of document `{}` was kept from all messages: Prompt Shields takes its words for an \
             attack on a language model. Look at it, and reword or withdraw it.",
            passage.document()
        )
    };
    passages.into_iter().map(warning).collect()
}

/// What permits the contact, in a sentence.
pub fn legal_basis(campaign: &Campaign) -> String {
    let (purpose, attributes) = (&campaign.campaign.purpose, campaign.attributes());
    let mapped = |attribute: &str| attributes.get(attribute).map(|attribute| attribute.column.as_str());
    let mut sentence = match mapped(CONSENT) {
        Some(column) => {
            format!("Only customers whose column `{column}` says yes are contacted (purpose: {purpose}).")
        }
        None => format!(
            "No consent column is mapped: whoever started the campaign vouches that everybody in the file may be \
             contacted (purpose: {purpose})."
        ),
    };
    if let Some(column) = mapped(SUPPRESSED) {
        sentence.push_str(&format!(" Whoever is marked in column `{column}` is left out."));
    }
    for channel in &campaign.campaign.channels {
        if let Some(column) = mapped(Channel::consent_attribute(*channel)) {
            sentence.push_str(&format!(" The channel {channel} needs a yes in column `{column}`."));
        }
    }
    if campaign.customers.suppression.is_some() {
        sentence.push_str(" Customers on the suppression list are left out.");
    }
    sentence
}
