//! Where an instance's state is kept. (What a run leaves for people is in [`layout`](super::layout).)
//!
//! ```text
//! active/<campaign>                                         the sweeper's list
//! instances/<campaign>/instance.json                        the state, replaced by compare-and-swap
//! instances/<campaign>/history/<version>.json               the events of each version before
//! instances/<campaign>/sweep.json                           what the sweeper saw last
//! instances/<campaign>/inbox/<event>.json                   requests not taken in yet
//! instances/<campaign>/inputs/<digest>.json                 what it was started with; decisions of people
//! instances/<campaign>/outcomes/<digest>.json                a file of outcomes somebody heard of, and how it stands
//! instances/<campaign>/inputs/<digest>.vectors              the content's embeddings
//! instances/<campaign>/<generation>/arrivals/<step>/<group> who is through, a line each
//! instances/<campaign>/<generation>/items/<step>/<item>     what each item gave; written once
//! instances/<campaign>/<generation>/spent/<step>/<item>     what tries have spent and kept, a line each
//! instances/<campaign>/<generation>/recalled/<step>/<item>  what was recalled when its delivery began; written once
//! instances/<campaign>/<generation>/suppression             the suppression list as it was read, as digests
//! instances/<campaign>/<generation>/claims/<step>/<item>    who works on it: a lease
//! instances/<campaign>/<generation>/outcomes.json           which files of outcomes the results tell of
//! instances/<campaign>/<generation>/tracked.json            where the tracking server has the run
//! campaigns/<campaign>/<generation>/                        the run's folder
//! pending/<campaign>.json                                   a start that waits for its files
//! content-checks/<path>.json                                what is in a file of the container `content`
//! recalls/<document>.json                                   who recalled a document, and why
//! tracking/<campaign>/<generation>/<report>.json            a run that the tracking server is owed
//! withdrawals/…                                             what must leave the search index
//! campaigns/<campaign>/<generation>/exposures/<log>.jsonl   what single customers were given, a line each
//! outcomes/<campaign>/                                      files of outcomes, as they came
//! ```

use super::{instance::EventId, layout, stage::Step};
use crate::{
    domain::{
        digest::Digest,
        id::{CampaignId, DocumentId},
    },
    store::BlobPath,
};

pub const ACTIVE: &str = "active";
pub const INSTANCES: &str = "instances";
pub const PENDING: &str = "pending";
pub const CONTENT_CHECKS: &str = "content-checks";
pub const RECALLS: &str = "recalls";
pub const TRACKING: &str = "tracking";
pub const WITHDRAWALS: &str = "withdrawals";

pub fn active(campaign: &CampaignId) -> BlobPath {
    path(format!("{ACTIVE}/{campaign}"))
}

/// All of an instance's state.
pub fn folder(campaign: &CampaignId) -> BlobPath {
    path(format!("{INSTANCES}/{campaign}"))
}

pub fn instance(campaign: &CampaignId) -> BlobPath {
    path(format!("{INSTANCES}/{campaign}/instance.json"))
}

/// Every generation's folder.
pub fn files(campaign: &CampaignId) -> BlobPath {
    path(format!("campaigns/{campaign}"))
}

/// Files of outcomes, whoever brought them.
pub fn outcomes(campaign: &CampaignId) -> BlobPath {
    path(format!("outcomes/{campaign}"))
}

/// What a tracking server is owed of it.
pub fn tracking(campaign: &CampaignId) -> BlobPath {
    path(format!("{TRACKING}/{campaign}"))
}

pub fn sweep(campaign: &CampaignId) -> BlobPath {
    path(format!("{INSTANCES}/{campaign}/sweep.json"))
}

pub fn history(campaign: &CampaignId, version: u64) -> BlobPath {
    path(format!("{INSTANCES}/{campaign}/history/{version:06}.json"))
}

pub fn inbox(campaign: &CampaignId) -> BlobPath {
    path(format!("{INSTANCES}/{campaign}/inbox"))
}

