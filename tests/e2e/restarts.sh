#!/bin/bash
# The agent is killed again and again while apps run and change: no workload may notice.
#
#   ALLOD=target/debug/allod tests/e2e/restarts.sh             E2E_KEEP=1 keeps its folder
#   RESTARTS=100 SEED=7 tests/e2e/restarts.sh --record PAGE    adds a row to the table on that page
#
# Ports of this machine and the API are served by the process that is killed: what is asked there meanwhile is counted,
# and only has to be answered again afterwards. What must go on without a gap is what the workloads do themselves: their
# processes, a counter in a log and on a volume, and requests from one to another.
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

RESTARTS=${RESTARTS:-8}
SEED=${SEED:-$RANDOM}
# After so many the root process is killed as well, which its own pause between restarts forgets.
PER_ROOT=4
page=
[ "${1:-}" != --record ] || page=$(realpath "$2")
REGISTRY=$("$here/../images/registry.sh" start "$work/registry")
WEB_PORT=$(free_port)
ingress_port=$(free_port)
export REGISTRY WEB_PORT
compose=$here/restarts.yaml

# ---- what the host has of a workload

# The first process of a service's replica 0, as the host numbers it: the one that is alone in its process namespace's
# beginning, and says so by its command line.
init_of() {
    local procs pid
    find /sys/fs/cgroup -path "*$id*" -name cgroup.procs -print0 | while IFS= read -r -d '' procs; do
        while read -r pid; do
            grep -qxE 'NSpid:.*[[:space:]]1' "/proc/$pid/status" 2>/dev/null || continue
            tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qE -- "$1" && echo "$pid"
        done <"$procs" 2>/dev/null
    done | sort -u
}
# A process by its number and its start: the same words, the same process.
process_of() {
    local pid
    pid=$(init_of "$1")
    [ "$(wc -w <<<"$pid")" = 1 ] || { echo "not one process for $1: $pid"; return 1; }
    echo "$pid $(cut -d' ' -f22 "/proc/$pid/stat")"
}
processes() {
    local of
    for of in 'nginx: master' 'echo tick' 'redis-server' 'guestbook'; do echo "$of: $(process_of "$of")"; done
}

# The same, of those that were found before.
same_processes() {
    local pid started
    while read -r pid started; do
        [ "$(cut -d' ' -f22 "/proc/$pid/stat" 2>/dev/null)" = "$started" ] || return 1
    done < <(sed 's/.*: //' "$work/processes")
}

# The process with the ledger, the agent and the doors: the one child of the root process that is no shim.
network_process() {
    local pid
    for pid in $(cat "/proc/$(up_pid)/task/$(up_pid)/children" 2>/dev/null); do
        ! tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qx network-process || echo "$pid"
    done
}
has_network_process() { [ -n "$(network_process)" ]; }

address_of_web() {
    allod status load -o json | python3 -c '
import json, sys
services = json.load(sys.stdin)["services"]
print(next(s for s in services if s["name"] == "web")["replicas"][0]["address"])'
}
answers_outside() { curl -sS --max-time 5 -o /dev/null "http://127.0.0.1:$WEB_PORT/" 2>/dev/null; }

# ---- the story

deploy() {
    allod deploy "$compose" --yes
    within 20 answers_outside
    processes >"$work/processes"
    evidence "$(tr '\n' ';' <"$work/processes")"
    grep -c . "$work/processes" | grep -qx 4
}

# Two who ask all the time: from outside, by the published port; and from inside, from one workload to another.
begin_asking() {
    local inside
    inside=$(process_of 'echo tick' | cut -d' ' -f1)
    python3 "$here/asker.py" "http://127.0.0.1:$WEB_PORT/" "$work/outside" "$work/stop" &
    nsenter --net="/proc/$inside/ns/net" python3 "$here/asker.py" \
        "http://$(address_of_web)/" "$work/inside" "$work/stop" &
    within 10 grep -q ' 200$' "$work/inside"
    within 10 grep -q ' 200$' "$work/outside"
}

# Changes all the time, of a bystander's service: it is asked for 1 to 3 replicas, restarted, deployed with another app.
change_all_the_time() {
    local codes=$work/changes rc
    # A subshell draws numbers of its own: each who draws begins with the seed.
    RANDOM=$SEED
    while [ ! -e "$work/stop" ]; do
        rc=0
        case $((RANDOM % 4)) in
        0) timeout 60 "$ALLOD" restart load/extra --no-wait ;;
        1) timeout 60 "$ALLOD" run "$REGISTRY/busybox:1" --name "passing$((RANDOM % 3))" --yes \
            --cpus 0.05 --timeout 1 -- "${obedient[@]}" ;;
        2) timeout 60 "$ALLOD" delete "passing$((RANDOM % 3))" --yes ;;
        *) timeout 60 "$ALLOD" scale load/extra $((1 + RANDOM % 3)) --no-wait ;;
        esac </dev/null >>"$work/changes.out" 2>&1 || rc=$?
        echo $rc >>"$codes"
        sleep 0.2
    done
}

