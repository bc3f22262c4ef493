//! MLflow's tracking API 2.0: a server of one's own, or the one of an Azure Machine Learning workspace.
//!
//! | | API | artifacts | who we are |
//! |---|---|---|---|
//! | server | `URI/api/2.0/mlflow` | `URI/api/2.0/mlflow-artifacts/artifacts/…` | nobody, a token, or a user and a password |
//! | workspace | `https://REGION.api.azureml.ms/mlflow/v2.0/subscriptions/…/api/2.0/mlflow` | `…/artifact/v2.0/subscriptions/…` | the process's Entra identity, or a token |
//!
//! Nothing that is sent here is a customer's, so that messages may tell what the server says.

mod artifacts;
mod runs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

pub use self::runs::{Entry, Metric, Run};
use super::{
    Credential,
    service::{Call, Fault, Service},
    services::{Settings, wrong_address, wrong_key},
};
use crate::domain::problem::Problem;

const NAME: &str = "mlflow";

const URI: &str = "MLFLOW_TRACKING_URI";
const TOKEN: &str = "MLFLOW_TRACKING_TOKEN";
const USERNAME: &str = "MLFLOW_TRACKING_USERNAME";
const PASSWORD: &str = "MLFLOW_TRACKING_PASSWORD";
const EXAMPLE: &str = "http://127.0.0.1:5000";

/// Whom tokens for Azure Machine Learning are for.
const SCOPE: &str = "https://management.azure.com/.default";

#[derive(Debug)]
pub struct MlFlow {
    service: Service,
    host: Host,
    /// Where campaigns are tracked, if not each in an experiment of its own name.
    pub experiment: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Server,
    /// `subscriptions/…/workspaces/NAME`
    Workspace(String),
}

impl MlFlow {
    /// * `MLFLOW_TRACKING_URI`, e.g. `http://127.0.0.1:5000`, or a workspace's, which begins with `azureml://`
    /// * `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, or `MLFLOW_TRACKING_TOKEN`, where the server wants
    ///   them; for a workspace the process's Entra identity is used without them (role AzureML Data Scientist)
    /// * `MLFLOW_EXPERIMENT_NAME`
    pub fn new(settings: &Settings) -> Result<Self, Problem> {
        let uri = settings.required(URI, NAME, EXAMPLE)?;
        let (address, host) = locate(&uri)?;
        let credential = match (settings.get(USERNAME), settings.get(PASSWORD), settings.get(TOKEN)) {
            (Some(user), Some(password), _) => {
                let pair = STANDARD.encode(format!("{user}:{password}"));
                Credential::key("authorization", &format!("Basic {pair}")).map_err(|why| wrong_key(PASSWORD, why))?
            }
            (_, _, Some(token)) => Credential::bearer(&token).map_err(|why| wrong_key(TOKEN, why))?,
            _ if matches!(host, Host::Workspace(_)) => Credential::entra(SCOPE)?,
            _ => Credential::Nobody,
        };
        let service = Service::new(NAME, &address, credential).map_err(|why| wrong_address(URI, &why))?;
        Ok(Self { service, host, experiment: settings.get("MLFLOW_EXPERIMENT_NAME") })
    }

    /// As people know it, without a secret: none may stand in an address.
    pub fn address(&self) -> String {
        let root = self.service.address().as_str().trim_end_matches('/');
        match &self.host {
            Host::Server => root.to_owned(),
            Host::Workspace(workspace) => format!("{root}/mlflow/v2.0/{workspace}"),
        }
    }

    /// The smallest call that tells whether it is there, and lets us in.
    pub async fn probe(&self) -> Result<(), Fault> {
        self.ask::<Value>(self.post("search experiments", "experiments/search", &json!({ "max_results": 1 }))).await?;
        Ok(())
    }

    fn path(&self, below: &str) -> String {
        match &self.host {
            Host::Server => format!("api/2.0/mlflow/{below}"),
            Host::Workspace(workspace) => format!("mlflow/v2.0/{workspace}/api/2.0/mlflow/{below}"),
        }
    }

    fn get(&self, operation: &'static str, below: &str) -> Call {
        Call::get(operation, self.path(below)).public()
    }

    fn post(&self, operation: &'static str, below: &str, body: &Value) -> Call {
        Call::post(operation, self.path(below)).json(body).public()
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, call: Call) -> Result<T, Fault> {
        self.service.ask(&call).await
    }
}

/// The address below which all calls are, and what is there.
fn locate(uri: &str) -> Result<(String, Host), Problem> {
    let uri = uri.trim_end_matches('/');
    // The portal's form of a workspace's: `azureml://REGION.api.azureml.ms/mlflow/v1.0/subscriptions/…?`.
    let address = match uri.strip_prefix("azureml://") {
        Some(rest) => format!("https://{}", rest.split('?').next().unwrap_or_default().trim_end_matches('/')),
        None => uri.to_owned(),
    };
    let workspace = ["/mlflow/v1.0/", "/mlflow/v2.0/"].iter().find_map(|version| address.split_once(version));
    match workspace.filter(|(_, workspace)| workspace.starts_with("subscriptions/")) {
        Some((root, workspace)) => Ok((root.to_owned(), Host::Workspace(workspace.to_owned()))),
        None if address.starts_with("http://") || address.starts_with("https://") && !uri.starts_with("azureml:") => {
            Ok((address, Host::Server))
        }
        None => {
            let message = format!("the setting {URI} is no address of a server or an Azure Machine Learning workspace");
            let remedy = format!(
                "set it to a server's address, e.g. {EXAMPLE}, or to what `az ml workspace show --query \
                 mlflow_tracking_uri` prints; folders and databases are reached through `mlflow server`"
            );
            Err(Problem::new(message, remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::Services;

    const WORKSPACE: &str = "subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w";

    #[test]
    fn a_workspace_is_known_by_its_uri_however_it_is_written() {
        for uri in [
            format!("azureml://westeurope.api.azureml.ms/mlflow/v1.0/{WORKSPACE}?"),
            format!("azureml://westeurope.api.azureml.ms/mlflow/v2.0/{WORKSPACE}"),
            format!("https://westeurope.api.azureml.ms/mlflow/v2.0/{WORKSPACE}/"),
        ] {
            let (address, host) = locate(&uri).unwrap();
            assert_eq!(address, "https://westeurope.api.azureml.ms", "{uri}");
            assert_eq!(host, Host::Workspace(WORKSPACE.to_owned()), "{uri}");
        }
        let server = locate("https://tracking.example/mlflow/").unwrap();
        assert_eq!(server, ("https://tracking.example/mlflow".to_owned(), Host::Server));
        for uri in ["sqlite:///runs.db", "file:///runs", "./runs", "databricks", "azureml://x/else"] {
            assert!(locate(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn a_secret_travels_to_no_open_address_and_is_in_no_message() {
        let services = Services::new(|name| {
            let value = match name {
                URI => "http://tracking.example",
                USERNAME => "user",
                PASSWORD => "hunter2",
                _ => return None,
            };
            Some(value.to_owned())
        });
        let problem = services.mlflow().unwrap_err().to_string();
        assert!(problem.contains(URI) && !problem.contains("hunter2"), "{problem}");
    }
}
