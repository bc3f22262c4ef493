//! Microsoft Entra ID: the credential that storage and providers are reached with where no key is given.

use std::{env, sync::Arc};

use async_trait::async_trait;
use azure_core::{
    credentials::TokenCredential,
    error::{Error, ErrorKind},
    http::{
        ClientOptions, Context, RawResponse, Request, RetryOptions,
        policies::{Policy, PolicyResult},
    },
};
use azure_identity::{
    ClientAssertionCredentialOptions, DeveloperToolsCredential, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use serde_json::Value;

/// Who this process is to Microsoft Entra ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Whoever runs the process has said which identity it is to have by the variables that he has set: those of AKS, or
    /// those of App Service, Functions and Container Apps. A laptop has none of them.
    Found,
    /// One that the platform manages; by its client id where it is not the system's own.
    Managed { client: Option<String> },
}

impl Identity {
    /// Asks nobody yet. `retry`: how often a token is asked for before there is none.
    pub fn credential(self, retry: RetryOptions) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let client_options = client_options(retry);
        let client = match self {
            Self::Managed { client } => client,
            Self::Found if env::var_os("AZURE_FEDERATED_TOKEN_FILE").is_some() => {
                let credential_options = ClientAssertionCredentialOptions { client_options };
                let options = WorkloadIdentityCredentialOptions { credential_options, ..Default::default() };
                return Ok(WorkloadIdentityCredential::new(Some(options))?);
            }
            Self::Found if env::var_os("IDENTITY_ENDPOINT").is_some() => None,
            Self::Found => return Ok(DeveloperToolsCredential::new(None)?),
        };
        let client = client.or_else(|| env::var("AZURE_CLIENT_ID").ok());
        let user_assigned_id = client.map(UserAssignedId::ClientId);
        let options = ManagedIdentityCredentialOptions { user_assigned_id, client_options };
        Ok(ManagedIdentityCredential::new(Some(options))?)
    }
}

/// How tokens are asked for over HTTP.
pub fn client_options(retry: RetryOptions) -> ClientOptions {
    ClientOptions { retry, per_call_policies: vec![Arc::new(Refusal)], ..ClientOptions::default() }
}

/// Makes of an answer that is no success the error that it is. The credentials do not understand every one of them (a
/// reason with a line end in it, an error page), and then say nothing of its status; others they tell word for word.
#[derive(Debug)]
struct Refusal;

#[async_trait]
impl Policy for Refusal {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let answer = next[0].send(context, request, &next[1..]).await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        if status.is_success() {
            return Ok(answer);
        }
        let body: Value = match answer.into_body().collect().await {
            Ok(body) => serde_json::from_slice(&body).unwrap_or_default(),
            // The status says enough.
            Err(_) => Value::Null,
        };
        let raw_response = Some(Box::new(RawResponse::from_bytes(status, headers, "")));
        Err(Error::with_message(ErrorKind::HttpResponse { status, error_code: None, raw_response }, reason(&body)))
    }
}

/// In Entra's own words, those of App Service or of Azure's metadata service, in one line.
fn reason(body: &Value) -> String {
    const MOST: usize = 300;
    let said = ["/error_description", "/message", "/error/message", "/error"].iter();
    let said = said.filter_map(|at| body.pointer(at)?.as_str()).next().unwrap_or("no reason is given");
    let words: Vec<&str> =
        said.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_is_one_line_of_what_is_meant_for_people_and_of_nothing_else() {
        for (body, expected) in [
            (
                json!({"error": "invalid_client", "error_description": "AADSTS7000215: Wrong.\r\nTrace: 0f"}),
                "AADSTS7000215: Wrong. Trace: 0f",
            ),
            (json!({"statusCode": 400, "message": "No managed identity found"}), "No managed identity found"),
            (json!({"error": {"code": "x", "message": "not here"}}), "not here"),
            (json!({"error": "invalid_request"}), "invalid_request"),
            (json!({"access_token": "secret"}), "no reason is given"),
            (Value::Null, "no reason is given"),
        ] {
            assert_eq!(reason(&body), expected, "{body}");
        }
        assert_eq!(reason(&json!({"message": "ä".repeat(1_000)})).chars().count(), 300);
    }
}
