//! A run's files.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, header::HeaderValue};

use super::{Host, MlFlow, Run};
use crate::providers::service::{Call, Fault};

/// What of a segment of a path stands for itself.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A workspace keeps a run's files as the artifacts `ExperimentRun/dcid.RUN/NAME`: so its jobs' outputs and its own
/// messages name them. The call is the one that the package `azureml-mlflow` (1.62) describes; no workspace was at hand to
/// try it on.
fn container(run: &Run) -> String {
    format!("ExperimentRun/dcid.{}", encoded(&run.info.run_id))
}

impl MlFlow {
    /// In the place of a file of that name. `false`: the server leaves it to its clients to write into the storage behind
    /// it, which this one does not.
    pub async fn upload(&self, run: &Run, name: &str, bytes: Vec<u8>) -> Result<bool, Fault> {
        let call = match &self.host {
            Host::Workspace(workspace) => {
                let path = format!("artifact/v2.0/{workspace}/artifacts/{}/content", container(run));
                Call::post("upload artifact", path).query("path", name).query("allowOverwrite", "true")
            }
            Host::Server => match proxied(&run.info.artifact_uri) {
                Some(folder) => {
                    let path = format!("api/2.0/mlflow-artifacts/artifacts/{folder}/{}", encoded(name));
                    Call::new("upload artifact", Method::PUT, path)
                }
                None => return Ok(false),
            },
        };
        let call = call.bytes(HeaderValue::from_static("application/octet-stream"), bytes).public();
        self.service.send(&call).await?;
        Ok(true)
    }
}

/// The folder of an address such as `mlflow-artifacts:/1/RUN/artifacts`, which is below the server's own.
fn proxied(artifact_uri: &str) -> Option<String> {
    let rest = artifact_uri.strip_prefix("mlflow-artifacts:")?;
    let path = match rest.strip_prefix("//") {
        // With the server's own host and port.
        Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
        None => rest,
    };
    Some(encoded(path.trim_matches('/')))
}

fn encoded(path: &str) -> String {
    let segment = |segment| utf8_percent_encode(segment, SEGMENT).to_string();
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_passes_on_is_uploaded() {
        let folder = Some("1/0f/artifacts".to_owned());
        assert_eq!(proxied("mlflow-artifacts:/1/0f/artifacts"), folder);
        assert_eq!(proxied("mlflow-artifacts://tracking.example:5000/1/0f/artifacts"), folder);
        assert_eq!(proxied("s3://bucket/1/0f/artifacts"), None);
        assert_eq!(proxied("/var/mlruns/1/0f/artifacts"), None);
        assert_eq!(encoded("experiment/a b?.json"), "experiment/a%20b%3F.json");
    }
}
