//! The app as it is deployed: the repository's host.json and function folders beside the binary.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cpo::store::{Azure, Store};
use tempfile::TempDir;

use crate::{
    azurite,
    double::{
        host::Host,
        package::{Package, Times},
    },
};

pub struct Deployed {
    folder: TempDir,
    pub account: String,
}

impl Deployed {
    /// With a storage account of its own.
    pub fn new() -> Self {
        Self::on(azurite::account())
    }

    pub fn on(account: String) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().unwrap();
        fs::copy(root.join("host.json"), folder.path().join("host.json")).unwrap();
        for entry in fs::read_dir(root.join("functions")).unwrap() {
            let name = entry.unwrap().file_name();
            fs::create_dir(folder.path().join(&name)).unwrap();
            let file = |of: &Path| of.join(&name).join("function.json");
            fs::copy(file(&root.join("functions")), file(folder.path())).unwrap();
        }
        let deployed = Self { folder, account };
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cpo"), deployed.executable()).unwrap();
        deployed
    }

    /// What host.json names.
    fn executable(&self) -> PathBuf {
        let package = Package::read(self.folder.path());
        self.folder.path().join(package.command[0].rsplit('/').next().unwrap())
    }

    pub fn store(&self) -> Store {
        Azure::open(&self.account).unwrap().store()
    }

    pub fn host(&self, shorten: impl FnOnce(&mut Times)) -> Host {
        Host::start(self.folder.path(), vec![("CPO_STORAGE".to_owned(), self.account.clone())], shorten)
    }
}
