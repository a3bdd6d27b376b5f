#!/bin/bash
# Two installations on one machine, each with an app of the same name: one is killed, started again and ended; the other's
# workloads and objects on the host stay as they are.
#
#   ALLOD=target/debug/allod tests/e2e/two_homes.sh      E2E_KEEP=1 keeps its folder
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

neighbour_home=$work/neighbour
neighbour() { ALLOD_HOME=$neighbour_home "$ALLOD" "$@" </dev/null; }
neighbour_up() {
    ALLOD_HOME=$neighbour_home "$ALLOD" up --api 127.0.0.1:0 --ingress 127.0.0.1:0 \
        </dev/null >"$work/neighbour.out" 2>"$work/neighbour.err" &
    echo $! >"$work/neighbour.pid"
    within 30 grep -q '^ready ' "$work/neighbour.out"
}
end_neighbour() {
    local rc=$?
    [ ! -e "$work/neighbour.pid" ] || is_gone "$(cat "$work/neighbour.pid")" || neighbour down --yes || true
    (exit $rc)
    finish
}
trap end_neighbour EXIT

url() { grep -oE 'http://127\.0\.0\.1:[0-9]+' "$work/$1.run" | head -n 1; }
serves() { curl -sS --max-time 5 "$(url "$1")" | grep -q 'Welcome to nginx'; }
run_in_both() {
    local flags=(run --name web --image-file "$images/nginx.oci.tar" --port 80 --volume data:/data --storage 64m --yes)
    allod "${flags[@]}" >"$work/own.run"
    neighbour "${flags[@]}" >"$work/neighbour.run"
    serves own
    serves neighbour
    evidence "$(url own) and $(url neighbour)"
}

# Everything of the neighbour on the host, and its first process by number and start.
of_neighbour() {
    ALLOD_HOME=$neighbour_home audit "$(cat "$neighbour_home/installation")" | sort
    neighbour exec web -- cat /proc/1/stat | cut -d' ' -f1,22
    neighbour status -o json
}
remember() {
    of_neighbour >"$work/before"
    evidence "$(wc -l <"$work/before") lines about the neighbour"
    grep -q '^cgroup ' "$work/before"
}
untouched() {
    of_neighbour >"$work/now"
    diff "$work/before" "$work/now"
    serves neighbour
}

killed() {
    ingress_port=$(free_port)
    kill -9 "$(up_pid)"
    within 20 is_gone "$(up_pid)"
    untouched
}
again() {
    start_allod
    within 30 serves own
    untouched
}
deleted() {
    allod delete web --volumes --yes
    within 20 untouched
}
down() {
    allod down --yes
    within 60 test -s "$work/up.rc"
    local left
    left=$(audit "$id")
    [ -z "$left" ] || { echo "$left"; return 1; }
    untouched
}
neighbour_down() {
    neighbour delete web --volumes --yes
    neighbour down --yes
    within 20 is_gone "$(cat "$work/neighbour.pid")"
    local left
    left=$(ALLOD_HOME=$neighbour_home audit "$(cat "$neighbour_home/installation")")
    [ -z "$left" ] || { echo "$left"; return 1; }
}

step "allod up" start_allod
[ $failures = 0 ] || exit 1
id=$(cat "$ALLOD_HOME/installation")
step "a neighbour" neighbour_up
step "an app of the same name in both" run_in_both
step "what the neighbour has" remember
step "kill -9 of the root process" killed
step "allod up again" again
step "the app is deleted" deleted
step "allod down" down
step "the neighbour goes, too" neighbour_down
