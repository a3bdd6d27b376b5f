#!/bin/bash
# The power of a machine is cut under a running app, in a guest under emulation: it comes back by itself.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib.sh
. "$here/../lib.sh"
ALLOD=${ALLOD:-${CARGO_TARGET_DIR:-$here/../../target}/debug/allod}
[ -x "$ALLOD" ] || die "no program at $ALLOD. Next: cargo build -p allod, or set ALLOD"

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/vm" "$tree/usr/bin"
cp "$ALLOD_FIXTURES/images/nginx.oci.tar" "$tree/vm/"
cp "$ALLOD" "$tree/usr/bin/allod"
strip --strip-debug "$tree/usr/bin/allod"
"$here/../vm/run.py" --script "$here/../vm/reboot.sh" --tree "$tree" \
    --program "$tree/usr/bin/allod" --program nft --program ip --memory 1536 --timeout 900
