#!/bin/bash
# Many seeds of the simulator, counted in docs/trust.md with the commit and the first seed.
#
#   tests/soak.sh PATH/allod-sim SEEDS [FIRST]     FIRST defaults to a number nobody has run yet
#
# VALIDATORS="4 7" runs those alone.
#
# A failing seed is printed by the simulator, ends the run, and is not counted.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib.sh
. "$here/lib.sh"
[ $# -ge 2 ] || die "usage: tests/soak.sh PATH/allod-sim SEEDS [FIRST]"
sim=$1 seeds=$2 first=${3:-$(date +%s)000}
page=$here/../docs/trust.md
heading='| date | commit | validators | first seed | seeds | minutes |'

cd "$here/.."
commit=$(git rev-parse --short HEAD)
git diff --quiet HEAD -- crates Cargo.lock || commit=$commit+changes
for validators in ${VALIDATORS:-1 4 7}; do
    began=$SECONDS
    "$sim" --seed "$first" --seeds "$seeds" --validators "$validators"
    row="| $(date -u +%F) | $commit | $validators | $first | $seeds | $(((SECONDS - began + 59) / 60)) |"
    if ! grep -qF "$heading" "$page" 2>/dev/null; then
        printf '\n## Seeds run without a violation\n\n%s\n|---|---|---|---|---|---|\n' "$heading" >>"$page"
    fi
    # Newest last in its own table, wherever the table stands on the page.
    ROW=$row HEADING=$heading awk '
        $0 == ENVIRON["HEADING"] { inside = 1 }
        inside && $0 !~ /^\|/ { print ENVIRON["ROW"]; inside = 0; done = 1 }
        { print }
        END { if (!done) print ENVIRON["ROW"] }' "$page" >"$page.new"
    mv "$page.new" "$page"
    echo "soak: $row"
done
