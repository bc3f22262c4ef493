//! Documents that were withdrawn after campaigns had begun to cite them.
//!
//! A recall is written once, `recalls/<document>.json`, and stays: a mended document gets another id. From then on no
//! campaign starts with the document, no variant that cites it is released, and no item of a delivery that begins gives
//! it to anybody. What was planned before is for whoever sends it to stop: [`of`] says what may not go out.

use std::collections::{BTreeSet, HashSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    client::ClientError,
    engine::{Engine, Held},
    finished::Variants,
    instance::Instance,
    layout, names,
    stage::Stage,
    turn::run_of,
    withdrawal,
};
use crate::{
    agents::{experimentation::deliveries::Table, generation::messages, retrieval::Retrieved},
    domain::{
        customer::ShardId,
        id::{CampaignId, DocumentId, VariantId},
        variant::Variant,
        verdict::{Decision, Finding, Rule},
    },
    store::{self, BlobPath, Blobs, Precondition, table},
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recall {
    pub document: DocumentId,
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
}

/// `recalls/<document>.json`
#[derive(Serialize, Deserialize)]
#[serde(tag = "schema")]
enum Saved {
    #[serde(rename = "recall/1")]
    V1(Recall),
}

/// A campaign that cites a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Citing {
    pub campaign: CampaignId,
    /// Whether nothing happens in it any more.
    pub ended: bool,
    pub variants: Vec<VariantId>,
    /// Customers whose planned message is one of these, or one of their own that cites it.
    pub customers: u64,
}

/// All documents that may not be used any more.
pub async fn of(blobs: &dyn Blobs) -> Result<BTreeSet<DocumentId>, store::Error> {
    let folder = BlobPath::new(names::RECALLS).expect("it is a path");
    Ok(blobs.list(Some(&folder)).await?.iter().filter_map(names::recalled).collect())
}

/// Recalls a document. The first who does so stays on record. The search index follows, see [`withdrawal`].
pub async fn recall(blobs: &dyn Blobs, recall: Recall) -> Result<Recall, store::Error> {
    withdrawal::owe_document(blobs, &recall.document, recall.at).await?;
    let path = names::recall(&recall.document);
    let bytes = serde_json::to_vec(&Saved::V1(recall.clone())).expect("texts are plain data");
    match blobs.put(&path, bytes, Precondition::Absent).await {
        Ok(_) => Ok(recall),
        Err(store::Error::AlreadyExists { .. } | store::Error::Ambiguous { .. }) => {
            let blob = blobs.get(&path).await?;
            serde_json::from_slice(&blob.bytes)
                .map(|Saved::V1(recall)| recall)
                .map_err(|error| store::Error::Permanent { what: path.to_string(), source: error.into() })
        }
        Err(error) => Err(error),
    }
}

/// Whether a variant rests on one of the documents.
pub fn cites(variant: &Variant, documents: &BTreeSet<DocumentId>) -> bool {
    variant.claims.iter().any(|claim| documents.contains(claim.citation.passage.document()))
}

/// Keeps a variant from going out that cites what was recalled.
pub fn block(variant: &mut Variant, recalled: &BTreeSet<DocumentId>) {
    let cited = variant.claims.iter().find(|claim| recalled.contains(claim.citation.passage.document()));
    let Some(cited) = cited.filter(|_| variant.verdict.decision != Decision::Blocked) else { return };
    let finding = Finding {
        rule: Rule::Recalled,
        blocks: true,
        span: Some(cited.span),
        text: cited.text.clone(),
        passage: Some(cited.citation.passage.clone()),
        why: format!("document `{}` was recalled", cited.citation.passage.document()),
    };
    variant.verdict.decision = Decision::Blocked;
    variant.verdict.findings.push(finding);
}

/// All campaigns with variants that cite a document. One that has no variants yet is not among them: its own will be
/// judged when they are released.
pub async fn citing(engine: &Engine, document: &DocumentId) -> Result<Vec<Citing>, ClientError> {
    let wanted = BTreeSet::from([document.clone()]);
    let mut found = Vec::new();
    for campaign in engine.campaigns().await? {
        let Some(Held { instance, .. }) = engine.load(&campaign).await? else { continue };
        let variants = variants(engine, &instance).await?;
        let variants: Vec<VariantId> =
            variants.iter().filter(|variant| cites(variant, &wanted)).map(|variant| variant.id.clone()).collect();
        let is_personal = may_be_in_personal(engine, &instance, document).await?;
        if variants.is_empty() && !is_personal {
            continue;
        }
        let customers = planned(engine, &instance, &variants, is_personal.then_some(&wanted)).await?;
        if variants.is_empty() && customers == 0 {
            continue;
        }
        found.push(Citing { campaign, ended: instance.status.is_final(), variants, customers });
    }
    Ok(found)
}

