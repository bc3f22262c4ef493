//! The identity whose token signs the calls, under each fault of whoever gives the tokens. No service is asked without one,
//! and nothing counts as charged.

use std::{
    env, fs,
    path::PathBuf,
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use azure_core::{
    credentials::TokenCredential,
    http::{AsyncRawResponse, ClientOptions, HttpClient, RetryOptions, Transport, Url, new_http_client},
};
use azure_identity::{ClientAssertionCredentialOptions, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions};
use cpo::{
    identity,
    providers::{
        Credential, ErrorKind,
        service::{self, Call, NoAnswer, Service},
    },
};
use futures::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Fault, assert_none, let_time_pass};
use crate::{
    content_safety,
    scripted::{Reply, Request, Scripted},
};

const TOKEN: &str = "t0ken-that-nobody-may-see";

/// What a call of a service is told while whoever gives the tokens shows this fault.
fn expected(fault: Fault) -> Option<ErrorKind> {
    match fault {
        // A token is a token, whatever is around it.
        Fault::WrongType | Fault::Large | Fault::NotUtf8 => None,
        // It is the identity that is refused, and not the question.
        Fault::Status(_) if fault.kind() == Some(ErrorKind::Rejected) => Some(ErrorKind::Misconfigured),
        Fault::Status(409) => Some(ErrorKind::Misconfigured),
        _ => fault.kind(),
    }
}

/// How often a token is asked for.
fn requests(fault: Fault) -> usize {
    match (fault, expected(fault)) {
        // A time-out takes all the time that there is.
        (Fault::Silent, _) => 1,
        (Fault::Refused, _) => 0,
        // Nothing was done, so it is tried again.
        (_, Some(ErrorKind::Unavailable)) => 3,
        _ => 1,
    }
}

async fn wrong(
    what: &str,
    fault: Fault,
    credential: Credential,
    within: Duration,
    asked: impl Fn() -> usize,
) -> Option<String> {
    let server = Scripted::start(|_| Reply::json(200, &json!({"n": 1}))).await;
    let service = Service::new("test", &server.url(), credential).unwrap();
    let met: Result<Value, service::Fault> = service.ask(&Call::post("ask", "questions").within(within)).await;
    let error = met.as_ref().err();
    let expected = expected(fault);
    let is_right = error.map(|error| error.kind) == expected
        && error.is_none_or(|error| error.no_answer == Some(NoAnswer::NoToken) && !error.may_have_cost)
        && error.is_none_or(|error| !error.message.contains(TOKEN) && error.message.len() < 1_000)
        && error.is_none_or(|error| error.message.contains("az login") == (expected == Some(ErrorKind::Misconfigured)))
        && asked() == requests(fault)
        && server.requests().len() == usize::from(expected.is_none());
    let signed =
        server.requests().iter().all(|request| request.header("authorization") == Some(&format!("Bearer {TOKEN}")));
    let (asked, sent) = (asked(), server.requests().len());
    (!(is_right && signed)).then(|| format!("{what}, {fault:?}: {met:?}, {asked} tokens asked for, {sent} calls"))
}

/// Entra's own address, which is on this machine.
#[derive(Debug)]
struct Here {
    client: Arc<dyn HttpClient>,
    url: Url,
}

#[async_trait]
impl HttpClient for Here {
    async fn execute_request(&self, request: &azure_core::http::Request) -> azure_core::Result<AsyncRawResponse> {
        let mut here = request.clone();
        *here.url_mut() = self.url.join(request.url().path()).unwrap();
        self.client.execute_request(&here).await
    }
}

/// The workload identity of a pod.
fn workload(url: &str, token_file: PathBuf) -> Credential {
    let here = Here { client: new_http_client(None), url: url.parse().unwrap() };
    let client_options = ClientOptions {
        transport: Some(Transport::new(Arc::new(here))),
        ..identity::client_options(RetryOptions::none())
    };
    let options = WorkloadIdentityCredentialOptions {
        credential_options: ClientAssertionCredentialOptions { client_options },
        client_id: Some("client".to_owned()),
        tenant_id: Some("tenant".to_owned()),
        token_file_path: Some(token_file),
    };
    let credential: Arc<dyn TokenCredential> = WorkloadIdentityCredential::new(Some(options)).unwrap();
    Credential::Entra { credential, scope: "https://cognitiveservices.azure.com/.default" }
}

fn entra(request: &Request) -> Reply {
    assert!(request.path().ends_with("/tenant/oauth2/v2.0/token"), "{}", request.target);
    Reply::json(200, &json!({"token_type": "Bearer", "expires_in": 3600, "access_token": TOKEN}))
}

