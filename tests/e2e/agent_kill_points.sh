#!/bin/bash
# `kill -9` of the network process at every step between two of its changes (crates/allod-node/src/fault.rs lists them):
# after the next start the machine becomes what the ledger says, and after deletion nothing is left.
#
#   ALLOD=target/debug/allod tests/e2e/agent_kill_points.sh     POINTS="Deleted Stopped" for a few of them
#
# Fails where a point is never passed.
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

REGISTRY=$("$here/../images/registry.sh" start "$work/registry")
all=$(sed -n '/^points! {/,/^}/s/^ *\([A-Z][A-Za-z]*\),$/\1/p' "$repo/crates/allod-node/src/fault.rs")
POINTS=${POINTS:-$all}
plan=$ALLOD_HOME/node/fault-plan
up_args=--fault-plan

is_passed() { [ ! -e "$plan" ]; }
# Its name is put in place whole, because somebody may be looking.
arm() {
    echo "$1" >"$work/plan"
    mkdir -p "$ALLOD_HOME/node"
    cp "$work/plan" "$plan.new"
    chmod 666 "$plan.new"
    mv "$plan.new" "$plan"
}

fresh_up() {
    if [ -e "$work/up.pid" ] && ! is_gone "$(up_pid)"; then
        kill -INT "$(up_pid)"
        within 30 is_gone "$(up_pid)"
    fi
    start_allod
}

# ---- while a network is founded: `allod up` itself dies, or its first child

founding_dies_at() {
    local point=$1
    begin_anew
    arm "$point"
    start_allod || { is_passed && start_allod; }
    within 30 is_passed || { echo "$point is never passed"; return 1; }
    within 30 allod_answers
    allod node list -o json | grep -q '"name"' || within 30 has_a_node
    evidence "one node, on a network of its own"
    [ "$(allod node list -o json | grep -c '"node": "node_')" = 1 ]
}
# A home without anything in it.
begin_anew() {
    if [ -e "$work/up.pid" ] && ! is_gone "$(up_pid)"; then
        allod down --yes
        within 30 is_gone "$(up_pid)"
    fi
    rm -rf "$ALLOD_HOME"
}
allod_answers() { allod network status >/dev/null 2>&1; }
has_a_node() { allod node list -o json | grep -q '"name"'; }

# ---- in the life of an app

what_is_here() {
    audit "$(cat "$ALLOD_HOME/installation")" | grep -v '^process ' | sed 's/ [0-9]* [0-9]*$//' | sort
    find "$ALLOD_HOME/root/workloads" "$ALLOD_HOME/root/volumes" -mindepth 1 -maxdepth 1 2>/dev/null | sort
    find "$ALLOD_HOME/node" -name '.*.[0-9]*-[0-9]*' | sort
}
is_as_before() { what_is_here >"$work/now"; diff "$work/before" "$work/now" >"$work/differs"; }
images_left=("redis:7" "guestbook-web:2")
# An image that was not here yet, for what only the first use passes.
new_image() {
    local number=$(($(cat "$work/images_used" 2>/dev/null || echo 0)))
    echo $((number + 1)) >"$work/images_used"
    echo "${images_left[$number]:?no image is left that was not used}"
}

is_ready() { allod status "$1" -o json 2>/dev/null | grep -q '"stage": "ready"'; }
run_app() {
    allod run "$REGISTRY/$2" --name "$1" --volume data:/data --cpus 0.1 --memory 64m --storage 64m --yes \
        --timeout 20 -- "${obedient[@]}" >"$work/run.out" 2>&1 || is_ready "$1"
}
delete_app() {
    allod delete "$1" --volumes --yes >"$work/delete.out" 2>&1
    ! allod status "$1" >/dev/null 2>&1
}

life_dies_at() {
    local point=$1 name deaths image=busybox:1
    name=$(tr 'A-Z' 'a-z' <<<"$point")
    case $point in Image[FL]*) image=$(new_image) ;; esac
    arm "$point"
    case $point in
    Start*)
        # Passed by the child that begins now.
        kill -INT "$(up_pid)"
        within 30 is_gone "$(up_pid)"
        start_allod || true
        ;;
    esac
    within 60 run_app "$name" "$image" || { cat "$work/run.out"; return 1; }
    within 30 is_ready "$name"
    within 40 delete_app "$name" || { cat "$work/delete.out"; return 1; }
    within 20 is_passed || { rm -f "$plan"; echo "$point is never passed"; return 1; }
    within 30 is_as_before || { cat "$work/differs"; return 1; }
    [ "$(process_of_bystander)" = "$(cat "$work/bystander")" ] || { echo "the bystander was hit"; return 1; }
    within 20 verified || { cat "$work/verified"; return 1; }
    # A root process pauses longer with each death of its child: after some, another takes its place.
    deaths=$(($(cat "$work/deaths" 2>/dev/null || echo 0) + 1))
    echo $deaths >"$work/deaths"
    [ $((deaths % 3)) != 0 ] || fresh_up
}
verified() { allod bill verify >"$work/verified" 2>&1; }
process_of_bystander() { allod exec bystander -- cat /proc/1/stat | cut -d' ' -f1,22; }

bystander() {
    allod run "$REGISTRY/busybox:1" --name bystander --cpus 0.1 --storage 64m --yes -- "${obedient[@]}"
    process_of_bystander >"$work/bystander"
    # What only the first app of an installation leaves.
    within 40 run_app first busybox:1
    within 40 delete_app first
    only_the_bystander() {
        [ "$(ls "$ALLOD_HOME/root/workloads" | wc -l)" = 1 ] && [ -z "$(ls "$ALLOD_HOME/root/volumes")" ]
    }
    within 40 only_the_bystander
    fresh_up
    what_is_here >"$work/before"
    evidence "$(wc -l <"$work/before") objects on the host"
}

down() {
    allod delete bystander --yes
    allod down --yes
    within 60 test -s "$work/up.rc"
    local left
    left=$(audit "$(cat "$ALLOD_HOME/installation")")
    [ -z "$left" ] || { echo "$left"; return 1; }
}

for point in $POINTS; do
    case $point in Founding* | StartListed) step "killed at $point" founding_dies_at "$point" ;; esac
done
step "allod up" fresh_up
[ $failures = 0 ] || exit 1
step "a bystander" bystander
for point in $POINTS; do
    case $point in Founding* | StartListed) ;; *) step "killed at $point" life_dies_at "$point" ;; esac
done
step "allod down leaves nothing" down
