//! A store in one folder, without any service: a campaign's outputs are files that people open, everything that changes
//! is in one SQLite file beside them.
//!
//! **If the process dies**, nothing that a call had answered is lost; what was under way is there whole or not at all.
//!
//! **If the power fails**, SQLite goes back to a consistent earlier moment (WAL, `synchronous=NORMAL`), all of it
//! together: state, logs, leases and queues never contradict each other. Files are not fsynced: one may be newer than the
//! state, and one written in the last seconds may be empty or gone although the state knows of it.
//!
//! **Several processes** may have a folder open. One works; the others read, and write into the database. Only the one
//! that works may write files.

mod database;
mod failure;
mod folder;
mod messages;
mod rows;

use std::{fmt::Display, fs, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::Notify;

use self::{database::Database, folder::Folder};
use super::{Blob, BlobPath, Blobs, ETag, Error, Folders, Head, Lease, Precondition, Store, limits};

/// Clones share the same connection.
#[derive(Debug, Clone)]
pub struct Embedded(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: Folder,
    files: Which,
    database: Database,
    /// A message was sent by this process and can be received at once.
    sent: Notify,
}

/// Which blobs are files of the folder. All others are in the database.
#[derive(Debug)]
enum Which {
    /// Those below a path, which is taken off: `<path>/x` is the file `x`.
    Below(BlobPath),
    /// Those of these containers, under their own names.
    In(&'static [&'static str]),
}

const DATABASE: &str = ".state.sqlite";

impl Embedded {
    /// Makes the folder where there is none. Blobs below `home` are its files, with `home` taken off their names.
    pub fn open(folder: &Path, home: BlobPath) -> Result<Self, Error> {
        Self::with(folder, Which::Below(home))
    }

    /// As [`Embedded::open`], of a folder that holds whole containers.
    pub fn open_with(folder: &Path, containers: &'static [&'static str]) -> Result<Self, Error> {
        Self::with(folder, Which::In(containers))
    }

    fn with(folder: &Path, files: Which) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(|error| failure::of_file(&folder.display(), error))?;
        Ok(Self(Arc::new(Shared {
            folder: Folder::new(folder),
            files,
            database: Database::open(&folder.join(DATABASE))?,
            sent: Notify::new(),
        })))
    }

    /// Whether there is one in the folder.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(DATABASE).exists()
    }

    pub fn store(&self) -> Store {
        Store { blobs: Arc::new(self.clone()), queues: Arc::new(self.clone()) }
    }

    /// Takes back what a process that died had in hand: its messages can be received at once and its leases are free.
    /// The messages count one delivery less, since they need not be why it died. Only for who knows that no other
    /// process works in the folder.
    pub fn take_over(&self) -> Result<(), Error> {
        self.0.database.change(&self.0.folder, |change| {
            messages::take_back(change)?;
            rows::drop_leases(change)
        })?;
        self.0.sent.notify_waiters();
        self.0.folder.remove_temporary_files()
    }

    /// Its name as a file, unless there is a log of that name. Logs are rows wherever they are.
    fn file(&self, path: &BlobPath) -> Option<BlobPath> {
        match &self.0.files {
            Which::Below(home) => {
                let name = path.as_str().strip_prefix(home.as_str())?.strip_prefix('/')?;
                Some(BlobPath::new(name).expect("the rest of a path after a `/` is a path"))
            }
            Which::In(containers) => {
                let (container, _) = path.as_str().split_once('/')?;
                containers.contains(&container).then(|| path.clone())
            }
        }
    }

    fn is_log(&self, path: &BlobPath) -> Result<bool, Error> {
        self.0.database.read(path, |connection| rows::is_there(connection, path))
    }

    fn file_to_write(&self, path: &BlobPath) -> Result<Option<BlobPath>, Error> {
        match self.file(path) {
            Some(name) if folder::is_private(&name) => limits::refused(path, "the name is the store's own".to_owned()),
            Some(name) if !self.is_log(path)? => Ok(Some(name)),
            _ => Ok(None),
        }
    }

    /// All files that are below a folder of the whole store.
    fn files(&self, folder: Option<&BlobPath>) -> Result<Vec<BlobPath>, Error> {
        match &self.0.files {
            Which::Below(home) => {
                let within = folder.and_then(|folder| self.file(folder));
                let above = folder.is_none_or(|folder| format!("{home}/").starts_with(&format!("{folder}/")));
                if within.is_none() && !above {
                    return Ok(Vec::new());
                }
                let names = self.0.folder.list(within.as_ref())?;
                let path = |name: &BlobPath| BlobPath::new(format!("{home}/{name}"));
                Ok(names.iter().filter_map(|name| path(name).ok()).collect())
            }
            Which::In(containers) => {
                let container = |name: &&str| BlobPath::new(*name).expect("the name of a container is a path");
                let folders: Vec<BlobPath> = match folder {
                    None => containers.iter().map(container).collect(),
                    Some(folder) => {
                        let first = folder.as_str().split('/').next().unwrap_or_default();
                        containers.contains(&first).then(|| folder.clone()).into_iter().collect()
                    }
                };
                let lists = folders.iter().map(|folder| self.0.folder.list(Some(folder)));
                Ok(lists.collect::<Result<Vec<_>, _>>()?.concat())
            }
        }
    }
}

