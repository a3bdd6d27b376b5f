#!/bin/bash
# Five machines of five owners, four of them validators; two of them pay all the time, and one runs a service with a volume
# that only it may write to. Again and again any process of any machine is killed: a root process, a network process, a
# shim, a guard, a workload. Nothing that was acknowledged is lost, the writer never runs twice, and all becomes well by
# itself; only a root process is begun anew, as systemd would.
#
#   ALLOD=target/debug/allod tests/e2e/any_process.sh             E2E_KEEP=1 keeps its folder
#   KILLS=100 SEED=7 tests/e2e/any_process.sh --record PAGE       adds a row to the table on that page
#   KINDS="guard shim" … kills those alone
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

KILLS=${KILLS:-5}
SEED=${SEED:-$RANDOM}
KINDS=${KINDS:-root network guard shim first inner}
page=
[ "${1:-}" != --record ] || page=$(realpath "$2")

all=(a b c d e)
# shellcheck source=tests/e2e/machines.bash
. "$(dirname "$0")/machines.bash"

end_story() {
    local rc=$? pid
    set +e
    for pid in $(cat "$work"/*.payer.pid "$work/watch.pid" 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
    (exit $rc)
    end_all
}
trap end_story EXIT

# Whoever is paid earns nothing else: its balance is the number of payments.
all_offer() {
    local machine
    for machine in b c d; do at "$machine" node offer --cpus 2 --memory 2g --disk 20g >/dev/null; done
}
again() { if [ "$1" = a ]; then found; else input= begin "$1" up; fi; }

# ---- the writer: numbered lines, each once; whoever begins says so, and goes on after the last line

# shellcheck disable=SC2016
WRITER='trap "exit 0" TERM
i=$(tail -n 1 /data/lines 2>/dev/null | cut -d " " -f 2)
i=${i:-0}
echo "begin $i" >>/data/lines
while :; do i=$((i + 1)); echo "line $i" >>/data/lines; usleep 100000; done'
writes() {
    at a run "$REGISTRY/busybox:1" --name writer --volume data:/data --on "operator!=$(account_of a)" --yes \
        -- sh -c "$WRITER" >"$work/said"
    within 10 has_written 0
    python3 "$here/who.py" --watch /data/lines "$work/watched" "$work" "$ALLOD" "${all[@]}" &
    echo $! >"$work/watch.pid"
    evidence "$(runner_of writer) runs it"
}
lines() { find "$work"/?/root/volumes -name lines -exec cat {} + 2>/dev/null; }
written() { lines | tail -n 1 | cut -d ' ' -f 2; }
has_written() { [ "$(written)" -gt "$1" ] 2>/dev/null; }
# Every number once and in order, and a begin for each epoch at most.
lines_are_right() {
    local epoch
    epoch=$(now_of writer | cut -d ' ' -f 2)
    lines | python3 -c '
import sys
last, begun = 0, 0
for number, line in enumerate(sys.stdin, 1):
    word, value = line.split()
    if word == "begin" and int(value) == last:
        begun += 1
    elif word == "line" and int(value) == last + 1:
        last += 1
    else:
        sys.exit("line %d is wrong after %d: %s" % (number, last, line))
print("evidence: the writer began %d times under %s epochs, and wrote %d lines" % (begun, sys.argv[1], last))
if begun > int(sys.argv[1]):
    sys.exit("it began more often than the law let it")' "$epoch"
    [ ! -e "$work/watched.twice" ] || { echo "two writers at once:"; cat "$work/watched.twice"; return 1; }
}

# ---- the payers: one payment after the other, and which of them were acknowledged

pay_on_and_on() {
    local machine=$1 number=0 payee=$2
    while [ ! -e "$work/stop" ]; do
        number=$((number + 1))
        if timeout 20 nsenter --net="/run/netns/$net$machine" env ALLOD_HOME="$work/$machine" "$ALLOD" --timeout 10s \
            credits send "$payee" 0.001 --memo "$machine $number" --yes </dev/null >/dev/null 2>>"$work/$machine.refused"; then
            echo "$number" >>"$work/$machine.acknowledged"
        else
            echo "$number" >>"$work/$machine.unknown"
        fi
        sleep 0.3
    done
}
acknowledged() { wc -l <"$work/$1.acknowledged"; }
has_paid() { [ "$(acknowledged "$1")" -gt "$2" ]; }
both_pay() {
    local machine payee
    at a credits send "$(account_of b)" 100 --yes >/dev/null
    payee=$(account_of e)
    balance_of e >"$work/before"
    for machine in a b; do
        touch "$work/$machine.acknowledged" "$work/$machine.unknown"
        pay_on_and_on "$machine" "$payee" &
        echo $! >"$work/$machine.payer.pid"
    done
    for machine in a b; do within 10 has_paid "$machine" 3; done
}
payments_are_there() {
    local machine paid unknown
    touch "$work/stop"
    for machine in a b; do within 30 is_gone "$(cat "$work/$machine.payer.pid")"; done
    all_follow b c d e
    paid=$(cat "$work"/?.acknowledged | wc -l) unknown=$(cat "$work"/?.unknown | wc -l)
    python3 - "$(cat "$work/before")" "$(balance_of e)" "$paid" "$unknown" <<'PYTHON'
import sys
from decimal import Decimal
before, after = map(Decimal, sys.argv[1:3])
paid, unknown = map(int, sys.argv[3:5])
received = (after - before) / Decimal("0.001")
print("evidence: %d payments acknowledged, %d more tried, %d received" % (paid, unknown, received))
sys.exit(not paid <= received <= paid + unknown)
PYTHON
}

# ---- the kills

processes() { python3 "$here/who.py" "$work" "$ALLOD" "${all[@]}"; }
firsts() { grep -E '^[a-e] first ' "$1" | sort; }
# How many of a kind a machine has.
count() { grep -c "^$1 $2 " "$work/now" || true; }
# Each machine has a root process with its children, and each workload a shim.
are_complete() {
    local machine
    processes >"$work/now"
    for machine in "${all[@]}"; do
        [ "$(count "$machine" root) $(count "$machine" network) $(count "$machine" guard)" = "1 1 1" ] || return 1
        [ "$(count "$machine" shim)" = "$(count "$machine" first)" ] || return 1
    done
    [ "$(grep -c ' first ' "$work/now")" = 2 ]
}
# since LINE PAID_BY_A PAID_BY_B HEIGHT: all goes on, from before what was there when it was killed.
is_well() {
    local machine
    are_complete || { echo 'a process is missing, or one too many'; return 1; }
    has_paid a "$2" && has_paid b "$3" || { echo 'no payment'; return 1; }
    answers || { echo 'the app does not answer'; return 1; }
    has_written "$1" || { echo 'the writer does not write'; return 1; }
    for machine in b c d e; do follows "$machine" "$4" || { echo "$machine does not follow"; return 1; }; done
} >"$work/ill" 2>&1
# choose NUMBER NUMBER: the kind first, then one of them, since there are more shims than guards.
choose() {
    local kinds
    read -ra kinds <<<"$KINDS"
    processes >"$work/now"
    grep -E "^[a-e] ${kinds[$1 % ${#kinds[@]}]} " "$work/now" | sort >"$work/chosen.from"
    sed -n "$(($2 % $(wc -l <"$work/chosen.from") + 1))p" "$work/chosen.from"
}
killed() {
    local machine kind pid start words line of_a of_b height leases began took tries=0
    # Neighbouring seeds begin alike.
    RANDOM=$((SEED * 1000 + $1 * 7919))
    : $RANDOM $RANDOM
    line=$(written) of_a=$(acknowledged a) of_b=$(acknowledged b) height=$(height_of a)
    leases="$(now_of web), $(now_of writer)"
    sleep "0.$((RANDOM % 10))$((RANDOM % 10))"
    # Whoever was chosen may have ended by itself.
    until
        read -r machine kind pid start words < <(choose "$RANDOM" "$RANDOM")
        firsts "$work/now" >"$work/firsts"
        began=$(date +%s%N)
        kill -9 "$pid"
    do
        tries=$((tries + 1))
        [ $tries -lt 20 ]
    done
    within 20 is_gone "$pid"
    case $kind in
    root)
        processes >"$work/now"
        firsts "$work/now" | diff "$work/firsts" -
        again "$machine"
        [ "$machine" != a ] || at a network status -o json | field 'it["ingress"]' >"$work/door"
        ;;
    shim | guard)
        # Nothing else may have changed.
        within 10 are_complete
        firsts "$work/now" | diff "$work/firsts" -
        ;;
    esac
    within 300 is_well "$line" "$of_a" "$of_b" "$height" || { cat "$work/ill" "$work/now"; at a status; at a node list; return 1; }
    took=$((($(date +%s%N) - began) / 1000000))
    evidence "$kind of $machine (${words:0:60}): well after $took ms"
    # What is killed is begun anew under another epoch, and so is what witnesses gave up because its machine was silent for
    # too long; everything else is the same process.
    if [ "$leases" = "$(now_of web), $(now_of writer)" ]; then
        firsts "$work/now" | diff "$work/firsts" -
    else
        evidence "epochs of app and writer: from $(sed 's/node_[a-z0-9]* //g' <<<"$leases") to $(now_of web | cut -d ' ' -f 2), $(now_of writer | cut -d ' ' -f 2)"
        at a events -n 50 | grep -a lease.ended | tail -n 2 >"$work/ended"
        evidence "$(tail -n 1 "$work/ended")"
        [[ $kind =~ first|inner ]] || grep -q 'its machine is not reached any more' "$work/ended"
    fi
    # The workloads of a machine that is not begun anew are never lost.
    at a events -n 50 >"$work/events"
    ! grep -a 'gone when the node looked' "$work/events" || return 1
    echo "$kind $took" >>"$work/took"
    lines_are_right
}
figures() {
    local kind
    sort -k 1,1 -k 2,2n "$work/took" | awk '
        { kind = ($1 == "first" || $1 == "inner") ? "workload" : $1; n[kind]++; of[kind, n[kind]] = $2; if ($2 > longest[kind]) longest[kind] = $2 }
        END { for (kind in n) printf "%s %d times, longest %d ms\n", kind, n[kind], longest[kind] }' | sort >"$work/figures"
    while read -r kind; do evidence "$kind"; done <"$work/figures"
}
verifies() { at a bill verify >"$work/said" 2>&1 && grep -q 'evidence item' "$work/said"; }
leaves_nothing() {
    at a delete web --volumes --yes >/dev/null
    at a delete writer --volumes --yes >/dev/null
    all_down
}

echo "seed $SEED"
five_machines
step 'a service writes to its volume' writes
step 'two pay all the time' both_pay
[ $failures = 0 ] || exit 1
began=$SECONDS
for ((n = 1; n <= KILLS; n++)); do
    step "any process is killed ($n)" killed "$n"
    [ $failures = 0 ] || exit 1
done
step 'how long until all was well' figures
step 'every acknowledged payment is there' payments_are_there
step 'the writer was alone' lines_are_right
step 'the bill verifies' within 60 verifies
step 'allod down leaves nothing' leaves_nothing

if [ -n "$page" ] && [ $failures = 0 ]; then
    figures="$(paste -sd ';' "$work/figures" | sed 's/;/; /g'); $(cat "$work"/?.acknowledged | wc -l) payments acknowledged, lost 0"
    "$here/../record.sh" "$page" "Restarts survived" '| date | commit | killed | rounds | figures | seed | seconds |' \
        "any process of five machines" "$KILLS" "$figures" "$SEED" $((SECONDS - began))
fi
