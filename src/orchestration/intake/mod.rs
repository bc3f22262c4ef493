//! From what people upload and ask for to campaigns that run.
//!
//! A campaign reads what lies in the containers `customers` and `content`. Its start freezes the state of each file: a
//! customer file by its ETag, a suppression list by its digest, documents by their words. Where a file is not there yet,
//! the start itself is kept (`pending/<campaign>.json`) and begins when the file arrives: its event is a hint, and the
//! sweeper looks as well.
//!
//! **If the process dies** between the instance and the removal of the pending start, the sweeper finds both, sees that
//! the one is the other's, and removes it.

mod arrivals;
mod files;
mod prepared;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::prepared::Prepared;
pub use self::{
    arrivals::{StorageEvent, storage_events},
    files::{CONTENT, CUSTOMERS, InvalidFile, OUTCOMES, within},
};
use super::{
    client::ClientError,
    engine::{Engine, Held},
    instance::Instance,
    names,
    start::{Source, Start},
};
use crate::{
    config::Campaign,
    domain::{id::CampaignId, problem::Problem},
    store::{self, BlobPath, Precondition},
};

/// What came of a start.
#[derive(Debug)]
pub enum Started {
    /// It runs, or has run: the same start again changes nothing.
    Begun(Box<Instance>),
    /// It begins when the files are there that it reads.
    Pending(Box<Pending>),
}

/// A start that waits for a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    pub schema: Schema,
    pub campaign: Campaign,
    pub inputs: Inputs,
    pub since: Timestamp,
    pub waits_for: Vec<BlobPath>,
    /// Why it did not begin although all was there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    #[serde(rename = "pending/1")]
    V1,
}

/// The files that a campaign reads besides its documents, in the container `customers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    pub customers: BlobPath,
    pub suppression: Option<BlobPath>,
}

#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// What was given cannot be worked with. Nothing was kept.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Input(Vec<Problem>),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<store::Error> for IntakeError {
    fn from(error: store::Error) -> Self {
        ClientError::from(error).into()
    }
}

impl From<Vec<Problem>> for IntakeError {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Input(problems)
    }
}

