//! Azure OpenAI, and whatever speaks the same protocol (OpenAI itself, llama.cpp, vLLM, a gateway).
//!
//! | | base | model is named |
//! |---|---|---|
//! | Azure, v1 | `ENDPOINT/openai/v1` | in the body: the deployment |
//! | Azure, dated | `ENDPOINT/openai/deployments/DEPLOYMENT?api-version=…` | in the path |
//! | compatible | `OPENAI_BASE_URL` | in the body |

pub mod chat;
pub mod embeddings;
pub mod tokens;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::StatusCode;

use super::{
    Credential,
    service::{Answer, Call, Fault, Service},
    services::{Settings, wrong_address, wrong_key},
};
use crate::domain::problem::Problem;

/// Whom tokens for Azure's AI services are for.
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";

const AZURE: &str = "azure_openai";
const COMPATIBLE: &str = "openai";

#[derive(Debug)]
pub struct OpenAi {
    service: Service,
    paths: Paths,
    dialect: Dialect,
    /// The deployment or model, where a campaign names none.
    pub model: Option<String>,
    /// For embeddings, likewise.
    pub embedding_model: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Paths {
    /// `/chat/completions` below the base; the body names the model.
    Plain,
    /// `/deployments/MODEL/chat/completions?api-version=…`.
    Dated { api_version: String },
}

/// What a request's fields are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// OpenAI's own and Azure's: what an answer may take is `max_completion_tokens`.
    OpenAi,
    /// As most servers that came after know it: `max_tokens`.
    Compatible,
}

/// What a path's segment may hold as it is.
const IN_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl OpenAi {
    /// * `AZURE_OPENAI_ENDPOINT`, e.g. `https://NAME.openai.azure.com`
    /// * `AZURE_OPENAI_API_KEY`; without it the process's Entra identity is used (role Cognitive Services OpenAI User)
    /// * `AZURE_OPENAI_API_VERSION`: the dated paths with it; without it the v1 path
    /// * `AZURE_OPENAI_DEPLOYMENT`, `AZURE_OPENAI_EMBEDDING_DEPLOYMENT`
    pub fn azure(settings: &Settings) -> Result<Self, Problem> {
        const ENDPOINT: &str = "AZURE_OPENAI_ENDPOINT";
        const KEY: &str = "AZURE_OPENAI_API_KEY";
        let endpoint = settings.required(ENDPOINT, AZURE, "https://NAME.openai.azure.com")?;
        let credential = match settings.get(KEY) {
            Some(key) => Credential::key("api-key", &key).map_err(|why| wrong_key(KEY, why))?,
            None => Credential::entra(SCOPE)?,
        };
        let (paths, below) = match settings.get("AZURE_OPENAI_API_VERSION") {
            Some(api_version) => (Paths::Dated { api_version }, "/openai"),
            None => (Paths::Plain, "/openai/v1"),
        };
        let base = format!("{}{below}", endpoint.trim_end_matches('/'));
        Ok(Self {
            service: Service::new(AZURE, &base, credential).map_err(|why| wrong_address(ENDPOINT, &why))?,
            paths,
            dialect: Dialect::OpenAi,
            model: settings.get("AZURE_OPENAI_DEPLOYMENT"),
            embedding_model: settings.get("AZURE_OPENAI_EMBEDDING_DEPLOYMENT"),
        })
    }

    /// * `OPENAI_BASE_URL`, e.g. `http://127.0.0.1:8080/v1`
    /// * `OPENAI_API_KEY`, where the server wants one
    /// * `OPENAI_MODEL`, `OPENAI_EMBEDDING_MODEL`
    pub fn compatible(settings: &Settings) -> Result<Self, Problem> {
        const BASE: &str = "OPENAI_BASE_URL";
        const KEY: &str = "OPENAI_API_KEY";
        let base = settings.required(BASE, COMPATIBLE, "http://127.0.0.1:8080/v1")?;
        let credential = match settings.get(KEY) {
            Some(key) => Credential::bearer(&key).map_err(|why| wrong_key(KEY, why))?,
            None => Credential::Nobody,
        };
        let service = Service::new(COMPATIBLE, &base, credential).map_err(|why| wrong_address(BASE, &why))?;
        let is_openai = service.address().host_str() == Some("api.openai.com");
        Ok(Self {
            service,
            paths: Paths::Plain,
            dialect: if is_openai { Dialect::OpenAi } else { Dialect::Compatible },
            model: settings.get("OPENAI_MODEL"),
            embedding_model: settings.get("OPENAI_EMBEDDING_MODEL"),
        })
    }

    /// As a campaign names it.
    pub fn name(&self) -> &'static str {
        self.service.name()
    }

    /// Whether it runs on this machine.
    pub fn is_here(&self) -> bool {
        self.service.is_here()
    }

    /// A call of `model` at `path`, e.g. `chat/completions`. Its body names the model in any case: where the path does,
    /// the service ignores it.
    fn call(&self, operation: &'static str, model: &str, path: &str) -> Call {
        match &self.paths {
            Paths::Plain => Call::post(operation, path),
            Paths::Dated { api_version } => {
                let model = utf8_percent_encode(model, IN_SEGMENT);
                Call::post(operation, format!("deployments/{model}/{path}")).query("api-version", api_version.clone())
            }
        }
    }

    /// A question that its filter or its limits stop (400) the service may have read, and charges for: Azure says so on its
    /// page about costs, and the answer does not tell which of the two it was.
    async fn send(&self, call: &Call) -> Result<Answer, Fault> {
        self.service.send(call).await.map_err(|fault| {
            let may_have_cost = fault.may_have_cost || fault.status == Some(StatusCode::BAD_REQUEST);
            Fault { may_have_cost, ..fault }
        })
    }
}
