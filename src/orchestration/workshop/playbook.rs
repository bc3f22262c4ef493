//! What a run with released variants would do with any customer: for who asks about one outside of its stages.

use std::sync::Arc;

use super::{Records, Trouble, compute, context::Context, folder::Folder, release::Released};
use crate::{
    agents::segmentation::Model,
    config::Campaign,
    domain::variant::Variant,
    ingest::Suppression,
    orchestration::{finished::Variants, stage::Stage},
};

#[derive(Debug)]
pub struct Playbook {
    /// Holds all that the experiment's design assigns by.
    pub campaign: Campaign,
    pub model: Arc<Model>,
    pub variants: Vec<Variant>,
    pub suppression: Suppression,
}

impl Playbook {
    /// Of a run whose release is through.
    pub async fn read(records: Records<'_>) -> Result<Self, Trouble> {
        let context = Context::read(records).await?;
        let folder = Folder { blobs: records.blobs, run: records.run };
        let released: Released = records.output(Stage::Release.into(), 0).await?;
        let Variants { variants, .. } = folder.get_json(&released.variants).await?;
        let model = Arc::clone(context.model(records).await?);
        let suppression = match &context.start.suppression {
            None => Suppression::default(),
            Some(list) => {
                let kept = records.blobs.get(&records.run.suppression()).await?.bytes;
                let kept = compute(move || Ok(Suppression::from_bytes(&kept))).await?;
                let kept = kept.filter(|kept| kept.sha256() == Some(list.sha256));
                kept.ok_or_else(|| Trouble::Defect("the suppression list that was kept is not the campaign's".into()))?
            }
        };
        Ok(Self { campaign: context.start.campaign, model, variants, suppression })
    }
}
