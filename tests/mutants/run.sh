#!/bin/bash
# Plants each bug of this folder in a copy of the law, one at a time, and demands that its named test fails.
#
#   tests/mutants/run.sh [NAME…]
#
# Once every bug has been tried at one commit, be it in several runs, the outcome is written to docs/trust.md.
#
# A patch begins with what it breaks and with "Caught by:" and the tests of crates/allod-state/tests/it; the bug counts
# as caught when every one of them fails. The copy, with its own builds, is kept in the target folder.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$repo/target}/mutants
page=$repo/docs/trust.md
copy=$target/tree
begin='<!-- written by tests/mutants/run.sh: begin -->'
end='<!-- written by tests/mutants/run.sh: end -->'

names=("$@")
if [ $# = 0 ]; then
    for patch in "$here"/*.patch; do
        names+=("$(basename "$patch" .patch)")
    done
fi

rm -rf "$copy" && mkdir -p "$copy/crates"
export CARGO_TARGET_DIR=$target/build
cp -a "$repo/crates/allod-state" "$copy/crates/"
# What an interrupted run built is not what stands here.
touch "$copy"/crates/allod-state/{src/lib.rs,tests/it/main.rs}
# Only the law: a workspace of one, with the versions of the whole.
sed 's/^members = .*/members = ["crates\/allod-state"]/; /^allod-/d' "$repo/Cargo.toml" >"$copy/Cargo.toml"
cp "$repo/Cargo.lock" "$copy/Cargo.lock"
cd "$copy"

runs() { cargo test -q -p allod-state --offline --test it -- --exact "$@"; }

echo "mutants: the law as it is" >&2
all=$(sed -n 's/^Caught by: //p' "$here"/*.patch | tr ' ' '\n' | sort -u)
# shellcheck disable=SC2086  # names of tests, without spaces
runs $all >"$target/clean.log" 2>&1 || {
    tail -30 "$target/clean.log" >&2
    echo "mutants: the tests fail without any bug planted. Next: make them pass" >&2
    exit 1
}
count=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$target/clean.log")
[ "$count" = "$(wc -w <<<"$all")" ] || {
    echo "mutants: $count tests ran of $(wc -w <<<"$all") named. Next: correct the names in the patches" >&2
    exit 1
}

commit=$(git -C "$repo" rev-parse --short HEAD)
git -C "$repo" diff --quiet HEAD -- crates/allod-state tests/mutants || commit=$commit+changes
rows=$target/rows-$commit
mkdir -p "$rows"
missed=()
for name in "${names[@]}"; do
    patch=$here/$name.patch
    what=$(head -1 "$patch")
    tests=$(sed -n 's/^Caught by: //p' "$patch")
    patch -s -p1 <"$patch"
    log=$target/$name.log
    verdict=caught
    if ! cargo build -q -p allod-state --offline --test it >"$log" 2>&1; then
        tail -20 "$log" >&2
        verdict="does not build"
    else
        for test in $tests; do
            ! timeout 300 cargo test -q -p allod-state --offline --test it -- --exact "$test" >>"$log" 2>&1 || verdict="not caught"
        done
    fi
    patch -s -R -p1 <"$patch"
    [ "$verdict" = caught ] || missed+=("$name")
    echo "mutants: $name: $verdict" >&2
    echo "| $what | ${tests// /, } | $verdict |" >"$rows/$name"
done

if [ "$(cd "$rows" && ls)" = "$(cd "$here" && ls ./*.patch | sed 's/^..//; s/\.patch$//')" ]; then
    {
        echo "$begin"
        echo "$(ls "$rows" | wc -l) bugs, of which $(cat "$rows"/* | grep -c '| caught |$') were caught, on $(date -u +%F) at commit $commit:"
        echo
        echo '| bug planted in the law | the test that must fail | outcome |'
        echo '|---|---|---|'
        cat "$rows"/*
        echo "$end"
    } >"$target/page.md"
    grep -qF "$begin" "$page" || printf '\n## Bugs planted inside the law\n\n%s\n%s\n' "$begin" "$end" >>"$page"
    BEGIN=$begin END=$end ROWS=$target/page.md awk '
        $0 == ENVIRON["BEGIN"] { while ((getline line < ENVIRON["ROWS"]) > 0) print line; skipping = 1 }
        !skipping { print }
        $0 == ENVIRON["END"] { skipping = 0 }' "$page" >"$page.new"
    mv "$page.new" "$page"
fi
[ ${#missed[@]} = 0 ] || {
    echo "mutants: ${missed[*]}: no test failed. Next: write the test that does" >&2
    exit 1
}
echo "mutants: ${#names[@]} bugs planted, ${#names[@]} caught"
