//! What SQLite and the file system report, in the store's terms and with what can be done about it.

use std::{fmt::Display, io};

use rusqlite::ErrorCode;

use super::Error;

/// The cause stays the source, for whoever prints the whole chain.
#[derive(Debug, thiserror::Error)]
#[error("{remedy}")]
struct Remedy {
    remedy: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

pub const FULL: &str = "the disk is full; make room and run the same command again, it goes on from here";
pub const READ_ONLY: &str = "the folder cannot be written; give yourself the right to, or name another one";
const DAMAGED: &str = "the database is damaged; put the folder back from a copy, or start the campaign anew";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

pub fn of_database(what: &dyn Display, error: rusqlite::Error, access: Access) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::Throttled { what: what.to_string(), retry_after: None }
        }
        Some(ErrorCode::DiskFull) => permanent(what, FULL, error),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            permanent(what, READ_ONLY, error)
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => permanent(what, DAMAGED, error),
        // Of a write that failed in the system nobody knows whether its last byte, which makes it valid, got through.
        Some(ErrorCode::SystemIoFailure) if access == Access::Write => {
            Error::Ambiguous { what: what.to_string(), source: error.into() }
        }
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => {
            Error::Transient { what: what.to_string(), source: error.into() }
        }
        _ => Error::Permanent { what: what.to_string(), source: error.into() },
    }
}

/// Files take their names last, so nothing was done.
pub fn of_file(what: &dyn Display, error: io::Error) -> Error {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => permanent(what, FULL, error),
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => permanent(what, READ_ONLY, error),
        Kind::NotFound | Kind::IsADirectory | Kind::NotADirectory | Kind::InvalidFilename | Kind::FileTooLarge => {
            Error::Permanent { what: what.to_string(), source: error.into() }
        }
        _ => Error::Transient { what: what.to_string(), source: error.into() },
    }
}

fn permanent(
    what: &dyn Display,
    remedy: &'static str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Permanent { what: what.to_string(), source: Remedy { remedy, source: error.into() }.into() }
}