/// Starts a campaign, or keeps the start until its files are there. `spec` is a campaign file as JSON with, beside its
/// tables, `inputs`: `{"customers": "customers/<path>", "suppression": "customers/<path>"}`. `id` stands for the
/// campaign's own where it has none, and may not contradict it.
///
/// An id stands for its inputs: the same start again gives what the first one gave, another is
/// [`ClientError::OtherInputs`].
pub async fn start(engine: &Engine, spec: Value, id: Option<CampaignId>) -> Result<Started, IntakeError> {
    let (campaign, inputs) = parse(spec, id)?;
    let id = campaign.campaign.id.clone();
    if let Some(instance) = begun(engine, &campaign, &inputs).await? {
        return Ok(Started::Begun(instance.into()));
    }
    if let Some(waiting) = pending(engine, &id).await?
        && (waiting.campaign != campaign || waiting.inputs != inputs)
    {
        return Err(ClientError::OtherInputs(id).into());
    }
    let missing = match prepared::prepare(engine, &campaign, &inputs).await? {
        Prepared::Ready(ready) => return Ok(Started::Begun(begin(engine, &campaign, &inputs, *ready).await?.into())),
        Prepared::Missing(missing) => missing,
    };
    let since = engine.now();
    let new = Pending { schema: Schema::V1, campaign, inputs, since, waits_for: missing, problems: Vec::new() };
    match engine.store.blobs.put(&names::pending(&id), json_of(&new)?, Precondition::Absent).await {
        Ok(_) | Err(store::Error::AlreadyExists { .. } | store::Error::Ambiguous { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    // The file's event may have come and gone while the start was not kept yet.
    if let Some(instance) = begin_pending(engine, &new).await? {
        return Ok(Started::Begun(instance.into()));
    }
    match pending(engine, &id).await? {
        Some(kept) if kept.campaign == new.campaign && kept.inputs == new.inputs => Ok(Started::Pending(kept.into())),
        Some(_) => Err(ClientError::OtherInputs(id).into()),
        // It began, or was given up, meanwhile.
        None => match begun(engine, &new.campaign, &new.inputs).await? {
            Some(instance) => Ok(Started::Begun(instance.into())),
            None => Err(ClientError::Unknown(id).into()),
        },
    }
}

/// The start of a campaign that has not begun.
pub async fn pending(engine: &Engine, campaign: &CampaignId) -> Result<Option<Pending>, store::Error> {
    let path = names::pending(campaign);
    match engine.store.blobs.get(&path).await {
        Ok(blob) => serde_json::from_slice(&blob.bytes)
            .map(Some)
            .map_err(|error| store::Error::Permanent { what: path.to_string(), source: error.into() }),
        Err(store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All starts that have not begun, by id.
pub async fn all_pending(engine: &Engine) -> Result<Vec<CampaignId>, store::Error> {
    let folder = BlobPath::new(names::PENDING).expect("it is a path");
    let paths = engine.store.blobs.list(Some(&folder)).await?;
    let id = |path: &BlobPath| CampaignId::new(path.as_str().rsplit('/').next()?.strip_suffix(".json")?).ok();
    Ok(paths.iter().filter_map(id).collect())
}

/// Gives up a start that has not begun; whether there was one.
pub async fn withdraw(engine: &Engine, campaign: &CampaignId) -> Result<bool, store::Error> {
    let was_there = pending(engine, campaign).await?.is_some();
    engine.store.blobs.delete(&names::pending(campaign)).await?;
    Ok(was_there)
}

impl Engine {
    /// Begins every pending start whose files are there. What goes wrong with one does not keep the others from it.
    pub(super) async fn begin_all_pending(&self) -> Result<(), store::Error> {
        let mut failed = None;
        for campaign in all_pending(self).await? {
            let Some(waiting) = pending(self, &campaign).await? else { continue };
            match begin_pending(self, &waiting).await {
                Ok(_) => {}
                Err(IntakeError::Client(ClientError::Store(error))) => failed = Some(error),
                // There is another campaign of that id.
                Err(error) => {
                    tracing::warn!(%campaign, %error, "a pending start is given up");
                    self.store.blobs.delete(&names::pending(&campaign)).await?;
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// `None`: it still waits, for its files or for somebody to mend what is wrong with them.
async fn begin_pending(engine: &Engine, waiting: &Pending) -> Result<Option<Instance>, IntakeError> {
    let Pending { campaign, inputs, .. } = waiting;
    if let Some(instance) = begun(engine, campaign, inputs).await? {
        withdraw(engine, &campaign.campaign.id).await?;
        return Ok(Some(instance));
    }
    let now = match prepared::prepare(engine, campaign, inputs).await {
        Ok(Prepared::Ready(ready)) => return begin(engine, campaign, inputs, *ready).await.map(Some),
        Ok(Prepared::Missing(waits_for)) => Pending { waits_for, problems: Vec::new(), ..waiting.clone() },
        Err(IntakeError::Input(problems)) => Pending { waits_for: Vec::new(), problems, ..waiting.clone() },
        Err(error) => return Err(error),
    };
    if now != *waiting {
        engine.store.blobs.put(&names::pending(&campaign.campaign.id), json_of(&now)?, Precondition::None).await?;
    }
    Ok(None)
}

async fn begin(
    engine: &Engine,
    campaign: &Campaign,
    inputs: &Inputs,
    (start, library): (Start, Vec<u8>),
) -> Result<Instance, IntakeError> {
    let instance = match engine.start(&start, library).await {
        // Somebody began it at the same moment, perhaps on the other side of midnight.
        Err(ClientError::OtherInputs(id)) => {
            begun(engine, campaign, inputs).await?.ok_or(ClientError::OtherInputs(id))?
        }
        started => started?,
    };
    engine.store.blobs.delete(&names::pending(&campaign.campaign.id)).await?;
    Ok(instance)
}

/// The campaign of that id, if there is one and it was started with the same. What is not there any more, or cannot be
/// read any more, contradicts nothing.
async fn begun(engine: &Engine, campaign: &Campaign, inputs: &Inputs) -> Result<Option<Instance>, IntakeError> {
    let id = &campaign.campaign.id;
    let Some(Held { instance, .. }) = engine.load(id).await? else { return Ok(None) };
    let path = names::input(id, instance.start);
    let earlier: Start = serde_json::from_slice(&engine.store.blobs.get(&path).await?.bytes)
        .map_err(|error| store::Error::Permanent { what: path.to_string(), source: error.into() })?;
    let mut dated = campaign.clone();
    dated.campaign.date = dated.campaign.date.or(earlier.campaign.campaign.date);
    let path_of = |source: &Source| match source {
        Source::Blob { path, .. } => Some(path.clone()),
        Source::File { .. } => None,
    };
    let suppression = earlier.suppression.as_ref().and_then(|list| path_of(&list.source));
    let mut is_same = dated == earlier.campaign
        && path_of(&earlier.customers).as_ref() == Some(&inputs.customers)
        && suppression == inputs.suppression;
    if is_same && let Ok(Prepared::Ready(ready)) = prepared::prepare(engine, &dated, inputs).await {
        let now = &ready.0;
        let digest = |start: &Start| start.suppression.as_ref().map(|list| list.sha256);
        is_same =
            now.customers == earlier.customers && now.content == earlier.content && digest(now) == digest(&earlier);
    }
    if !is_same {
        return Err(ClientError::OtherInputs(id.clone()).into());
    }
    engine.wake_all(id).await?;
    Ok(Some(instance))
}

fn json_of(value: &impl Serialize) -> Result<Vec<u8>, store::Error> {
    serde_json::to_vec(value)
        .map_err(|error| store::Error::Permanent { what: "a pending start".to_owned(), source: error.into() })
}

/// `inputs` as clients write it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    customers: String,
    #[serde(default)]
    suppression: Option<String>,
}

fn parse(spec: Value, id: Option<CampaignId>) -> Result<(Campaign, Inputs), Vec<Problem>> {
    let Value::Object(mut spec) = spec else {
        let remedy = "send a campaign file as a JSON object";
        return Err(vec![Problem::new("this is not a JSON object", remedy)]);
    };
    let named = spec.remove("inputs");
    if let (Some(id), Some(identity)) = (&id, spec.get_mut("campaign").and_then(Value::as_object_mut)) {
        let own = identity.entry("id").or_insert_with(|| id.as_str().into());
        if own != id.as_str() {
            let problem = Problem::new("the campaign has another id than the address", "use the same id in both");
            return Err(vec![problem.at_field("campaign.id")]);
        }
    }
    let mut problems = Vec::new();
    let mut keep = |problem: Vec<Problem>| problems.extend(problem);
    let campaign = Campaign::from_json(Value::Object(spec)).map_err(&mut keep).ok();
    let inputs = inputs(named).map_err(&mut keep).ok();
    if let (Some(campaign), Some(inputs)) = (&campaign, &inputs)
        && campaign.customers.suppression.is_some()
        && inputs.suppression.is_none()
    {
        let message = "the campaign names a suppression list, and the start does not say where it was uploaded";
        let problem = Problem::new(message, "upload it (`kind`: `suppression`), and name its path here");
        keep(vec![problem.at_field("inputs.suppression")]);
    }
    match (campaign, inputs) {
        (Some(campaign), Some(inputs)) if problems.is_empty() => Ok((campaign, inputs)),
        _ => Err(problems),
    }
}

fn inputs(named: Option<Value>) -> Result<Inputs, Vec<Problem>> {
    const SHAPE: &str = r#"write {"customers": "customers/<path>"}, with the path that the upload gave"#;
    let named = named.ok_or_else(|| {
        vec![Problem::new("the start does not say which customers it is for", SHAPE).at_field("inputs")]
    })?;
    let named: Named = serde_json::from_value(named)
        .map_err(|_| vec![Problem::new("this does not say where the files are", SHAPE).at_field("inputs")])?;
    let file = |field: &str, path: &str| {
        within(CUSTOMERS, path).map_err(|error| {
            let remedy = "use the path that POST /api/uploads gave: `customers/...`";
            vec![Problem::new(error.to_string(), remedy).at_field(field)]
        })
    };
    let suppression = named.suppression.map(|path| file("inputs.suppression", &path)).transpose()?;
    Ok(Inputs { customers: file("inputs.customers", &named.customers)?, suppression })
}

#[cfg(test)]
mod tests;
