#!/bin/bash
# Plants each bug of this folder in a copy of the source, one at a time, and demands that its named test fails.
#
#   tests/mutants/run.sh [CRATE | NAME…]       # CRATE: all bugs of one crate, such as allod-state
#
# Once every bug of a crate has been tried at one commit, be it in several runs, the outcome is written to
# docs/trust.md.
#
# A patch begins with what it breaks, then "Caught by:" and tests; the bug counts as caught when every one of them
# fails. "Crate:" says where the tests are, in cargo's words; without it they are the law's: allod-state --test it. The
# copy, with its own builds, is kept in the target folder.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$repo/target}/mutants
page=$repo/docs/trust.md
copy=$target/tree

tests_of() { sed -n 's/^Caught by: //p' "$here/$1.patch"; }
# The crate, and which of its tests: two words or three.
place_of() { sed -n '/^---/q; s/^Crate: //p' "$here/$1.patch" | grep . || echo allod-state --test it; }
all_of() {
    for patch in "$here"/*.patch; do
        name=$(basename "$patch" .patch)
        [[ "$(place_of "$name") " != "$1 "* ]] || echo "$name"
    done
}

names=("$@")
[ $# != 0 ] || names=($(cd "$here" && ls ./*.patch | sed 's/^..//; s/\.patch$//'))
[ ! -d "$repo/crates/${1-no crate}" ] || names=($(all_of "$1"))
places=$(for name in "${names[@]}"; do place_of "$name"; done | sort -u)

rm -rf "$copy" && mkdir -p "$copy"
export CARGO_TARGET_DIR=$target/build
cp -a "$repo/crates" "$repo/Cargo.toml" "$repo/Cargo.lock" "$copy/"
# What an interrupted run built is not what stands here.
for crate in $(cut -d ' ' -f 1 <<<"$places"); do
    find "$copy/crates/$crate" -path '*/src/lib.rs' -o -path '*/tests/*/main.rs' | xargs touch
done
cd "$copy"

# A place is words for cargo, and names of tests have no spaces.
# shellcheck disable=SC2086
build() {
    cargo test -q --locked --offline --no-run -p $1 || return
    # The root process that these tests begin is an example.
    [[ $1 != 'allod-runtime --test it' ]] || cargo build -q --locked --offline -p allod-runtime --examples
}
# shellcheck disable=SC2086
runs() { timeout 300 cargo test -q --locked --offline -p $1 -- --exact ${*:2}; }

while read -r place; do
    echo "mutants: ${place%% *} as it is" >&2
    all=$(for name in $(all_of "$place"); do tests_of "$name"; done | tr ' ' '\n' | sort -u)
    # shellcheck disable=SC2086
    { build "$place" && runs "$place" $all; } >"$target/clean.log" 2>&1 </dev/null || {
        tail -30 "$target/clean.log" >&2
        echo "mutants: the tests fail without any bug planted. Next: make them pass" >&2
        exit 1
    }
    count=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$target/clean.log")
    [ "$count" = "$(wc -w <<<"$all")" ] || {
        echo "mutants: $count tests ran of $(wc -w <<<"$all") named. Next: correct the names in the patches" >&2
        exit 1
    }
done <<<"$places"

commit=$(git -C "$repo" rev-parse --short HEAD)
git -C "$repo" diff --quiet HEAD -- crates tests/mutants || commit=$commit+changes
missed=()
for name in "${names[@]}"; do
    patch=$here/$name.patch
    place=$(place_of "$name")
    rows=$target/rows-$commit/${place%% *}
    what=$(head -1 "$patch")
    tests=$(tests_of "$name")
    patch -s -p1 <"$patch"
    log=$target/$name.log
    verdict=caught
    if ! build "$place" >"$log" 2>&1; then
        tail -20 "$log" >&2
        verdict="does not build"
    else
        for test in $tests; do
            ! runs "$place" "$test" >>"$log" 2>&1 || verdict="not caught"
        done
    fi
    patch -s -R -p1 <"$patch"
    [ "$verdict" = caught ] || missed+=("$name")
    echo "mutants: $name: $verdict" >&2
    mkdir -p "$rows"
    echo "| $what | ${tests// /, } | $verdict |" >"$rows/$name"
done

for crate in $(cut -d ' ' -f 1 <<<"$places" | sort -u); do
    rows=$target/rows-$commit/$crate
    [ "$(ls "$rows")" = "$(all_of "$crate" | sort)" ] || continue
    begin="<!-- written by tests/mutants/run.sh: begin $crate -->"
    end="<!-- written by tests/mutants/run.sh: end $crate -->"
    {
        echo "$begin"
        echo "$(ls "$rows" | wc -l) bugs in \`$crate\`, of which $(cat "$rows"/* | grep -c '| caught |$') were caught, on $(date -u +%F) at commit $commit:"
        echo
        echo '| bug planted | the test that must fail | outcome |'
        echo '|---|---|---|'
        cat "$rows"/*
        echo "$end"
    } >"$target/page.md"
    grep -qF "$begin" "$page" || printf '\n%s\n%s\n' "$begin" "$end" >>"$page"
    BEGIN=$begin END=$end ROWS=$target/page.md awk '
        $0 == ENVIRON["BEGIN"] { while ((getline line < ENVIRON["ROWS"]) > 0) print line; skipping = 1 }
        !skipping { print }
        $0 == ENVIRON["END"] { skipping = 0 }' "$page" >"$page.new"
    mv "$page.new" "$page"
done
[ ${#missed[@]} = 0 ] || {
    echo "mutants: ${missed[*]}: no test failed. Next: write the test that does" >&2
    exit 1
}
echo "mutants: ${#names[@]} bugs planted, ${#names[@]} caught"