#[tokio::test(start_paused = true)]
async fn without_a_token_of_entra_nothing_is_sent_and_only_what_passes_by_itself_is_asked_again() {
    let_time_pass();
    // The client of the tokens wants the TLS library set up, as the service's does.
    drop(Service::new("test", "https://a.example", Credential::Nobody));
    let file = tempfile::NamedTempFile::new().unwrap();
    let cell = async |fault: Fault| {
        let server = fault.shown(entra).await;
        let credential = workload(&server.url(), file.path().to_owned());
        wrong("workload identity", fault, credential, Duration::from_secs(60), || server.requests().len()).await
    };
    assert_none(join_all(Fault::ALL.map(cell)).await);
}

#[tokio::test(start_paused = true)]
async fn entra_s_own_words_are_told_and_a_refusal_ends_the_matter() {
    let_time_pass();
    drop(Service::new("test", "https://a.example", Credential::Nobody));
    let file = tempfile::NamedTempFile::new().unwrap();
    let refusal = json!({"error": "unauthorized_client", "error_codes": [700_016],
        "error_description": "AADSTS700016: Application with identifier 'client' was not found.\r\nTrace ID: 0f"});
    let server = Scripted::in_turn([Reply::json(400, &refusal)]).await;
    let service = Service::new("test", "http://127.0.0.1:9", workload(&server.url(), file.path().to_owned())).unwrap();
    let fault = service.send(&Call::get("ask", "questions")).await.unwrap_err();
    assert_eq!((fault.kind, server.requests().len()), (ErrorKind::Misconfigured, 1));
    let said = "400: AADSTS700016: Application with identifier 'client' was not found. Trace ID: 0f; log in";
    assert!(fault.message.contains(said), "{}", fault.message);
}

/// In whose process the variables are set that an app has in Azure.
const CHILD: &str = "CPO_TEST_MANAGED_IDENTITY";

/// Of a scope that names the fault, so that one address can show them all.
fn scope(fault: Fault) -> String {
    let position = Fault::ALL.iter().position(|known| *known == fault).unwrap();
    format!("https://fault-{position}.example")
}

fn managed(request: &Request) -> Reply {
    assert_eq!(request.header("x-identity-header"), Some("secret"));
    let resource = &request.query()["resource"];
    Fault::ALL.into_iter().find(|fault| scope(*fault) == *resource).unwrap().of(token(request))
}

/// In real time, so without the slow one; and silence is waited for as shortly as the others can bear.
#[tokio::test]
async fn a_managed_identity_is_asked_as_the_platform_says_and_each_fault_told_for_what_it_is() {
    const NAME: &str =
        "faults::token::a_managed_identity_is_asked_as_the_platform_says_and_each_fault_told_for_what_it_is";
    const NOBODY: &str = "nobody";
    if let Ok(here) = env::var(CHILD) {
        let faults = Fault::ALL.into_iter().filter(|fault| (*fault == Fault::Refused) == (here == NOBODY));
        let cell = async |fault: Fault| {
            let credential = Credential::entra(Box::leak(format!("{}/.default", scope(fault)).into())).unwrap();
            wrong("managed identity", fault, credential, Duration::from_secs(8), || requests(fault)).await
        };
        assert_none(join_all(faults.filter(|fault| *fault != Fault::Slow).map(cell)).await);
        return;
    }
    let nobody = Scripted::nobody().await;
    let server = Scripted::start(managed).await;
    let run = async |here: &str, url: String| {
        let mut child = tokio::process::Command::new(env::current_exe().unwrap());
        child
            .args(["--exact", NAME, "--nocapture"])
            .env_remove("AZURE_FEDERATED_TOKEN_FILE")
            .env_remove("AZURE_CLIENT_ID");
        child.envs([(CHILD, here), ("IDENTITY_ENDPOINT", &format!("{url}/token")), ("IDENTITY_HEADER", "secret")]);
        let output = child.stdin(Stdio::null()).output().await.unwrap();
        let told = [output.stdout, output.stderr].map(|told| String::from_utf8_lossy(&told).into_owned()).concat();
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
    };
    tokio::join!(run("somebody", server.url()), run(NOBODY, nobody.url()));
    for fault in Fault::ALL {
        let is_of = |request: &&Request| request.query()["resource"] == scope(fault);
        let asked = server.requests().iter().filter(is_of).count();
        let expected = if fault == Fault::Slow { 0 } else { requests(fault) };
        assert_eq!(asked, expected, "{fault:?}");
    }
}

