#!/bin/bash
# Containers under cgroup v2 and nothing of v1, in a guest under emulation: no way out is open to the first process, the
# limit of memory holds, and what may run for a time only stands still when it is over. With ALL=1 also what users and
# processes that join try, and every test of such fences.
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
names="escape::inside::every_way_out_is_shut_for_the_first_process escape::inside::too_much_memory
    fence::it_stands_still_when fence::without_a_root_process"
[ -z "${ALL:-}" ] || names="escape::inside::every_way_out escape::inside::too_much_memory
    escape::inside::a_process_that_joins fence::"
for name in $names; do echo "$name"; done >"$tree/vm/names"
"$here/../vm/run.py" --script "$here/../vm/suite.sh" --tree "$tree" --memory 1536 --timeout 600 \
    --program "$suite" --program "$examples/root_process" --program "$examples/probe" --program nft --program ip
