//! The customer file: opened, decompressed, its format recognised, hashed as it is read.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read, Write},
    ops::ControlFlow,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use encoding_rs::Encoding;
use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use super::{
    csv, jsonl,
    mapping::{Mapping, Of},
    parquet,
    rows::RawRows,
    transcode,
};
use crate::{
    Error,
    config::campaign::{CustomerFormat, Customers},
    domain::{digest::Digest, problem::Problem},
};

const BUFFER_BYTES: usize = 256 * 1024;
/// How much of a text is looked at to recognise its format and delimiter.
const PEEK_BYTES: u64 = 64 * 1024;

/// Takes a batch of rows; a break: nobody wants more.
pub type Emit<'a> = dyn FnMut(RawRows) -> ControlFlow<()> + 'a;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// What was found out about the file itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    pub format: CustomerFormat,
    pub compression: Compression,
    /// Text formats only.
    #[serde(
        default,
        serialize_with = "encoding_name",
        deserialize_with = "encoding_named",
        skip_serializing_if = "Option::is_none"
    )]
    pub encoding: Option<&'static Encoding>,
    /// CSV only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// As they are on disk.
    pub bytes: u64,
    /// SHA-256 of these bytes.
    pub sha256: Digest,
    /// Names of columns that the campaign does not use; of JSON Lines the first thousand.
    pub unmapped: Vec<String>,
}

fn encoding_name<S: Serializer>(encoding: &Option<&'static Encoding>, serializer: S) -> Result<S::Ok, S::Error> {
    encoding.map(Encoding::name).serialize(serializer)
}

fn encoding_named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'static Encoding>, D::Error> {
    let name = String::deserialize(deserializer)?;
    Encoding::for_label(name.as_bytes()).map(Some).ok_or_else(|| de::Error::custom("not the name of an encoding"))
}

/// A decoded text and where it comes from, for messages.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    pub path: &'a Path,
    pub compression: Compression,
    pub encoding: &'static Encoding,
}

impl Origin<'_> {
    pub fn problem(&self, message: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem::new(message, remedy).in_file(self.path)
    }

    pub fn broken(&self, error: io::Error) -> Problem {
        broken(self.path, self.compression, error)
    }
}

/// What a format's reader found out.
#[derive(Debug, Default)]
pub struct Layout {
    pub delimiter: Option<char>,
    pub unmapped: Vec<String>,
}

/// What a campaign file says of it; where that is nothing, the file is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Declared<'a> {
    format: Option<CustomerFormat>,
    delimiter: Option<char>,
    encoding: Option<&'a str>,
}

impl<'a> From<&'a Customers> for Declared<'a> {
    fn from(customers: &'a Customers) -> Self {
        let Customers { format, delimiter, encoding, .. } = customers;
        Self { format: *format, delimiter: *delimiter, encoding: Some(encoding) }
    }
}

/// An opened file of rows.
#[derive(Debug)]
pub struct Source<'a> {
    path: &'a Path,
    what: &'static str,
    file: File,
    declared: Declared<'a>,
    scratch: &'a Path,
    /// `None`: not a regular file, so nobody knows.
    pub len: Option<u64>,
}

impl<'a> Source<'a> {
    pub fn open(path: &'a Path, what: &'static str, declared: Declared<'a>, scratch: &'a Path) -> Result<Self, Error> {
        let file = open(path, what)?;
        let metadata = file.metadata().map_err(|error| unreadable(path, what, error))?;
        let len = metadata.is_file().then_some(metadata.len());
        Ok(Self { path, what, file, declared, scratch, len })
    }

    /// The size that the file has, or is likely to have, as plain text.
    pub fn expected_text_bytes(&self) -> Option<u64> {
        let compressed = ["gz", "zst", "zstd", "parquet", "pq"];
        let is_compressed = self.path.extension().and_then(OsStr::to_str).is_some_and(|ext| compressed.contains(&ext));
        // Tables of people shrink to between a third and a tenth.
        self.len.map(|len| if is_compressed { len.saturating_mul(8) } else { len })
    }