pub fn request(campaign: &CampaignId, event: &EventId) -> BlobPath {
    path(format!("{INSTANCES}/{campaign}/inbox/{}.json", event.as_str()))
}

/// `library`: of the content and the model that embedded it.
pub fn vectors(campaign: &CampaignId, library: Digest) -> BlobPath {
    path(format!("{INSTANCES}/{campaign}/inputs/{library}.vectors"))
}

pub fn input(campaign: &CampaignId, digest: Digest) -> BlobPath {
    path(format!("{INSTANCES}/{campaign}/inputs/{digest}.json"))
}

pub fn inputs(campaign: &CampaignId) -> BlobPath {
    path(format!("{INSTANCES}/{campaign}/inputs"))
}

/// The digest of a path that [`input`] or [`vectors`] made.
pub fn input_digest(path: &BlobPath) -> Option<Digest> {
    let (_, name) = path.as_str().rsplit_once('/')?;
    name.strip_suffix(".json").or_else(|| name.strip_suffix(".vectors"))?.parse().ok()
}

/// How files of outcomes stand that somebody has heard of.
pub fn outcomes_files(campaign: &CampaignId) -> BlobPath {
    path(format!("{INSTANCES}/{campaign}/outcomes"))
}

pub fn outcomes_file(campaign: &CampaignId, key: Digest) -> BlobPath {
    path(format!("{INSTANCES}/{campaign}/outcomes/{key}.json"))
}

pub fn pending(campaign: &CampaignId) -> BlobPath {
    path(format!("{PENDING}/{campaign}.json"))
}

/// Of a file in the container `content`; `None` where its own name leaves no room for this one.
pub fn content_check(file: &BlobPath) -> Option<BlobPath> {
    let name = file.as_str().strip_prefix("content/")?;
    BlobPath::new(format!("{CONTENT_CHECKS}/{name}.json")).ok()
}

/// An id may have `/` and even `..` in it; `~` it has not.
fn segment(document: &DocumentId) -> String {
    document.as_str().replace('/', "~")
}

fn of_segment(name: &str) -> Option<DocumentId> {
    DocumentId::new(name.replace('~', "/")).ok()
}

pub fn recall(document: &DocumentId) -> BlobPath {
    path(format!("{RECALLS}/{}.json", segment(document)))
}

/// The document of a path that [`recall`] made.
pub fn recalled(path: &BlobPath) -> Option<DocumentId> {
    of_segment(path.as_str().strip_prefix(RECALLS)?.strip_prefix('/')?.strip_suffix(".json")?)
}

/// A note of what must leave the search index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    Document(DocumentId),
    /// And the campaign that may have used it.
    Library(Digest, CampaignId),
}

impl Withdrawal {
    pub fn path(&self) -> BlobPath {
        // An id alone could be a name that no segment may be; with something behind it, none is.
        path(match self {
            Self::Document(document) => format!("{WITHDRAWALS}/documents/{}.txt", segment(document)),
            Self::Library(library, campaign) => format!("{WITHDRAWALS}/libraries/{library}/{campaign}.txt"),
        })
    }

    /// The note that a path is of; `None` for another version's.
    pub fn of(path: &BlobPath) -> Option<Self> {
        let name = path.as_str().strip_prefix(WITHDRAWALS)?.strip_prefix('/')?.strip_suffix(".txt")?;
        match name.split_once('/')? {
            ("documents", document) => Some(Self::Document(of_segment(document)?)),
            ("libraries", rest) => {
                let (library, campaign) = rest.split_once('/')?;
                Some(Self::Library(library.parse().ok()?, CampaignId::new(campaign).ok()?))
            }
            _ => None,
        }
    }
}

/// One generation of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Run {
    pub campaign: CampaignId,
    pub generation: u32,
}

impl Run {
    pub fn arrivals(&self, step: Step, group: u32) -> BlobPath {
        path(format!("{INSTANCES}/{}/{}/arrivals/{step}/{group:05}", self.campaign, self.generation))
    }

    pub fn items(&self, step: Step) -> BlobPath {
        path(format!("{INSTANCES}/{}/{}/items/{step}", self.campaign, self.generation))
    }

