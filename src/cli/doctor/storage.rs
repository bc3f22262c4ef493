//! Whether campaigns can keep what they have, and hand on what is to be done.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{Diagnosis, Examined, Found};
use crate::store::{self, Azure, BlobPath, Embedded, Precondition, QueueName, Store};

/// A container and a queue of the doctor's own, which stay, empty: a message of a campaign that is received counts as
/// tried once.
const OWN: &str = "doctor";

const VISIBILITY: Duration = Duration::from_secs(30);

/// The account of the app's settings; without one, a store such as `cpo run` makes, in this folder.
pub async fn examine(setting: impl Fn(&str) -> Option<String>, folder: &Path) -> Examined {
    let names = [
        "CPO_STORAGE",
        "AzureWebJobsStorage",
        "AzureWebJobsStorage__blobServiceUri",
        "AzureWebJobsStorage__accountName",
    ];
    if names.iter().all(|name| setting(name).is_none()) {
        return Examined { provider: "embedded", used_for: "storage", found: embedded(folder).await };
    }
    let found = match Azure::of_app(setting) {
        Ok(account) => account_answers(&account.store()).await,
        Err(error) => Err(Diagnosis {
            wrong: error.to_string(),
            remedy: "set CPO_STORAGE to a connection string or to the blob endpoint's URL".to_owned(),
        }),
    };
    Examined { provider: "azure_storage", used_for: "storage", found }
}

async fn account_answers(store: &Store) -> Found {
    let remedy = |role: &str, endpoint: &str| {
        format!(
            "check the account's name and key{endpoint}; without a key the identity needs the role {role}, and the \
             account's network rules must let it in"
        )
    };
    let since = Instant::now();
    blob(store).await.map_err(|error| Diagnosis {
        wrong: format!("blobs: {error}"),
        remedy: remedy("Storage Blob Data Owner", ""),
    })?;
    message(store).await.map_err(|error| Diagnosis {
        wrong: format!("blobs work, queues do not: {error}"),
        remedy: remedy("Storage Queue Data Contributor", ", and the queue endpoint where one is set"),
    })?;
    Ok(format!("blobs and queues took and gave back what they got in {} ms", since.elapsed().as_millis()))
}

/// In a folder beside those that campaigns make: what that disk cannot do, such as the locks of a database, they could not
/// do without either.
async fn embedded(folder: &Path) -> Found {
    let unusable = |error: &dyn std::fmt::Display| Diagnosis {
        wrong: format!("no account is set, and a campaign cannot be kept in the folder {}: {error}", folder.display()),
        remedy: "make room, or go to a folder on a disk of this machine that you may write to".to_owned(),
    };
    let own = tempfile::Builder::new().prefix(".cpo-doctor").tempdir_in(folder).map_err(|error| unusable(&error))?;
    let home = BlobPath::new(OWN).expect("it is a path");
    let store = Embedded::open(own.path(), home).map_err(|error| unusable(&error))?.store();
    blob(&store).await.map_err(|error| unusable(&error))?;
    message(&store).await.map_err(|error| unusable(&error))?;
    Ok("no account is set: campaigns are kept in the output folder, and this disk can hold them".to_owned())
}

/// Writes one, reads it, deletes it.
async fn blob(store: &Store) -> Result<(), store::Error> {
    let name = Uuid::new_v4().to_string();
    let path = BlobPath::new(format!("{OWN}/{name}")).expect("it is a path");
    store.blobs.put(&path, name.clone().into_bytes(), Precondition::Absent).await?;
    let read = store.blobs.get(&path).await;
    store.blobs.delete(&path).await?;
    if read?.bytes != name.as_bytes() {
        return Err(other_than_written(&path));
    }
    Ok(())
}

/// Sends one, receives one, deletes it: another doctor at the same moment may have ours, and leaves us its own.
async fn message(store: &Store) -> Result<(), store::Error> {
    let queue = QueueName::new(OWN).expect("it is the name of a queue");
    store.queues.send(&queue, b"are you there?".to_vec(), Duration::ZERO).await?;
    let received = store.queues.receive(&queue, 1, VISIBILITY).await?;
    let Some(delivery) = received.first() else { return Err(other_than_written(&queue)) };
    store.queues.delete(delivery).await
}

fn other_than_written(what: &impl ToString) -> store::Error {
    store::Error::Permanent { what: what.to_string(), source: "what was written did not come back".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_holds_campaigns_is_found_well_and_left_as_it_was_and_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let examined = examine(|_| None, folder.path()).await;
        assert_eq!(examined.provider, "embedded");
        assert!(examined.found.is_ok(), "{examined:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let missing = folder.path().join("missing");
        let diagnosis = examine(|_| None, &missing).await.found.unwrap_err();
        assert!(diagnosis.wrong.contains(&missing.display().to_string()), "{diagnosis:?}");
    }

    #[tokio::test]
    async fn settings_that_make_no_sense_are_named_and_not_told() {
        let setting = |name: &str| (name == "CPO_STORAGE").then(|| "secret".to_owned());
        let nonsense = examine(setting, Path::new(".")).await.found.unwrap_err();
        assert!(!nonsense.wrong.contains("secret") && nonsense.remedy.contains("CPO_STORAGE"), "{nonsense:?}");
    }
}
