//! The store in an Azure Storage account.

mod blobs;
mod call;
mod connection;
mod queues;
mod sas;
mod settings;
mod upload;

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::{
    ClientOptions, Context, HttpClientOptions, Request, RetryOptions, Transport, new_http_client,
    policies::{Policy, PolicyResult},
};
use azure_storage_blob::{BlobServiceClient, BlobServiceClientOptions};
use azure_storage_queue::{QueueServiceClient, QueueServiceClientOptions};

use super::{Error, Store};
use crate::{identity::Identity, telemetry::trace, tls};
use blobs::{AzureBlobs, Delimited};
use connection::{Access, Connection};
use queues::AzureQueues;
use sas::Signed;
use upload::Signer;
pub use upload::Upload;

/// An Azure Storage account, or the emulator.
#[derive(Debug, Clone)]
pub struct Azure {
    blobs: Arc<AzureBlobs>,
    queues: Arc<AzureQueues>,
    signer: Arc<Signer>,
}

/// The newest version of the REST interface that the emulator knows as well.
const VERSION: &str = "2025-11-05";

impl Azure {
    /// Nothing is sent yet. `location` is
    ///
    /// * `UseDevelopmentStorage=true`,
    /// * a connection string with an account key or a shared access signature,
    /// * `https://ACCOUNT.blob.core.windows.net`, with a shared access signature behind it or, without one, for the
    ///   Entra identity of this process: the workload identity of its pod, the managed identity of its function app or
    ///   container, else whoever is logged in with `az` or `azd`.
    pub fn open(location: &str) -> Result<Self, Error> {
        Self::connect(Connection::parse(location).map_err(|error| wrong(error.into()))?, Identity::Found)
    }

    /// The account of a function app, by its settings. Nothing is sent yet.
    ///
    /// * `CPO_STORAGE`, as for [`Azure::open`]; else
    /// * `AzureWebJobsStorage`, a connection string; else
    /// * `AzureWebJobsStorage__blobServiceUri` and `__queueServiceUri`, or `__accountName`, for an Entra identity:
    ///   where `__credential` is `managedidentity` the app's, which `__clientId` tells from others that it has.
    pub fn of_app(setting: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let (connection, identity) = settings::read(setting).map_err(|error| wrong(error.into()))?;
        Self::connect(connection, identity)
    }

    fn connect(Connection { blobs, queues, access }: Connection, identity: Identity) -> Result<Self, Error> {
        tls::set_up();
        let signer = Signer::of(&access);
        let (credential, signed) = match access {
            Access::Key(key) => (None, Some(Signed::With(key))),
            Access::Sas(sas) => (None, Some(Signed::By(sas))),
            Access::Entra => {
                let credential = identity.credential(RetryOptions::default());
                (Some(credential.map_err(|error| wrong(error.into()))?), None)
            }
        };
        let options = ClientOptions {
            per_try_policies: signed
                .into_iter()
                .map(|signed| Arc::new(signed) as Arc<dyn Policy>)
                .chain([Arc::new(Traced) as Arc<dyn Policy>, Arc::new(Delimited)])
                .collect(),
            // See `call`.
            retry: RetryOptions::none(),
            // One pool of connections. Bodies come as they are stored.
            transport: Some(Transport::new(new_http_client(Some(HttpClientOptions {
                automatic_decompression: false,
            })))),
            ..Default::default()
        };
        let for_blobs = BlobServiceClientOptions { client_options: options.clone(), version: VERSION.into() };
        let for_queues = QueueServiceClientOptions { client_options: options, version: VERSION.into() };
        let blobs = BlobServiceClient::new(blobs, credential.clone(), Some(for_blobs));
        let queues = QueueServiceClient::new(queues, credential, Some(for_queues));
        Ok(Self {
            blobs: Arc::new(AzureBlobs::new(blobs.map_err(|error| wrong(error.into()))?)),
            queues: Arc::new(AzureQueues::new(queues.map_err(|error| wrong(error.into()))?)),
            signer: Arc::new(signer),
        })
    }

    pub fn store(&self) -> Store {
        Store { blobs: self.blobs.clone(), queues: self.queues.clone() }
    }
}

/// Puts the trace that a request belongs to on it.
#[derive(Debug)]
struct Traced;

#[async_trait]
impl Policy for Traced {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        if let Some(parent) = trace::parent() {
            request.insert_header("traceparent", parent);
        }
        next[0].send(context, request, &next[1..]).await
    }
}

fn wrong(source: call::Cause) -> Error {
    Error::Permanent { what: "the storage account".to_owned(), source }
}
