//! Reading a finished campaign's folder.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Error,
    config::Campaign,
    domain::{decision::Decision, digest::Digest, problem::Problem, variant::Variant},
    orchestration::{layout, start::Start},
};

/// `campaign.json`: what the run was started with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frozen {
    pub schema: String,
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

/// `variants.json`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variants {
    pub schema: String,
    pub variants: Vec<Variant>,
    /// Where a person had to look at them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

impl Variants {
    pub fn new(variants: Vec<Variant>, decision: Option<Decision>) -> Self {
        Self { schema: "variants/1".to_owned(), variants, decision }
    }
}

impl Frozen {
    pub fn new(start: &Start, customers: Digest) -> serde_json::Result<Self> {
        Ok(Self {
            schema: "campaign/1".to_owned(),
            digest: Digest::of_json(&start.campaign)?,
            campaign: start.campaign.clone(),
            content: start.content,
            customers,
            suppression: start.suppression.as_ref().map(|list| list.sha256),
            engine: start.engine.clone(),
        })
    }
}

pub fn frozen(campaign: &Path) -> Result<Frozen, Error> {
    read(campaign, layout::CAMPAIGN)
}

pub fn variants(campaign: &Path) -> Result<Vec<Variant>, Error> {
    Ok(read::<Variants>(campaign, layout::VARIANTS)?.variants)
}

/// One of the campaign's JSON documents.
pub fn read<T: DeserializeOwned>(campaign: &Path, name: &str) -> Result<T, Error> {
    let file = campaign.join(name);
    let bytes = fs::read(&file).map_err(|error| {
        Problem::new(
            format!("not a finished campaign's folder: {error}"),
            "name one, e.g. out/campaigns/spring; `cpo run` makes it",
        )
        .in_file(&file)
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Problem::new(
            format!("the file is not what this version of cpo writes: {error}"),
            "run the campaign again, or use the version of cpo that wrote it",
        )
        .in_file(&file)
        .into()
    })
}