# At a moment of the seed, which may be one in which it has only begun.
kill_the_network_process() {
    local pid
    within 60 has_network_process || { echo "no network process came back"; return 1; }
    sleep "$((RANDOM % 2)).$((RANDOM % 10))$((RANDOM % 10))"
    pid=$(network_process)
    [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
}

kill_the_root_process() {
    kill -9 "$(up_pid)"
    within 20 is_gone "$(up_pid)"
    start_allod
}

kill_all_the_time() {
    local number roots=0
    RANDOM=$((SEED + 1))
    for number in $(seq "$RESTARTS"); do
        kill_the_network_process
        same_processes || { echo "a workload is gone after kill $number"; return 1; }
        if [ $((number % PER_ROOT)) = 0 ]; then
            kill_the_root_process
            roots=$((roots + 1))
        fi
    done
    within 60 answers_outside
    evidence "$RESTARTS kills of the network process and $roots of the root process, seed $SEED"
    echo "$roots" >"$work/roots"
}

# The three who worked meanwhile stop, and are heard to the end.
stop_asking() {
    touch "$work/stop"
    within 70 is_gone "$(cat "$work/changer.pid")"
    evidence "changes: $(sort "$work/changes" | uniq -c | awk '{ printf "%s with exit %s; ", $1, $2 }')"
    # Done, there already, not there, signed before a restart, too late, unreachable; and nothing else.
    if grep -vxE '0|1|3|4|8|9' "$work/changes"; then
        grep -B 3 '^error' "$work/changes.out" | tail -n 20
        return 1
    fi
    [ "$(grep -cx 0 "$work/changes")" -ge 5 ]
}

nothing_stopped() {
    processes >"$work/processes.now"
    diff "$work/processes" "$work/processes.now"
    local lost asked
    asked=$(grep -c . "$work/inside")
    lost=$(grep -vc ' 200$' "$work/inside" || true)
    evidence "$asked requests from one workload to another, $lost lost"
    evidence "$(grep -c . "$work/outside") by the published port, $(grep -vc ' 200$' "$work/outside" || true) lost"
    [ "$lost" = 0 ] && [ "$asked" -gt 100 ]
}

# Every number once and in order, and no silence longer than a second on a busy machine.
counter_has_no_gap() {
    allod logs load/counter -n 1000000 -o json >"$work/ticks"
    python3 - "$work/ticks" <<'PYTHON'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
numbers = [int(line["text"].split()[1]) for line in lines if line["text"].startswith("tick ")]
times = [int(line["at_ms"]) for line in lines]
wrong = [(a, b) for a, b in zip(numbers, numbers[1:]) if b != a + 1]
gap = max(b - a for a, b in zip(times, times[1:]))
print("evidence: %d lines, %d to %d, longest silence %d ms" % (len(numbers), numbers[0], numbers[-1], gap))
if wrong or numbers[0] != 1 or len(numbers) < 50 or gap > 1000:
    sys.exit("a gap: %s" % wrong[:3])
PYTHON
    [ "$(allod exec load/counter -- cat /data/starts)" = start ]
}

job_ran_once() {
    job_is_done() { allod status load -o json | grep -q '"completed: '; }
    within 40 job_is_done
    find "$ALLOD_HOME" -path '*/volumes/*' -name runs -exec cat {} + >"$work/runs"
    evidence "the job: $(tr '\n' ' ' <"$work/runs")"
    printf 'start\nend\n' | diff - "$work/runs"
}

# One first process for each active lease, no more and no less.
each_runs_once() {
    allod scale load/extra 2
    local wanted
    as_many() {
        wanted=$(allod status -o json | python3 -c '
import json, sys
apps = json.load(sys.stdin)
replicas = [r for a in apps for s in a["services"] for r in s["replicas"]]
print(sum(r["lease"] is not None for r in replicas))')
        [ "$(init_of . | wc -l)" = "$wanted" ]
    }
    within 40 as_many || { echo "$wanted leases, and these run:"; init_of .; allod status -o json; return 1; }
    evidence "$(init_of . | wc -l) leases, each with one first process"
}

charged() { allod bill -o json | python3 -c 'import json, sys
print(sum(int(line["ready_ms"]) for line in json.load(sys.stdin)["lines"]))'; }
bills_go_on() {
    local before
    before=$(charged)
    more() { [ "$(charged)" -gt "$before" ]; }
    within 60 more
    says '.' allod bill verify
}

delete_all() {
    local app
    for app in load passing0 passing1 passing2; do
        allod delete "$app" --volumes --yes || [ "$app" != load ]
    done
    nothing_runs() { [ -z "$(init_of .)" ]; }
    within 40 nothing_runs
    no_volume() { [ -z "$(ls -A "$ALLOD_HOME/root/volumes" 2>/dev/null)" ]; }
    within 40 no_volume || { ls "$ALLOD_HOME/root/volumes"; return 1; }
}

down() {
    allod down --yes
    within 60 test -s "$work/up.rc"
    [ "$(cat "$work/up.rc")" = 0 ]
    local left
    left=$(audit "$id")
    [ -z "$left" ] || { echo "$left"; return 1; }
}

step "allod up" start_allod
[ $failures = 0 ] || exit 1
id=$(cat "$ALLOD_HOME/installation")
began=$SECONDS
step "deploy" deploy
step "ask from outside and inside" begin_asking
change_all_the_time &
echo $! >"$work/changer.pid"
step "kill -9 of the agent, again and again" kill_all_the_time
step "what asked and changed meanwhile has ended" stop_asking
step "no workload has stopped" nothing_stopped
step "the counter has no gap" counter_has_no_gap
step "the job ran once" job_ran_once
step "each lease runs once" each_runs_once
step "bills go on, and are right" bills_go_on
step "delete, with volumes" delete_all
step "allod down leaves nothing" down

if [ -n "$page" ] && [ $failures = 0 ]; then
    figures="0 of 3 workloads stopped, $(grep -c . "$work/inside") requests between them lost 0, changes $(grep -cx 0 "$work/changes")"
    "$here/../record.sh" "$page" "Restarts survived" '| date | commit | killed | rounds | figures | seed | seconds |' \
        "network process" "$RESTARTS" "$figures" "$SEED" $((SECONDS - began))
fi
