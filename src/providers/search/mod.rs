//! Azure AI Search, its data plane.

mod documents;
pub mod filter;
pub mod index;
mod query;

use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::{
    Method,
    header::{HeaderName, HeaderValue},
};
use serde::Deserialize;

pub use self::{
    documents::Entry,
    filter::Filter,
    index::Index,
    query::{Found, Neighbours, Query, Words},
};
use super::{
    Credential,
    service::{Call, Fault, Service},
    services::{Settings, wrong_address, wrong_key},
};
use crate::domain::problem::Problem;

pub const NAME: &str = "azure_search";

/// The setting with its address.
pub const ENDPOINT: &str = "AZURE_SEARCH_ENDPOINT";

/// Whom its tokens are for.
const SCOPE: &str = "https://search.azure.com/.default";

const API_VERSION: &str = "2025-09-01";

#[derive(Debug)]
pub struct Search {
    service: Service,
    /// Whether the semantic ranker is asked: as long as it is wanted, and the service does not say that it has none.
    semantic: AtomicBool,
}

impl Search {
    /// * `AZURE_SEARCH_ENDPOINT`, e.g. `https://NAME.search.windows.net`
    /// * `AZURE_SEARCH_API_KEY`: an admin key; without it the process's Entra identity is used (roles Search Service
    ///   Contributor and Search Index Data Contributor)
    /// * `AZURE_SEARCH_SEMANTIC`: `on` or `off`. On if it is not said: a campaign asks once for each segment, channel and
    ///   locale, which is little, and a service without the ranker is asked without it.
    pub fn azure(settings: &Settings) -> Result<Self, Problem> {
        const KEY: &str = "AZURE_SEARCH_API_KEY";
        const SEMANTIC: &str = "AZURE_SEARCH_SEMANTIC";
        let endpoint = settings.required(ENDPOINT, NAME, "https://NAME.search.windows.net")?;
        let credential = match settings.get(KEY) {
            Some(key) => Credential::key("api-key", &key).map_err(|why| wrong_key(KEY, why))?,
            None => Credential::entra(SCOPE)?,
        };
        let semantic = match settings.get(SEMANTIC).as_deref() {
            None | Some("on") => true,
            Some("off") => false,
            Some(_) => {
                return Err(Problem::new(
                    format!("the setting {SEMANTIC} is neither `on` nor `off`"),
                    "set one of them",
                ));
            }
        };
        let service = Service::new(NAME, &endpoint, credential).map_err(|why| wrong_address(ENDPOINT, &why))?;
        Ok(Self { service, semantic: AtomicBool::new(semantic) })
    }

    /// Whether queries are ranked by meaning, and charged for it.
    pub fn is_semantic(&self) -> bool {
        self.semantic.load(Ordering::Relaxed)
    }

    /// Makes the index, or changes it to be so. An index whose analysers change would have to stand still for it
    /// (`allowIndexDowntime`); ours get another name instead.
    pub async fn create(&self, index: &Index) -> Result<(), Fault> {
        let prefer = (HeaderName::from_static("prefer"), HeaderValue::from_static("return=representation"));
        let call = Call::new("create index", Method::PUT, path(&index.name));
        self.service.send(&versioned(call).header(prefer.0, prefer.1).json(index)).await.map(drop)
    }

    /// The names of all indexes.
    pub async fn indexes(&self) -> Result<Vec<String>, Fault> {
        let call = Call::get("list indexes", "indexes").query("$select", "name");
        let List { value } = self.service.ask(&versioned(call)).await?;
        Ok(value.into_iter().map(|Listed { name }| name).collect())
    }

    /// The smallest call that needs address, version, key and role to be right.
    pub async fn probe(&self) -> Result<(), Fault> {
        self.indexes().await.map(drop)
    }
}

#[derive(Deserialize)]
struct List {
    value: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
}

fn path(index: &str) -> String {
    format!("indexes('{index}')")
}

/// Nothing that is sent is a customer's: passages are approved for everybody, queries are made of segments.
fn versioned(call: Call) -> Call {
    call.query("api-version", API_VERSION).public()
}

#[cfg(test)]
mod tests {
    use crate::providers::Services;

    fn search(settings: &'static [(&'static str, &'static str)]) -> Result<bool, String> {
        let get = move |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let search = Services::new(get).azure_search();
        search.map(|search| search.is_semantic()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn the_ranker_is_asked_unless_it_is_switched_off() {
        const AT: (&str, &str) = ("AZURE_SEARCH_ENDPOINT", "https://x.search.windows.net");
        const KEY: (&str, &str) = ("AZURE_SEARCH_API_KEY", "secret");
        assert_eq!(search(&[AT, KEY]), Ok(true));
        assert_eq!(search(&[AT, KEY, ("AZURE_SEARCH_SEMANTIC", "off")]), Ok(false));
        let problem = search(&[AT, KEY, ("AZURE_SEARCH_SEMANTIC", "maybe")]).unwrap_err();
        assert!(problem.contains("AZURE_SEARCH_SEMANTIC"), "{problem}");
    }

    #[test]
    fn what_is_not_set_up_names_its_setting_and_a_key_travels_on_safe_ways_only() {
        assert!(search(&[]).unwrap_err().contains("AZURE_SEARCH_ENDPOINT"));
        let unsafe_way = [("AZURE_SEARCH_ENDPOINT", "http://example.com"), ("AZURE_SEARCH_API_KEY", "secret")];
        let problem = search(Box::leak(Box::new(unsafe_way))).unwrap_err();
        assert!(problem.contains("https://") && !problem.contains("secret"), "{problem}");
    }
}
