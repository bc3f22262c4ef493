//! Tools that come as npm packages. Needs Node.js 20 or later with npm; the first install of a version needs the network.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A script of the package that ends with this process, however this ends. Its standard input is kept by the child.
pub fn node(package: &str, version: &str, script: &str) -> Command {
    let mut command = Command::new("node");
    command
        .args(["--require", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/npm/ends_with_parent.js")])
        .arg(installed(package, version).join(script))
        .stdin(Stdio::piped());
    command
}

/// The package's folder, in the target folder. One process installs it, others wait; a process that was killed meanwhile
/// leaves it unfinished.
fn installed(package: &str, version: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is a folder in the target folder");
    let name = package.rsplit('/').next().expect("a package has a name");
    let folder = target.join(format!("{name}-{version}"));
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let finished = folder.join("finished");
    if !finished.exists() {
        let status = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--prefix"])
            .arg(&folder)
            .arg(format!("{package}@{version}"))
            .status()
            .expect("these tests need `npm` on the PATH (it comes with Node.js 20 or later)");
        assert!(status.success(), "npm could not install {package} {version}: once, that needs the network");
        File::create(&finished).unwrap();
    }
    folder.join("node_modules").join(package)
}
