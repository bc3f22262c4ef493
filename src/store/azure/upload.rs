//! Addresses to which others may write one blob, without any other right: service SAS and user delegation SAS.

use std::{fmt, time::Duration};

use azure_core::{http::Url, time::OffsetDateTime};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;
use tokio::sync::Mutex;

use super::{
    Azure,
    connection::Access,
    sas::{AccountKey, SIGNED_VERSION},
};
use crate::store::{BlobPath, Error};

/// Where a blob's bytes can be sent with `PUT`, by whoever knows it. `Debug` does not show the address: it is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Upload {
    pub url: String,
    pub expires: Timestamp,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Long enough to send some gigabytes over a slow line.
const LIFETIME: SignedDuration = SignedDuration::from_mins(60);
/// How long a delegation key is asked for; it is used until a signature would outlive it.
const KEY_LIFETIME: Duration = Duration::from_secs(6 * 3_600);
/// Create and write: what is there cannot be read or deleted.
const PERMISSIONS: &str = "cw";
/// A blob.
const RESOURCE: &str = "b";

/// Signs for one account.
#[derive(Debug)]
pub enum Signer {
    Key(AccountKey),
    /// By a key that Entra delegates to this process.
    Delegated(Mutex<Option<Delegation>>),
    /// Whoever only has a signature cannot make others.
    Cannot,
}

impl Signer {
    pub fn of(access: &Access) -> Self {
        match access {
            Access::Key(key) => Self::Key(key.clone()),
            Access::Entra => Self::Delegated(Mutex::default()),
            Access::Sas(_) => Self::Cannot,
        }
    }
}

impl Azure {
    /// An address to which one blob can be written for an hour; its container is there then. `None`: whoever opened the
    /// account by a shared access signature cannot sign for others.
    pub async fn upload(&self, path: &BlobPath, now: Timestamp) -> Result<Option<Upload>, Error> {
        let expires = now + LIFETIME;
        let mut url = match self.signer.as_ref() {
            Signer::Cannot => return Ok(None),
            Signer::Key(_) | Signer::Delegated(_) => self.blobs.address(path).await?,
        };
        let grant = Grant { path, expires, secure: url.scheme() == "https" };
        let parameters = match self.signer.as_ref() {
            Signer::Cannot => return Ok(None),
            Signer::Key(key) => grant.by_key(key),
            Signer::Delegated(known) => {
                let mut known = known.lock().await;
                let delegation = match known.take().filter(|delegation| expires <= delegation.expiry) {
                    Some(delegation) => delegation,
                    None => self.blobs.delegation(OffsetDateTime::now_utc() + KEY_LIFETIME).await?,
                };
                grant.by_delegation(account_of(&url), known.insert(delegation))
            }
        };
        url.query_pairs_mut().extend_pairs(parameters);
        Ok(Some(Upload { url: url.into(), expires }))
    }
}

/// The first label of the host; of the emulator, whose host is a number, the first segment of the path.
fn account_of(url: &Url) -> &str {
    let host = url.host_str().unwrap_or_default();
    match host.split_once(".blob.") {
        Some((account, _)) => account,
        None => url.path().split('/').nth(1).unwrap_or_default(),
    }
}

/// A user delegation key.
pub struct Delegation {
    pub(super) object: String,
    pub(super) tenant: String,
    pub(super) start: Timestamp,
    pub(super) expiry: Timestamp,
    pub(super) service: String,
    pub(super) version: String,
    pub(super) key: Vec<u8>,
}

impl fmt::Debug for Delegation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delegation")
    }
}

/// The right to write one blob for a while.
struct Grant<'a> {
    path: &'a BlobPath,
    expires: Timestamp,
    /// Whether the address begins with `https`, and is then good for nothing else.
    secure: bool,
}

type Parameters<'a> = Vec<(&'static str, String)>;

