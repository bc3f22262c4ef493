#!/bin/sh
# Breaks one rule at a time in a copy of the committed source, and runs the tests that must notice.
#
#   tests/mutations/run.sh            every rule
#   tests/mutations/run.sh equality   this one
#
# Each patch says above its diff which rule it breaks, and on the line `Runs:` with which arguments of `cargo
# test`. Prints for each which tests failed. Ends with an error where nothing failed, unless the patch says
# `Survives:` and why.
set -eu
cd "$(dirname "$0")/../.."
patches=$PWD/tests/mutations
copy=$PWD/target/mutations/source
export CARGO_TARGET_DIR="$PWD/target/mutations/target"
mkdir -p target/mutations
[ -d "$copy" ] || git clone --quiet --shared --no-checkout . "$copy"
git -C "$copy" fetch --quiet "$PWD" HEAD
git -C "$copy" checkout --quiet --force --detach FETCH_HEAD
[ $# -gt 0 ] || set -- $(cd "$patches" && ls -- *.patch | sed 's/\.patch$//')
wrong=0
for name; do
    patch=$patches/$name.patch
    git -C "$copy" checkout --quiet --force .
    git -C "$copy" apply --recount "$patch"
    arguments=$(sed -n 's/^Runs: //p' "$patch")
    log=$copy/../$name.log
    # A mutant that does not compile proves nothing.
    if ! (cd "$copy" && cargo test --quiet ${arguments%% -- *} --no-run) >"$log" 2>&1; then
        echo "$name: does not compile, see $log"
        wrong=1
    elif (cd "$copy" && timeout 900 cargo test $arguments) >>"$log" 2>&1; then
        if grep -q '^Survives: ' "$patch"; then
            echo "$name: survives, as it says"
        else
            echo "$name: SURVIVES"
            wrong=1
        fi
    else
        caught=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | sort | tr '\n' ' ')
        echo "$name: caught by ${caught:-the time limit}"
    fi
done
git -C "$copy" checkout --quiet --force .
exit $wrong
