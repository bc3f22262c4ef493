//! Blobs, logs and leases as rows.

use std::time::Duration;

use rusqlite::{
    Connection, OptionalExtension as _, params,
    types::{FromSql, FromSqlError, FromSqlResult, ValueRef},
};
use uuid::Uuid;

use super::{
    super::{Blob, BlobPath, ETag, Error, Lease, Precondition, limits},
    database::{Refusal, milliseconds, now},
};

impl FromSql for BlobPath {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::new(value.as_str()?).map_err(FromSqlError::other)
    }
}

pub fn is_there(connection: &Connection, path: &BlobPath) -> Result<bool, Refusal> {
    let mut rows = connection.prepare_cached("SELECT 1 FROM blob WHERE path = ?")?;
    Ok(rows.exists([path.as_str()])?)
}

pub fn get(connection: &Connection, path: &BlobPath) -> Result<Blob, Refusal> {
    let mut blob = connection.prepare_cached("SELECT id, etag, records IS NOT NULL, body FROM blob WHERE path = ?")?;
    let found: Option<(i64, String, bool, Vec<u8>)> =
        blob.query_row([path.as_str()], |row| row.try_into()).optional()?;
    let Some((id, etag, is_log, mut bytes)) = found else {
        return Err(Error::NotFound { what: path.to_string() }.into());
    };
    if is_log {
        let mut records = connection.prepare_cached("SELECT body FROM record WHERE log = ? ORDER BY number")?;
        let mut records = records.query([id])?;
        while let Some(record) = records.next()? {
            bytes.extend_from_slice(record.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
        }
    }
    Ok(Blob { bytes, etag: ETag(etag) })
}

/// Tags are random: one never comes again, even after the blob was deleted and written anew.
fn new_etag() -> String {
    Uuid::new_v4().simple().to_string()
}

pub fn put(change: &Connection, path: &BlobPath, bytes: &[u8], when: &Precondition) -> Result<ETag, Refusal> {
    let mut current = change.prepare_cached("SELECT id, etag, records IS NOT NULL FROM blob WHERE path = ?")?;
    let current: Option<(i64, String, bool)> = current.query_row([path.as_str()], |row| row.try_into()).optional()?;
    when.check(path, current.as_ref().map(|(_, etag, _)| ETag(etag.clone())).as_ref())?;
    if matches!(current, Some((_, _, true))) {
        delete(change, path)?;
    }
    let etag = new_etag();
    change
        .prepare_cached(
            "INSERT INTO blob (path, etag, body) VALUES (?1, ?2, ?3)
             ON CONFLICT (path) DO UPDATE SET etag = ?2, body = ?3",
        )?
        .execute(params![path.as_str(), etag, bytes])?;
    Ok(ETag(etag))
}

pub fn append(change: &Connection, path: &BlobPath, record: &[u8]) -> Result<u64, Refusal> {
    let mut count = change.prepare_cached(
        "INSERT INTO blob (path, etag, records, body) VALUES (?1, ?2, 1, x'')
         ON CONFLICT (path) DO UPDATE SET etag = ?2, records = records + 1 RETURNING id, records",
    )?;
    let (log, number): (i64, Option<i64>) =
        count.query_row(params![path.as_str(), new_etag()], |row| row.try_into())?;
    let Some(number) = number else { return Ok(limits::refused(path, "it is not a log".to_owned())?) };
    limits::append(path, number.unsigned_abs() - 1)?;
    change
        .prepare_cached("INSERT INTO record (log, number, body) VALUES (?, ?, ?)")?
        .execute(params![log, number, record])?;
    Ok(number.unsigned_abs())
}

/// In the order of their bytes, as everywhere.
pub fn list(connection: &Connection, folder: Option<&BlobPath>) -> Result<Vec<BlobPath>, Refusal> {
    // `0` is the character after `/`.
    let (first, after) =
        folder.map_or((String::new(), "\u{10ffff}".to_owned()), |folder| (format!("{folder}/"), format!("{folder}0")));
    let mut paths = connection.prepare_cached("SELECT path FROM blob WHERE path >= ? AND path < ? ORDER BY path")?;
    let paths = paths.query_map([first, after], |row| row.get(0))?;
    Ok(paths.collect::<Result<_, _>>()?)
}

/// A look for each of them: whatever they hold is passed over.
pub fn folders(
    connection: &Connection,
    folder: &BlobPath,
    prefix: &str,
    from: Option<&str>,
    most: usize,
) -> Result<Vec<String>, Refusal> {
    let after = format!("{folder}/{prefix}\u{10ffff}");
    // `0` is the character after `/`.
    let mut next = format!("{folder}/{prefix}").max(from.map(|from| format!("{folder}/{from}0")).unwrap_or_default());
    let mut first =
        connection.prepare_cached("SELECT path FROM blob WHERE path >= ? AND path < ? ORDER BY path LIMIT 1")?;
    let mut names = Vec::new();
    while names.len() < most
        && let Some(path) = first.query_row([&next, &after], |row| row.get::<_, String>(0)).optional()?
    {
        match path[folder.as_str().len() + 1..].split_once('/') {
            Some((name, _)) => {
                next = format!("{folder}/{name}0");
                names.push(name.to_owned());
            }
            // A blob. Nothing is between it and this.
            None => next = format!("{path}\0"),
        }
    }
    Ok(names)
}

pub fn delete(change: &Connection, path: &BlobPath) -> Result<(), Refusal> {
    change.prepare_cached("DELETE FROM blob WHERE path = ?")?.execute([path.as_str()])?;
    Ok(())
}

/// One that seems to have been taken in the future is free: the clock was set back, and nobody knows by how much.
pub fn lease(change: &Connection, path: &BlobPath, time: Duration) -> Result<Lease, Refusal> {
    let lease = Lease { path: path.clone(), id: Uuid::new_v4().to_string() };
    let from = now();
    let taken = change
        .prepare_cached(
            "INSERT INTO lease (path, id, held_from, held_until) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (path) DO UPDATE SET id = ?2, held_from = ?3, held_until = ?4
             WHERE held_until <= ?3 OR held_from > ?3",
        )?
        .execute(params![path.as_str(), lease.id, from, from + milliseconds(time)])?;
    if taken == 1 { Ok(lease) } else { Err(Error::LeaseHeld { what: path.to_string() }.into()) }
}

pub fn renew(change: &Connection, lease: &Lease) -> Result<(), Refusal> {
    let renewed = change
        .prepare_cached(
            "UPDATE lease SET held_from = ?3, held_until = ?3 + held_until - held_from WHERE path = ?1 AND id = ?2",
        )?
        .execute(params![lease.path.as_str(), lease.id, now()])?;
    if renewed == 1 { Ok(()) } else { Err(Error::LeaseHeld { what: lease.path.to_string() }.into()) }
}

pub fn release(change: &Connection, lease: &Lease) -> Result<(), Refusal> {
    change
        .prepare_cached("DELETE FROM lease WHERE path = ? AND id = ?")?
        .execute(params![lease.path.as_str(), lease.id])?;
    Ok(())
}

pub fn drop_leases(change: &Connection) -> Result<(), Refusal> {
    change.execute("DELETE FROM lease", [])?;
    Ok(())
}
