//! A campaign's files in one folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::BlobPath;

/// A folder. A file appears under its name only when it is whole: it is written beside it first and then renamed.
/// A process that dies in between leaves a `.tmp*` file, which [`Files::list`] does not show.
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

    pub fn get(&self, path: &BlobPath) -> io::Result<Vec<u8>> {
        fs::read(self.file(path))
    }

    /// In the place of what was there before.
    pub fn put(&self, path: &BlobPath, bytes: &[u8]) -> io::Result<()> {
        let target = self.file(path);
        let folder = target.parent().expect("a blob's path has at least one segment below the root");
        fs::create_dir_all(folder)?;
        let mut file = new_file_in(folder)?;
        io::Write::write_all(&mut file, bytes)?;
        file.persist(&target)?;
        Ok(())
    }

    /// All files below a folder (`None`: everything), sorted. Empty where there is none.
    pub fn list(&self, folder: Option<&BlobPath>) -> io::Result<Vec<BlobPath>> {
        let mut found = Vec::new();
        let mut folders = vec![folder.map_or_else(|| self.root.clone(), |folder| self.file(folder))];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?.path();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> BlobPath {
        BlobPath::new(path).unwrap()
    }

    #[test]
    fn what_was_put_is_there_and_listed_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path());
        let (a, b) = (path("x/a.json"), path("x/y/b.json"));
        assert_eq!(files.get(&a).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(files.list(Some(&path("x"))).unwrap(), []);
        files.put(&b, b"1").unwrap();
        files.put(&a, b"2").unwrap();
        files.put(&b, b"4").unwrap();
        assert_eq!(files.get(&b).unwrap(), b"4");
        assert_eq!(files.list(Some(&path("x"))).unwrap(), [a.clone(), b.clone()]);
        assert_eq!(files.list(None).unwrap(), [a, b]);
    }

    #[test]
    fn a_half_written_file_is_never_listed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("x")).unwrap();
        fs::write(folder.path().join("x/.tmpAbC"), b"half").unwrap();
        assert_eq!(Files::new(folder.path()).list(Some(&path("x"))).unwrap(), []);
    }
}