/// As they were released; none before that.
async fn variants(engine: &Engine, instance: &Instance) -> Result<Vec<Variant>, store::Error> {
    let path = run_of(instance).file(&layout::blob(layout::VARIANTS));
    match engine.store.blobs.get(&path).await {
        Ok(blob) => serde_json::from_slice::<Variants>(&blob.bytes)
            .map(|variants| variants.variants)
            .map_err(|error| store::Error::Permanent { what: path.to_string(), source: error.into() }),
        Err(store::Error::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Whether a campaign has variants, or may have messages for single customers, that cite the document.
pub async fn is_cited(engine: &Engine, document: &DocumentId) -> Result<bool, ClientError> {
    let wanted = BTreeSet::from([document.clone()]);
    for campaign in engine.campaigns().await? {
        let Some(Held { instance, .. }) = engine.load(&campaign).await? else { continue };
        if variants(engine, &instance).await?.iter().any(|variant| cites(variant, &wanted))
            || may_be_in_personal(engine, &instance, document).await?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Of what was not retrieved no message can be made.
async fn may_be_in_personal(engine: &Engine, instance: &Instance, document: &DocumentId) -> Result<bool, store::Error> {
    if instance.stage(Stage::Personalize.into()).is_none() {
        return Ok(false);
    }
    let path = run_of(instance).file(&layout::blob(layout::PASSAGES));
    let retrieved: Vec<Retrieved> = match engine.store.blobs.get(&path).await {
        Ok(blob) => serde_json::from_slice(&blob.bytes).map_err(|error| unreadable(&path, error))?,
        Err(store::Error::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut hits = retrieved.iter().flat_map(|retrieved| &retrieved.hits);
    Ok(hits.any(|hit| hit.passage.document() == document.as_str()))
}

/// Shards that are read at once.
const READ_AHEAD: usize = 16;

/// Customers whose message is one of the variants, or, where their own messages are looked at too, cites one of the
/// documents; of some shards at a time.
async fn planned(
    engine: &Engine,
    instance: &Instance,
    variants: &[VariantId],
    documents: Option<&BTreeSet<DocumentId>>,
) -> Result<u64, store::Error> {
    let (run, blobs) = (run_of(instance), engine.store.blobs.as_ref());
    let folder = run.file(&layout::blob(layout::DELIVERIES));
    let of_shard = |path: BlobPath| {
        let run = &run;
        async move {
            let shard = path.as_str().rsplit('/').next().and_then(|name| name.strip_suffix(".parquet")?.parse().ok());
            let mut affected: HashSet<String> = variants.iter().map(VariantId::to_string).collect();
            if let (Some(documents), Some(shard)) = (documents, shard) {
                let lines = run.file(&layout::lines(layout::MESSAGES, ShardId(shard)));
                let messages = match blobs.get(&lines).await {
                    Ok(blob) => messages::from_lines(&blob.bytes).map_err(|error| unreadable(&lines, error))?,
                    Err(store::Error::NotFound { .. }) => Vec::new(),
                    Err(error) => return Err(error),
                };
                let citing = messages.into_iter().filter(|message| cites(&message.variant, documents));
                affected.extend(citing.map(|message| message.variant.id.to_string()));
            }
            let bytes = blobs.get(&path).await?.bytes;
            let rows = table::decode(bytes).map_err(|error| unreadable(&path, error))?;
            let rows = Table::new(&rows).map_err(|error| unreadable(&path, error))?;
            Ok(rows.rows().filter(|row| row.variant.is_some_and(|id| affected.contains(id))).count() as u64)
        }
    };
    let counts = stream::iter(blobs.list(Some(&folder)).await?).map(of_shard).buffer_unordered(READ_AHEAD);
    counts.try_fold(0, |sum, count| async move { Ok(sum + count) }).await
}

fn unreadable(path: &BlobPath, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> store::Error {
    store::Error::Permanent { what: path.to_string(), source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_version_kept_is_still_read_and_what_a_later_one_kept_is_named() {
        let json = include_str!("../../tests/data/formats/recall-1.json");
        let saved: Saved = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&saved).unwrap(), json.trim_end());
        let later = serde_json::from_str::<Saved>(&json.replace("recall/1", "recall/2")).err().unwrap().to_string();
        assert!(later.contains("`recall/2`, expected `recall/1`"), "{later}");
    }
}
