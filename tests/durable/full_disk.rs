//! A disk that is full, for real: a small one in memory, in a mount namespace of its own.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{
    killed,
    real::{self, Folder, Method},
};

/// Runs the campaign on disks of ever more room until there is enough. After each failure the same disk is given room,
/// and the same command run again. Every run's exit code and all it says end up in `log`, the results in `<size>/`.
const SCRIPT: &str = r#"
set -u
mkdir disk
for size in 64 300 600 1000 1500 2000; do
    mount -t tmpfs -o size=${size}k none disk
    "$CPO" run campaign.toml --customers customers.csv --out disk > first.$size 2>&1
    echo "$size first $?" >> log
    mount -o remount,size=100m disk
    "$CPO" run campaign.toml --customers customers.csv --out disk > second.$size 2>&1
    echo "$size second $?" >> log
    cp -R disk results.$size
    umount disk
done
"#;

fn in_namespace(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    command
}

#[test]
fn on_a_full_disk_a_run_says_so_and_with_room_the_same_command_goes_on() {
    let probe = in_namespace("mount -t tmpfs none /mnt").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("not tested: nobody but the administrator may mount a disk in memory here");
        return;
    }
    let folder = Folder::new(Method::Rules, 8_000);
    let expected = Folder::new(Method::Rules, 8_000);
    killed::completes(&expected, "with room");
    let expected = expected.given();
    let status = in_namespace(SCRIPT).current_dir(folder.path("")).env("CPO", env!("CARGO_BIN_EXE_cpo")).status();
    assert!(status.unwrap().success());
    let log = fs::read_to_string(folder.path("log")).unwrap();
    let mut refused = 0;
    for line in log.lines() {
        let [size, run, code] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let said = fs::read_to_string(folder.path(&format!("{run}.{size}"))).unwrap();
        match (run, code) {
            (_, "0") => {
                let results = folder.path(&format!("results.{size}/campaigns/first-campaign"));
                killed::assert_same_files(real::files_of(&results), &expected, line);
                let wrong = real::of_files(&results);
                assert!(wrong.is_empty(), "{line}:\n{}", wrong.join("\n"));
            }
            ("first", "1") => {
                refused += 1;
                let last = said.lines().next_back().unwrap_or_default();
                assert!(last.contains("the disk is full; make room and run the same command again"), "{size}: {said}");
            }
            _ => panic!("with {size} KiB the {run} run ended with {code}: {said}"),
        }
    }
    assert!(refused > 2, "{log}");
}
