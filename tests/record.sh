#!/bin/bash
# Adds a row to the table under a heading of a page, newest last; begins the table where it is missing.
#
#   tests/record.sh PAGE HEADING '| date | commit | … |' CELL...      date and commit are put before the cells
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
page=$1 heading=$2 columns=$3
shift 3
commit=$(git -C "$here" rev-parse --short HEAD)
git -C "$here" diff --quiet HEAD -- :/crates :/Cargo.lock || commit=$commit+changes
row="| $(date -u +%F) | $commit |"
for cell in "$@"; do row="$row $cell |"; done
if ! grep -qF "$columns" "$page"; then
    printf '\n## %s\n\n%s\n%s|\n' "$heading" "$columns" \
        "$(tr -cd '|' <<<"$columns" | sed 's/^|//; s/|/|---/g')" >>"$page"
fi
ROW=$row COLUMNS_LINE=$columns awk '
    $0 == ENVIRON["COLUMNS_LINE"] { inside = 1 }
    inside && $0 !~ /^\|/ { print ENVIRON["ROW"]; inside = 0; done = 1 }
    { print }
    END { if (!done) print ENVIRON["ROW"] }' "$page" >"$page.new"
mv "$page.new" "$page"
echo "recorded: $row"
