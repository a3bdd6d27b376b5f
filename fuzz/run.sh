#!/bin/bash
# Runs the fuzz targets for so many seconds each, and adds what they counted to docs/trust.md.
#
#   fuzz/run.sh SECONDS [TARGET…]      KEEP=1 leaves the page alone; MERGE=1 only minimises the committed corpus
#
# libFuzzer is linked by a stable compiler: the coverage flags are plain code-generation flags. A failing input is left
# in fuzz/failed/, and the command that repeats it is printed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET…]}
shift
targets=("$@")
[ $# -gt 0 ] || targets=(transaction block spec snapshot proof)
target=${CARGO_TARGET_DIR:-$here/../target}/fuzz
page=$here/../docs/trust.md
heading='| date | commit | target | inputs run | per second | corpus | seconds | failures |'
cd "$here"

export CARGO_TARGET_DIR=$target
export RUSTFLAGS='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing'
triple=$(rustc -vV | sed -n 's/^host: //p')
# Naming the target keeps the coverage flags away from build scripts and macros.
cargo build --release --locked --target "$triple" --bins
programs=$target/$triple/release

commit=$(git rev-parse --short HEAD)
git diff --quiet HEAD -- ../crates . || commit=$commit+changes
for name in "${targets[@]}"; do
    mkdir -p "$target/found/$name" "corpus/$name" failed
    if [ -n "${MERGE:-}" ]; then
        rm -rf "$target/merged" && mkdir "$target/merged"
        "$programs/$name" -merge=1 -rss_limit_mb=1024 "$target/merged" "corpus/$name" "$target/found/$name" 2>&1 | tail -1
        rm -rf "corpus/$name" && mv "$target/merged" "corpus/$name"
        continue
    fi
    log=$target/$name.log
    "$programs/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1 \
        -artifact_prefix="failed/$name-" "$target/found/$name" "corpus/$name" 2>"$log" || {
        tail -40 "$log" >&2
        echo "fuzz: $name failed. Again: $programs/$name fuzz/failed/$name-…" >&2
        exit 1
    }
    stat() { sed -n "s/^stat::$1: *//p" "$log"; }
    row="| $(date -u +%F) | $commit | $name | $(stat number_of_executed_units) | $(stat average_exec_per_sec) | $(find "$target/found/$name" -type f | wc -l) | $seconds | 0 |"
    echo "fuzz: $row"
    [ -z "${KEEP:-}" ] || continue
    if ! grep -qF "$heading" "$page"; then
        printf '\n## Inputs tried by the fuzzer\n\n`make fuzz FUZZ_SECONDS=…` runs each target so long and adds its row; a failing input ends the run.\n\n%s\n|---|---|---|---|---|---|---|---|\n' "$heading" >>"$page"
    fi
    ROW=$row HEADING=$heading awk '
        $0 == ENVIRON["HEADING"] { inside = 1 }
        inside && $0 !~ /^\|/ { print ENVIRON["ROW"]; inside = 0; done = 1 }
        { print }
        END { if (!done) print ENVIRON["ROW"] }' "$page" >"$page.new"
    mv "$page.new" "$page"
done
