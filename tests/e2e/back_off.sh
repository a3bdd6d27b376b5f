#!/bin/bash
# A replica that fails waits longer each time; what its owner asks for starts at once and forgets the failures; an agent
# that was started anew neither forgets nor adds any; an image that cannot be fetched is fetched once its registry is back.
#
#   ALLOD=target/debug/allod tests/e2e/back_off.sh      E2E_KEEP=1 keeps its folder
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

REGISTRY=$("$here/../images/registry.sh" start "$work/registry")
export REGISTRY COMMAND
compose=$work/crasher.yaml
cat >"$compose" <<'YAML'
name: crasher
services:
  one:
    image: ${REGISTRY}/busybox:1
    cpus: "0.1"
    command: ["sh", "-c", "${COMMAND}"]
YAML

# What became of a replica, in order: `placed EPOCH MS` and `ended EPOCH MS`.
story() {
    allod events crasher -o json | python3 -c '
import json, re, sys
text = sys.stdin.read()
events = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines()]
for event in events:
    kind = {"lease.placed": "placed", "lease.ended": "ended"}.get(event["kind"])
    found = re.search(r"/%s \(epoch (\d+)\)" % sys.argv[1], event["text"])
    if kind and found:
        print(kind, found.group(1), event["time_ms"])' "${1:-0}"
}
# How long the replica waited before its newest lease, in milliseconds.
last_wait() { story | awk '$1 == "ended" { ended = $3 } $1 == "placed" { wait = $3 - ended } END { print wait }'; }
epoch() { story "${1:-0}" | awk '$1 == "placed" { epoch = $2 } END { print epoch + 0 }'; }
has_epoch() { [ "$(epoch)" -ge "$1" ]; }
now_ms() { date +%s%3N; }
fails() { allod status crasher -o json | sed -n 's/^ *"failures": \([0-9]*\),*$/\1/p' | head -n 1; }
waits() { allod status crasher -o json | grep -q '"stage": "backing off'; }

crash() {
    COMMAND='exit 3' allod deploy "$compose" --yes --no-wait
    within 40 has_epoch 4
    story | awk '
        $1 == "ended" { ended = $3 }
        $1 == "placed" && $2 > 1 { wait = $3 - ended; printf "%d ms; ", wait; if (wait < 1000 * 2 ^ ($2 - 2)) bad = 1; if (wait > 1000 * 2 ^ ($2 - 2) + 3000) bad = 1 }
        END { print ""; exit bad }' >"$work/waits" || { cat "$work/waits"; story; return 1; }
    evidence "waits: $(cat "$work/waits")"
}

