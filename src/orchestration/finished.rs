//! Reading what a finished campaign has left: in a folder, or in the store where it ran.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{layout, names::Run, start::Start};
use crate::{
    Error,
    config::Campaign,
    domain::{decision::Decision, digest::Digest, problem::Problem, variant::Variant},
    store::{self, BlobPath, Blobs, Files},
};

/// `campaign.json`: what the run was started with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frozen {
    pub schema: FrozenSchema,
    /// With the date resolved.
    pub campaign: Campaign,
    /// SHA-256 of `campaign` as compact JSON, its keys in this order.
    pub digest: Digest,
    /// SHA-256 over a line per document in the order of ids: the id, a blank and the SHA-256 of the file it is in.
    pub content: Digest,
    /// SHA-256 of the customer file's bytes.
    pub customers: Digest,
    /// SHA-256 of the suppression list's bytes, where there is one.
    pub suppression: Option<Digest>,
    /// The version of this program.
    pub engine: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrozenSchema {
    #[serde(rename = "campaign/1")]
    V1,
}

/// `variants.json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variants {
    pub schema: VariantsSchema,
    pub variants: Vec<Variant>,
    /// Where a person had to look at them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VariantsSchema {
    #[serde(rename = "variants/1")]
    V1,
}

impl Variants {
    pub fn new(variants: Vec<Variant>, decision: Option<Decision>) -> Self {
        Self { schema: VariantsSchema::V1, variants, decision }
    }
}

impl Frozen {
    pub fn new(start: &Start, customers: Digest) -> serde_json::Result<Self> {
        Ok(Self {
            schema: FrozenSchema::V1,
            digest: Digest::of_json(&start.campaign)?,
            campaign: start.campaign.clone(),
            content: start.content,
            customers,
            suppression: start.suppression.as_ref().map(|list| list.sha256),
            engine: start.engine.clone(),
        })
    }
}

/// Of a folder in which a campaign was run.
pub fn frozen(folder: &Path) -> Result<Frozen, Error> {
    let (path, files) = (layout::blob(layout::CAMPAIGN), Files::new(folder));
    let bytes = files.get(&path).map_err(|error| no_campaign(&files, &path, &error))?;
    parse(&bytes, &files.file(&path))
}

/// A run's files, by the names of the [`layout`].
#[derive(Debug, Clone)]
pub enum RunFiles {
    /// What `cpo run` made, or a copy of it.
    Folder(Files),
    Store {
        blobs: Arc<dyn Blobs>,
        run: Run,
    },
}

impl RunFiles {
    pub fn in_folder(folder: &Path) -> Self {
        Self::Folder(Files::new(folder))
    }

    /// As a message names it.
    pub fn shown(&self, path: &BlobPath) -> PathBuf {
        match self {
            Self::Folder(files) => files.file(path),
            Self::Store { run, .. } => run.file(path).as_str().into(),
        }
    }

    pub async fn bytes(&self, path: &BlobPath) -> Result<Vec<u8>, Error> {
        match self {
            Self::Folder(files) => files.get(path).map_err(|error| no_campaign(files, path, &error).into()),
            Self::Store { blobs, run } => {
                let path = run.file(path);
                Ok(blobs.get(&path).await.map_err(|error| of_store(&path, error))?.bytes)
            }
        }
    }

    /// As [`RunFiles::bytes`], for what may be larger than memory. `scratch` is where a copy is made, if one is needed;
    /// it is gone when the file is closed.
    pub async fn open(&self, path: &BlobPath, scratch: &Path) -> Result<File, Error> {
        match self {
            Self::Folder(files) => {
                File::open(files.file(path)).map_err(|error| no_campaign(files, path, &error).into())
            }
            Self::Store { blobs, run } => {
                let failed = |error: io::Error| Error::failed("there is no room for a copy of a file", error);
                let folder = tempfile::tempdir_in(scratch).map_err(failed)?;
                let copy = folder.path().join("copy");
                let path = run.file(path);
                blobs.get_file(&path, &copy).await.map_err(|error| of_store(&path, error))?;
                File::open(copy).map_err(failed)
            }
        }
    }

    /// One of the campaign's JSON documents.
    pub async fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        let path = layout::blob(name);
        parse(&self.bytes(&path).await?, &self.shown(&path))
    }

    /// The names of the files in one of the layout's folders (`None`: everywhere), sorted.
    pub async fn list(&self, folder: Option<&BlobPath>) -> Result<Vec<BlobPath>, Error> {
        match self {
            Self::Folder(files) => {
                files.list(folder).map_err(|error| Error::failed("the campaign's folder cannot be listed", error))
            }
            Self::Store { blobs, run } => {
                let root = run.folder();
                let below = folder.map_or_else(|| root.clone(), |folder| run.file(folder));
                let paths = blobs.list(Some(&below)).await.map_err(|error| of_store(&below, error))?;
                let name = |path: BlobPath| BlobPath::new(path.as_str().strip_prefix(root.as_str())?.get(1..)?).ok();
                Ok(paths.into_iter().filter_map(name).collect())
            }
        }
    }

    pub async fn frozen(&self) -> Result<Frozen, Error> {
        self.json(layout::CAMPAIGN).await
    }

    pub async fn variants(&self) -> Result<Vec<Variant>, Error> {
        Ok(self.json::<Variants>(layout::VARIANTS).await?.variants)
    }
}

fn no_campaign(files: &Files, path: &BlobPath, error: &io::Error) -> Problem {
    Problem::new(
        format!("not a finished campaign's folder: {error}"),
        "name one, e.g. out/campaigns/spring; `cpo run` makes it",
    )
    .in_file(files.file(path))
}

fn of_store(path: &BlobPath, error: store::Error) -> Error {
    match error {
        store::Error::NotFound { .. } => {
            let problem = Problem::new("the campaign has no such file", "look at its status: it may not be finished");
            problem.in_file(path.as_str()).into()
        }
        error => Error::failed("the campaign's storage", error),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8], shown: &Path) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(
            format!("the file is not what this version of cpo writes: {error}"),
            "run the campaign again, or use the version of cpo that wrote it",
        )
        .in_file(shown)
        .into()
    })
}
