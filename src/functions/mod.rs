//! The app: what an Azure Functions host calls, and what people and their programs call over HTTP.
//!
//! ```text
//! GET  /                 "I am here", at once
//! POST /<function>       a trigger's envelope: one handler per folder of `functions/`     triggers/
//! ...  /api/...          the HTTP API, as the host forwards it                            api/
//! ...  /console/...      pages for people                                                 console/
//! ```
//!
//! `cpo serve` runs it behind the host, `cpo dev` by itself. Nothing that matters is kept in memory: a handler may be
//! killed between any two lines, and another one is asked again.

pub mod access;
pub mod api;
pub mod console;
pub mod envelope;
pub mod extract;
pub mod invocation;
pub mod origin;
pub mod receive;
pub mod refusal;
pub mod serve;
pub mod triggers;

use std::{path::Path, sync::Arc};

use axum::{Router, routing::get};

use self::{access::Access, api::uploads::UploadUrls, invocation::Files};
use crate::orchestration::{engine::Engine, realtime::Realtime};

/// All that a request is answered with. Clones share it.
#[derive(Debug, Clone)]
pub struct App {
    pub engine: Arc<Engine>,
    /// For files on their way in or out; whatever is in it may be lost.
    pub scratch: Arc<Path>,
    pub uploads: UploadUrls,
    pub access: Access,
    pub realtime: Arc<Realtime>,
}

impl App {
    /// Which is made if it is not there: nobody promises that it stays.
    pub fn scratch(&self) -> Result<&Path, crate::Error> {
        std::fs::create_dir_all(&self.scratch)
            .map_err(|error| crate::Error::failed("there is no place for files on their way", error))?;
        Ok(&self.scratch)
    }
}

/// Every route of the app.
pub fn router(app: App) -> Router {
    // Only a store of our own has no other way in, and no host before it.
    let files = match app.uploads {
        UploadUrls::Here => Files::AsLongAsTheyCome,
        UploadUrls::Account(_) => Files::AsAllCalls,
    };
    let routes = Router::new()
        .merge(triggers::routes())
        .merge(api::routes())
        .merge(console::routes())
        .fallback(refusal::no_such_route)
        .with_state(app);
    api::paths::in_any_case(invocation::layered(routes, files).route("/", get(async || "cpo\n")))
}