    pub fn item(&self, step: Step, index: u32, attempt: u32) -> BlobPath {
        path(format!("{}/{index:08}.{attempt}.json", self.items(step)))
    }

    /// The item and attempt of a path that [`Run::item`] made.
    pub fn index_of(&self, path: &BlobPath) -> Option<(u32, u32)> {
        let name = path.as_str().rsplit('/').next()?.strip_suffix(".json")?;
        let (index, attempt) = name.split_once('.')?;
        Some((index.parse().ok()?, attempt.parse().ok()?))
    }

    pub fn claim(&self, step: Step, index: u32) -> BlobPath {
        path(format!("{INSTANCES}/{}/{}/claims/{step}/{index:08}", self.campaign, self.generation))
    }

    /// See [`spent`](super::spent).
    pub fn spent(&self, step: Step, index: u32, attempt: u32) -> BlobPath {
        path(format!("{INSTANCES}/{}/{}/spent/{step}/{index:08}.{attempt}", self.campaign, self.generation))
    }

    /// What was recalled when an item's attempt began.
    pub fn recalled(&self, step: Step, index: u32, attempt: u32) -> BlobPath {
        path(format!("{INSTANCES}/{}/{}/recalled/{step}/{index:08}.{attempt}.json", self.campaign, self.generation))
    }

    pub fn suppression(&self) -> BlobPath {
        path(format!("{INSTANCES}/{}/{}/suppression", self.campaign, self.generation))
    }

    /// A log of what single customers were given; `name` is a segment of a path.
    pub fn exposures(&self, name: &str) -> BlobPath {
        path(format!("{}/{}/{name}.jsonl", self.folder(), layout::EXPOSURES))
    }

    /// Which files of outcomes its results tell of.
    pub fn outcomes(&self) -> BlobPath {
        path(format!("{INSTANCES}/{}/{}/outcomes.json", self.campaign, self.generation))
    }

    /// Says that the tracking server is owed the run with this report.
    pub fn tracking_note(&self, report: Digest) -> BlobPath {
        path(format!("{TRACKING}/{}/{}/{}.json", self.campaign, self.generation, report.short()))
    }

    /// Of whoever sends it.
    pub fn tracking_lease(&self) -> BlobPath {
        path(format!("{TRACKING}/{}/{}/sender", self.campaign, self.generation))
    }

    /// Where the tracking server has the run.
    pub fn tracked(&self) -> BlobPath {
        path(format!("{INSTANCES}/{}/{}/tracked.json", self.campaign, self.generation))
    }

    /// Where the run's files are.
    pub fn folder(&self) -> BlobPath {
        path(format!("campaigns/{}/{}", self.campaign, self.generation))
    }

    /// One of the run's files, see [`layout`](super::layout).
    pub fn file(&self, name: &BlobPath) -> BlobPath {
        path(format!("campaigns/{}/{}/{name}", self.campaign, self.generation))
    }
}

fn path(name: String) -> BlobPath {
    BlobPath::new(name).expect("ids, steps, digests and numbers are segments of paths")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_of_a_withdrawal_says_of_what_it_is() {
        let campaign = CampaignId::new("spring").unwrap();
        let documents = ["delivery", "shop/a", ".."].into_iter().filter_map(|id| DocumentId::new(id).ok());
        let notes = documents.map(Withdrawal::Document);
        let notes: Vec<_> = notes.chain([Withdrawal::Library(Digest::of("a library"), campaign.clone())]).collect();
        assert!(notes.len() > 2);
        for note in notes {
            assert_eq!(Withdrawal::of(&note.path()), Some(note));
        }
        assert_eq!(Withdrawal::of(&recall(&DocumentId::new("delivery").unwrap())), None);
        let digest = Digest::of("an input");
        for path in [input(&campaign, digest), vectors(&campaign, digest)] {
            assert_eq!(input_digest(&path), Some(digest));
        }
        assert_eq!(input_digest(&instance(&campaign)), None);
    }
}
