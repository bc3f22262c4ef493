//! Files of any size, straight into storage.

use utoipa_axum::router::OpenApiRouter;

use crate::{functions::App, store::Azure};

/// Where a client sends a file's bytes.
#[derive(Debug, Clone)]
pub enum UploadUrls {
    /// To this app, which streams them into its store.
    Here,
    /// Into the storage account, by a short-lived signed address.
    Account(Azure),
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}
