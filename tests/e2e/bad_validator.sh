#!/bin/bash
# Five machines of five owners, four of them validators, each of which decides with the others until something of it is
# wrong: a disk that another program fills, a clock that is ten minutes off, three that are gone, a key that is run twice.
# The others go on as long as there are three, what runs goes on, and whoever is put right goes on by itself.
#
#   ALLOD=target/debug/allod tests/e2e/bad_validator.sh      E2E_KEEP=1 keeps its folder
#   GONE=600 … has three of four gone for ten minutes
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

all=(a b c d e)
# shellcheck source=tests/e2e/machines.bash
. "$(dirname "$0")/machines.bash"

DISK_MIB=500
OFF_S=600
GONE=${GONE:-20}

special_machines() {
    give_disk c $DISK_MIB
    give_clock b
}
# An app on each of those two, and on the one that is no validator, which nobody else could run.
run_there() {
    local machine
    for machine in b c e; do
        at a run "$REGISTRY/nginx:alpine" --name "on$machine" --port 80 --storage 64m \
            --on "operator=$(account_of "$machine")" --yes >"$work/said"
        within 10 serves "$machine"
        now_of "on$machine" >"$work/on$machine.now"
        date +%s%3N >"$work/on$machine.since"
    done
}
serves() {
    [ "$(in_net a curl -s -m 2 -o /dev/null -w '%{http_code}' -H "Host: on$1.localhost" "http://$(cat "$work/door")/")" = 200 ]
}
# serves_on MACHINE: all the time, by the lease that it had, and nobody gave it up.
serves_on() {
    local number
    for number in $(seq 10); do within 10 serves "$1" || { echo "request $number has no answer"; return 1; }; done
    [ "$(now_of "on$1")" = "$(cat "$work/on$1.now")" ] || { echo 'it was begun anew'; return 1; }
    is_back "$1"
}
# The others decide without it, and no payment waits long.
others_pay() {
    local payee began took
    payee=$(account_of e)
    : >"$work/paid"
    for _ in $(seq 10); do
        began=$(date +%s%N)
        at a --timeout 30s credits send "$payee" 1 --yes >/dev/null
        echo $((($(date +%s%N) - began) / 1000000)) >>"$work/paid"
    done
    sort -n "$work/paid" >"$work/sorted"
    took=$(sed -n 5p "$work/sorted")
    evidence "10 payments: p50 $took ms, longest $(tail -n 1 "$work/sorted") ms"
    [ "$took" -lt 5000 ]
    [ "$(tail -n 1 "$work/sorted")" -lt 20000 ]
}
# decides MACHINE: three of four are needed, and it is one of the three.
decides() {
    local another=d
    within 30 follows "$1" "$(height_of a)"
    pull $another
    others_pay
    input= begin $another up
    within 60 follows $another "$(height_of a)"
    within 60 is_back $another
}

# ---- a disk that is full

fill() {
    dd if=/dev/zero of="$work/c/filler" bs=1M status=none 2>/dev/null || true
    dd if=/dev/zero of="$work/c/filler.2" bs=1 count=100000 status=none 2>/dev/null || true
    [ "$(df -m --output=avail "$work/c" | tail -n 1)" -lt 2 ]
}
says_full() {
    at c status >"$work/said" 2>"$work/warned"
    grep -q 'disk is full' "$work/warned" && grep -q '^help: ' "$work/warned"
}
full_disk() {
    fill
    others_pay
    within 20 says_full || { cat "$work/said" "$work/warned"; return 1; }
    evidence "$(head -n 1 "$work/warned")"
    says 'disk .*too little' at c network status
    # Longer than it takes to give somebody up.
    sleep 8
    others_pay
    serves_on c
}
# Its processes may die meanwhile.
full_disk_begun_anew() {
    pull c
    input= begin c up
    within 20 says_full || { cat "$work/said" "$work/warned"; return 1; }
    others_pay
    within 30 serves c
    now_of onc >"$work/onc.now"
}
there_is_room() {
    rm "$work/c"/filler*
    decides c
    at c status >"$work/said" 2>"$work/warned"
    [ ! -s "$work/warned" ] || { cat "$work/warned"; return 1; }
    serves_on c
}

# ---- a clock that is wrong

# clock_is SECONDS: from one moment to the next, and again when its processes are begun anew.
clock_is() {
    local height
    set_clock b "$1"
    height=$(height_of a)
    with_clock b
    evidence "its clock says $("${clock[@]}" date -u +%T), the others' $(date -u +%T)"
    others_pay
    within 20 follows b "$((height + 10))" || { echo "it does not follow: $(height_of b)"; return 1; }
    # Longer than it takes to give somebody up, and to tell what was used.
    sleep 35
    serves_on b
    others_pay
}
begun_with_that_clock() {
    local height
    height=$(height_of a)
    pull b
    input= begin b up
    within 60 follows b "$height" || { echo "it does not follow: $(height_of b)"; return 1; }
    within 30 serves b
    within 60 is_back b
    now_of onb >"$work/onb.now"
    others_pay
}
clock_is_right() {
    set_clock b 0
    decides b
}
charged_ms() { at a bill -o json | field "sum(int(line['ready_ms']) for line in it['lines'] if line['app'] == 'onb')"; }
# Nobody is charged for more than the time that has passed. What it tells while its clock is ahead is refused, so that it is
# told later, once the clock is right.
is_charged_rightly() {
    local charged passed
    within 60 at a bill verify >/dev/null
    charged=$(charged_ms) passed=$(($(date +%s%3N) - $(cat "$work/onb.since")))
    evidence "$((charged / 1000)) s charged of $((passed / 1000)) s"
    [ "$charged" -le $((passed + 2000)) ]
}
is_charged_again() {
    local before
    before=$(charged_ms)
    is_charged_more() { [ "$(charged_ms)" -gt "$before" ]; }
    within 60 is_charged_more
    is_charged_rightly
}

# ---- no quorum

first_processes() { python3 "$here/who.py" "$work" "$ALLOD" "${all[@]}" | grep -E '^[a-e] first ' | sort; }
is_asked() { [ "$(grep -c . "$work/asked" 2>/dev/null)" -ge "$1" ]; }
# Two are killed and one stands still. What runs is asked all the time, through a machine that does not run it.
three_are_gone() {
    local stopped asker before=$SECONDS
    first_processes >"$work/firsts"
    at a status -o json | field "[(a['name'], r['node'], r['epoch']) for a in it for s in a['services'] for r in s['replicas']]" >"$work/leases"
    stopped=$(processes_of c)
    # shellcheck disable=SC2086
    kill -STOP $stopped
    pull b
    pull d
    in_net a python3 "$here/asker.py" "http://$(cat "$work/door")/" "$work/asked" "$work/enough" one.localhost &
    asker=$!
    within 20 is_asked 20
    while [ $((SECONDS - before)) -lt "$GONE" ]; do
        sleep 1
        first_processes | diff "$work/firsts" -
    done
    fails_with '9|1' at a --timeout 5s credits send "$(account_of e)" 1 --yes
    says 'no quorum: 1 of 4|no quorum: 2 of 4' at a network status
    touch "$work/enough"
    within 10 is_gone $asker
    evidence "$(wc -l <"$work/firsts") workloads stopped: none, in $((SECONDS - before)) s; \
$(grep -c . "$work/asked") requests to another machine, $(grep -vc ' 200$' "$work/asked" || true) lost"
    # shellcheck disable=SC2086
    kill -CONT $stopped
    [ "$(grep -vc ' 200$' "$work/asked" || true)" = 0 ]
}
they_come_back() {
    local began machine
    ! pays || { echo 'two of four have decided'; return 1; }
    began=$(date +%s%N)
    input= begin b up
    within 60 pays
    evidence "$((($(date +%s%N) - began) / 1000000)) ms after the third one's start a payment is decided"
    input= begin d up
    for machine in b c d; do within 60 follows $machine "$(height_of a)"; done
    others_pay
    # Longer than it takes to give somebody up.
    sleep 8
    at a status -o json | field "[(a['name'], r['node'], r['epoch']) for a in it for s in a['services'] for r in s['replicas']]" | diff "$work/leases" -
    first_processes | diff "$work/firsts" -
}

# ---- a key that is run twice

# Somebody restores a copy of a machine on another one, while the first still runs. Their owner uses both.
run_twice() {
    local node payee began=$SECONDS
    node=$(cat "$work/d.node") payee=$(account_of e)
    at a credits send "$(account_of d)" 100 --yes >/dev/null
    plug f 6
    mkdir "$work/f"
    cp -a "$work/d/." "$work/f"
    # Another machine has nothing of the first one's workloads.
    rm -rf "$work/f/root" "$work/f/installation"
    input= begin f up
    within 240 is_barred_when_used "$node"
    evidence "barred $((SECONDS - began)) s after it was copied: $(at a validator status | grep -E 'barred')"
}
# Who decides with one key at two places proposes two blocks sooner or later: the links of the two take turns.
is_barred_when_used() {
    local machine users=()
    for machine in a d f; do
        timeout 10 nsenter --net="/run/netns/$net$machine" env ALLOD_HOME="$work/$machine" "$ALLOD" --timeout 5s \
            credits send "$payee" 0.001 --yes </dev/null >/dev/null 2>&1 &
        users+=($!)
    done
    wait "${users[@]}" || true
    is_barred "$1"
}
is_barred() { [ "$(at a validator status -o json | field "[v['standing'] for v in it if v['node'] == '$1'][0]")" = barred ]; }
three_go_on() {
    at f down --yes
    within 30 is_gone "$(cat "$work/f.pid")"
    [ -z "$(ALLOD_HOME=$work/f audit "$(cat "$work/f/installation")")" ]
    others_pay
    for machine in b c e; do within 30 follows $machine "$(height_of a)"; done
    is_barred "$(cat "$work/d.node")"
    at d validator status >"$work/said"
    evidence "$(tail -n 1 "$work/said")"
}
# It is a machine like others; that it decides again is for those who decide, by another machine of its owner's.
it_is_not_elected_again() {
    fails_with '[1-9]' at d validator stand "$(cat "$work/d.node")"
}

leaves_nothing() {
    local app all=(a b c d e)
    for app in web onb onc one; do at a delete $app --volumes --yes >/dev/null; done
    all_down
}

step 'one has a disk of its own, and one a clock' special_machines
five_machines
[ $failures = 0 ] || exit 1
step 'an app on each of those two' run_there
step 'the disk of a validator is full: nobody else notices' full_disk
step 'it is begun anew on the full disk' full_disk_begun_anew
step 'once there is room, it decides again by itself' there_is_room
# Behind, which a ledger has stopped for; CLOCKS='600 -600' tries both.
for seconds in ${CLOCKS:--$OFF_S}; do
    step "the clock of a validator jumps by $seconds s" clock_is $seconds
    step 'it is begun anew with that clock' begun_with_that_clock
    step 'what it ran is charged rightly' is_charged_rightly
    step 'its clock is put right, and it decides again by itself' clock_is_right
    step 'what it runs is charged again, and rightly' is_charged_again
done
step "three of four validators are gone for $GONE s: what runs goes on" three_are_gone
step 'they come back, and nothing was given up' they_come_back
# Whatever happens, it is taken away in the end as well.
all+=(f)
step 'the key of a validator is run twice: it is barred' run_twice
step 'the three others go on' three_go_on
step 'it is not elected again' it_is_not_elected_again
step 'allod down leaves nothing' leaves_nothing
