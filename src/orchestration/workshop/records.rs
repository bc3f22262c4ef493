//! What a run's items have left, for the stages that follow.

use futures::{Stream, StreamExt as _, stream};
use serde::de::DeserializeOwned;

use super::Trouble;
use crate::{
    orchestration::{
        instance::Instance,
        names::Run,
        record::{self, Record, Tombstone},
        stage::Step,
    },
    store::Blobs,
};

/// Records on their way at once.
const READ_AHEAD: usize = 16;

#[derive(Clone, Copy)]
pub struct Records<'a> {
    pub blobs: &'a dyn Blobs,
    pub run: &'a Run,
    pub instance: &'a Instance,
}

impl<'a> Records<'a> {
    pub async fn get(self, step: Step, index: u32) -> Result<Record, Trouble> {
        let attempts = self.instance.stage(step).map_or(0, |stage| stage.attempt);
        let record = record::read(self.blobs, self.run, step, index, attempts).await?;
        record.ok_or_else(|| Trouble::Defect(format!("item {index} of {step} has left no record").into()))
    }

    /// What the item gave, or why it gave nothing.
    pub async fn result<T: DeserializeOwned>(self, step: Step, index: u32) -> Result<Result<T, Tombstone>, Trouble> {
        let record = self.get(step, index).await?;
        match record.output() {
            Ok(output) => Ok(output.map_err(Clone::clone)),
            Err(error) => Err(Trouble::Defect(format!("the record of item {index} of {step}: {error}").into())),
        }
    }

    /// What an item gave that cannot have failed, or its stage would not have ended.
    pub async fn output<T: DeserializeOwned>(self, step: Step, index: u32) -> Result<T, Trouble> {
        let result = self.result(step, index).await?;
        result.map_err(|tombstone| {
            Trouble::Defect(format!("item {index} of {step} has failed: {}", tombstone.reason).into())
        })
    }

    /// As [`Records::result`] of all items of a step, in their order; a few are in memory at a time.
    pub fn results<T: DeserializeOwned + Send + 'a>(
        self,
        step: Step,
    ) -> impl Stream<Item = Result<Result<T, Tombstone>, Trouble>> + Send + 'a {
        let planned = self.instance.stage(step).map_or(0, |stage| stage.planned);
        stream::iter(0..planned).map(move |index| self.result(step, index)).buffered(READ_AHEAD)
    }

    /// As [`Records::output`] of all items of a step, in their order; a few are in memory at a time.
    pub fn outputs<T: DeserializeOwned + Send + 'a>(
        self,
        step: Step,
    ) -> impl Stream<Item = Result<T, Trouble>> + Send + 'a {
        let planned = self.instance.stage(step).map_or(0, |stage| stage.planned);
        stream::iter(0..planned).map(move |index| self.output(step, index)).buffered(READ_AHEAD)
    }

    /// All attempts at a step's items, failed ones too: each has cost something.
    pub async fn attempts(
        self,
        step: Step,
    ) -> Result<impl Stream<Item = Result<Record, Trouble>> + Send + 'a, Trouble> {
        let paths = self.blobs.list(Some(&self.run.items(step))).await?;
        let blobs = self.blobs;
        let read = move |path| async move {
            let blob = blobs.get(&path).await?;
            serde_json::from_slice(&blob.bytes).map_err(|error| Trouble::Defect(format!("{path}: {error}").into()))
        };
        Ok(stream::iter(paths).map(read).buffered(READ_AHEAD))
    }
}
