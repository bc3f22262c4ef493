//! Blobs as files under one folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;

use super::{BlobPath, Blobs, Error};

/// A folder. A file appears under its name only when it is whole: it is written beside it first and then renamed.
/// A process that dies in between leaves a `.tmp*` file, which [`Blobs::list`] does not show.
#[derive(Debug, Clone)]
pub struct Files {
    root: PathBuf,
}

const TEMPORARY: &str = ".tmp";

impl Files {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn file(&self, path: &BlobPath) -> PathBuf {
        self.root.join(path.as_str())
    }

    fn write(&self, path: &BlobPath, bytes: &[u8]) -> io::Result<()> {
        let target = self.file(path);
        let folder = target.parent().expect("a blob's path has at least one segment below the root");
        fs::create_dir_all(folder)?;
        let mut file = new_file_in(folder)?;
        io::Write::write_all(&mut file, bytes)?;
        file.persist(&target)?;
        Ok(())
    }
}

#[async_trait]
impl Blobs for Files {
    async fn get(&self, path: &BlobPath) -> Result<Vec<u8>, Error> {
        fs::read(self.file(path)).map_err(|source| from_io(path, source))
    }

    async fn put(&self, path: &BlobPath, bytes: Vec<u8>) -> Result<(), Error> {
        self.write(path, &bytes).map_err(|source| from_io(path, source))
    }

    async fn list(&self, folder: Option<&BlobPath>) -> Result<Vec<BlobPath>, Error> {
        let mut found = Vec::new();
        let mut folders = vec![folder.map_or_else(|| self.root.clone(), |folder| self.file(folder))];
        while let Some(folder) = folders.pop() {
            let failed = |source| Error::Io { path: folder.display().to_string(), source };
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(failed(source)),
            };
            for entry in entries {
                let entry = entry.map_err(failed)?.path();
                if entry.is_dir() {
                    folders.push(entry);
                } else if let Some(path) = self.blob_path(&entry) {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

impl Files {
    fn blob_path(&self, file: &Path) -> Option<BlobPath> {
        let name = file.file_name()?.to_str()?;
        if name.starts_with(TEMPORARY) {
            return None;
        }
        BlobPath::new(file.strip_prefix(&self.root).ok()?.to_str()?).ok()
    }
}

/// An unnamed-so-far file that, once persisted, has the permissions any new file of the user has.
fn new_file_in(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

fn from_io(path: &BlobPath, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::NotFound => Error::NotFound(path.clone()),
        _ => Error::Io { path: path.to_string(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    fn path(path: &str) -> BlobPath {
        BlobPath::new(path).unwrap()
    }

    /// What every store of blobs must do.
    async fn conforms(store: &dyn Blobs) {
        let (a, b) = (path("x/a.json"), path("x/y/b.json"));
        assert!(matches!(store.get(&a).await, Err(Error::NotFound(_))));
        assert_eq!(store.list(Some(&path("x"))).await.unwrap(), []);
        store.put(&b, b"1".to_vec()).await.unwrap();
        store.put(&a, b"2".to_vec()).await.unwrap();
        assert_eq!(store.get(&b).await.unwrap(), b"1");
        store.put(&b, b"4".to_vec()).await.unwrap();
        assert_eq!(store.get(&b).await.unwrap(), b"4");
        assert_eq!(store.list(Some(&path("x"))).await.unwrap(), [a.clone(), b.clone()]);
        assert_eq!(store.list(None).await.unwrap(), [a, b]);
        assert_eq!(store.list(Some(&path("nothing"))).await.unwrap(), []);
    }

    #[tokio::test]
    async fn every_store_conforms() {
        let folder = tempfile::tempdir().unwrap();
        conforms(&Files::new(folder.path())).await;
        conforms(&Memory::default()).await;
    }

    #[tokio::test]
    async fn a_half_written_file_is_never_listed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("x")).unwrap();
        fs::write(folder.path().join("x/.tmpAbC"), b"half").unwrap();
        assert_eq!(Files::new(folder.path()).list(Some(&path("x"))).await.unwrap(), []);
    }
}
