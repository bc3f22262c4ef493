//! A campaign in a storage account, together with whoever else works there: its inputs are brought into the account, and
//! its files out of it.

use std::{path::Path, sync::Arc};

use super::{
    campaign::{Ended, Here, digest_of, of_client, of_store, other_inputs},
    client::Answer,
    engine::Engine,
    instance::{EventId, Instance, Status},
    names::{self, Run},
    start::{Source, Start},
    summary::RunKind,
};
use crate::{
    Error,
    domain::{id::CampaignId, problem::Problem},
    store::{self, BlobPath, Precondition, Store},
};

impl Here<'_> {
    /// In a storage account, together with whoever else works there. The files are brought here in the end.
    pub(super) async fn run_in(mut self, store: &Store, replace: bool) -> Result<Ended, Error> {
        self.upload(store).await?;
        let engine = Arc::new(self.engine(store.clone()));
        let campaign = self.campaign().clone();
        let kind = match started(store, &campaign).await? {
            Some(_) if replace => {
                self.restart(&engine).await?;
                RunKind::Whole
            }
            Some(earlier) => {
                self.same_start(&earlier)?;
                let was_complete =
                    engine.held(&campaign).await.map_err(of_client)?.instance.status == Status::Completed;
                self.start_or_wake(&engine).await?;
                if was_complete { RunKind::Earlier } else { RunKind::Continued }
            }
            None => {
                self.start_or_wake(&engine).await?;
                RunKind::Whole
            }
        };
        let mut ended = self.work(Arc::clone(&engine)).await;
        let generation = engine.held(&campaign).await.map_err(of_client)?.instance.generation;
        match &mut ended {
            Ok(Ended::Complete(summary)) => {
                summary.run = kind;
                let run = Run { campaign, generation };
                self.workspace.discard()?;
                fetch(store, &run.folder(), self.workspace.working()).await?;
                self.workspace.commit()?;
            }
            // What can never be completed as it is leaves nothing behind, unless it is there to replace something.
            Err(Error::Input(_)) if generation == 1 => engine.purge(&campaign).await.map_err(of_client)?,
            _ => {}
        }
        ended
    }

    async fn restart(&self, engine: &Engine) -> Result<(), Error> {
        let (campaign, id) = (self.campaign(), EventId::next());
        let before = engine.held(campaign).await.map_err(of_client)?.instance.version;
        engine.restart(&self.start, self.documents.clone(), id.clone()).await.map_err(of_client)?;
        match engine.answer(campaign, &id, before).await.map_err(of_client)? {
            Answer::Taken => Ok(()),
            Answer::Refused { why } => Err(Problem::new(why, "see `cpo instance`").at_field("campaign.id").into()),
            Answer::Later => Err(Error::failed("the campaign cannot be restarted now", "try again in a minute")),
        }
    }

    /// As [`Here::same_inputs`], of a campaign in a storage account, whose files are named by what is in them.
    fn same_start(&self, earlier: &Start) -> Result<(), Error> {
        let now = &self.start;
        let digest = |start: &Start| start.suppression.as_ref().map(|suppression| suppression.sha256);
        let blob = |start: &Start| match &start.customers {
            Source::Blob { path, .. } => Some(path.clone()),
            Source::File { .. } => None,
        };
        let changed = if now.campaign != earlier.campaign {
            "campaign file"
        } else if now.content != earlier.content {
            "content"
        } else if digest(now) != digest(earlier) {
            "suppression list"
        } else if blob(now) != blob(earlier) {
            "customer file"
        } else {
            return Ok(());
        };
        Err(other_inputs(changed, "started in this storage account").into())
    }

    /// Brings the files that the campaign reads into the store, under the names of their digests.
    async fn upload(&mut self, store: &Store) -> Result<(), Error> {
        let suppression = self.start.suppression.as_mut().map(|suppression| &mut suppression.source);
        for source in [&mut self.start.customers].into_iter().chain(suppression) {
            let name = source.name().to_owned();
            let Some(digest) = digest_of(source)? else {
                let problem = Problem::new("it cannot be read twice", "name a regular file, not a pipe");
                return Err(problem.in_file(name).into());
            };
            let last = name.extension().and_then(|extension| extension.to_str()).unwrap_or("data");
            let path = BlobPath::new(format!("uploads/{digest}.{last}"))
                .map_err(|error| Error::failed("a file cannot be uploaded under its extension", error))?;
            // The store may move away what it is given.
            let copy = self.workspace.scratch().join(format!("upload-{digest}"));
            std::fs::copy(&name, &copy)
                .map_err(|error| Error::failed("a file cannot be copied for its upload", error))?;
            match store.blobs.put_file(&path, &copy, Precondition::Absent).await {
                Ok(_) | Err(store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(of_store(error)),
            }
            *source = Source::Blob { path, etag: None, name };
        }
        Ok(())
    }
}

/// What the campaign of a store was started with, if there is one.
pub async fn started(store: &Store, campaign: &CampaignId) -> Result<Option<Start>, Error> {
    let unreadable = |error| Error::failed(format!("campaign `{campaign}` cannot be read"), error);
    let instance = match store.blobs.get(&names::instance(campaign)).await {
        Ok(blob) => serde_json::from_slice::<Instance>(&blob.bytes).map_err(unreadable)?,
        Err(store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(of_store(error)),
    };
    let start = store.blobs.get(&names::input(campaign, instance.start)).await.map_err(of_store)?;
    serde_json::from_slice(&start.bytes).map(Some).map_err(unreadable)
}

/// Brings a run's files out of the store into a folder.
async fn fetch(store: &Store, run: &BlobPath, folder: &Path) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::failed("the results cannot be brought here", error);
    for path in store.blobs.list(Some(run)).await.map_err(of_store)? {
        let Some(name) = path.as_str().strip_prefix(run.as_str()) else { continue };
        let file = folder.join(name.trim_start_matches('/'));
        std::fs::create_dir_all(file.parent().unwrap_or(folder)).map_err(failed)?;
        store.blobs.get_file(&path, &file).await.map_err(of_store)?;
    }
    Ok(())
}
