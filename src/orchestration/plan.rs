//! Everything that can be known to be wrong before a campaign starts is found here.

use std::path::{Path, PathBuf};

use jiff::{Zoned, civil::Date};

use super::start::{self, Source, Start};
use crate::{
    Error,
    agents::{generation, retrieval::library::Library, safety, segmentation},
    config::Campaign,
    domain::{attribute::Attributes, digest::Digest, problem::Problem},
    ingest::{self, Suppression},
    providers::prices,
};

/// A checked campaign with all it needs besides its customers.
#[derive(Debug)]
pub struct Plan {
    pub campaign: Campaign,
    pub attributes: Attributes,
    pub segmentation: segmentation::Plan,
    pub content: Library,
    pub content_folder: PathBuf,
    /// Of all documents.
    pub content_digest: Digest,
    /// The day for which approvals, validity windows and offers are judged.
    pub date: Date,
    pub suppression: Suppression,
    /// Where the campaign has such a list.
    pub suppression_file: Option<PathBuf>,
}

impl Plan {
    /// Reads the campaign file, its content and its suppression list, and checks them as a whole.
    ///
    /// `earlier_date`: for a campaign file without a date, the one that an earlier run of it was frozen with. So a
    /// second run that replaces nothing gives the same messages on any day.
    pub fn read(
        campaign_file: &Path,
        content: Option<&Path>,
        earlier_date: impl FnOnce(&Campaign) -> Option<Date>,
    ) -> Result<Self, Error> {
        let mut campaign = Campaign::read(campaign_file)?;
        let date = campaign.campaign.date.or_else(|| earlier_date(&campaign)).unwrap_or_else(|| Zoned::now().date());
        campaign.campaign.date = Some(date);
        let attributes = campaign.attributes();
        let mut problems = Vec::new();
        let segmentation = keep_problems(&mut problems, check(&campaign, &attributes));
        let mut problems = Campaign::locate(problems, campaign_file);

        let beside = |path: &str| campaign_file.parent().unwrap_or(Path::new("")).join(path);
        let content_folder = content.map_or_else(|| beside(&campaign.content.path), PathBuf::from);
        let library = keep_problems(&mut problems, Library::load(&content_folder));
        let suppression_file = campaign.customers.suppression.as_deref().map(beside);
        let suppression = match &suppression_file {
            Some(file) => keep_problems(&mut problems, Suppression::read(file).map_err(|problem| vec![problem])),
            None => Some(Suppression::default()),
        };
        match (segmentation, library, suppression) {
            (Some(segmentation), Some(library), Some(suppression)) if problems.is_empty() => {
                let content_digest = library.digest();
                Ok(Self {
                    campaign,
                    attributes,
                    segmentation,
                    content: library,
                    content_folder,
                    content_digest,
                    date,
                    suppression,
                    suppression_file,
                })
            }
            _ => Err(Error::Input(problems)),
        }
    }

    /// What the campaign is to be started with, and the library's JSON, which it names by its digest.
    pub fn start(self, customers: &Path) -> Result<(Start, Vec<u8>), Error> {
        let source = |path: &Path, what| Source::file(path).map_err(|error| ingest::unreadable(path, what, error));
        let library = serde_json::to_vec(&self.content)
            .map_err(|error| Error::failed("the content cannot be written as JSON", error))?;
        let suppression = match (self.suppression_file, self.suppression.sha256()) {
            (Some(file), Some(sha256)) => {
                Some(start::Suppression { source: source(&file, "suppression list")?, sha256 })
            }
            _ => None,
        };
        let start = Start {
            schema: start::Schema::V1,
            shard_rows: Start::rows_of_shards(&self.campaign),
            campaign: self.campaign,
            documents: Digest::of(&library),
            content: self.content_digest,
            content_folder: self.content_folder,
            customers: source(customers, "customer file")?,
            suppression,
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            prices: Some(prices::List::shipped()),
        };
        Ok((start, library))
    }

    /// Of the campaign file as it is read, with its date resolved.
    pub fn digest(&self) -> Result<Digest, Error> {
        Digest::of_json(&self.campaign).map_err(|error| Error::failed("the campaign cannot be frozen", error))
    }
}

/// What is wrong with a campaign by itself that [`Campaign::check`] does not know: with its rules, tones and own words.
pub fn check(campaign: &Campaign, attributes: &Attributes) -> Result<segmentation::Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    let segmentation = keep_problems(&mut problems, segmentation::Plan::new(&campaign.segmentation, attributes));
    problems.extend(generation::phrases::check_tones(campaign));
    problems.extend(safety::check_own_words(campaign));
    segmentation.filter(|_| problems.is_empty()).ok_or(problems)
}

fn keep_problems<T>(problems: &mut Vec<Problem>, result: Result<T, Vec<Problem>>) -> Option<T> {
    result.map_err(|found| problems.extend(found)).ok()
}
