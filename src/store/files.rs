//! A campaign's files in one folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::BlobPath;

/// A folder. A file appears under its name only when it is whole: it is written beside it first and then renamed.
/// A process that dies in between leaves a `.tmp*` file. [`Files::list`] shows neither these nor a store's database.
#[derive(Debug, Clone)]
pub struct Files {
    root: PathBuf,
}

const TEMPORARY: &str = ".tmp";
const DATABASE: &str = ".state.";

/// Of a file that is not part of a campaign, but of how it is kept.
pub(super) fn is_private(name: &str) -> bool {
    [TEMPORARY, DATABASE].iter().any(|prefix| name.starts_with(prefix))
}

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
        let mut file = self.new_file_for(path)?;
        io::Write::write_all(&mut file, bytes)?;
        file.persist(self.file(path))?;
        Ok(())
    }

    /// An empty file beside the one of that name, to be filled and then persisted.
    pub(super) fn new_file_for(&self, path: &BlobPath) -> io::Result<tempfile::NamedTempFile> {
        let target = self.file(path);
        let folder = target.parent().expect("a blob's path has at least one segment below the root");
        fs::create_dir_all(folder)?;
        new_file_in(folder)
    }

    /// All files below a folder (`None`: everything), sorted. Empty where there is none.
    pub fn list(&self, folder: Option<&BlobPath>) -> io::Result<Vec<BlobPath>> {
        let mut found = Vec::new();
        let folder = folder.map_or_else(|| self.root.clone(), |folder| self.file(folder));
        each_file(folder, |file| {
            found.extend(self.blob_path(&file));
            Ok(())
        })?;
        found.sort();
        Ok(found)
    }

    /// What processes that died have left half-written. Only while nobody writes.
    pub(super) fn remove_temporary(&self) -> io::Result<()> {
        each_file(self.root.clone(), |file| {
            let name = file.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.starts_with(TEMPORARY)) { fs::remove_file(file) } else { Ok(()) }
        })
    }

    fn blob_path(&self, file: &Path) -> Option<BlobPath> {
        if is_private(file.file_name()?.to_str()?) {
            return None;
        }
        BlobPath::new(file.strip_prefix(&self.root).ok()?.to_str()?).ok()
    }
}

fn each_file(root: PathBuf, mut visit: impl FnMut(PathBuf) -> io::Result<()>) -> io::Result<()> {
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?.path();
            if entry.is_dir() { folders.push(entry) } else { visit(entry)? }
        }
    }
    Ok(())
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