#[async_trait]
impl Blobs for Embedded {
    async fn get(&self, path: &BlobPath) -> Result<Blob, Error> {
        if let Some(name) = self.file(path)
            && let Some(blob) = self.0.folder.get(&name)?
        {
            return Ok(blob);
        }
        self.0.database.read(path, |connection| rows::get(connection, path))
    }

    async fn head(&self, path: &BlobPath, most: usize) -> Result<Head, Error> {
        if let Some(name) = self.file(path)
            && let Some(head) = self.0.folder.head(&name, most)?
        {
            return Ok(head);
        }
        let Blob { mut bytes, etag } = self.get(path).await?;
        let len = bytes.len() as u64;
        bytes.truncate(most);
        Ok(Head { etag, len, bytes })
    }

    async fn put(&self, path: &BlobPath, bytes: Vec<u8>, when: Precondition) -> Result<ETag, Error> {
        match self.file_to_write(path)? {
            Some(name) => self.0.folder.put(&name, &bytes, &when),
            None => self.0.database.change(path, |change| rows::put(change, path, &bytes, &when)),
        }
    }

    async fn get_file(&self, path: &BlobPath, file: &Path) -> Result<ETag, Error> {
        if let Some(name) = self.file(path) {
            let (shared, file) = (self.0.clone(), file.to_owned());
            if let Some(etag) = at_length(path, move || shared.folder.get_file(&name, &file)).await? {
                return Ok(etag);
            }
        }
        let Blob { bytes, etag } = self.get(path).await?;
        fs::write(file, bytes).map_err(|error| failure::of_file(path, error))?;
        Ok(etag)
    }

    async fn put_file(&self, path: &BlobPath, file: &Path, when: Precondition) -> Result<ETag, Error> {
        match self.file_to_write(path)? {
            Some(name) => {
                let (shared, file) = (self.0.clone(), file.to_owned());
                at_length(path, move || shared.folder.put_file(&name, &file, &when)).await
            }
            None => {
                let bytes = fs::read(file).map_err(|error| failure::of_file(path, error))?;
                self.put(path, bytes, when).await
            }
        }
    }

    async fn append(&self, path: &BlobPath, record: Vec<u8>) -> Result<u64, Error> {
        limits::record(path, &record)?;
        if let Some(name) = self.file(path)
            && self.0.folder.is_there(&name)
        {
            return limits::refused(path, "it is not a log".to_owned());
        }
        self.0.database.change(path, |change| rows::append(change, path, &record))
    }

    async fn list(&self, folder: Option<&BlobPath>) -> Result<Vec<BlobPath>, Error> {
        let what: &dyn Display = folder.map_or(&self.0.folder, |path| path);
        let mut names = self.0.database.read(what, |connection| rows::list(connection, folder))?;
        names.extend(self.files(folder)?);
        names.sort_unstable();
        Ok(names)
    }

    async fn folders(
        &self,
        folder: &BlobPath,
        prefix: &str,
        from: Option<&str>,
        most: usize,
    ) -> Result<Folders, Error> {
        if !self.files(Some(folder))?.is_empty() {
            return Ok(Folders::among(&self.list(Some(folder)).await?, folder, prefix, from, most));
        }
        let names =
            self.0.database.read(folder, |connection| rows::folders(connection, folder, prefix, from, most + 1))?;
        Ok(Folders::first(names, most))
    }

    async fn delete(&self, path: &BlobPath) -> Result<(), Error> {
        if let Some(name) = self.file(path) {
            self.0.folder.delete(&name)?;
        }
        self.0.database.change(path, |change| rows::delete(change, path))
    }

    async fn lease(&self, path: &BlobPath, time: Duration) -> Result<Lease, Error> {
        self.0.database.change(path, |change| rows::lease(change, path, time))
    }

    async fn renew(&self, lease: &Lease) -> Result<(), Error> {
        self.0.database.change(&lease.path, |change| rows::renew(change, lease))
    }

