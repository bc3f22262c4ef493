//! The package as a host sees it, and which executables it is refused with. The executables are real ones: the machine's
//! C compiler makes them.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

use std::{
    fs,
    io::{Cursor, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use cpo::package::{
    EXECUTABLE, Package,
    elf::{Executable, Glibc, Machine, NoExecutable, SIZE_LIMIT, Unfit},
};
use serde_json::Value;
use zip::{HasZipMetadata as _, System, ZipArchive};

fn compile(flags: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, made) = (folder.path().join("hello.c"), folder.path().join("hello"));
    fs::write(&source, "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n").unwrap();
    let status = Command::new("cc").args(flags).arg("-o").arg(&made).arg(&source).status().unwrap();
    assert!(status.success(), "cc {flags:?}");
    fs::read(made).unwrap()
}

/// All occurrences of a text by another of the same length.
fn replaced(mut file: Vec<u8>, text: &str, by: &str) -> Vec<u8> {
    assert_eq!(text.len(), by.len());
    let places: Vec<usize> =
        file.windows(text.len()).enumerate().filter(|(_, w)| *w == text.as_bytes()).map(|w| w.0).collect();
    for place in places {
        file[place..place + by.len()].copy_from_slice(by.as_bytes());
    }
    file
}

/// A dynamically linked executable that runs with the images' glibc, whatever this machine's is.
fn fitting() -> Vec<u8> {
    let made = compile(&["-Wl,-z,nopack-relative-relocs"]);
    (32..100).fold(made, |file, minor| replaced(file, &format!("GLIBC_2.{minor}"), "GLIBC_2.14"))
}

fn unfit(file: &[u8]) -> Vec<Unfit> {
    Executable::read(file).unwrap().unfit(Machine::X86_64)
}

#[test]
fn an_executable_that_the_images_can_run_is_accepted_linked_dynamically_or_statically() {
    assert_eq!(unfit(&fitting()), []);
    for flags in [&["-static"][..], &["-static-pie"]] {
        let file = Executable::read(&compile(flags)).unwrap();
        assert_eq!((file.unfit(Machine::X86_64), file.libraries.len(), file.glibc()), (vec![], 0, None), "{flags:?}");
    }
}

#[test]
fn a_glibc_newer_than_the_floor_is_refused_with_the_symbols_that_need_it() {
    let file = replaced(fitting(), "GLIBC_2.2.5", "GLIBC_2.999");
    let found = unfit(&file);
    let [Unfit::Glibc { newest: Glibc::Version(2, 999), symbols }] = found.as_slice() else { panic!("{found:?}") };
    assert!(symbols.iter().any(|symbol| symbol.contains("puts")), "{symbols:?}");
    assert!(found[0].to_string().contains("it needs glibc 2.999; 2.31 is there"), "{}", found[0]);
}

#[test]
fn another_architecture_is_refused() {
    let mut file = fitting();
    file[18..20].copy_from_slice(&183_u16.to_le_bytes());
    let (found, wanted) = (Machine::Aarch64, Machine::X86_64);
    assert!(unfit(&file).contains(&Unfit::Machine { found, wanted }), "{:?}", unfit(&file));
}

#[test]
fn what_the_images_have_no_loader_or_library_for_is_refused() {
    let loader = "/lib64/ld-linux-x86-64.so.2";
    let elsewhere = "/opt64/ld-linux-x86-64.so.2";
    assert_eq!(unfit(&replaced(fitting(), loader, elsewhere)), [Unfit::Loader(elsewhere.into())]);
    let stranger = replaced(fitting(), "libc.so.6", "libz.so.9");
    assert_eq!(unfit(&stranger), [Unfit::Libraries(vec!["libz.so.9".into()])]);
}

#[test]
fn what_is_too_large_for_a_release_build_is_refused_with_its_size() {
    let mut file = fitting();
    file.resize(SIZE_LIMIT + 1_000_000, 0);
    assert_eq!(unfit(&file), [Unfit::Large(31_000_000)]);
}

#[test]
fn no_piece_of_an_executable_is_taken_for_one() {
    let file = fitting();
    for length in (0..file.len()).step_by(61) {
        assert!(Executable::read(&file[..length]).is_err(), "{length} of {} bytes", file.len());
    }
    assert!(matches!(Executable::read(&compile(&["-c"])), Err(NoExecutable::NoStart)));
    assert!(matches!(Executable::read(b"#!/bin/sh\n"), Err(NoExecutable::Unreadable(_))));
    let library = compile(&["-shared", "-fPIC", "-nostartfiles"]);
    let refused = Executable::read(&library).map(|file| file.unfit(Machine::X86_64));
    assert!(!matches!(&refused, Ok(reasons) if reasons.is_empty()), "{refused:?}");
}

#[test]
fn the_zip_has_its_files_at_the_root_with_unix_modes_and_equal_bytes_each_time() {
    let executable = fitting();
    let bytes = Package::new(executable.clone()).zip().unwrap();
    assert!(bytes == Package::new(executable.clone()).zip().unwrap(), "the zip differs from one time to the next");
    let mut zip = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let names: Vec<String> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
    assert!(names.is_sorted() && names.contains(&"host.json".to_owned()), "{names:?}");
    for name in &names {
        let mut file = zip.by_name(name).unwrap();
        let mode = if name == EXECUTABLE { 0o100_755 } else { 0o100_644 };
        assert_eq!((file.unix_mode(), file.get_metadata().system), (Some(mode), System::Unix), "{name}");
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        if name == EXECUTABLE {
            assert!(content == executable);
        } else {
            assert!(
                name == "host.json" || name.split_once('/').is_some_and(|(_, file)| file == "function.json"),
                "{name}"
            );
            assert!(serde_json::from_slice::<Value>(&content).unwrap().is_object(), "{name}");
        }
    }
}

#[test]
fn host_json_starts_the_executable_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    Package::new(fitting()).write(folder.path()).unwrap();
    let host: Value = serde_json::from_slice(&fs::read(folder.path().join("host.json")).unwrap()).unwrap();
    let description = &host["customHandler"]["description"];
    assert_eq!(description["arguments"], serde_json::json!(["serve"]));
    let executable = folder.path().join(description["defaultExecutablePath"].as_str().unwrap());
    assert_eq!(fs::metadata(&executable).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(fs::read(executable).unwrap() == fitting());
}

#[test]
fn every_function_has_a_valid_name_and_one_trigger() {
    let folder = tempfile::tempdir().unwrap();
    let package = Package::new(fitting());
    package.write(folder.path()).unwrap();
    let mut functions = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        functions += 1;
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.len() <= 128 && name != "host");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)), "{name}");
        let function: Value = serde_json::from_slice(&fs::read(path.join("function.json")).unwrap()).unwrap();
        let bindings = function["bindings"].as_array().unwrap();
        let kinds = bindings.iter().map(|binding| binding["type"].as_str().unwrap());
        assert_eq!(kinds.filter(|kind| kind.ends_with("Trigger")).count(), 1, "{name}");
    }
    assert_eq!(functions, package.functions());
    assert!(functions > 0);
}

