//! What must leave the search index: recalled documents, and libraries that no campaign uses any more.
//!
//! A note is written before the recall, or before the first of a purged campaign's files goes, and deleted when the index
//! has nothing of it any more. Whoever sweeps settles what is noted, so that neither an outage of the search service nor
//! the death of a process leaves anything in the index for good. Nothing that must be right rests on it: no query finds
//! what was recalled when its campaign began, and no variant that cites it is released.
//!
//! ```text
//! withdrawals/documents/<document>            it is recalled, or about to be
//! withdrawals/libraries/<digest>/<campaign>   the campaign may have used it, and was purged, or is about to be
//! ```

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    instance::Instance,
    names::{self, Withdrawal},
    recalls,
    start::Start,
    workshop::Trouble,
};
use crate::{
    agents::retrieval::azure_search,
    config::campaign::RetrieverName,
    domain::{
        digest::Digest,
        id::{CampaignId, DocumentId},
    },
    providers::{
        Services,
        search::{self, Search},
    },
    store::{self, BlobPath, Blobs, Precondition},
};

/// Folders of campaigns that one look at the store gives.
const LOOK: usize = 5_000;

/// To be called before the document is recalled.
pub async fn owe_document(blobs: &dyn Blobs, document: &DocumentId, now: Timestamp) -> Result<(), store::Error> {
    owe(blobs, &Withdrawal::Document(document.clone()), now).await
}

/// To be called before anything of a campaign is purged.
pub async fn owe_libraries(blobs: &dyn Blobs, instance: &Instance, now: Timestamp) -> Result<(), store::Error> {
    let campaign = &instance.campaign;
    let start = match blobs.get(&names::input(campaign, instance.start)).await {
        Ok(blob) => serde_json::from_slice::<Start>(&blob.bytes),
        // An earlier purge that did not come to its end has noted them.
        Err(store::Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    // What another version started and this one cannot read leaves passages behind that nobody asks for.
    if !start.is_ok_and(|start| start.campaign.providers.retrieval == RetrieverName::AzureSearch) {
        return Ok(());
    }
    // A library is named as its JSON is, or as its vectors are. Of what else is there the index knows nothing.
    let inputs = blobs.list(Some(&names::inputs(campaign))).await?;
    let libraries: BTreeSet<Digest> = inputs.iter().filter_map(names::input_digest).collect();
    for library in libraries {
        owe(blobs, &Withdrawal::Library(library, campaign.clone()), now).await?;
    }
    Ok(())
}

async fn owe(blobs: &dyn Blobs, note: &Withdrawal, now: Timestamp) -> Result<(), store::Error> {
    blobs.put(&note.path(), now.to_string().into_bytes(), Precondition::None).await.map(drop)
}

/// Removes what is noted, as far as the search service takes it.
pub async fn settle(blobs: &dyn Blobs, services: &Services) -> Result<(), Trouble> {
    if !services.is_set(search::ENDPOINT) {
        return Ok(());
    }
    let all = BlobPath::new(names::WITHDRAWALS).expect("it is a path");
    let notes: Vec<_> = blobs.list(Some(&all)).await?.iter().filter_map(Withdrawal::of).collect();
    if notes.is_empty() {
        return Ok(());
    }
    let client = services.azure_search().map_err(|problem| Trouble::Problems(vec![problem]))?;
    let (mut documents, mut libraries) = (BTreeSet::new(), Vec::new());
    for note in notes {
        match note {
            Withdrawal::Document(document) => drop(documents.insert(document)),
            Withdrawal::Library(library, campaign) => libraries.push((library, campaign)),
        }
    }
    withdraw(blobs, &client, documents).await?;
    for (library, campaign) in libraries {
        forget(blobs, &client, library, campaign).await?;
    }
    Ok(())
}

async fn withdraw(blobs: &dyn Blobs, client: &Search, noted: BTreeSet<DocumentId>) -> Result<(), Trouble> {
    if noted.is_empty() {
        return Ok(());
    }
    // A note whose recall is under way, or died, waits for it.
    let documents = &noted & &recalls::of(blobs).await?;
    azure_search::withdraw(client, &documents).await?;
    for document in documents {
        blobs.delete(&Withdrawal::Document(document).path()).await?;
    }
    Ok(())
}

/// What another campaign uses stays: when that one is purged, it leaves a note of its own.
async fn forget(blobs: &dyn Blobs, client: &Search, library: Digest, purged: CampaignId) -> Result<(), Trouble> {
    match blobs.get(&names::instance(&purged)).await {
        // The purge is under way, or died and must be asked for again; or the campaign was started anew.
        Ok(blob) => {
            let is_ended = serde_json::from_slice(&blob.bytes).is_ok_and(|held: Instance| held.status.is_final());
            if is_ended {
                return Ok(());
            }
        }
        Err(store::Error::NotFound { .. }) if is_used(blobs, library).await? => {}
        Err(store::Error::NotFound { .. }) => azure_search::forget(client, library).await?,
        Err(error) => return Err(error.into()),
    }
    Ok(blobs.delete(&Withdrawal::Library(library, purged).path()).await?)
}

/// Whether a campaign of the store has it among its inputs.
async fn is_used(blobs: &dyn Blobs, library: Digest) -> Result<bool, store::Error> {
    let instances = BlobPath::new(names::INSTANCES).expect("it is a path");
    let mut from = None;
    loop {
        let page = blobs.folders(&instances, "", from.as_deref(), LOOK).await?;
        for campaign in page.names.into_iter().filter_map(|name| CampaignId::new(name).ok()) {
            for path in [names::input(&campaign, library), names::vectors(&campaign, library)] {
                match blobs.head(&path, 0).await {
                    Ok(_) => return Ok(true),
                    Err(store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        from = page.next;
        if from.is_none() {
            return Ok(false);
        }
    }
}
