//! Microsoft Entra ID: the credential that storage and providers are reached with where no key is given.

use std::{env, sync::Arc};

use azure_core::credentials::TokenCredential;
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential,
};

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
    /// Asks nobody yet.
    pub fn credential(self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let client = match self {
            Self::Managed { client } => client,
            Self::Found if env::var_os("AZURE_FEDERATED_TOKEN_FILE").is_some() => {
                return Ok(WorkloadIdentityCredential::new(None)?);
            }
            Self::Found if env::var_os("IDENTITY_ENDPOINT").is_some() => None,
            Self::Found => return Ok(DeveloperToolsCredential::new(None)?),
        };
        let client = client.or_else(|| env::var("AZURE_CLIENT_ID").ok());
        let user_assigned_id = client.map(UserAssignedId::ClientId);
        let options = ManagedIdentityCredentialOptions { user_assigned_id, ..Default::default() };
        Ok(ManagedIdentityCredential::new(Some(options))?)
    }
}
