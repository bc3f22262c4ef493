//! The app as it is deployed: host.json and function folders beside the executable. They are the repository's and this
//! build's, or those of the folder that `CPO_PACKAGE` names, which `cpo package` made.

use std::{
    env, fs,
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
        let (host, functions, executable) = match env::var_os("CPO_PACKAGE").map(PathBuf::from) {
            Some(package) => (package.join("host.json"), package.clone(), package.join("cpo")),
            None => (root.join("host.json"), root.join("functions"), env!("CARGO_BIN_EXE_cpo").into()),
        };
        let folder = tempfile::tempdir().unwrap();
        fs::copy(host, folder.path().join("host.json")).unwrap();
        for entry in fs::read_dir(&functions).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
            let name = entry.file_name();
            fs::create_dir(folder.path().join(&name)).unwrap();
            let file = |of: &Path| of.join(&name).join("function.json");
            fs::copy(file(&functions), file(folder.path())).unwrap();
        }
        let deployed = Self { folder, account };
        std::os::unix::fs::symlink(executable, deployed.executable()).unwrap();
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
