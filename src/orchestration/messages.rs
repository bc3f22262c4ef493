//! Looking up the messages that a finished campaign's deliveries name.

use std::collections::{BTreeSet, HashMap};

use super::{finished::RunFiles, layout};
use crate::{
    Error,
    agents::generation::messages,
    config::campaign::GenerationMode,
    domain::{customer::ShardId, variant::Variant},
    store::BlobPath,
};

/// The campaign's variants, and those that were written for customers of one shard.
#[derive(Debug)]
pub struct Messages {
    variants: HashMap<String, Variant>,
    /// The shards with messages for their customers: a shard whose messages were given up has none.
    personal: BTreeSet<BlobPath>,
    of_shard: HashMap<String, Variant>,
}

impl Messages {
    pub async fn read(files: &RunFiles) -> Result<Self, Error> {
        let personal = match files.frozen().await?.campaign.generation.mode {
            GenerationMode::Segment => BTreeSet::new(),
            GenerationMode::Customer => files.list(Some(&layout::blob(layout::MESSAGES))).await?.into_iter().collect(),
        };
        Ok(Self { variants: by_id(files.variants().await?), personal, of_shard: HashMap::new() })
    }

    /// To be called before any of the shard's is looked up; those of the shard before are forgotten.
    pub async fn turn_to(&mut self, files: &RunFiles, shard: ShardId) -> Result<(), Error> {
        self.of_shard.clear();
        let path = layout::lines(layout::MESSAGES, shard);
        if !self.personal.contains(&path) {
            return Ok(());
        }
        let messages = messages::from_lines(&files.bytes(&path).await?)
            .map_err(|error| Error::failed(format!("{} cannot be read", files.shown(&path).display()), error))?;
        self.of_shard = by_id(messages.into_iter().map(|message| message.variant));
        Ok(())
    }

    pub fn get(&self, variant: &str) -> Option<&Variant> {
        self.variants.get(variant).or_else(|| self.of_shard.get(variant))
    }
}

fn by_id(variants: impl IntoIterator<Item = Variant>) -> HashMap<String, Variant> {
    variants.into_iter().map(|variant| (variant.id.to_string(), variant)).collect()
}
