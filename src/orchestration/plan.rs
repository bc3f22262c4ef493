//! Everything that can be known to be wrong before a campaign starts is found here.

use std::path::{Path, PathBuf};

use jiff::{Zoned, civil::Date};

use crate::{
    Error,
    agents::{generation, retrieval::library::Library, safety, segmentation},
    config::Campaign,
    domain::{attribute::Attributes, digest::Digest, problem::Problem},
    ingest::Suppression,
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
        let segmentation = keep_problems(&mut problems, segmentation::Plan::new(&campaign.segmentation, &attributes));
        problems.extend(generation::phrases::check_tones(&campaign));
        problems.extend(safety::check_own_words(&campaign));
        let mut problems = Campaign::locate(problems, campaign_file);

        let beside = |path: &str| campaign_file.parent().unwrap_or(Path::new("")).join(path);
        let content_folder = content.map_or_else(|| beside(&campaign.content.path), PathBuf::from);
        let library = keep_problems(&mut problems, Library::load(&content_folder));
        let suppression = match &campaign.customers.suppression {
            Some(file) => {
                keep_problems(&mut problems, Suppression::read(&beside(file)).map_err(|problem| vec![problem]))
            }
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
                })
            }
            _ => Err(Error::Input(problems)),
        }
    }

    /// Of the campaign file as it is read, with its date resolved.
    pub fn digest(&self) -> Result<Digest, Error> {
        Digest::of_json(&self.campaign).map_err(|error| Error::failed("the campaign cannot be frozen", error))
    }
}

fn keep_problems<T>(problems: &mut Vec<Problem>, result: Result<T, Vec<Problem>>) -> Option<T> {
    result.map_err(|found| problems.extend(found)).ok()
}
