//! The SQLite file: one connection per process, one short transaction per call.

use std::{
    fmt::Display,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::{
    Error,
    failure::{self, Access},
};

#[derive(Debug)]
pub struct Database(Mutex<Connection>);

/// Written into the file; one with a higher number is from a newer version of the program.
const VERSION: i64 = 1;

/// Times are Unix milliseconds.
const SCHEMA: &str = "
-- A log has a row here as well, without a body.
CREATE TABLE blob (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    etag TEXT NOT NULL,
    records INTEGER,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE record (
    log INTEGER NOT NULL REFERENCES blob (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (log, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
    path TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    held_from INTEGER NOT NULL,
    held_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- It has a receipt while it is handed out.
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    hidden_from INTEGER NOT NULL,
    hidden_until INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    receipt INTEGER,
    body BLOB NOT NULL
) STRICT;

CREATE INDEX message_by_time ON message (queue, hidden_until, hidden_from);
";

/// A transaction lasts well under a millisecond. Whoever does not get in for so long is told that the store is busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a change was not made.
#[derive(Debug)]
pub enum Refusal {
    /// What the caller asked for cannot be.
    Asked(Error),
    Sqlite(rusqlite::Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Asked(error)
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Refusal {
    fn about(self, what: &dyn Display, access: Access) -> Error {
        match self {
            Self::Asked(error) => error,
            Self::Sqlite(error) => failure::of_database(what, error, access),
        }
    }
}

impl Database {
    pub fn open(file: &Path) -> Result<Self, Error> {
        match Self::connect(file) {
            Ok(connection) => Ok(Self(Mutex::new(connection))),
            Err(refusal) => Err(refusal.about(&file.display(), Access::Read)),
        }
    }

    fn connect(file: &Path) -> Result<Connection, Refusal> {
        // Without flags SQLite would take some names for URLs.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(PATIENCE)?;
        connection.set_prepared_statement_cache_capacity(64);
        // A file of a newer version is not touched.
        version(&connection, file)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if version(&change, file)? == 0 {
            change.execute_batch(SCHEMA)?;
            change.pragma_update(None, "user_version", VERSION)?;
        }
        change.commit()?;
        Ok(connection)
    }

    /// Sees one moment of the database.
    pub fn read<T>(
        &self,
        what: &dyn Display,
        look: impl FnOnce(&Connection) -> Result<T, Refusal>,
    ) -> Result<T, Error> {
        self.transaction(TransactionBehavior::Deferred, |reading| look(reading))
            .map_err(|refusal| refusal.about(what, Access::Read))
    }

    /// All of it happens, or nothing; nobody else changes anything meanwhile, in whichever process. What the change
    /// reads from the clock is read after it was let in.
    pub fn change<T>(
        &self,
        what: &dyn Display,
        change: impl FnOnce(&Connection) -> Result<T, Refusal>,
    ) -> Result<T, Error> {
        self.transaction(TransactionBehavior::Immediate, |writing| change(writing))
            .map_err(|refusal| refusal.about(what, Access::Write))
    }

    fn transaction<T>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        // A panic has rolled its transaction back.
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(behavior)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

fn version(connection: &Connection, file: &Path) -> Result<i64, Refusal> {
    match connection.pragma_query_value(None, "user_version", |row| row.get(0))? {
        version @ ..=VERSION => Ok(version),
        version => Err(Refusal::Asked(Error::Permanent {
            what: file.display().to_string(),
            source: format!(
                "a newer version of this program wrote it (format {version}, known up to {VERSION}); use that one"
            )
            .into(),
        })),
    }
}

/// The clock of the machine, which all processes that can have the file open share.
pub fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

pub fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2)
}
