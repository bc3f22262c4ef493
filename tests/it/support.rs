//! A campaign folder that works, to be run as it is or spoilt.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

/// What `cpo init` makes, in a temporary folder.
pub struct Folder {
    root: TempDir,
}

impl Folder {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let made = cpo(root.path(), &["init", "spring"]);
        assert!(made.status.success(), "{}", stderr(&made));
        Self { root }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("spring").join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Replaces text in a file; the text must be there.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no `{from}`");
        self.write(name, text.replacen(from, to, 1));
    }

    /// `cpo run campaign.toml --customers customers.csv`, with more arguments.
    pub fn run(&self, more: &[&str]) -> Output {
        self.run_customers("customers.csv", more)
    }

    pub fn run_customers(&self, customers: &str, more: &[&str]) -> Output {
        self.cpo(&[&["run", "campaign.toml", "--customers", customers], more].concat())
    }

    pub fn cpo(&self, arguments: &[&str]) -> Output {
        cpo(&self.path(""), arguments)
    }

    /// Where the campaign's results are when its run succeeded.
    pub fn results(&self, name: &str) -> PathBuf {
        self.path("out/campaigns/first-campaign").join(name)
    }

    /// Every file below `out/`, lock files aside.
    pub fn written(&self) -> Vec<PathBuf> {
        let mut files = files_below(&self.path("out"));
        files.retain(|file| file.extension().is_none_or(|extension| extension != "lock"));
        files
    }
}

pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub fn cpo(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cpo")).current_dir(folder).args(arguments).output().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stdout(output)))
}