impl Grant<'_> {
    fn resource(&self, account: &str) -> String {
        format!("/blob/{account}/{}", self.path)
    }

    fn protocol(&self) -> &'static str {
        if self.secure { "https" } else { "" }
    }

    /// "Create a service SAS", Azure Storage REST reference.
    fn by_key(&self, key: &AccountKey) -> Parameters<'_> {
        let (expiry, resource) = (seconds(self.expires), self.resource(key.account()));
        // After the resource: a stored policy. After the kind of resource: snapshot, encryption scope, five headers of
        // the answer to a reader.
        let fields = [PERMISSIONS, "", &expiry, &resource, "", "", self.protocol(), SIGNED_VERSION, RESOURCE];
        self.parameters(signature(key.bytes(), fields.into_iter().chain([""; 7])), [])
    }

    /// "Create a user delegation SAS", Azure Storage REST reference.
    fn by_delegation(&self, account: &str, delegation: &Delegation) -> Parameters<'_> {
        let Delegation { object, tenant, service, version, key, .. } = delegation;
        let (start, expiry) = (seconds(delegation.start), seconds(delegation.expiry));
        let (ends, resource) = (seconds(self.expires), self.resource(account));
        // After the key: two object ids for accounts with folders, and a correlation id; addresses.
        let of_key = [object, tenant, &start, &expiry, service, version].map(String::as_str);
        let fields = [PERMISSIONS, "", &ends, &resource].into_iter().chain(of_key).chain([""; 4]);
        let fields = fields.chain([self.protocol(), SIGNED_VERSION, RESOURCE]).chain([""; 7]);
        let names = ["skoid", "sktid", "skt", "ske", "sks", "skv"];
        self.parameters(signature(key, fields), names.into_iter().zip(of_key))
    }

    fn parameters<'k>(
        &self,
        signature: String,
        of_key: impl IntoIterator<Item = (&'static str, &'k str)>,
    ) -> Parameters<'_> {
        let mut parameters = vec![
            ("sv", SIGNED_VERSION.to_owned()),
            ("sr", RESOURCE.to_owned()),
            ("sp", PERMISSIONS.to_owned()),
            ("se", seconds(self.expires)),
        ];
        if self.secure {
            parameters.push(("spr", self.protocol().to_owned()));
        }
        parameters.extend(of_key.into_iter().map(|(name, value)| (name, value.to_owned())));
        parameters.push(("sig", signature));
        parameters
    }
}

/// Of lines without an end of the last one.
fn signature<'a>(key: &[u8], fields: impl Iterator<Item = &'a str>) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(fields.collect::<Vec<_>>().join("\n").as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature_of(parameters: &Parameters<'_>) -> String {
        parameters.iter().find(|(name, _)| *name == "sig").unwrap().1.clone()
    }

    /// The signatures are those of Microsoft's Python client (12.19.1) for the same grant.
    #[test]
    fn both_signatures_are_those_of_microsoft_s_own_client() {
        let path = BlobPath::new("customers/a b/ü.csv").unwrap();
        let grant = Grant { path: &path, expires: "2026-11-22T11:00:00.7Z".parse().unwrap(), secure: true };
        let by_key = grant.by_key(&AccountKey::new("acc1", b"secret".to_vec()));
        assert_eq!(signature_of(&by_key), "x+ulShpIfXpjYqMeUtTXFXZTTje5FdRBaCSyGnz/HVU=");

        let delegation = Delegation {
            object: "11111111-1111-1111-1111-111111111111".to_owned(),
            tenant: "22222222-2222-2222-2222-222222222222".to_owned(),
            start: "2026-11-22T09:55:00Z".parse().unwrap(),
            expiry: "2026-11-22T14:00:00Z".parse().unwrap(),
            service: "b".to_owned(),
            version: "2022-11-02".to_owned(),
            key: b"secret".to_vec(),
        };
        let by_delegation = grant.by_delegation("acc1", &delegation);
        assert_eq!(signature_of(&by_delegation), "uVgIex9Xg51S5pHwzOyjEpBaym3cIDpjNUj1cN10ZNs=");
    }

    #[test]
    fn the_account_is_found_in_either_form_of_address() {
        let of = |url: &str| account_of(&Url::parse(url).unwrap()).to_owned();
        assert_eq!(of("https://acc1.blob.core.windows.net/customers/a"), "acc1");
        assert_eq!(of("http://127.0.0.1:10000/acc1/customers/a"), "acc1");
    }
}