/// `cpo run` of the samples, screened by a service that takes tokens only, with what became of it.
async fn run(token: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Output, Scripted, Scripted, TempDir) {
    let identity = Scripted::start(token).await;
    let safety = Scripted::start(content_safety::good).await;
    let folder = tempfile::tempdir().unwrap();
    let file = content_safety::samples(folder.path());
    let mut run = tokio::process::Command::new(env!("CARGO_BIN_EXE_cpo"));
    run.current_dir(folder.path()).arg("run").arg(file).args(["--customers", "customers.csv"]);
    run.env_clear()
        .envs([("IDENTITY_ENDPOINT", format!("{}/token", identity.url())), ("IDENTITY_HEADER", "secret".into())]);
    let output = run.env("AZURE_CONTENT_SAFETY_ENDPOINT", safety.url()).stdin(Stdio::null()).output().await.unwrap();
    (output, identity, safety, folder)
}

fn token(request: &Request) -> Reply {
    let expires = jiff::Timestamp::now().as_second() + 3_600;
    let resource = request.query().remove("resource").unwrap();
    let body =
        json!({"access_token": TOKEN, "expires_on": expires.to_string(), "resource": resource, "token_type": "Bearer"});
    Reply::json(200, &body)
}

#[tokio::test]
async fn a_campaign_waits_for_its_token() {
    let faults = [
        Fault::Status(503),
        Fault::Reset,
        Fault::Status(500),
        Fault::Half,
        Fault::RetryAfter(429),
        Fault::RetryAfter(503),
    ];
    let (output, identity, safety, folder) = run(move |request| {
        let good = token(request);
        faults.get(request.number).map_or(good.clone(), |fault| fault.of(good))
    })
    .await;
    let told = [output.stdout, output.stderr].map(|told| String::from_utf8_lossy(&told).into_owned()).concat();
    assert!(output.status.success(), "{told}");
    assert_eq!(identity.requests().len(), faults.len() + 1, "one is enough for all calls");
    assert!(!safety.requests().is_empty() && !told.contains(TOKEN));
    let bearer = format!("Bearer {TOKEN}");
    assert!(safety.requests().iter().all(|request| request.header("authorization") == Some(&bearer)));
    let variants = fs::read_to_string(folder.path().join("out/campaigns/winter-table/variants.json")).unwrap();
    assert!(variants.contains("\"approved\"") && !variants.contains("\"blocked\""));
}

#[tokio::test]
async fn a_campaign_whose_identity_is_refused_ends_at_once_and_says_what_to_mend() {
    let refusal = json!({"statusCode": 400, "message": "No User Assigned or Delegated Managed Identity found"});
    let (output, identity, safety, folder) = run(move |_| Reply::json(400, &refusal)).await;
    let told = [output.stdout, output.stderr].map(|told| String::from_utf8_lossy(&told).into_owned()).concat();
    assert!(!output.status.success(), "{told}");
    for said in
        ["No User Assigned or Delegated Managed Identity found", "give the app a managed identity", "cpo doctor"]
    {
        assert!(told.contains(said), "{told}");
    }
    assert_eq!(safety.requests().len(), 0);
    assert!(identity.requests().iter().len() > 0);
    assert!(!folder.path().join("out/campaigns/winter-table/deliveries").exists());
}

#[tokio::test]
async fn the_doctor_tells_an_identity_that_is_refused_from_one_that_cannot_be_asked() {
    for (status, wrong, remedy) in [
        (400, "this process has no token", "give the app a managed identity"),
        (503, "whoever gives this process its Entra token does not answer", "wait and try again"),
    ] {
        let identity = Scripted::in_turn([Reply::json(status, &json!({"message": "no"}))]).await;
        let mut doctor = tokio::process::Command::new(env!("CARGO_BIN_EXE_cpo"));
        doctor.arg("doctor").env_clear().env("AZURE_CONTENT_SAFETY_ENDPOINT", "http://127.0.0.1:9");
        doctor.env("IDENTITY_ENDPOINT", format!("{}/token", identity.url())).env("IDENTITY_HEADER", "secret");
        let output = doctor.stdin(Stdio::null()).output().await.unwrap();
        let told = [output.stdout, output.stderr].map(|told| String::from_utf8_lossy(&told).into_owned()).concat();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(wrong) && told.contains(remedy) && !identity.requests().is_empty(), "{told}");
    }
}
