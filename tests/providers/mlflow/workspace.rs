//! The form of Azure Machine Learning: paths, token, artifacts.

use axum::http::header::AUTHORIZATION;
use cpo::{agents::experimentation::mlflow::track, providers::Services};

use super::{
    fake::digests,
    front::{Backend, Front},
    lost::sample,
};

pub const WORKSPACE: &str = "subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w";

#[tokio::test]
async fn a_workspace_is_asked_below_its_own_address_with_a_token_and_takes_files_elsewhere() {
    let backend = Backend::fake();
    let front = Front::start(backend.clone()).await;
    let url = front.url();
    let services = Services::new(move |name| match name {
        // What the portal shows; only the scheme is another.
        "MLFLOW_TRACKING_URI" => Some(format!("{url}/mlflow/v1.0/{WORKSPACE}")),
        "MLFLOW_TRACKING_TOKEN" => Some("a-token".to_owned()),
        "MLFLOW_EXPERIMENT_NAME" => Some("all-campaigns".to_owned()),
        _ => None,
    });
    let tracked = sample("spring", 10);
    track(&services.mlflow().unwrap(), &tracked).await.unwrap();

    let api = format!("/mlflow/v2.0/{WORKSPACE}/api/2.0/mlflow/");
    let artifacts = format!("/artifact/v2.0/{WORKSPACE}/artifacts/ExperimentRun/dcid.");
    let seen = front.seen();
    for seen in &seen {
        assert!(seen.path.starts_with(&api) || seen.path.starts_with(&artifacts), "{}", seen.path);
        assert_eq!(seen.headers[AUTHORIZATION], "Bearer a-token");
    }
    assert_eq!(seen.iter().filter(|seen| seen.path.starts_with(&artifacts)).count(), tracked.artifacts.len());
    let Backend::Fake(fake) = backend else { unreachable!() };
    let runs = fake.runs("all-campaigns");
    assert_eq!(runs.len(), 1);
    assert_eq!(fake.files(&runs[0]), digests(&tracked.artifacts));
}

#[tokio::test]
async fn a_server_with_users_is_told_user_and_password() {
    let front = Front::start(Backend::fake()).await;
    let url = front.url();
    let services = Services::new(move |name| match name {
        "MLFLOW_TRACKING_URI" => Some(url.clone()),
        "MLFLOW_TRACKING_USERNAME" => Some("Aladdin".to_owned()),
        "MLFLOW_TRACKING_PASSWORD" => Some("open sesame".to_owned()),
        _ => None,
    });
    services.mlflow().unwrap().probe().await.unwrap();
    assert_eq!(front.seen()[0].headers[AUTHORIZATION], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
}
