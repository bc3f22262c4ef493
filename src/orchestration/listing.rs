//! All campaigns of a store, a page at a time.
//!
//! They come in the order in which a store has their folders: by id, with a `/` behind each, so that `spring-2` stands
//! before `spring`. (Newest first would mean to read all of them first.) Starts that wait for their files stand among
//! them. A page costs a look at the folders of as many campaigns and one at the pending starts, whatever the campaigns
//! hold.

use std::{collections::BTreeMap, fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{engine::Engine, intake, names};
use crate::{
    domain::id::CampaignId,
    store::{self, BlobPath},
};

/// Folders that one look at a store gives.
const LOOK: usize = 5_000;
const LONGEST_ID: usize = 63;

/// Where a campaign stands in the list, and how the store finds it again without passing by all before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub campaign: CampaignId,
    /// Where in the store's list the look began that found it.
    look: Option<String>,
}

/// Fit for addresses and headers.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.look {
            None => write!(f, "{}", self.campaign),
            Some(look) => write!(f, "{}.{}", self.campaign, BASE64_URL_SAFE_NO_PAD.encode(look)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no place in the list of campaigns")]
pub struct InvalidPlace;

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let (campaign, look) = text.split_once('.').map_or((text, None), |(campaign, look)| (campaign, Some(look)));
        let look = look.map(|look| String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(look).ok()?).ok());
        let look = look.map(|look| look.ok_or(InvalidPlace)).transpose()?;
        Ok(Self { campaign: CampaignId::new(campaign).map_err(|_| InvalidPlace)?, look })
    }
}

/// A page of the list. Some of it may never have begun, or be gone by the time that it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub places: Vec<Place>,
    /// What the next page begins with.
    pub next: Option<Place>,
}

impl Engine {
    /// Up to `most` campaigns whose ids begin with `prefix`, from a place on.
    pub async fn list(&self, prefix: &str, from: Option<&Place>, most: usize) -> Result<Listed, store::Error> {
        let is_wanted = |id: &CampaignId| {
            id.as_str().starts_with(prefix) && from.is_none_or(|from| order(id) >= order(&from.campaign))
        };
        let pending = intake::all_pending(self).await?.into_iter().filter(is_wanted);
        let mut pending: BTreeMap<String, CampaignId> = pending.map(|id| (order(&id), id)).collect();
        let mut look = from.and_then(|from| from.look.clone());
        let mut places = Vec::new();
        // What can be the beginning of no id is nothing to ask a store for.
        let could_be = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if prefix.len() > LONGEST_ID || !prefix.chars().all(could_be) {
            return Ok(Listed { places, next: None });
        }
        loop {
            let page = match self.store.blobs.folders(&instances(), prefix, look.as_deref(), most + 1).await {
                // Somebody made it up, or the store has forgotten it.
                Err(store::Error::NotFound { .. }) if look.take().is_some() => continue,
                page => page?,
            };
            let later = match (&page.next, page.names.last()) {
                (None, _) => BTreeMap::new(),
                (Some(_), None) => std::mem::take(&mut pending),
                (Some(_), Some(last)) => pending.split_off(&format!("{last}0")),
            };
            let mut found = std::mem::replace(&mut pending, later);
            let begun = page.names.into_iter().filter_map(|name| CampaignId::new(name).ok()).filter(is_wanted);
            found.extend(begun.map(|id| (order(&id), id)));
            places.extend(found.into_values().map(|campaign| Place { campaign, look: look.clone() }));
            if places.len() > most {
                let next = places.get(most).cloned();
                places.truncate(most);
                return Ok(Listed { places, next });
            }
            match page.next {
                Some(next) => look = Some(next),
                None => return Ok(Listed { places, next: None }),
            }
        }
    }

    /// Of all campaigns that have begun, by id. There may be one among them that never did.
    pub async fn campaigns(&self) -> Result<Vec<CampaignId>, store::Error> {
        let (mut ids, mut from) = (Vec::new(), None);
        loop {
            let page = self.store.blobs.folders(&instances(), "", from.as_deref(), LOOK).await?;
            ids.extend(page.names.into_iter().filter_map(|name| CampaignId::new(name).ok()));
            from = page.next;
            if from.is_none() {
                ids.sort();
                return Ok(ids);
            }
        }
    }
}

fn instances() -> BlobPath {
    BlobPath::new(names::INSTANCES).expect("it is a path")
}

/// As stores order folders.
fn order(id: &CampaignId) -> String {
    format!("{id}/")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        orchestration::workshop::{Providers, Workshop},
        store::{Memory, Precondition},
    };

    async fn engine(begun: &[&str], pending: &[&str]) -> Engine {
        let store = Memory::default().store();
        let id = |id: &str| CampaignId::new(id).unwrap();
        for path in
            begun.iter().map(|begun| names::instance(&id(begun))).chain(pending.iter().map(|p| names::pending(&id(p))))
        {
            store.blobs.put(&path, Vec::new(), Precondition::Absent).await.unwrap();
        }
        let agents = Workshop::new(store.clone(), std::env::temp_dir(), Providers::default());
        Engine::new(store, Arc::new(agents), Default::default())
    }

    async fn pages(engine: &Engine, prefix: &str, most: usize) -> Vec<Vec<Place>> {
        let (mut pages, mut from): (Vec<Vec<Place>>, Option<Place>) = Default::default();
        loop {
            let Listed { places, next } = engine.list(prefix, from.as_ref(), most).await.unwrap();
            assert!(places.len() <= most);
            pages.push(places);
            // As it comes back from a client.
            from = next.map(|next| next.to_string().parse().unwrap());
            if from.is_none() {
                return pages;
            }
        }
    }

    #[tokio::test]
    async fn pages_of_any_size_have_begun_and_pending_campaigns_once_and_in_one_order() {
        let engine = engine(&["a", "a-1", "b-2", "b-10", "c"], &["a-0", "a0", "b", "b-2", "z"]).await;
        let expected = ["a-0", "a-1", "a", "a0", "b-10", "b-2", "b", "c", "z"];
        for most in [1, 2, 3, 4, 9, 100] {
            let found = pages(&engine, "", most).await.concat();
            let found: Vec<_> = found.iter().map(|place| place.campaign.as_str()).collect();
            assert_eq!(found, expected, "{most}");
        }
        let found = pages(&engine, "b-", 1).await.concat();
        assert_eq!(found.iter().map(|place| place.campaign.as_str()).collect::<Vec<_>>(), ["b-10", "b-2"]);
        for nothing in ["B", "b/", "b-2x", "..", "\u{0}"] {
            assert_eq!(engine.list(nothing, None, 5).await.unwrap(), Listed { places: vec![], next: None });
        }
    }

    #[tokio::test]
    async fn a_page_is_found_without_passing_by_those_before_it() {
        let names: Vec<String> = (100..200).map(|number| format!("c{number}")).collect();
        let engine = engine(&names.iter().map(String::as_str).collect::<Vec<_>>(), &[]).await;
        for page in pages(&engine, "", 5).await.iter().skip(3) {
            for Place { campaign, look } in page {
                let position = |name: &str| names.iter().position(|known| known == name).unwrap();
                let passed = position(campaign.as_str()) - position(look.as_deref().unwrap());
                assert!(passed <= 12, "{campaign} is {passed} behind the beginning of its look");
            }
        }
        for bad in ["", "A", "c100.%", "c100.____", "../x"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
