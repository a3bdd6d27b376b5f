#!/bin/bash
# What is shipped: checked, listed, and built twice.
#
#   tests/supply.sh check             cargo-deny: licences, bans, minimum versions, sources (deny.toml)
#   tests/supply.sh sbom              a CycloneDX list of everything in the program
#   tests/supply.sh reproducible      two release builds in different folders, compared byte by byte
#
# The tools are installed from crates.io at the versions below when they are missing (some minutes, once).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib.sh
. "$here/lib.sh"
repo=$(realpath "$here/..")
target=${CARGO_TARGET_DIR:-$repo/target}
deny_version=0.20.2
cyclonedx_version=0.5.9

tool() {
    command -v "$1" >/dev/null || {
        echo "supply: cargo install $1 (once, some minutes)" >&2
        cargo install --quiet --locked --version "$2" "$1"
    }
}

check() {
    tool cargo-deny $deny_version
    # Vulnerabilities are not asked for: their database is another download, and what we know of is in deny.toml.
    cd "$repo" && cargo deny --locked check --allow no-license-field bans licenses sources
}

sbom() {
    tool cargo-cyclonedx $cyclonedx_version
    # The time of the list is that of the commit, so that one commit has one list.
    local made=$repo/crates/allod/allod.cdx.json out=$target/sbom
    SOURCE_DATE_EPOCH=$(git -C "$repo" log -1 --format=%ct) cargo cyclonedx --manifest-path "$repo/crates/allod/Cargo.toml" \
        --format json --spec-version 1.5 --target x86_64-unknown-linux-gnu --override-filename allod.cdx --quiet
    find "$repo/crates" -name allod.cdx.json ! -path "$made" -delete
    mkdir -p "$out" && mv "$made" "$out/allod.cdx.json"
    python3 "$here/sbom.py" "$repo" "$out/allod.cdx.json"
}

# A build in a folder of its own, from what is committed, with nothing of the folder in it.
build_in() {
    local folder=$1 cargo_home=${CARGO_HOME:-$HOME/.cargo}
    git -C "$repo" archive HEAD | tar -x -C "$folder" --one-top-level=source
    (
        cd "$folder/source"
        export SOURCE_DATE_EPOCH CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=$folder/target
        SOURCE_DATE_EPOCH=$(git -C "$repo" log -1 --format=%ct)
        export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="--remap-path-prefix=$folder/source=/allod --remap-path-prefix=$folder/target=/target \
--remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$(rustc --print sysroot)=/rust"
        cargo build --release --locked -p allod >&2
    )
    sha256sum "$folder/target/release/allod" | cut -d' ' -f1
}

reproducible() {
    local first second one two
    first=$(mktemp -d "${TMPDIR:-/tmp}/allod-first.XXXXXX")
    second=$(mktemp -d "${TMPDIR:-/tmp}/allod-second-with-a-longer-name.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$first' '$second'" EXIT
    one=$(build_in "$first")
    two=$(build_in "$second")
    echo "$one  $first"
    echo "$two  $second"
    [ "$one" = "$two" ] || {
        cmp "$first/target/release/allod" "$second/target/release/allod" | head -1 >&2
        die "two builds of one commit differ. Next: look for the first difference with
strings -n 8 on both programs; a path or a time is the usual reason"
    }
    if strings -n 8 "$first/target/release/allod" | grep -F -m1 "$first"; then
        die "the program names the folder it was built in"
    fi
    echo "make reproducible: byte-identical"
}

case "${1:-}" in
check | sbom | reproducible) "$1" ;;
*) die "usage: tests/supply.sh check|sbom|reproducible" ;;
esac
