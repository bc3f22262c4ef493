//! What a fault says of the set-up, in plain words, and how to mend it.

use reqwest::StatusCode;

use crate::{
    domain::problem::Problem,
    providers::{
        ErrorKind,
        service::{Fault, NoAnswer},
    },
};

/// What is known of a provider's set-up: the words that its operator will find in a portal or a shell.
#[derive(Debug, Clone, Copy)]
pub struct SetUp {
    /// The setting with its address.
    pub address: &'static str,
    /// The setting with its key.
    pub key: &'static str,
    /// What the identity of this process needs where there is no key.
    pub role: &'static str,
    /// What is asked for by name, and where that name is given.
    pub name: &'static str,
}

/// What is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    pub wrong: String,
    pub remedy: String,
}

impl From<Problem> for Diagnosis {
    fn from(problem: Problem) -> Self {
        Self { wrong: problem.message, remedy: problem.remedy }
    }
}

impl Diagnosis {
    pub fn of(fault: &Fault, set_up: &SetUp) -> Self {
        let SetUp { address, key, role, name } = set_up;
        let (wrong, remedy) = match fault.no_answer {
            Some(NoAnswer::UnknownHost) => (
                "no address is known for the host's name (DNS)",
                format!("look for a typing error in {address}; a private endpoint needs its private DNS zone"),
            ),
            Some(NoAnswer::Refused) => {
                ("nothing listens at the address", format!("start the server, or correct host and port in {address}"))
            }
            Some(NoAnswer::Untrusted) => (
                "the connection cannot be trusted (TLS)",
                format!(
                    "{address} must name the host as its certificate does, and https only where the server speaks it; a \
                     proxy's own certificate must be trusted by this machine"
                ),
            ),
            Some(NoAnswer::Unreachable) => (
                "the address cannot be reached",
                format!("look at this machine's network, proxy and firewall, and at {address}"),
            ),
            Some(NoAnswer::Broken) => (
                "the connection was made, and broke",
                "try again; if it stays, a proxy or firewall ends such connections".to_owned(),
            ),
            Some(NoAnswer::Late) => (
                "no answer came in time",
                "a firewall may swallow the connection, or the service is overloaded: look at its network rules"
                    .to_owned(),
            ),
            Some(NoAnswer::NoToken) if fault.kind != ErrorKind::Misconfigured => (
                "whoever gives this process its Entra token does not answer as it should (credential)",
                "wait and try again; look at the network on the way to it, and at Azure's status page".to_owned(),
            ),
            Some(NoAnswer::NoToken) => (
                "this process has no token of an Entra identity (credential)",
                format!("log in with `az login`, give the app a managed identity, or set {key}"),
            ),
            None => of_answer(fault, set_up, key, role, name),
        };
        let detail = if fault.message.is_empty() { String::new() } else { format!(" [{}]", fault.message) };
        Self { wrong: format!("{wrong}{detail}"), remedy }
    }
}

fn of_answer(fault: &Fault, set_up: &SetUp, key: &str, role: &str, name: &str) -> (&'static str, String) {
    let code = fault.code.as_deref().unwrap_or_default();
    let address = set_up.address;
    let is_version = code.to_ascii_lowercase().replace(['_', '-'], "").contains("apiversion");
    let is_name = ["DeploymentNotFound", "model_not_found", "IndexNotFound"].contains(&code);
    match (fault.status, fault.kind) {
        _ if is_version => (
            "the service does not know the api-version",
            "take one that the service's documentation lists, or leave the setting out".to_owned(),
        ),
        _ if is_name => (
            "the service has nothing by that name",
            format!("correct {name}; a new deployment takes some minutes to be found"),
        ),
        (Some(StatusCode::UNAUTHORIZED), _) => (
            "the credential is not accepted",
            format!("copy the key into {key} once more; without a key, log in to the tenant of the resource"),
        ),
        (Some(StatusCode::FORBIDDEN), _) => (
            "the credential is known, and may not do this (role)",
            format!("give the identity {role}, which takes some minutes; look at the resource's network rules, too"),
        ),
        (Some(StatusCode::NOT_FOUND), _) => {
            ("the service has nothing at that path", format!("look at {address}, at {name}, and at the api-version"))
        }
        (Some(StatusCode::PAYMENT_REQUIRED), _) | (Some(StatusCode::TOO_MANY_REQUESTS), ErrorKind::Misconfigured) => (
            "the account has no credit left (quota)",
            "pay, or raise the limit on the service's billing page".to_owned(),
        ),
        (_, ErrorKind::Throttled { .. }) => (
            "the service asks to wait: more was asked than its quota allows",
            "wait and try again; if it stays, raise the deployment's tokens per minute or the service's tier"
                .to_owned(),
        ),
        (Some(status), _) if status.is_success() => (
            "it answers, but not as this service does",
            format!("{address} may be that of another service, or of a proxy's log-in page"),
        ),
        (Some(status), _) if status.is_redirection() => (
            "it sends its callers elsewhere, where the credential may not follow",
            format!("set {address} to the address that it sends to"),
        ),
        (Some(status), _) if status.is_server_error() => {
            ("the service is in trouble itself", "wait and try again; look at the provider's status page".to_owned())
        }
        _ => ("the service does not take the question", format!("look at {name}, and at what the service says")),
    }
}
