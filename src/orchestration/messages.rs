//! Looking up the messages that a finished campaign's deliveries name.

use std::collections::{BTreeSet, HashMap};

use super::{finished::RunFiles, layout};
use crate::{
    Error,
    agents::generation::messages::{self, PersonalMessage},
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
    of_shard: Vec<PersonalMessage>,
}

impl Messages {
    pub async fn read(files: &RunFiles) -> Result<Self, Error> {
        let personal = match files.frozen().await?.campaign.generation.mode {
            GenerationMode::Segment => BTreeSet::new(),
            GenerationMode::Customer => files.list(Some(&layout::blob(layout::MESSAGES))).await?.into_iter().collect(),
        };
        let variants = files.variants().await?.into_iter().map(|variant| (variant.id.to_string(), variant)).collect();
        Ok(Self { variants, personal, of_shard: Vec::new() })
    }

    /// To be called before any of the shard's is looked up; those of the shard before are forgotten.
    pub async fn turn_to(&mut self, files: &RunFiles, shard: ShardId) -> Result<(), Error> {
        self.of_shard.clear();
        let path = layout::lines(layout::MESSAGES, shard);
        if !self.personal.contains(&path) {
            return Ok(());
        }
        self.of_shard = messages::from_lines(&files.bytes(&path).await?)
            .map_err(|error| Error::failed(format!("{} cannot be read", files.shown(&path).display()), error))?;
        Ok(())
    }

    pub fn get(&self, variant: &str) -> Option<&Variant> {
        let mut personal = self.of_shard.iter().map(|message| &message.variant);
        self.variants.get(variant).or_else(|| personal.find(|personal| personal.id.as_str() == variant))
    }

    /// What was written for a customer of the shard, sent or not.
    pub fn written_for(&self, customer: &str) -> Option<&Variant> {
        self.of_shard.iter().find(|message| message.customer_id == customer).map(|message| &message.variant)
    }
}
