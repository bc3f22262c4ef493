//! The deployable app: host.json, a folder per function and the executable, as a folder and as a zip.
//!
//! The first two are part of the executable, so that whoever has only that can package it.

pub mod elf;
pub mod release;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Cursor, Write as _},
    path::{Path, PathBuf},
};

use include_dir::{Dir, include_dir};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{Error, domain::problem::Problem};

static FUNCTIONS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/functions");
static HOST: &[u8] = include_bytes!("../../host.json");

/// As host.json calls it.
pub const EXECUTABLE: &str = "cpo";
/// What `func start` is told about this machine: secrets among it. It stays where it is, and is never shipped.
const LOCAL_SETTINGS: &str = "local.settings.json";

/// Its files by their path from the root, with `/` between folders.
#[derive(Debug)]
pub struct Package {
    files: BTreeMap<String, Vec<u8>>,
}

impl Package {
    pub fn new(executable: Vec<u8>) -> Self {
        let mut files: BTreeMap<String, Vec<u8>> = FUNCTIONS
            .dirs()
            .flat_map(Dir::files)
            .map(|file| {
                let path = file.path().to_str().expect("the repository's own names are ASCII");
                (path.replace('\\', "/"), file.contents().to_vec())
            })
            .collect();
        files.insert("host.json".to_owned(), HOST.to_vec());
        files.insert(EXECUTABLE.to_owned(), executable);
        Self { files }
    }

    pub fn functions(&self) -> usize {
        self.files.keys().filter(|path| path.ends_with("/function.json")).count()
    }

    /// The same bytes for the same files, wherever and whenever it is made: sorted, without a time, each file with its
    /// Unix mode. Without the mode a host may find an executable that it may not execute.
    pub fn zip(&self) -> Result<Vec<u8>, Error> {
        let failed = |error| Error::failed("the zip cannot be made", error);
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, content) in &self.files {
            let options = SimpleFileOptions::DEFAULT
                .system(zip::System::Unix)
                .compression_method(CompressionMethod::Deflated)
                .compression_level(Some(9))
                .unix_permissions(mode(path));
            zip.start_file(path, options).map_err(failed)?;
            zip.write_all(content).map_err(|error| failed(error.into()))?;
        }
        Ok(zip.finish().map_err(failed)?.into_inner())
    }

    /// Takes the place of the package that was in the folder. Killed on the way it leaves a part of one, which the same
    /// call completes.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        for old in self.replaced(folder)? {
            let removed = if old.is_dir() { fs::remove_dir_all(&old) } else { fs::remove_file(&old) };
            removed.map_err(|error| unwritable(&old, error))?;
        }
        for (path, content) in &self.files {
            let path = folder.join(path);
            let parent = path.parent().expect("a path of two parts has a parent");
            fs::create_dir_all(parent).map_err(|error| unwritable(parent, error))?;
            fs::write(&path, content).map_err(|error| unwritable(&path, error))?;
        }
        for path in self.files.keys() {
            set_mode(&folder.join(path), mode(path)).map_err(|error| unwritable(folder, error))?;
        }
        Ok(())
    }

    /// What is in the folder of an earlier package. Anything else in it is somebody's: then nothing is touched.
    fn replaced(&self, folder: &Path) -> Result<Vec<PathBuf>, Error> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| unwritable(folder, error))?,
        };
        let mut replaced = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| unwritable(folder, error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match name {
                LOCAL_SETTINGS => {}
                "host.json" | EXECUTABLE if path.is_file() => replaced.push(path),
                _ if is_function(&path) => replaced.push(path),
                _ => {
                    let remedy = "name another folder with --out, or move what is not of a package out of this one";
                    return Err(Problem::new("is not of a package, and would be deployed with it", remedy)
                        .in_file(path)
                        .into());
                }
            }
        }
        Ok(replaced)
    }
}

fn is_function(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().all(|entry| entry.file_name() == "function.json")
}

fn mode(path: &str) -> u32 {
    if path == EXECUTABLE { 0o755 } else { 0o644 }
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    Problem::new(format!("cannot be written: {error}"), "name a folder you may write to with --out")
        .in_file(path)
        .into()
}
