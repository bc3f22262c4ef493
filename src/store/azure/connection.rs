//! Where a storage account is and what opens it: the forms in which people write that down.
//!
//! What is wrong is said by the position or the well-known name of a setting, never by its content: a key in the wrong
//! place must not end in a log.

use std::fmt;

use azure_core::http::Url;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::sas::{AccountKey, Sas};

/// A storage account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    pub blobs: Url,
    pub queues: Url,
    pub access: Access,
}

/// What proves that somebody may use the account. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Access {
    Key(AccountKey),
    Sas(Sas),
    /// Whoever this process runs as, according to Microsoft Entra ID.
    Entra,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key",
            Self::Sas(_) => "Sas",
            Self::Entra => "Entra",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConnection {
    #[error(
        "part {0} of the connection string is not one of AccountName=, AccountKey=, SharedAccessSignature=, \
         BlobEndpoint=, QueueEndpoint=, DefaultEndpointsProtocol=, EndpointSuffix=, UseDevelopmentStorage=true"
    )]
    Part(usize),
    #[error("the connection string has {0} twice")]
    Twice(&'static str),
    #[error("the connection string has no {0}")]
    Missing(&'static str),
    #[error("{0} of the connection string cannot be right")]
    Value(&'static str),
    #[error("UseDevelopmentStorage=true stands alone")]
    Development,
    #[error("a connection string has either an AccountKey or a SharedAccessSignature")]
    TwoSecrets,
    #[error("{0} must begin with https:// where there is no AccountKey and no SharedAccessSignature")]
    NotSecret(&'static str),
    #[error("a storage account's address reads https://ACCOUNT.blob.core.windows.net, perhaps with ?SAS behind it")]
    Address,
}

/// Of the emulator: published by Microsoft, the same everywhere.
const DEVELOPMENT_ACCOUNT: &str = "devstoreaccount1";
const DEVELOPMENT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

impl Connection {
    /// A connection string as the portal gives it, `UseDevelopmentStorage=true`, or the address of the account's blobs,
    /// with or without a shared access signature. Where there is neither key nor signature, Entra decides.
    pub fn parse(location: &str) -> Result<Self, InvalidConnection> {
        let location = location.trim();
        let scheme = location.get(..8).unwrap_or_default();
        if scheme.eq_ignore_ascii_case("https://") { Self::address(location) } else { Self::string(location) }
    }

    fn address(location: &str) -> Result<Self, InvalidConnection> {
        const WRONG: InvalidConnection = InvalidConnection::Address;
        let mut blobs = endpoint(location).ok_or(WRONG)?;
        let access = match blobs.query() {
            Some(query) => Access::Sas(Sas::parse(query).ok_or(WRONG)?),
            None => Access::Entra,
        };
        blobs.set_query(None);
        let (account, rest) = blobs.host_str().and_then(|host| host.split_once(".blob.")).ok_or(WRONG)?;
        if !is_account(account) || blobs.path() != "/" {
            return Err(WRONG);
        }
        let mut queues = blobs.clone();
        queues.set_host(Some(&format!("{account}.queue.{rest}"))).map_err(|_| WRONG)?;
        Ok(Self { blobs, queues, access })
    }

    fn string(text: &str) -> Result<Self, InvalidConnection> {
        let settings = Settings::parse(text)?;
        if let Some(development) = settings.development {
            let alone = Settings { development: Some(development), ..Settings::default() };
            return match development.to_ascii_lowercase().as_str() {
                "true" if settings == alone => Ok(Self::development()),
                "true" => Err(InvalidConnection::Development),
                _ => Err(InvalidConnection::Value("UseDevelopmentStorage")),
            };
        }
        let account = match settings.account {
            Some(account) if !is_account(account) => return Err(InvalidConnection::Value("AccountName")),
            account => account,
        };
        let access = match (settings.key, settings.sas) {
            (Some(_), Some(_)) => return Err(InvalidConnection::TwoSecrets),
            (Some(key), None) => {
                let account = account.ok_or(InvalidConnection::Missing("AccountName"))?;
                let key = STANDARD.decode(key).ok().filter(|key| !key.is_empty());
                Access::Key(AccountKey::new(account, key.ok_or(InvalidConnection::Value("AccountKey"))?))
            }
            (None, Some(sas)) => {
                let sas = Sas::parse(sas.strip_prefix('?').unwrap_or(sas));
                Access::Sas(sas.ok_or(InvalidConnection::Value("SharedAccessSignature"))?)
            }
            (None, None) => Access::Entra,
        };
        Ok(Self {
            blobs: settings.endpoint("BlobEndpoint", settings.blobs, "blob", &access)?,
            queues: settings.endpoint("QueueEndpoint", settings.queues, "queue", &access)?,
            access,
        })
    }

    fn development() -> Self {
        let at = |port: u16| {
            Url::parse(&format!("http://127.0.0.1:{port}/{DEVELOPMENT_ACCOUNT}")).expect("a constant but for a number")
        };
        let key = STANDARD.decode(DEVELOPMENT_KEY).expect("a constant");
        Self { blobs: at(10_000), queues: at(10_001), access: Access::Key(AccountKey::new(DEVELOPMENT_ACCOUNT, key)) }
    }
}

/// The settings of a connection string as they stand there.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Settings<'a> {
    account: Option<&'a str>,
    key: Option<&'a str>,
    sas: Option<&'a str>,
    blobs: Option<&'a str>,
    queues: Option<&'a str>,
    protocol: Option<&'a str>,
    suffix: Option<&'a str>,
    development: Option<&'a str>,
}

impl<'a> Settings<'a> {
    fn parse(text: &'a str) -> Result<Self, InvalidConnection> {
        let mut settings = Self::default();
        for (i, part) in text.split(';').map(str::trim).enumerate().filter(|(_, part)| !part.is_empty()) {
            let wrong = InvalidConnection::Part(i + 1);
            let (name, value) = part.split_once('=').ok_or(wrong.clone())?;
            let (known, place) = match name.trim().to_ascii_lowercase().as_str() {
                "accountname" => ("AccountName", &mut settings.account),
                "accountkey" => ("AccountKey", &mut settings.key),
                "sharedaccesssignature" => ("SharedAccessSignature", &mut settings.sas),
                "blobendpoint" => ("BlobEndpoint", &mut settings.blobs),
                "queueendpoint" => ("QueueEndpoint", &mut settings.queues),
                "defaultendpointsprotocol" => ("DefaultEndpointsProtocol", &mut settings.protocol),
                "endpointsuffix" => ("EndpointSuffix", &mut settings.suffix),
                "usedevelopmentstorage" => ("UseDevelopmentStorage", &mut settings.development),
                // The portal writes down those as well.
                "tableendpoint" | "fileendpoint" => continue,
                _ => return Err(wrong),
            };
            if place.replace(value.trim()).is_some() {
                return Err(InvalidConnection::Twice(known));
            }
        }
        Ok(settings)
    }

    fn endpoint(
        &self,
        name: &'static str,
        given: Option<&str>,
        service: &str,
        access: &Access,
    ) -> Result<Url, InvalidConnection> {
        let url = match (given, self.account) {
            (Some(given), _) => endpoint(given).filter(|url| url.query().is_none()),
            (None, Some(account)) => {
                let protocol = self.protocol.unwrap_or("https");
                let suffix = self.suffix.unwrap_or("core.windows.net");
                let host = format!("{account}.{service}.{suffix}");
                let url = endpoint(&format!("{protocol}://{host}"));
                Some(url.filter(|url| url.host_str() == Some(&host)).ok_or(match self.suffix {
                    Some(_) => InvalidConnection::Value("EndpointSuffix"),
                    None => InvalidConnection::Value("DefaultEndpointsProtocol"),
                })?)
            }
            (None, None) => return Err(InvalidConnection::Missing(name)),
        };
        let url = url.ok_or(InvalidConnection::Value(name))?;
        // A token would be there for everybody to read on the way.
        if *access == Access::Entra && url.scheme() != "https" {
            return Err(InvalidConnection::NotSecret(name));
        }
        Ok(url)
    }
}

fn endpoint(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    if !is_web || !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return None;
    }
    if url.path().len() > 1 {
        url.path_segments_mut().ok()?.pop_if_empty();
    }
    Some(url)
}

/// 3 to 24 lower-case letters and digits in Azure; private addresses and emulators may have hyphens as well.
fn is_account(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn urls(location: &str) -> (String, String, Access) {
        let Connection { blobs, queues, access } = Connection::parse(location).unwrap();
        (blobs.to_string(), queues.to_string(), access)
    }

    fn key() -> Access {
        Access::Key(AccountKey::new("acc1", b"secret".to_vec()))
    }

    #[test]
    fn the_usual_forms_are_understood() {
        let (blobs, queues, access) = urls("UseDevelopmentStorage=true");
        assert_eq!(blobs, "http://127.0.0.1:10000/devstoreaccount1");
        assert_eq!(queues, "http://127.0.0.1:10001/devstoreaccount1");
        assert!(matches!(access, Access::Key(_)));

        let derived = ("https://acc1.blob.core.windows.net/".into(), "https://acc1.queue.core.windows.net/".into());
        let (blobs, queues) = derived;
        let full =
            "DefaultEndpointsProtocol=https;AccountName=acc1;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net";
        assert_eq!(urls(full), (blobs, queues, key()));

        let emulated = "AccountName=acc1;AccountKey=c2VjcmV0;BlobEndpoint=http://127.0.0.1:1/acc1/;\
                        QueueEndpoint=http://127.0.0.1:2/acc1;";
        let expected = ("http://127.0.0.1:1/acc1".into(), "http://127.0.0.1:2/acc1".into(), key());
        assert_eq!(urls(emulated), expected);

        let address = "https://acc1.blob.core.chinacloudapi.cn";
        let (blobs, queues) = (format!("{address}/"), "https://acc1.queue.core.chinacloudapi.cn/".to_owned());
        assert_eq!(urls(address), (blobs, queues, Access::Entra));
    }

    #[test]
    fn a_shared_access_signature_is_taken_out_of_the_address() {
        let sas = "sv=2025-11-05&ss=bq&sig=a%2Bb%3D";
        let (blobs, queues, access) = urls(&format!("https://acc1.blob.core.windows.net/?{sas}"));
        assert_eq!(blobs, "https://acc1.blob.core.windows.net/");
        assert_eq!(queues, "https://acc1.queue.core.windows.net/");
        assert_eq!(access, Access::Sas(Sas::parse(sas).unwrap()));
        assert_eq!(urls(&format!("AccountName=acc1;SharedAccessSignature=?{sas}")), (blobs, queues, access));
    }

    #[test]
    fn what_is_wrong_is_named() {
        use InvalidConnection::*;
        for (location, expected) in [
            ("", Missing("BlobEndpoint")),
            ("AccountName=acc1;c2VjcmV0==", Part(2)),
            ("AccountName=acc1;accountname=acc2", Twice("AccountName")),
            ("AccountName=acc1;AccountKey=no base64", Value("AccountKey")),
            ("AccountName=a.evil.example/;AccountKey=c2VjcmV0", Value("AccountName")),
            ("AccountName=acc1;AccountKey=c2VjcmV0;EndpointSuffix=x/y?z", Value("EndpointSuffix")),
            ("AccountName=acc1;AccountKey=c2VjcmV0;DefaultEndpointsProtocol=ftp", Value("DefaultEndpointsProtocol")),
            ("AccountKey=c2VjcmV0;BlobEndpoint=https://x", Missing("AccountName")),
            ("AccountName=acc1;AccountKey=c2VjcmV0;SharedAccessSignature=sig=1", TwoSecrets),
            ("AccountName=acc1;SharedAccessSignature=sv=1", Value("SharedAccessSignature")),
            ("BlobEndpoint=https://x;SharedAccessSignature=sig=1", Missing("QueueEndpoint")),
            ("BlobEndpoint=file:///x;QueueEndpoint=https://x", Value("BlobEndpoint")),
            ("AccountName=acc1;BlobEndpoint=http://x", NotSecret("BlobEndpoint")),
            ("UseDevelopmentStorage=false", Value("UseDevelopmentStorage")),
            ("UseDevelopmentStorage=true;AccountName=acc1", Development),
            ("https://acc1.blob.core.windows.net/campaigns", Address),
            ("https://user:secret@acc1.blob.core.windows.net", Address),
            ("https://acc1.blob.core.windows.net/?sv=1", Address),
            ("https://example.com", Address),
        ] {
            assert_eq!(Connection::parse(location).unwrap_err(), expected, "{location}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(location in "(https://)?[ -~]{0,40}(;?[A-Za-z]{0,8}=[ -~]{0,20}){0,5}") {
            let _ = Connection::parse(&location);
        }

        /// Wherever a secret stands, and whatever else is wrong.
        #[test]
        fn no_secret_is_ever_shown(
            before in "(AccountName=acc1;|BlobEndpoint=https://b;QueueEndpoint=https://q;|)",
            around in prop::sample::select(vec![
                "AccountKey=@", "SharedAccessSignature=sig=@", "SharedAccessSignature=@", "@", "@=1", "AccountKey=@;AccountKey=@",
                "Key=@", "BlobEndpoint=https://x/?sig=@", "BlobEndpoint=https://u:@@h", "https://a.blob.x/?sig=@", "https://@/",
                "EndpointSuffix=@", "DefaultEndpointsProtocol=@", "UseDevelopmentStorage=@",
            ]),
            secret in "[A-Za-z0-9]{24}"
        ) {
            let shown = match Connection::parse(&format!("{before}{}", around.replace('@', &secret))) {
                Ok(connection) if around != "EndpointSuffix=@" => format!("{connection:?}"),
                Ok(_) => String::new(),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!shown.contains(&secret), "{}", shown);
        }
    }
}
