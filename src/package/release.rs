//! Where the executable of a package is built when the running one does not fit: which of cargo's commands makes one that
//! runs on the Functions images, with what this machine has.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde::Deserialize;

use super::elf::{GLIBC_FLOOR, Glibc, Machine};
use crate::{Error, domain::problem::Problem};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    #[value(name = "x86_64-unknown-linux-musl")]
    X86_64Musl,
    #[value(name = "x86_64-unknown-linux-gnu")]
    X86_64Gnu,
    #[value(name = "aarch64-unknown-linux-musl")]
    Aarch64Musl,
    #[value(name = "aarch64-unknown-linux-gnu")]
    Aarch64Gnu,
}

impl Target {
    /// What Functions run on where nobody asks for another; the static one first.
    const USUAL: [Self; 2] = [Self::X86_64Musl, Self::X86_64Gnu];

    pub fn machine(self) -> Machine {
        match self {
            Self::X86_64Musl | Self::X86_64Gnu => Machine::X86_64,
            Self::Aarch64Musl | Self::Aarch64Gnu => Machine::Aarch64,
        }
    }

    fn is_static(self) -> bool {
        matches!(self, Self::X86_64Musl | Self::Aarch64Musl)
    }

    /// As rustc calls it.
    fn triple(self) -> &'static str {
        match self {
            Self::X86_64Musl => "x86_64-unknown-linux-musl",
            Self::X86_64Gnu => "x86_64-unknown-linux-gnu",
            Self::Aarch64Musl => "aarch64-unknown-linux-musl",
            Self::Aarch64Gnu => "aarch64-unknown-linux-gnu",
        }
    }

    /// Whether this process is of its architecture and runs on Linux, so that the machine's own compiler serves.
    fn is_native(self) -> bool {
        cfg!(target_os = "linux") && self.triple().starts_with(std::env::consts::ARCH)
    }

    /// Whether Rust's standard library for it is installed.
    fn has_std(self) -> bool {
        let libraries = output("rustc", &["--print", "target-libdir", "--target", self.triple()]);
        libraries.is_some_and(|folder| PathBuf::from(folder.trim()).is_dir())
    }
}

/// What a machine can build with.
#[derive(Debug)]
struct Tools {
    targets: Vec<Target>,
    /// cargo-zigbuild, and a Zig that it finds: C for any target, and linking against any glibc.
    zigbuild: bool,
    musl_gcc: bool,
    glibc: Option<Glibc>,
}

impl Tools {
    fn find(candidates: &[Target]) -> Self {
        Self {
            targets: candidates.iter().copied().filter(|target| target.has_std()).collect(),
            zigbuild: output("cargo-zigbuild", &["zig", "cc", "--", "--version"]).is_some(),
            musl_gcc: output("musl-gcc", &["--version"]).is_some(),
            glibc: output("getconf", &["GNU_LIBC_VERSION"]).as_deref().and_then(machine_glibc),
        }
    }

    fn command(&self, target: Target) -> Option<Build> {
        if !self.targets.contains(&target) {
            return None;
        }
        let floor = if target.is_static() { String::new() } else { format!(".{GLIBC_FLOOR}") };
        let by_itself = match target.is_static() {
            true => self.musl_gcc,
            false => self.glibc.as_ref().is_some_and(|glibc| *glibc <= GLIBC_FLOOR),
        };
        if target.is_native() && by_itself {
            Some(Build { with: "build", target: target.triple().to_owned() })
        } else if self.zigbuild {
            Some(Build { with: "zigbuild", target: format!("{}{floor}", target.triple()) })
        } else {
            None
        }
    }

    fn choose(&self, candidates: &[Target]) -> Result<Build, Problem> {
        let possible = candidates.iter().find_map(|target| self.command(*target));
        possible.ok_or_else(|| {
            let names: Vec<&str> = candidates.iter().map(|target| target.triple()).collect();
            let last = names.last().copied().unwrap_or_default();
            Problem::new(
                format!("this machine cannot build for {}", names.join(" or ")),
                format!(
                    "install what can, and make sure that it is on the PATH:\n    \
                     rustup target add {last}\n    \
                     python3 -m pip install cargo-zigbuild ziglang"
                ),
            )
        })
    }
}

