//! `cpo dev`: what runs beside a campaign while it is worked on.

use std::{sync::Arc, time::Duration};

use crate::{
    Error, cli,
    orchestration::{
        campaign::{SWEEP_EVERY, VISIBILITY},
        engine::{Clock, Engine},
        host::Host,
        workshop::{Providers, Workshop},
    },
    store,
};

/// Work on the campaigns of a storage account until stopped.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  cpo dev --storage UseDevelopmentStorage=true --worker

Start as many as you like, on as many machines as you like: they share the work. Stop or kill any of them at any
time: what it had in hand, another does. One line per thing done goes to standard error; CPO_LOG=warn silences it.")]
pub struct Args {
    /// The Azure Storage account: a connection string, a blob endpoint's URL, or UseDevelopmentStorage=true.
    #[arg(long, value_name = "ACCOUNT")]
    storage: String,
    /// Only work on campaigns.
    #[arg(long, required = true)]
    worker: bool,
    /// How long after this process died another takes over what it had in hand.
    #[arg(long, value_name = "SECONDS", default_value_t = VISIBILITY.as_secs(),
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    visibility: u64,
}

pub fn run(args: Args) -> Result<(), Error> {
    let store = cli::account(&args.storage)?.store();
    let scratch =
        tempfile::tempdir().map_err(|error| Error::failed("a folder for files on their way cannot be made", error))?;
    let workshop = Workshop::new(store.clone(), scratch.path().to_owned(), Providers::default());
    let engine = Engine::new(store, Arc::new(workshop), Clock::default());
    // Whatever the store does, it may do better later.
    let host = Host::new(Arc::new(engine), Duration::from_secs(args.visibility), SWEEP_EVERY, false);
    let served = cli::block_on_until_stopped(async {
        tracing::info!("at work");
        host.serve().await.map_err(stopped)
    })?;
    if served.is_none() {
        tracing::info!("stopped; what was in hand comes to another worker");
    }
    Ok(())
}

fn stopped(error: store::Error) -> Error {
    Error::failed("the worker stopped", error)
}
