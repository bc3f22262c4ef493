//! What a function app's settings say of its storage account.

use super::connection::{Access, Connection, InvalidConnection};
use crate::identity::Identity;

/// Names the setting that must be mended, never what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    #[error("neither CPO_STORAGE nor AzureWebJobsStorage nor AzureWebJobsStorage__blobServiceUri is set")]
    None,
    #[error("the setting {0}: {1}")]
    Connection(&'static str, InvalidConnection),
    #[error("the setting AzureWebJobsStorage__credential must be managedidentity, or not there")]
    Credential,
}

const BLOBS: &str = "AzureWebJobsStorage__blobServiceUri";
const QUEUES: &str = "AzureWebJobsStorage__queueServiceUri";
const ACCOUNT: &str = "AzureWebJobsStorage__accountName";

pub fn read(setting: impl Fn(&str) -> Option<String>) -> Result<(Connection, Identity), InvalidSettings> {
    let parse =
        |name, location: &str| Connection::parse(location).map_err(|error| InvalidSettings::Connection(name, error));
    for name in ["CPO_STORAGE", "AzureWebJobsStorage"] {
        if let Some(location) = setting(name) {
            return Ok((parse(name, &location)?, Identity::Found));
        }
    }
    let connection = match (setting(BLOBS), setting(QUEUES), setting(ACCOUNT)) {
        (Some(blobs), None, _) => parse(BLOBS, &blobs)?,
        (Some(blobs), Some(queues), _) => parse(BLOBS, &format!("BlobEndpoint={blobs};QueueEndpoint={queues}"))?,
        (None, _, Some(account)) => parse(ACCOUNT, &format!("AccountName={account}"))?,
        (None, _, None) => return Err(InvalidSettings::None),
    };
    // An address with a signature in it opens the account by itself.
    if connection.access != Access::Entra {
        return Ok((connection, Identity::Found));
    }
    let client = setting("AzureWebJobsStorage__clientId");
    match setting("AzureWebJobsStorage__credential") {
        Some(credential) if !credential.eq_ignore_ascii_case("managedidentity") => Err(InvalidSettings::Credential),
        None if client.is_none() => Ok((connection, Identity::Found)),
        _ => Ok((connection, Identity::Managed { client })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(settings: &[(&str, &str)]) -> Result<(String, String, Identity), InvalidSettings> {
        let of = |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let (connection, identity) = read(of)?;
        Ok((connection.blobs.to_string(), connection.queues.to_string(), identity))
    }

    const URLS: [&str; 2] = ["https://acc1.blob.core.windows.net/", "https://acc1.queue.core.windows.net/"];

    #[test]
    fn the_usual_settings_name_account_and_identity() {
        let [blobs, queues] = URLS.map(str::to_owned);
        let managed = |client: Option<&str>| Identity::Managed { client: client.map(str::to_owned) };
        let credential = ("AzureWebJobsStorage__credential", "managedidentity");
        for (settings, identity) in [
            (vec![("CPO_STORAGE", URLS[0]), ("AzureWebJobsStorage", "UseDevelopmentStorage=true")], Identity::Found),
            (vec![("AzureWebJobsStorage", "AccountName=acc1;AccountKey=c2VjcmV0")], Identity::Found),
            (vec![(BLOBS, URLS[0]), (QUEUES, URLS[1]), credential], managed(None)),
            (vec![(BLOBS, URLS[0]), credential, ("AzureWebJobsStorage__clientId", "id")], managed(Some("id"))),
            (vec![(ACCOUNT, "acc1"), ("AzureWebJobsStorage__clientId", "id")], managed(Some("id"))),
            (vec![(ACCOUNT, "acc1")], Identity::Found),
        ] {
            assert_eq!(read_from(&settings), Ok((blobs.clone(), queues.clone(), identity)), "{settings:?}");
        }
    }

    #[test]
    fn what_is_wrong_names_the_setting_and_not_what_it_holds() {
        assert_eq!(read_from(&[(QUEUES, URLS[1])]), Err(InvalidSettings::None));
        let other = [(ACCOUNT, "acc1"), ("AzureWebJobsStorage__credential", "password")];
        assert_eq!(read_from(&other), Err(InvalidSettings::Credential));
        for (name, value) in
            [("CPO_STORAGE", "secret"), ("AzureWebJobsStorage", "AccountKey=secret"), (BLOBS, "http://secret")]
        {
            let error = read_from(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("secret"), "{error}");
        }
    }
}
