//! `cpo dev`: the whole app on this machine.

use std::{
    fs::{self, File, TryLockError},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::middleware;
use tokio::net::TcpListener;

use crate::{
    Error, cli,
    domain::problem::Problem,
    functions::{
        self, App,
        access::{self, Access},
        api::uploads::UploadUrls,
    },
    orchestration::{
        campaign::{SWEEP_EVERY, VISIBILITY, of_store},
        engine::{Clock, Engine},
        host::Host,
        workshop::{Providers, Workshop},
    },
    store::{self, Embedded, Store},
};

/// Run the app on this machine: the HTTP API, the console, and the work of its campaigns.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cpo dev                                                  all in the folder cpo-data
  cpo dev --storage UseDevelopmentStorage=true             on Azurite, or an account
  cpo dev --storage UseDevelopmentStorage=true --worker    only help with the work there

It serves http://127.0.0.1:7071, to this machine alone. Stop or kill it at any time: started again, it goes on with what
it had in hand. On an account start as many as you like, on as many machines as you like: they share the work. One line
per thing done goes to standard error; CPO_LOG=warn silences it.")]
pub struct Args {
    /// Keep everything in this folder.
    #[arg(long, value_name = "DIR", default_value = "cpo-data")]
    folder: PathBuf,
    /// Keep everything in an Azure Storage account: a connection string, a blob endpoint's URL, or
    /// UseDevelopmentStorage=true.
    #[arg(long, value_name = "ACCOUNT", conflicts_with = "folder")]
    storage: Option<String>,
    /// Serve no HTTP, only work on the account's campaigns.
    #[arg(long, requires = "storage")]
    worker: bool,
    /// Where to listen on 127.0.0.1; 0 picks a free port, and says which.
    #[arg(long, default_value_t = 7071, conflicts_with = "worker")]
    port: u16,
    /// How long after this process died another takes over what it had in hand.
    #[arg(long, value_name = "SECONDS", default_value_t = VISIBILITY.as_secs(),
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    visibility: u64,
}

/// What people put into the store, or open: plain files of the folder.
const CONTAINERS: &[&str] = &["campaigns", "content", "customers", "outcomes", "uploads"];

/// A store, how its uploads come in, and what is held for as long as it is used.
struct Place {
    store: Store,
    uploads: UploadUrls,
    _lock: Option<File>,
}

pub fn run(args: Args) -> Result<(), Error> {
    let Place { store, uploads, _lock } = match &args.storage {
        Some(account) => {
            let account = cli::account(account)?;
            Place { store: account.store(), uploads: UploadUrls::Account(account), _lock: None }
        }
        None => folder(&args.folder)?,
    };
    let scratch =
        tempfile::tempdir().map_err(|error| Error::failed("a folder for files on their way cannot be made", error))?;
    let workshop = Workshop::new(store.clone(), scratch.path().to_owned(), Providers::of_environment()?);
    let engine = Arc::new(Engine::new(store, Arc::new(workshop), Clock::default()));
    // Whatever the store does, it may do better later.
    let host = Host::new(Arc::clone(&engine), Duration::from_secs(args.visibility), SWEEP_EVERY, false);
    let app = App { engine, scratch: scratch.path().into(), uploads, access: Access::Local, realtime: Arc::default() };
    let served = cli::block_on_until_stopped(async {
        let listener = if args.worker { None } else { Some(listen(args.port).await?) };
        tracing::info!("at work");
        let http = async {
            let Some(listener) = listener else { return std::future::pending().await };
            let routes = functions::router(app).layer(middleware::from_fn(access::only_from_here));
            axum::serve(listener, routes).await.map_err(|error| Error::failed("the HTTP server stopped", error))
        };
        tokio::select! {
            worked = host.serve() => worked.map_err(stopped),
            served = http => served,
        }
    })?;
    if served.is_none() {
        tracing::info!("stopped; what was in hand is gone on with when this is started again, or by another worker");
    }
    Ok(())
}

/// The store in a folder, for this process alone.
fn folder(folder: &Path) -> Result<Place, Error> {
    let unusable = |error: std::io::Error| {
        let remedy = "name a folder that you may write to with --folder";
        Problem::new(format!("the folder cannot be used: {error}"), remedy).in_file(folder)
    };
    fs::create_dir_all(folder).map_err(unusable)?;
    let lock = folder.join(".lock");
    let lock = File::options().create(true).truncate(false).write(true).open(lock).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let problem = Problem::new(
                "another cpo dev works in this folder",
                "stop it, or name another folder with --folder and another port with --port",
            );
            return Err(problem.in_file(folder).into());
        }
        Err(TryLockError::Error(error)) => return Err(unusable(error).into()),
    }
    let embedded = Embedded::open_with(folder, CONTAINERS).map_err(of_store)?;
    embedded.take_over().map_err(of_store)?;
    Ok(Place { store: embedded.store(), uploads: UploadUrls::Here, _lock: Some(lock) })
}

async fn listen(port: u16) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.map_err(|error| {
        let problem = Problem::new(
            format!("127.0.0.1:{port} cannot be listened on: {error}"),
            "stop what listens there, or choose another port with --port",
        );
        Error::from(problem)
    })?;
    let address = listener.local_addr().map_err(|error| Error::failed("the address is not known", error))?;
    cli::print(&format!(
        "http://{address}/console  campaigns, what waits for a decision\n\
         http://{address}/api      the HTTP API; /api/openapi.json describes it\n\
         Ctrl-C stops it.\n"
    ))?;
    Ok(listener)
}

fn stopped(error: store::Error) -> Error {
    Error::failed("the worker stopped", error)
}