#[test]
fn a_new_package_takes_the_place_of_the_old_one_but_not_of_what_is_somebodys() {
    let folder = tempfile::tempdir().unwrap();
    let [gone, secrets, report] =
        ["gone/function.json", "local.settings.json", "report.txt"].map(|name| folder.path().join(name));
    let package = Package::new(b"an executable".to_vec());
    package.write(folder.path()).unwrap();
    fs::create_dir(gone.parent().unwrap()).unwrap();
    fs::write(&gone, "{}").unwrap();
    fs::write(&secrets, "{}").unwrap();
    package.write(folder.path()).unwrap();
    assert!(!gone.exists() && secrets.exists());
    fs::write(&report, "mine").unwrap();
    fs::write(&gone, "{}").unwrap_err();
    let refused = Package::new(b"another".to_vec()).write(folder.path()).unwrap_err();
    assert!(refused.to_string().contains("report.txt"), "{refused}");
    assert_eq!(fs::read(folder.path().join(EXECUTABLE)).unwrap(), b"an executable");
}

fn cpo(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cpo")).arg("package").args(arguments).current_dir(folder).output().unwrap()
}

#[test]
fn the_command_packages_a_given_executable_and_says_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("handler"), fitting()).unwrap();
    let output = cpo(folder.path(), &["--binary", "handler", "--format", "json"]);
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["architecture"], &said["glibc"]), (&"x86_64".into(), &"2.14".into()), "{said}");
    assert_eq!(said["libraries"], serde_json::json!(["libc.so.6"]));
    let mut zip = ZipArchive::new(fs::File::open(folder.path().join("dist.zip")).unwrap()).unwrap();
    assert_eq!(zip.by_name(EXECUTABLE).unwrap().size(), fs::metadata(folder.path().join("dist/cpo")).unwrap().len());
}

#[test]
fn the_command_writes_nothing_when_it_refuses() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("handler"), replaced(fitting(), "GLIBC_2.2.5", "GLIBC_2.999")).unwrap();
    // This test's own build of cpo is a debug build, so that it would build another; the source is not here.
    for arguments in
        [&["--binary", "handler"][..], &["--binary", "handler", "--target", "aarch64-unknown-linux-gnu"], &[]]
    {
        let output = cpo(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["handler"]);
    }
}
