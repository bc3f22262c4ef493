//! Everything that can be known to be wrong before a campaign starts is found here.

use std::path::{Path, PathBuf};

use crate::{
    Error,
    agents::{generation, retrieval::library::Library, segmentation},
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
    pub library: Library,
    pub content: Digest,
    pub suppression: Suppression,
}

impl Plan {
    /// Reads the campaign file, its content and its suppression list, and checks them as a whole.
    pub fn read(campaign_file: &Path, content: Option<&Path>) -> Result<Self, Error> {
        let campaign = Campaign::read(campaign_file)?;
        let attributes = campaign.attributes();
        let mut problems = Vec::new();
        let segmentation = keep_problems(&mut problems, segmentation::Plan::new(&campaign.segmentation, &attributes));
        problems.extend(generation::composer::check_tones(&campaign));
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
                let content = library.digest();
                Ok(Self { campaign, attributes, segmentation, library, content, suppression })
            }
            _ => Err(Error::Input(problems)),
        }
    }
}

fn keep_problems<T>(problems: &mut Vec<Problem>, result: Result<T, Vec<Problem>>) -> Option<T> {
    result.map_err(|found| problems.extend(found)).ok()
}
