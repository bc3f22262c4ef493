//! Where the campaigns are that a command is about.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{DEFAULT_OUT, Whereabouts};
use crate::{
    Error, cli,
    domain::{id::CampaignId, problem::Problem},
    orchestration::{
        campaign::{self, of_store},
        client::ClientError,
        engine::{Clock, Engine, Held},
        layout,
        workshop::{Providers, Workshop},
        workspace::{self, Workspace},
    },
    store::{Embedded, Store},
};

#[derive(Debug)]
pub enum Place {
    /// Each campaign has a state of its own in its folder.
    Folder(PathBuf),
    Account(Store),
}

impl Place {
    pub fn new(whereabouts: &Whereabouts) -> Result<Self, Error> {
        match &whereabouts.storage {
            Some(location) => Ok(Self::Account(cli::account(location)?.store())),
            None => Ok(Self::Folder(whereabouts.out.clone())),
        }
    }

    /// The campaigns there, by id.
    pub async fn campaigns(&self) -> Result<Vec<CampaignId>, Error> {
        let out = match self {
            Self::Account(store) => return engine(store.clone()).campaigns().await.map_err(of_store),
            Self::Folder(out) => out,
        };
        let Ok(entries) = fs::read_dir(out.join(layout::CAMPAIGNS)) else { return Ok(Vec::new()) };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Error::failed("the output folder cannot be read", error))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let name = name.strip_prefix('.').and_then(|name| name.strip_suffix(".run")).unwrap_or(&name);
            if let Ok(id) = CampaignId::new(name)
                && Embedded::is_in(&entry.path())
            {
                ids.push(id);
            }
        }
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// The campaign as it is now: of an output folder's two runs the one that is not complete.
    pub async fn held(&self, campaign: &CampaignId) -> Result<(Engine, Held), Error> {
        let mut engines = Vec::new();
        match self {
            Self::Account(store) => engines.push(engine(store.clone())),
            Self::Folder(out) => {
                let folders = [workspace::working(out, campaign), workspace::target(out, campaign)];
                for folder in folders.iter().filter(|folder| Embedded::is_in(folder)) {
                    engines.push(engine(campaign::open(folder, campaign)?.store()));
                }
            }
        }
        for engine in engines {
            if let Some(held) = engine.load(campaign).await.map_err(of_store)? {
                return Ok((engine, held));
            }
        }
        Err(self.unknown(campaign).await?.into())
    }

    async fn unknown(&self, campaign: &CampaignId) -> Result<Problem, Error> {
        let ids: Vec<String> = self.campaigns().await?.iter().map(CampaignId::to_string).collect();
        let remedy = if ids.is_empty() {
            "there is none at all: name another place with --out or --storage, or `cpo run` one".to_owned()
        } else {
            format!("name one of those that there are: {}", ids.join(", "))
        };
        let problem = Problem::new(format!("there is no campaign `{campaign}`"), remedy);
        Ok(match self {
            Self::Folder(out) => problem.in_file(out),
            Self::Account(_) => problem,
        })
    }

    /// How a command names it, with a blank before it. An account's name may hold its key, and is not repeated.
    pub fn option(&self) -> String {
        match self {
            Self::Folder(out) if out == Path::new(DEFAULT_OUT) => String::new(),
            Self::Folder(out) => format!(" --out {}", out.display()),
            Self::Account(_) => " --storage ACCOUNT".to_owned(),
        }
    }

    /// To ask for something is not to do it.
    pub fn who_goes_on(&self, campaign: &CampaignId) -> &'static str {
        match self {
            Self::Account(_) => "Every `cpo dev --worker` and `cpo run` of this storage account goes on with it.",
            Self::Folder(out) if workspace::is_claimed(out, campaign) => "The run under way goes on with it.",
            Self::Folder(_) => "Nobody works on it: the same `cpo run` as before goes on with it.",
        }
    }

    /// Removes a campaign that has ended, with all its files.
    pub async fn purge(&self, campaign: &CampaignId) -> Result<(), Error> {
        let (engine, Held { instance, .. }) = self.held(campaign).await?;
        let Self::Folder(out) = self else { return engine.purge(campaign).await.map_err(failed) };
        let workspace = Workspace::claim(out, campaign)?;
        if !instance.status.is_final() {
            return Err(failed(ClientError::NotEnded(campaign.clone())));
        }
        workspace.purge()
    }
}

/// One that may take turns, and is asked to do no work: without providers.
fn engine(store: Store) -> Engine {
    let workshop = Workshop::new(store.clone(), std::env::temp_dir(), Providers::default());
    Engine::new(store, Arc::new(workshop), Clock::default())
}

pub fn failed(error: ClientError) -> Error {
    match error {
        ClientError::NotEnded(id) => {
            Problem::new(format!("campaign `{id}` has not ended"), "terminate it first: `cpo instance terminate`")
                .into()
        }
        error => campaign::of_client(error),
    }
}
