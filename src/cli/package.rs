//! `cpo package`: the deployable app.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use comfy_table::{LineStyle, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use crate::{
    Error,
    cli::{self, Format},
    domain::problem::Problem,
    package::{
        Package,
        elf::{Executable, Machine, megabytes},
        release::{Build, Target},
    },
};

/// Make the folder and the zip that an Azure Functions app is deployed from.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cpo package                                          dist/ and dist.zip
  cpo package --binary target/release/cpo --out build
  cpo package --target aarch64-unknown-linux-gnu

The executable in it is this one if the Functions images can run it; else one is built from the source in the current
folder: static where Rust's musl target is installed, else against glibc 2.31 with cargo-zigbuild. What the images
cannot run is refused.")]
pub struct Args {
    /// The folder; the zip stands beside it, under the same name with .zip.
    #[arg(long, value_name = "DIR", default_value = "dist")]
    out: PathBuf,
    /// Build for this target [default: x86_64, static if it can be]
    #[arg(long, value_enum)]
    target: Option<Target>,
    /// Package this executable, and build nothing.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: Args) -> Result<(), Error> {
    if args.out.file_name().is_none() {
        let remedy = "name it as seen from the folder above, such as --out dist";
        return Err(Problem::new("the zip is called after the folder, which has no name here", remedy)
            .in_file(args.out)
            .into());
    }
    let machine = args.target.map_or(Machine::X86_64, Target::machine);
    let chosen = match (&args.binary, args.target) {
        (Some(file), _) => fitting(file, machine)?,
        (None, Some(_)) => built(args.target, machine)?,
        (None, None) => match itself(machine) {
            Ok(itself) => itself,
            Err(why) => {
                note(&format!("this cpo is not for the Functions images, so another is built:\n{why}"));
                built(None, machine)?
            }
        },
    };
    let package = Package::new(chosen.bytes);
    let zip = package.zip()?;
    package.write(&args.out)?;
    let zip_file = args.out.with_added_extension("zip");
    write_whole(&zip_file, &zip)?;
    let made = Made {
        executable: chosen.file,
        bytes: chosen.found.size,
        architecture: machine.to_string(),
        libraries: chosen.found.libraries.clone(),
        glibc: chosen.found.glibc().map(ToString::to_string),
        functions: package.functions(),
        folder: args.out,
        zip: zip_file,
        zip_bytes: zip.len(),
    };
    match args.format {
        Format::Json => cli::print_json(&made),
        Format::Text => cli::print(&made.table()),
    }
}

#[derive(Debug, Serialize)]
struct Made {
    executable: PathBuf,
    bytes: usize,
    architecture: String,
    /// None of them: static.
    libraries: Vec<String>,
    /// The oldest that it runs with.
    glibc: Option<String>,
    functions: usize,
    folder: PathBuf,
    zip: PathBuf,
    zip_bytes: usize,
}

impl Made {
    fn table(&self) -> String {
        let linkage = match self.libraries.as_slice() {
            [] => "static".to_owned(),
            libraries => libraries.join(", "),
        };
        let glibc = self.glibc.as_ref().map_or("none needed".to_owned(), |glibc| format!("{glibc} or newer"));
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none())).add_rows([
            ["executable", &self.executable.display().to_string()],
            ["size", &format!("{:.1} MB", megabytes(self.bytes))],
            ["architecture", &self.architecture],
            ["linked with", &linkage],
            ["glibc", &glibc],
            ["functions", &self.functions.to_string()],
            ["folder", &self.folder.display().to_string()],
            ["zip", &format!("{}, {:.1} MB", self.zip.display(), megabytes(self.zip_bytes))],
        ]);
        format!("{}\n", table.trim_fmt())
    }
}

/// An executable that the images can run.
struct Chosen {
    file: PathBuf,
    bytes: Vec<u8>,
    found: Executable,
}

fn itself(machine: Machine) -> Result<Chosen, Error> {
    let file = std::env::current_exe().map_err(|error| Error::failed("this executable cannot be found", error))?;
    fitting(&file, machine)
}

fn built(target: Option<Target>, machine: Machine) -> Result<Chosen, Error> {
    let build = Build::plan(target)?;
    note(&build.to_string());
    fitting(&build.run()?, machine)
}

fn fitting(file: &Path, machine: Machine) -> Result<Chosen, Error> {
    let refuse = |message: String| {
        let remedy = format!("give a release build of cpo for Linux on {machine}: `cpo package --help` says how");
        Problem::new(message, remedy).in_file(file)
    };
    let bytes = fs::read(file).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let found = Executable::read(&bytes).map_err(|error| refuse(error.to_string()))?;
    match found.unfit(machine).iter().map(|unfit| refuse(unfit.to_string())).collect::<Vec<_>>() {
        problems if problems.is_empty() => Ok(Chosen { file: file.to_owned(), bytes, found }),
        problems => Err(problems.into()),
    }
}

/// A file that appears only when it is whole.
fn write_whole(file: &Path, content: &[u8]) -> Result<(), Error> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut whole| {
        whole.write_all(content)?;
        whole.persist(file)?;
        Ok(())
    });
    written.map_err(|error| {
        let remedy = "name a folder in one that you may write to with --out";
        Problem::new(format!("cannot be written: {error}"), remedy).in_file(file).into()
    })
}

/// What somebody who waits wants to know.
fn note(text: &str) {
    // Nothing depends on it.
    let _ = writeln!(std::io::stderr(), "{text}");
}