/// `glibc 2.36`
fn machine_glibc(answer: &str) -> Option<Glibc> {
    let (major, minor) = answer.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some(Glibc::Version(major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

/// What a program prints, if it can be started and succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A command of cargo's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    with: &'static str,
    target: String,
}

impl std::fmt::Display for Build {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cargo {} --release --locked --bin cpo --target {}", self.with, self.target)
    }
}

/// What cargo says about a part that it built, as far as it is read here.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

impl Build {
    /// The command for a target, or for what Functions usually run on.
    pub fn plan(target: Option<Target>) -> Result<Self, Error> {
        let candidates = target.map_or_else(|| Target::USUAL.to_vec(), |target| vec![target]);
        if !in_source() {
            let message = "there is no executable to package: this one does not fit, and its source is not here";
            let remedy = "call `cpo package` where the source was cloned to, or name a release build with --binary";
            return Err(Problem::new(message, remedy).into());
        }
        Ok(Tools::find(&candidates).choose(&candidates)?)
    }

    /// Builds, with cargo's progress on standard error, and says where the executable is.
    pub fn run(&self) -> Result<PathBuf, Error> {
        let failed = |error: std::io::Error| Error::failed("cargo cannot be started", error);
        let output = Command::new("cargo")
            .args([self.with, "--release", "--locked", "--bin", "cpo", "--target", &self.target])
            .arg("--message-format=json-render-diagnostics")
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(failed)?;
        if !output.status.success() {
            return Err(Error::failed("the build failed", output.status.to_string()));
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let parsed = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
        parsed
            .filter_map(|message| message.executable)
            .next_back()
            .ok_or_else(|| Error::failed("the build failed", "cargo names no executable"))
    }
}

fn in_source() -> bool {
    let manifest = fs::read_to_string("Cargo.toml").ok().and_then(|text| text.parse::<toml::Table>().ok());
    let name = manifest.as_ref().and_then(|manifest| manifest.get("package")?.get("name")?.as_str());
    name == Some(env!("CARGO_PKG_NAME"))
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use super::*;

    const OLD: Glibc = Glibc::Version(2, 31);
    const NEW: Glibc = Glibc::Version(2, 36);

    fn command(targets: &[Target], zigbuild: bool, musl_gcc: bool, glibc: Glibc) -> Option<String> {
        let tools = Tools { targets: targets.to_vec(), zigbuild, musl_gcc, glibc: Some(glibc) };
        let build = tools.choose(&Target::USUAL).ok()?;
        Some(format!("{} {}", build.with, build.target))
    }

    #[test]
    fn static_if_it_can_be_else_against_the_oldest_glibc_else_by_this_machine_if_it_is_old_enough() {
        let both = &Target::USUAL[..];
        let gnu = &[Target::X86_64Gnu][..];
        assert_eq!(command(both, true, true, NEW).as_deref(), Some("build x86_64-unknown-linux-musl"));
        assert_eq!(command(both, true, false, OLD).as_deref(), Some("zigbuild x86_64-unknown-linux-musl"));
        assert_eq!(command(both, false, false, OLD).as_deref(), Some("build x86_64-unknown-linux-gnu"));
        assert_eq!(command(gnu, true, true, NEW).as_deref(), Some("zigbuild x86_64-unknown-linux-gnu.2.31"));
        assert_eq!(command(gnu, false, true, OLD).as_deref(), Some("build x86_64-unknown-linux-gnu"));
        assert_eq!(command(gnu, false, true, NEW), None);
        assert_eq!(command(&[], true, true, OLD), None);
    }

    #[test]
    fn another_architecture_needs_a_compiler_for_it() {
        let targets = vec![Target::Aarch64Gnu, Target::Aarch64Musl];
        let mut tools = Tools { targets, zigbuild: false, musl_gcc: true, glibc: Some(OLD) };
        let problem = tools.choose(&[Target::Aarch64Gnu]).unwrap_err().to_string();
        assert!(problem.contains("rustup target add aarch64-unknown-linux-gnu"), "{problem}");
        assert!(problem.contains("pip install cargo-zigbuild ziglang"), "{problem}");
        tools.zigbuild = true;
        let build = tools.choose(&[Target::Aarch64Gnu]).unwrap();
        assert!(build.to_string().ends_with("--target aarch64-unknown-linux-gnu.2.31"), "{build}");
    }

    #[test]
    fn a_machine_says_its_glibc() {
        assert_eq!(machine_glibc("glibc 2.36\n"), Some(NEW));
        assert_eq!(machine_glibc("musl"), None);
    }
}