# at_once NAME COMMAND...: while the replica waits out many seconds, the owner's command starts it within three.
at_once() {
    local before asked placed
    within 30 waits
    before=$(epoch)
    asked=$(now_ms)
    "$@" >"$work/said" 2>&1 || { cat "$work/said"; return 1; }
    newer() { [ "$(epoch)" -gt "$before" ]; }
    within 10 newer || { story; return 1; }
    echo $((before + 1)) >"$work/placed"
    placed=$(story | awk -v epoch=$((before + 1)) '$1 == "placed" && $2 == epoch { print $3 }')
    evidence "placed $((placed - asked)) ms after it was asked for"
    [ $((placed - asked)) -lt 3000 ] || return 1
}
# And what fails then waits as after a first failure.
is_forgiven() {
    local placed wait
    placed=$(cat "$work/placed")
    within 20 has_epoch $((placed + 1))
    wait=$(story | awk -v epoch="$placed" '
        $1 == "ended" && $2 == epoch { ended = $3 }
        $1 == "placed" && $2 == epoch + 1 { print $3 - ended }')
    evidence "the next wait: $wait ms"
    # Less than the shortest of those that were forgiven.
    [ "$wait" -lt 3500 ]
}
restart() { at_once allod restart crasher/one --no-wait && is_forgiven; }
# Until it has failed three times since it was forgiven, and waits four seconds or more.
deeper() {
    failed_enough() { [ "$(fails)" -ge 3 ] && waits; }
    within 40 failed_enough
}
new_revision() {
    deeper
    COMMAND='exit 4' at_once allod deploy "$compose" --yes --no-wait && is_forgiven
}
roll_back() {
    deeper
    at_once allod rollback crasher --no-wait && is_forgiven
}
# One replica more starts at once, and the one that waits goes on waiting.
scale_up() {
    deeper
    local asked placed before
    before=$(epoch)
    asked=$(now_ms)
    allod scale crasher/one 2 --no-wait
    second() { [ "$(epoch 1)" -ge 1 ]; }
    within 10 second
    placed=$(story 1 | awk '$1 == "placed" && $2 == 1 { print $3 }')
    evidence "placed $((placed - asked)) ms after it was asked for"
    [ $((placed - asked)) -lt 3000 ]
    within 20 has_epoch $((before + 1))
    [ "$(last_wait)" -ge 4000 ] || { echo "the waiting one was started after $(last_wait) ms"; return 1; }
    allod scale crasher/one 1 --no-wait
}

failed_five() { [ "$(fails)" -ge 5 ] && waits; }
agent_dies_meanwhile() {
    deeper
    # The wait is to outlast the new start of what counts.
    within 40 failed_five
    local failed before child
    failed=$(fails) before=$(epoch)
    for child in $(cat "/proc/$(up_pid)/task/$(up_pid)/children"); do
        ! tr '\0' '\n' <"/proc/$child/cmdline" | grep -qx network-process || kill -9 "$child"
    done
    answers() { allod status >/dev/null 2>&1; }
    within 20 answers
    [ "$(fails)" = "$failed" ] || { echo "$failed failures became $(fails)"; return 1; }
    within 60 has_epoch $((before + 1))
    evidence "$failed failures before and after; it waited $(last_wait) ms"
    [ "$(last_wait)" -ge $((1000 * 2 ** (failed - 1))) ]
    [ "$(last_wait)" -lt $((1000 * 2 ** (failed - 1) + 4000)) ]
}

repaired() {
    COMMAND="trap 'exit 0' TERM; while :; do sleep 0.2; done" allod deploy "$compose" --yes
    evidence "ready, $(fails) failures"
}

# A health check that never ends is killed when its time is over, and piles up nowhere.
hanging_checks() { pgrep -fc '^sleep 7777$' || true; }
check_that_hangs() {
    local began=$SECONDS
    cat >"$work/hangs.yaml" <<YAML
name: hangs
services:
  one:
    image: $REGISTRY/busybox:1
    cpus: "0.1"
    command: ["sleep", "1000"]
    healthcheck: { test: ["CMD", "sleep", "7777"], interval: 500ms, timeout: 500ms, retries: 100 }
YAML
    allod deploy "$work/hangs.yaml" --yes --no-wait >/dev/null
    asked_often() { [ $((SECONDS - began)) -ge 10 ]; }
    within 20 asked_often
    evidence "$(hanging_checks) of them run after 10 s"
    [ "$(hanging_checks)" -le 2 ]
    allod delete hangs --yes >/dev/null
    none_left() { [ "$(hanging_checks)" = 0 ]; }
    within 20 none_left
}

# It answers what an image is, so that the deployment passes, and gives no layer until the file is gone.
registry_was_away() {
    local liar
    touch "$work/away"
    python3 "$here/../images/liar.py" "$REGISTRY" "$work/away" >"$work/liar" 2>/dev/null &
    liar=$!
    within 60 test -s "$work/liar"
    allod run "$(cat "$work/liar")/away/redis:7" --name away --cpus 0.1 --storage 64m --no-wait --yes
    has_failed() { allod status away -o json | grep -q '"failures": [1-9]'; }
    within 60 has_failed
    evidence "$(allod status away -o json | sed -n 's/^ *"detail": "\(.*\)",*$/\1/p' | head -n 1 | cut -c1-160)"
    rm "$work/away"
    is_ready() { allod status away -o json | grep -q '"stage": "ready"'; }
    within 60 is_ready
    allod delete away --yes
    kill "$liar"
}

down() {
    allod delete crasher --yes
    allod down --yes
    within 60 test -s "$work/up.rc"
}

step "allod up" start_allod
[ $failures = 0 ] || exit 1
step "each wait is twice as long" crash
step "restart starts at once and forgives" restart
step "so does a new revision" new_revision
step "so does a rollback" roll_back
step "one replica more does not wait for another's failures" scale_up
step "the agent's own death changes no wait" agent_dies_meanwhile
step "a repaired revision is ready" repaired
step "a health check that hangs" check_that_hangs
step "a registry that was away" registry_was_away
step "allod down" down