    async fn release(&self, lease: &Lease) -> Result<(), Error> {
        self.0.database.change(&lease.path, |change| rows::release(change, lease))
    }
}

/// Work that may take long, on a thread where nobody else waits for it.
async fn at_length<T: Send + 'static>(
    path: &BlobPath,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Error::Ambiguous { what: path.to_string(), source: error.into() }),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{
        super::{QueueName, Queues as _},
        *,
    };

    fn path(path: &str) -> BlobPath {
        BlobPath::new(path).unwrap()
    }

    /// Asks for something of the connection behind the store.
    fn pragma(embedded: &Embedded, name: &str, value: impl rusqlite::ToSql) {
        let set = |connection: &Connection| Ok(connection.pragma_update(None, name, value)?);
        embedded.0.database.read(&"a pragma", set).unwrap();
    }

    fn integrity(embedded: &Embedded) -> String {
        let check =
            |connection: &Connection| Ok(connection.pragma_query_value(None, "integrity_check", |row| row.get(0))?);
        embedded.0.database.read(&"a pragma", check).unwrap()
    }

    #[tokio::test]
    async fn on_a_full_disk_a_call_does_nothing_and_says_what_helps() {
        let folder = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(folder.path(), path("home")).unwrap();
        let (log, blob, queue) = (path("log"), path("blob"), QueueName::new("work").unwrap());
        embedded.append(&log, vec![1; 1_000]).await.unwrap();
        let etag = embedded.put(&blob, b"before".to_vec(), Precondition::None).await.unwrap();
        pragma(&embedded, "max_page_count", 20);

        let refused = |error: Error| match error {
            Error::Permanent { source, .. } => assert_eq!(source.to_string(), failure::FULL),
            other => panic!("{other:?}"),
        };
        let mut records = 1;
        let full = loop {
            match embedded.append(&log, vec![1; 1_000]).await {
                Ok(count) => records = count,
                Err(error) => break error,
            }
        };
        refused(full);
        refused(embedded.put(&blob, vec![2; 50_000], Precondition::Match(etag.clone())).await.unwrap_err());
        refused(embedded.send(&queue, vec![b'3'; 40_000], Duration::ZERO).await.unwrap_err());

        assert!(records > 1);
        assert_eq!(embedded.get(&log).await.unwrap().bytes, vec![1; usize::try_from(records).unwrap() * 1_000]);
        assert_eq!(embedded.get(&blob).await.unwrap(), Blob { bytes: b"before".to_vec(), etag });
        assert_eq!(embedded.receive(&queue, 1, Duration::from_secs(1)).await.unwrap(), []);
        assert_eq!(integrity(&embedded), "ok");

        pragma(&embedded, "max_page_count", 10_000);
        assert_eq!(embedded.append(&log, vec![1; 1_000]).await.unwrap(), records + 1);
    }

    #[tokio::test]
    async fn a_full_log_takes_no_record_and_does_not_count_it() {
        let folder = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(folder.path(), path("home")).unwrap();
        let log = path("log");
        embedded.append(&log, b"first".to_vec()).await.unwrap();
        let fill = |change: &Connection| Ok(change.execute("UPDATE blob SET records = 49999", [])?);
        embedded.0.database.change(&log, fill).unwrap();
        assert_eq!(embedded.append(&log, b"last".to_vec()).await.unwrap(), 50_000);
        for _ in 0..2 {
            let one_more = embedded.append(&log, b"one more".to_vec()).await;
            assert!(matches!(one_more, Err(Error::Permanent { .. })), "{one_more:?}");
        }
        assert_eq!(embedded.get(&log).await.unwrap().bytes, b"firstlast");
    }

    #[tokio::test]
    async fn a_database_that_became_read_only_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(folder.path(), path("home")).unwrap();
        pragma(&embedded, "query_only", true);
        match embedded.put(&path("blob"), Vec::new(), Precondition::None).await {
            Err(Error::Permanent { source, .. }) => assert_eq!(source.to_string(), failure::READ_ONLY),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn who_does_not_get_in_is_told_that_the_store_is_busy() {
        let folder = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(folder.path(), path("home")).unwrap();
        pragma(&embedded, "busy_timeout", 1);
        let other = Connection::open(folder.path().join(DATABASE)).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let put = embedded.put(&path("blob"), Vec::new(), Precondition::None).await;
        assert!(matches!(put, Err(Error::Throttled { .. })), "{put:?}");
        other.execute_batch("ROLLBACK").unwrap();
        embedded.put(&path("blob"), Vec::new(), Precondition::None).await.unwrap();
    }
}
