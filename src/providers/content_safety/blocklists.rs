//! Blocklists: words that an organisation does not want to read, kept by the service. They work some minutes after they
//! were changed.

use reqwest::{Method, header::HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ContentSafety, VERSION, WITHIN};
use crate::{
    domain::id::BlocklistName,
    providers::service::{Call, Fault},
};

/// Items of one call.
const MOST_ITEMS: usize = 100;

/// Words to be found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ItemText(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an item of a blocklist has 1 to {} characters", ItemText::MOST)]
pub struct InvalidItemText;

impl ItemText {
    /// Code points.
    pub const MOST: usize = 128;

    pub fn new(text: &str) -> Result<Self, InvalidItemText> {
        let text = text.trim();
        let is_valid = !text.is_empty() && text.chars().nth(Self::MOST).is_none();
        is_valid.then(|| Self(text.to_owned())).ok_or(InvalidItemText)
    }
}

/// An item as the service keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Item {
    /// Made by the service.
    #[serde(rename = "blocklistItemId")]
    pub id: String,
    pub text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Items<'a> {
    blocklist_items: Vec<NewItem<'a>>,
}

#[derive(Serialize)]
struct NewItem<'a> {
    text: &'a ItemText,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Added {
    blocklist_items: Vec<Item>,
}

impl ContentSafety {
    /// Makes the list, or gives the one that is there this description.
    pub async fn put_blocklist(&self, name: &BlocklistName, description: &str) -> Result<(), Fault> {
        let body = json!({ "description": description }).to_string();
        let call = Call::new("put blocklist", Method::PATCH, format!("text/blocklists/{name}"))
            .query("api-version", VERSION)
            .within(WITHIN)
            .public()
            .bytes(HeaderValue::from_static("application/merge-patch+json"), body);
        self.service.send(&call).await.map(drop)
    }

    /// The items with their ids, in order. After a fault some may have been added, and may be added again.
    pub async fn add_items(&self, name: &BlocklistName, texts: &[ItemText]) -> Result<Vec<Item>, Fault> {
        let path = format!("text/blocklists/{name}:addOrUpdateBlocklistItems");
        let mut items = Vec::with_capacity(texts.len());
        for texts in texts.chunks(MOST_ITEMS) {
            let body = Items { blocklist_items: texts.iter().map(|text| NewItem { text }).collect() };
            let answer = self.service.send(&super::call("add blocklist items", &path).public().json(&body)).await?;
            let Added { blocklist_items } = answer.json()?;
            if blocklist_items.len() != texts.len() {
                return Err(answer.unusable("it does not say the same number of items that were added".to_owned()));
            }
            items.extend(blocklist_items);
        }
        Ok(items)
    }

    /// After a fault some may have been removed.
    pub async fn remove_items(&self, name: &BlocklistName, ids: &[String]) -> Result<(), Fault> {
        let path = format!("text/blocklists/{name}:removeBlocklistItems");
        for ids in ids.chunks(MOST_ITEMS) {
            let call = super::call("remove blocklist items", &path).public().json(&json!({ "blocklistItemIds": ids }));
            self.service.send(&call).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_has_up_to_128_characters_and_at_least_one() {
        assert_eq!(ItemText::new(" risk free ").unwrap().0, "risk free");
        assert!(ItemText::new(&"ä".repeat(128)).is_ok());
        for text in ["", " \n", &"a".repeat(129)] {
            assert_eq!(ItemText::new(text), Err(InvalidItemText), "{text:?}");
        }
    }
}
