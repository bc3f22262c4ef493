//! What Azure Storage refuses, the other stores refuse as well: what works on a laptop works there.

use super::{BlobPath, Error, QueueName};

const MESSAGE: usize = 48 * 1_024;
const RECORD: usize = 4 * 1_024 * 1_024;
const RECORDS: u64 = 50_000;
/// How many messages are handed out at once at most; whoever asks for more gets so many.
pub const RECEIVE: usize = 32;

/// Text that XML can hold: that is how it travels.
pub fn message<'a>(queue: &QueueName, body: &'a [u8]) -> Result<&'a str, Error> {
    if body.len() > MESSAGE {
        return refused(queue, format!("a message of {} bytes is larger than {MESSAGE}", body.len()));
    }
    let is_in_xml = |c| !matches!(c, '\0'..' ' | '\u{fffe}' | '\u{ffff}') || matches!(c, '\t' | '\n' | '\r');
    match str::from_utf8(body) {
        Ok(text) if text.chars().all(is_in_xml) => Ok(text),
        _ => refused(queue, "a message must be text in UTF-8, without control characters".to_owned()),
    }
}

pub fn record(path: &BlobPath, record: &[u8]) -> Result<(), Error> {
    match record.len() {
        0 => refused(path, "a record of a log cannot be empty".to_owned()),
        1..=RECORD => Ok(()),
        size => refused(path, format!("a record of {size} bytes is larger than {RECORD}")),
    }
}

/// One more record, in a log that has `records`.
pub fn append(path: &BlobPath, records: u64) -> Result<(), Error> {
    match records {
        ..RECORDS => Ok(()),
        _ => refused(path, format!("a log has no more than {RECORDS} records")),
    }
}

pub fn refused<T>(what: &impl ToString, why: String) -> Result<T, Error> {
    Err(Error::Permanent { what: what.to_string(), source: why.into() })
}
