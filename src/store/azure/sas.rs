//! Shared access signatures: made from an account's key, or given, and put on every request.
//!
//! They are put there at the last moment, so that no client, error or log of the address holds one.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use azure_core::http::{
    Context, Request, Url,
    policies::{Policy, PolicyResult},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;

/// The parameters of a signature, decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Sas(Vec<(String, String)>);

impl fmt::Debug for Sas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sas")
    }
}

impl Sas {
    /// As it stands in an address; `None` where there is no signature in it.
    pub fn parse(query: &str) -> Option<Self> {
        let mut url = Url::parse("https://account").expect("a constant");
        url.set_query(Some(query));
        let parameters: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        parameters.iter().any(|(name, value)| name == "sig" && !value.is_empty()).then_some(Self(parameters))
    }
}

/// Opens everything in an account, for ever: it is never sent, only used to sign.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountKey {
    account: String,
    key: Vec<u8>,
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountKey")
    }
}

/// The string-to-sign below is that of this version and later ones up to now.
pub(super) const SIGNED_VERSION: &str = "2022-11-02";
/// What the store needs, in the order Azure wants: read, write, delete, list, add, create, update, process.
const PERMISSIONS: &str = "rwdlacup";
/// Blobs and queues.
const SERVICES: &str = "bq";
/// The service, containers and queues, blobs and messages.
const RESOURCES: &str = "sco";
/// Long enough for a slow transfer and a clock that is behind, short enough to be worth little to a thief.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

impl AccountKey {
    pub fn new(account: &str, key: Vec<u8>) -> Self {
        Self { account: account.to_owned(), key }
    }

    pub fn account(&self) -> &str {
        &self.account
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.key
    }

    /// The account signature of "Create an account SAS", Azure Storage REST reference.
    fn sign(&self, now: Timestamp) -> Sas {
        let expiry = (now + LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        // After the resources comes the start (at once); after the expiry addresses and protocols (any of them); after
        // the version the encryption scope (none).
        let fields = [&self.account, PERMISSIONS, SERVICES, RESOURCES, "", &expiry, "", "", SIGNED_VERSION, ""];
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        for field in fields {
            mac.update(field.as_bytes());
            mac.update(b"\n");
        }
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let parameters = [
            ("sv", SIGNED_VERSION),
            ("ss", SERVICES),
            ("srt", RESOURCES),
            ("sp", PERMISSIONS),
            ("se", &expiry),
            ("sig", &signature),
        ];
        Sas(parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }
}

/// Puts a signature on every request. One of the account's key is made anew each time, which takes microseconds: a
/// process may live as long as it likes.
#[derive(Debug)]
pub enum Signed {
    With(AccountKey),
    By(Sas),
}

#[async_trait]
impl Policy for Signed {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let sas = match self {
            Self::With(key) => &key.sign(Timestamp::now()),
            Self::By(sas) => sas,
        };
        request.url_mut().query_pairs_mut().extend_pairs(&sas.0);
        next[0].send(context, request, &next[1..]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signature was computed with Python's hmac from the documented string-to-sign. That Azure's emulator accepts
    /// one is shown by every test that runs against it.
    #[test]
    fn an_account_signature_is_the_documented_one() {
        let sas = AccountKey::new("acc1", b"secret".to_vec()).sign("2026-11-22T10:00:00.9Z".parse().unwrap());
        let value = |wanted: &str| sas.0.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        assert_eq!(value("se"), Some("2026-11-22T11:00:00Z"));
        assert_eq!(value("sig"), Some("0xZDweiS/okwExrLAKVajLis8Kh2KDFm2yvVojDrE3E="));
    }

    #[test]
    fn a_signature_is_decoded_once() {
        let sas = Sas::parse("sp=r&sig=a%2Bb%2F%3D").unwrap();
        assert_eq!(sas.0, [("sp".to_owned(), "r".to_owned()), ("sig".to_owned(), "a+b/=".to_owned())]);
        assert_eq!(Sas::parse("sp=r"), None);
    }
}