    /// Reads all rows, in order. `progress` is how many bytes have been read so far. Each format's reader goes to the
    /// end of the bytes, so that all are in the digest; unless nobody wants more, and then the digest means nothing.
    pub fn read(self, mapping: &Mapping<'_>, progress: &AtomicU64, emit: &mut Emit<'_>) -> Result<FileFacts, Error> {
        let path = self.path;
        let mut raw = Raw { file: &self.file, hasher: Sha256::new(), read: 0, progress };
        let (compression, bytes) = decompress(&mut raw).map_err(|error| unreadable(path, self.what, error))?;
        let (start, bytes) = peek(bytes).map_err(|error| broken(path, compression, error))?;
        let named = self.declared.format.or_else(|| format_of_name(path));
        let is_parquet = match named {
            Some(format) => format == CustomerFormat::Parquet,
            None => parquet::is(&start),
        };
        let (format, encoding, layout) = if is_parquet {
            let local = self.seekable(compression, bytes)?;
            (CustomerFormat::Parquet, None, parquet::read(local, path, mapping, emit)?)
        } else {
            let declared = self.declared.encoding.and_then(|label| Encoding::for_label(label.as_bytes()));
            let declared = declared.unwrap_or(encoding_rs::UTF_8);
            let (encoding, text) =
                transcode::to_utf8(bytes, &start, declared).map_err(|error| broken(path, compression, error))?;
            let origin = Origin { path, compression, encoding };
            let (start, text) = peek(text).map_err(|error| origin.broken(error))?;
            refuse_no_text(&start, &origin, mapping.of)?;
            let is_object = start.trim_ascii_start().starts_with(b"{");
            // No header of a CSV file starts with a brace, whatever the file is called.
            let found = if is_object { Some(CustomerFormat::Jsonl) } else { named };
            let format = self.declared.format.or(found).unwrap_or(CustomerFormat::Csv);
            let layout = match format {
                CustomerFormat::Jsonl => jsonl::read(text, &start, origin, mapping, emit)?,
                _ => csv::read(text, &start, self.declared.delimiter, origin, mapping, emit)?,
            };
            (format, Some(encoding), layout)
        };
        Ok(FileFacts {
            format,
            compression,
            encoding,
            delimiter: layout.delimiter,
            bytes: raw.read,
            sha256: Digest::from(<[u8; 32]>::from(raw.hasher.finalize())),
            unmapped: layout.unmapped,
        })
    }

    /// Parquet is read from its end. All bytes go through `bytes` once, which hashes them, and to a file of our own
    /// where the one we were given cannot be read out of order.
    fn seekable(&self, compression: Compression, mut bytes: impl Read) -> Result<File, Error> {
        let failed = |error| Error::failed("the Parquet file cannot be set aside", error);
        if compression == Compression::None && self.len.is_some() {
            io::copy(&mut bytes, &mut io::sink()).map_err(|error| broken(self.path, compression, error))?;
            return self.file.try_clone().map_err(failed);
        }
        let mut spool = tempfile::tempfile_in(self.scratch).map_err(failed)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match bytes.read(&mut buffer).map_err(|error| broken(self.path, compression, error))? {
                0 => return Ok(spool),
                read => spool.write_all(&buffer[..read]).map_err(failed)?,
            }
        }
    }
}

/// The bytes on disk, on their way to whoever decompresses them.
struct Raw<'a> {
    file: &'a File,
    hasher: Sha256,
    read: u64,
    progress: &'a AtomicU64,
}

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.read += read as u64;
        self.progress.store(self.read, Ordering::Relaxed);
        Ok(read)
    }
}

/// Opens what should be a file.
pub fn open(path: &Path, what: &str) -> Result<File, Problem> {
    let file = File::open(path).map_err(|error| unreadable(path, what, error))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Problem::new(format!("the {what} is a folder"), "name the file in it").in_file(path));
    }
    Ok(file)
}

