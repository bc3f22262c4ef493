//! Blobs in memory, for tests.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;

use super::{BlobPath, Blobs, Error};

#[derive(Debug, Default)]
pub struct Memory(Mutex<BTreeMap<BlobPath, Vec<u8>>>);

impl Memory {
    fn blobs(&self) -> std::sync::MutexGuard<'_, BTreeMap<BlobPath, Vec<u8>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl Blobs for Memory {
    async fn get(&self, path: &BlobPath) -> Result<Vec<u8>, Error> {
        self.blobs().get(path).cloned().ok_or_else(|| Error::NotFound(path.clone()))
    }

    async fn put(&self, path: &BlobPath, bytes: Vec<u8>) -> Result<(), Error> {
        self.blobs().insert(path.clone(), bytes);
        Ok(())
    }

    async fn list(&self, folder: Option<&BlobPath>) -> Result<Vec<BlobPath>, Error> {
        let prefix = folder.map_or_else(String::new, |folder| format!("{folder}/"));
        Ok(self.blobs().keys().filter(|path| path.as_str().starts_with(&prefix)).cloned().collect())
    }
}
