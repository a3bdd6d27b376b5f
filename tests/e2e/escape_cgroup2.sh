#!/bin/bash
# The escape suite of default containers under cgroup v2 and nothing of v1, in a guest under emulation: the first
# process of a container and the limit of memory; with ESCAPE=all also users and processes that join.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib.sh
. "$here/../lib.sh"
cd "$here/../.."

# The very program that `make test` has built, by what built it.
program() {
    cargo nextest list --workspace --locked --list-type binaries-only --message-format json 2>/dev/null |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["rust-binaries"]["allod-runtime::it"]["binary-path"])'
}
suite=$(program)
[ -x "$suite" ] || die "no test program. Next: cargo build --workspace --all-targets --locked"
examples=$(dirname "$(dirname "$suite")")/examples

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/vm"
echo "$suite" >"$tree/vm/suite"
names="every_way_out_is_shut_for_the_first_process too_much_memory"
[ "${ESCAPE:-}" != all ] || names="every_way_out too_much_memory a_process_that_joins"
for name in $names; do echo "escape::inside::$name"; done >"$tree/vm/names"
"$here/../vm/run.py" --script "$here/../vm/escape.sh" --tree "$tree" --memory 1536 --timeout 600 \
    --program "$suite" --program "$examples/root_process" --program "$examples/probe" --program nft --program ip
