#!/bin/bash
# The home's disk is really full: running apps serve on, what would change anything is refused with its next step,
# `status` says so, and the node goes on by itself once there is room.
#
#   ALLOD=target/debug/allod tests/e2e/full_disk.sh      E2E_KEEP=1 keeps its folder
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

# A disk of its own, mounted where the story's home is.
DISK_MIB=600
disk() {
    truncate -s "${DISK_MIB}M" "$work/disk.img"
    mkfs.ext4 -q -F -m 0 "$work/disk.img"
    mkdir "$ALLOD_HOME"
    mount -o loop "$work/disk.img" "$ALLOD_HOME"
}
give_disk_back() {
    local rc=$?
    set +e
    [ ! -e "$work/up.pid" ] || is_gone "$(up_pid)" || {
        rm -f "$ALLOD_HOME"/filler*
        timeout 60 "$ALLOD" down --yes </dev/null >/dev/null 2>&1
        within 20 is_gone "$(up_pid)"
    }
    umount "$ALLOD_HOME"
    (exit $rc)
    finish
}
trap give_disk_back EXIT

free_mib() { df -m --output=avail "$ALLOD_HOME" | tail -n 1 | tr -d ' '; }
url() { grep -oE 'http://127\.0\.0\.1:[0-9]+' "$work/run.out" | head -n 1; }
serves() { curl -sS --max-time 5 "$(url)" | grep -q 'Welcome to nginx'; }

run_nginx() {
    allod run --name web --image-file "$images/nginx.oci.tar" --port 80 --storage 64m --yes >"$work/run.out"
    serves
    evidence "$(url), $(free_mib) MiB free"
}

# Every byte, as another program would take them.
fill() {
    dd if=/dev/zero of="$ALLOD_HOME/filler" bs=1M status=none 2>/dev/null || true
    dd if=/dev/zero of="$ALLOD_HOME/filler.2" bs=1 count=100000 status=none 2>/dev/null || true
    evidence "$(free_mib) MiB free"
    [ "$(free_mib)" -lt 2 ]
}

says_full() {
    allod status >"$work/said" 2>"$work/warned"
    grep -q 'disk is full' "$work/warned" || return 1
    grep -q '^help: ' "$work/warned"
    grep -q web "$work/said"
}
status_says_so() {
    within 10 says_full || { cat "$work/said" "$work/warned"; return 1; }
    evidence "$(head -n 1 "$work/warned")"
    says '"is_full": true' allod network status -o json
    says 'disk .*too little' allod network status
}

# Each is refused, with what to do.
refused() {
    fails_with '[1-9]' "$@"
    grep -qiE 'disk is nearly full|is the disk full' "$work/said" || { echo "it does not name the disk:"; cat "$work/said"; return 1; }
    grep -qE '^help: ' "$work/said"
}
nothing_is_taken() {
    refused allod scale web 2
    refused allod restart web
    refused allod delete web --yes
    refused allod run --name other --image-file "$images/nginx.docker.tar" --port 80 --yes --timeout 20
    [ -z "$(ls -A "$ALLOD_HOME/node/images/partial")" ] || { echo "what was begun is left"; return 1; }
}

is_as_before() {
    [ "$(allod status -o json | python3 -c 'import json, sys
apps = json.load(sys.stdin)
print([(a["name"], s["ready"], s["wanted"]) for a in apps for s in a["services"]])')" = "[('web', 1, 1)]" ]
}

serves_on() {
    local number
    for number in $(seq 20); do serves; done
    evidence "$number requests served, and $(allod exec web -- sh -c 'echo exec works')"
    is_as_before
}

# The agent and the doors start anew on the full disk, as they would after a crash.
survives_a_restart() {
    local child pid
    for child in $(cat "/proc/$(up_pid)/task/$(up_pid)/children"); do
        ! tr '\0' '\n' <"/proc/$child/cmdline" | grep -qx network-process || pid=$child
    done
    kill -9 "$pid"
    within 30 serves
    within 30 says_full
    within 30 is_as_before
}

goes_on() {
    rm "$ALLOD_HOME"/filler*
    ready_again() { allod scale web 2 --no-wait 2>/dev/null; }
    within 30 ready_again
    two_ready() { [ "$(allod status -o json | grep -c '"stage": "ready"')" = 2 ]; }
    within 30 two_ready
    allod status >"$work/said" 2>"$work/warned"
    [ ! -s "$work/warned" ] || { cat "$work/warned"; return 1; }
    says '.' allod bill verify
}

down() {
    allod delete web --yes
    allod down --yes
    within 60 test -s "$work/up.rc"
    [ "$(cat "$work/up.rc")" = 0 ]
    local left
    left=$(audit "$id" | grep -v "^mount /dev/loop\|^loop " || true)
    [ -z "$left" ] || { echo "$left"; return 1; }
}

step "a disk of $DISK_MIB MiB" disk
step "allod up" start_allod
[ $failures = 0 ] || exit 1
id=$(cat "$ALLOD_HOME/installation")
step "run an app" run_nginx
step "another program takes every byte" fill
step "status says so, with what to do" status_says_so
step "whatever would change something is refused" nothing_is_taken
step "the app serves on" serves_on
step "the agent may die meanwhile" survives_a_restart
step "once there is room, it goes on by itself" goes_on
step "allod down leaves nothing" down
