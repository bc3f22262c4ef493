//! `cpo serve`: what the Functions host starts.

use std::{
    env,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    panic,
    process::ExitCode,
    sync::Arc,
};

use tokio::net::TcpListener;

use crate::{
    Error, cli,
    functions::{
        self, App,
        access::Access,
        api::uploads::UploadUrls,
        serve::{self, Ended, Parent},
    },
    orchestration::{
        engine::{Clock, Engine},
        workshop::{Providers, Workshop},
    },
    store::Azure,
};

/// Serve the app to an Azure Functions host, which starts this by itself. (On your own machine: cpo dev.)
#[derive(Debug, clap::Args)]
#[command(after_help = "Example, as a host calls it:
  FUNCTIONS_CUSTOMHANDLER_PORT=41000 CPO_STORAGE=UseDevelopmentStorage=true cpo serve

It listens on 127.0.0.1, on the port that the host gives in FUNCTIONS_CUSTOMHANDLER_PORT. The storage account is that of
CPO_STORAGE (what --storage takes elsewhere), else of AzureWebJobsStorage or AzureWebJobsStorage__blobServiceUri,
__queueServiceUri, __accountName, __credential, __clientId. One line of JSON per thing done goes to standard output;
CPO_LOG=warn silences it. It ends with its parent process.")]
pub struct Args {}

/// To the host this means: start another, and count it as no fault. (0 would mean: start none, ever.)
const RESTART: u8 = 200;

pub fn run(_: Args) -> ExitCode {
    let parent = Parent::now();
    log_panics();
    let ended = cli::runtime().and_then(|runtime| {
        let ended = runtime.block_on(serve(parent));
        // What still computes ends with the process.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(Ended::Asked) => {
            tracing::info!("stopped, as asked");
            ExitCode::from(RESTART)
        }
        Ok(Ended::Orphaned) => {
            tracing::error!("the parent process is gone: what is in hand comes to another instance");
            ExitCode::FAILURE
        }
        Err(error) => {
            // To standard error, of which the host takes every line for an error, and the last for the cause of the end.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(parent: Parent) -> Result<Ended, Error> {
    // First of all: the host asks from now on whether it is there, and what comes meanwhile waits in line.
    let port = port(setting)?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .await
        .map_err(|error| Error::failed(format!("127.0.0.1:{port} cannot be listened on"), error))?;
    let account = Azure::of_app(setting).map_err(|error| {
        let remedy = "set CPO_STORAGE, AzureWebJobsStorage or AzureWebJobsStorage__accountName to your storage account";
        Error::failed(error.to_string(), remedy)
    })?;
    let scratch =
        tempfile::tempdir().map_err(|error| Error::failed("a folder for files on their way cannot be made", error))?;
    let store = account.store();
    let workshop = Workshop::new(store.clone(), scratch.path().to_owned(), Providers::of_environment()?);
    let app = App {
        engine: Arc::new(Engine::new(store, Arc::new(workshop), Clock::default())),
        scratch: scratch.path().into(),
        uploads: UploadUrls::Account(account),
        access: Access::of_platform(setting("WEBSITE_AUTH_ENABLED").as_deref()),
        realtime: Arc::default(),
    };
    tracing::info!(port, version = env!("CARGO_PKG_VERSION"), "at work");
    let served = serve::serve(listener, functions::router(app), parent, asked_to_stop());
    served.await.map_err(|error| Error::failed("the HTTP server stopped", error))
}

async fn asked_to_stop() {
    if let Err(error) = cli::stop().await {
        tracing::warn!(%error, "signals cannot be heard: only a kill stops this");
        std::future::pending().await
    }
}

/// One that is empty is as good as none.
fn setting(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn port(setting: impl Fn(&str) -> Option<String>) -> Result<u16, Error> {
    const NAME: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
    // Hosts of before 2020 know only the other name.
    let port = setting(NAME).or_else(|| setting("FUNCTIONS_HTTPWORKER_PORT"));
    let port = port.ok_or_else(|| {
        Error::failed(format!("{NAME} is not set"), "the Functions host sets it; on your own machine use `cpo dev`")
    })?;
    port.trim().parse().ok().filter(|port| *port != 0).ok_or_else(|| {
        Error::failed(format!("{NAME} is no port"), "it is a number from 1 to 65535, which the Functions host gives")
    })
}

/// Where it was, and by the line's call in what. What it says may quote what was worked on.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "the program panicked");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_the_hosts_and_what_is_missing_is_named() {
        let given = |settings: &'static [(&str, &str)]| {
            port(move |name| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(given(&[("FUNCTIONS_CUSTOMHANDLER_PORT", "41000")]).unwrap(), 41_000);
        assert_eq!(given(&[("FUNCTIONS_HTTPWORKER_PORT", "41001")]).unwrap(), 41_001);
        for wrong in [&[][..], &[("FUNCTIONS_CUSTOMHANDLER_PORT", "0")], &[("FUNCTIONS_CUSTOMHANDLER_PORT", "http")]] {
            let error = given(wrong).unwrap_err();
            assert!(error.to_string().contains("FUNCTIONS_CUSTOMHANDLER_PORT"), "{error}");
            assert_eq!(error.exit_code(), 1);
        }
    }
}