/// The system does not let us read it.
pub fn unreadable(path: &Path, what: &str, error: io::Error) -> Problem {
    let remedy = "check the path, and that you may read the file";
    Problem::new(format!("the {what} cannot be read: {error}"), remedy).in_file(path)
}

/// Reading has started and does not go on: the disk's fault, or damaged data.
pub fn broken(path: &Path, compression: Compression, error: io::Error) -> Problem {
    if compression == Compression::None || error.raw_os_error().is_some() {
        return unreadable(path, "file", error);
    }
    let name = compression.name();
    let message = if error.kind() == io::ErrorKind::UnexpectedEof {
        format!("the {name} data ends too early: the file is cut short")
    } else {
        format!("the {name} data is damaged: {error}")
    };
    Problem::new(message, format!("copy or export the file again; `{name} -t` tests it")).in_file(path)
}

/// Reads through gzip (of several members, too) or zstd (of several frames), whichever the first bytes announce.
pub fn decompress<'r>(raw: impl Read + 'r) -> io::Result<(Compression, Box<dyn BufRead + 'r>)> {
    let mut raw = BufReader::with_capacity(BUFFER_BYTES, raw);
    let mut magic = Vec::new();
    raw.by_ref().take(4).read_to_end(&mut magic)?;
    let compression = Compression::of(&magic);
    let whole = Cursor::new(magic).chain(raw);
    let plain: Box<dyn BufRead + 'r> = match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(whole))),
        Compression::Zstd => {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, zstd::stream::read::Decoder::with_buffer(whole)?))
        }
    };
    Ok((compression, plain))
}

/// The first bytes, and a reader that still begins with them.
pub fn peek<'r>(mut text: Box<dyn BufRead + 'r>) -> io::Result<(Vec<u8>, Box<dyn BufRead + 'r>)> {
    let mut start = Vec::new();
    text.by_ref().take(PEEK_BYTES).read_to_end(&mut start)?;
    Ok((start.clone(), Box::new(Cursor::new(start).chain(text))))
}

/// The format that the name announces, behind the suffix of a compression.
fn format_of_name(path: &Path) -> Option<CustomerFormat> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let stem = [".gz", ".gzip", ".zst", ".zstd"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
    match Path::new(stem).extension()?.to_str()? {
        "csv" | "tsv" | "tab" | "psv" => Some(CustomerFormat::Csv),
        "jsonl" | "ndjson" | "json" => Some(CustomerFormat::Jsonl),
        "parquet" | "pq" => Some(CustomerFormat::Parquet),
        _ => None,
    }
}

/// An empty file, and a file that is no text.
fn refuse_no_text(start: &[u8], origin: &Origin<'_>, of: Of) -> Result<(), Problem> {
    if start.trim_ascii().is_empty() {
        let remedy = match of {
            Of::Customers => "name a file with at least one customer",
            Of::Outcomes => "give a file with a header and a row per customer",
        };
        return Err(origin.problem("the file is empty", remedy));
    }
    let (is, remedy) = if start.starts_with(b"PK\x03\x04") {
        ("a ZIP archive or an Excel workbook", "unpack it, or save it as CSV in UTF-8".to_owned())
    } else if parquet::is(start) {
        ("a Parquet file", of.or_setting("name it `.parquet`", "or set `customers.format = \"parquet\"`"))
    } else if start.contains(&0) {
        let remedy = "name a CSV, JSON Lines or Parquet file";
        ("binary data", of.or_setting(remedy, "for UTF-16 text set `customers.encoding`"))
    } else {
        return Ok(());
    };
    Err(origin.problem(format!("this is {is}, not text"), remedy).at_line(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_read_from_the_name_behind_any_compression() {
        let format = |name: &str| format_of_name(Path::new(name));
        assert_eq!(format("a/b.CSV.gz"), Some(CustomerFormat::Csv));
        assert_eq!(format("b.ndjson.zst"), Some(CustomerFormat::Jsonl));
        assert_eq!(format("b.parquet"), Some(CustomerFormat::Parquet));
        assert_eq!(format("b.csv.txt"), None);
        assert_eq!(format("customers"), None);
    }
}
