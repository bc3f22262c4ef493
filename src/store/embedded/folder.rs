//! Blobs as files, each of them whole or absent.

use std::{
    fmt,
    fs::{self, File, Metadata},
    io::{self, Read as _, Write as _},
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tempfile::{NamedTempFile, TempPath};

use super::{
    super::{Blob, BlobPath, ETag, Error, Files, Head, Precondition, files},
    failure,
};

#[derive(Debug)]
pub struct Folder(Files);

/// Held while a file is compared and put in place, by whichever store of the process. Guards the time of the last such
/// write: each file's time of change is later than that of the one before, so that no tag comes twice, however coarse the
/// clock of the file system and however soon it uses a file's number again.
static LAST_WRITE: Mutex<SystemTime> = Mutex::new(SystemTime::UNIX_EPOCH);

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.root().display().fmt(f)
    }
}

/// Files of the store that are no blobs.
pub fn is_private(path: &BlobPath) -> bool {
    path.as_str().rsplit('/').next().is_some_and(files::is_private)
}

impl Folder {
    pub fn new(root: &Path) -> Self {
        Self(Files::new(root))
    }

    pub fn is_there(&self, path: &BlobPath) -> bool {
        self.0.file(path).is_file()
    }

    pub fn get(&self, path: &BlobPath) -> Result<Option<Blob>, Error> {
        let Some((mut file, etag)) = self.open(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| failure::of_file(path, error))?;
        Ok(Some(Blob { bytes, etag }))
    }

    pub fn head(&self, path: &BlobPath, most: usize) -> Result<Option<Head>, Error> {
        let Some((file, etag)) = self.open(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let len = file.metadata().and_then(|metadata| {
            file.take(most as u64).read_to_end(&mut bytes)?;
            Ok(metadata.len())
        });
        Ok(Some(Head { etag, len: len.map_err(|error| failure::of_file(path, error))?, bytes }))
    }

    pub fn get_file(&self, path: &BlobPath, into: &Path) -> Result<Option<ETag>, Error> {
        let Some((mut file, etag)) = self.open(path)? else { return Ok(None) };
        File::create(into)
            .and_then(|mut copy| io::copy(&mut file, &mut copy))
            .map_err(|error| failure::of_file(path, error))?;
        Ok(Some(etag))
    }

    /// A file is replaced, never changed: what is read from an open one belongs to its tag.
    fn open(&self, path: &BlobPath) -> Result<Option<(File, ETag)>, Error> {
        if is_private(path) {
            return Ok(None);
        }
        let opened = File::open(self.0.file(path)).and_then(|file| Ok((file.metadata()?, file)));
        match opened {
            Ok((metadata, file)) if metadata.is_file() => Ok(Some((file, etag(&metadata)))),
            Ok(_) => Ok(None),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(failure::of_file(path, error)),
        }
    }

    pub fn put(&self, path: &BlobPath, bytes: &[u8], when: &Precondition) -> Result<ETag, Error> {
        let written = self.0.new_file_for(path).and_then(|mut file| {
            file.write_all(bytes)?;
            Ok(file.into_parts())
        });
        let (file, name) = written.map_err(|error| failure::of_file(path, error))?;
        self.place(path, &file, name, when)
    }

    pub fn put_file(&self, path: &BlobPath, from: &Path, when: &Precondition) -> Result<ETag, Error> {
        let moved = self.0.new_file_for(path).and_then(|file| move_into(from, file));
        let (file, name) = moved.map_err(|error| failure::of_file(path, error))?;
        self.place(path, &file, name, when)
    }

    fn place(&self, path: &BlobPath, file: &File, name: TempPath, when: &Precondition) -> Result<ETag, Error> {
        let target = self.0.file(path);
        let mut last_write = LAST_WRITE.lock().unwrap_or_else(PoisonError::into_inner);
        when.check(path, fs::metadata(&target).ok().as_ref().map(etag).as_ref())?;
        *last_write = SystemTime::now().max(*last_write + Duration::from_micros(1));
        let placed = file.set_modified(*last_write).and_then(|()| {
            let etag = etag(&file.metadata()?);
            match when {
                Precondition::Absent => name.persist_noclobber(&target)?,
                Precondition::None | Precondition::Match(_) => name.persist(&target)?,
            }
            Ok(etag)
        });
        placed.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::AlreadyExists { what: path.to_string() },
            _ => failure::of_file(path, error),
        })
    }

    pub fn delete(&self, path: &BlobPath) -> Result<(), Error> {
        if is_private(path) {
            return Ok(());
        }
        let _no_write_meanwhile = LAST_WRITE.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::remove_file(self.0.file(path)) {
            Err(error) if !is_absence(&error) => Err(failure::of_file(path, error)),
            _ => Ok(()),
        }
    }

    pub fn list(&self, folder: Option<&BlobPath>) -> Result<Vec<BlobPath>, Error> {
        match self.0.list(folder) {
            Err(error) if !is_absence(&error) => Err(failure::of_file(self, error)),
            Err(_) => Ok(Vec::new()),
            Ok(names) => Ok(names),
        }
    }

    /// Only while nobody writes.
    pub fn remove_temporary_files(&self) -> Result<(), Error> {
        self.0.remove_temporary().map_err(|error| failure::of_file(self, error))
    }
}

fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::NotFound | Kind::NotADirectory | Kind::IsADirectory)
}

/// The content of another file under the name and with the permissions of a new one; without copying where both are on
/// one disk.
fn move_into(from: &Path, file: NamedTempFile) -> io::Result<(File, TempPath)> {
    let (empty, name) = file.into_parts();
    match fs::rename(from, &name) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => fs::copy(from, &name).map(drop)?,
        renamed => renamed?,
    }
    fs::set_permissions(&name, empty.metadata()?.permissions())?;
    Ok((File::options().write(true).open(&name)?, name))
}

/// Size, time and, where there is one, the file's number: files that others put there have a tag, too.
fn etag(metadata: &Metadata) -> ETag {
    let time = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let time = time.unwrap_or_default().as_nanos();
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let number = 0;
    ETag(format!("{:x}-{time:x}-{number:x}", metadata.len()))
}
