#!/bin/bash
# Four machines of four owners: a service that is exclusive stands still where its machine loses contact, before the next
# one of it starts elsewhere, and is killed as it is when contact returns. Nobody ever writes beside somebody else.
#
#   ALLOD=target/debug/allod tests/e2e/fenced.sh      E2E_KEEP=1 keeps its folder
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

all=(a b c d)
# shellcheck source=tests/e2e/machines.bash
. "$(dirname "$0")/machines.bash"
end_story() {
    local rc=$?
    [ ! -e "$work/collector.pid" ] || kill "$(cat "$work/collector.pid")" 2>/dev/null || true
    [ ! -e "$work/stopped" ] || kill -CONT "$(cat "$work/stopped")" 2>/dev/null || true
    (exit $rc)
    end_all
}
trap end_story EXIT

lay_four_cables() {
    lay_hub
    for number in 1 2 3 4; do plug "${all[number - 1]}" "$number"; done
    serve_images
}
seconds_now() { cut -d ' ' -f 1 /proc/uptime; }
wrote() { python3 "$here/fenced.py" show "$work"; }
# column NUMBER EPOCH: first (3), last (4), count (5) or longest pause (6) of what that epoch wrote.
column() { wrote | awk -v epoch="$2" -v column="$1" '$2 == epoch { print $column }'; }
newest() { wrote | tail -n 1 | cut -d ' ' -f "$1"; }
ms_between() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%d", (b - a) * 1000 }'; }

has_written() { [ "$(column 5 "$1" || true)" -gt 20 ] 2>/dev/null; }
deployed() {
    local machine
    for machine in "${all[@]}"; do node_of "$machine" >"$work/$machine.node"; done
    python3 "$here/fenced.py" collect "$work" 2>"$work/collector.err" &
    echo $! >"$work/collector.pid"
    NOT_ON=$(account_of a) REGISTRY=$REGISTRY
    export NOT_ON REGISTRY
    at a deploy -f "$here/fenced.yaml" --yes >"$work/said"
    within 20 has_written 1
    evidence "$(runner_of writer) writes"
}
two_are_refused() {
    fails_with '1|2|5' at a scale writer/leader 2 --yes
    grep -q exclusive "$work/said"
}
# A short cut: two seconds, and it is not moved. It may stand still for as long as nobody confirms it.
short_cut() {
    local runner epoch before
    runner=$(newest 1) epoch=$(newest 2) before=$(now_of writer)
    unplug "$runner"
    sleep 2
    plug_in "$runner"
    # Longer than it takes to give somebody up.
    sleep 7
    [ "$(now_of writer)" = "$before" ]
    [ "$(newest 2)" = "$epoch" ]
    evidence "its longest pause was $(column 6 "$epoch") ms"
    [ "$(ms_between "$(column 4 "$epoch")" "$(seconds_now)")" -lt 5000 ]
}
follows_on() { [ "$(newest 2)" -gt "$1" ] && has_written "$(newest 2)"; }
# gone_on RUNNER EPOCH SINCE: the next epoch writes elsewhere; when each wrote.
gone_on() {
    local stood began
    within 30 follows_on "$2"
    stood=$(ms_between "$3" "$(column 4 "$2")")
    began=$(ms_between "$3" "$(column 3 "$(newest 2)")")
    evidence "$1 wrote last after $stood ms; $(newest 1) writes from $began ms on"
    [ "$(newest 1)" != "$1" ]
    [ "$stood" -lt 4000 ]
    [ "$began" -gt "$stood" ]
}
cut_off() {
    local runner epoch since
    runner=$(newest 1) epoch=$(newest 2)
    echo "$runner $epoch" >"$work/cut"
    since=$(seconds_now)
    unplug "$runner"
    gone_on "$runner" "$epoch" "$since"
}
is_removed() { [ -z "$(find "$work/$1/root/workloads" -mindepth 1 -maxdepth 1 -name "*-$2")" ]; }
# Contact returns: what stands still is killed as it is, and has written nothing more.
killed_as_it_is() {
    local runner epoch last began
    read -r runner epoch <"$work/cut"
    last=$(column 4 "$epoch")
    ! is_removed "$runner" "$epoch"
    began=$(date +%s%N)
    plug_in "$runner"
    within 30 is_removed "$runner" "$epoch"
    evidence "removed $((($(date +%s%N) - began) / 1000000)) ms after the cable was back"
    [ "$(column 4 "$epoch")" = "$last" ]
    [ ! -e "$work/wrote/$epoch-$runner.asked" ]
    within 60 is_back "$runner"
}
# network_process_of MACHINE: the one without rights, which is all that hears others.
network_process_of() {
    local pid
    for pid in $(processes_of "$1"); do
        [ "$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status")" = 0 ] || echo "$pid"
    done
}
# A node that is killed is begun anew before anybody is given up.
node_killed() {
    local runner epoch before
    runner=$(newest 1) epoch=$(newest 2) before=$(now_of writer)
    kill -9 "$(network_process_of "$runner")"
    sleep 9
    [ "$(now_of writer)" = "$before" ]
    evidence "its longest pause was $(column 6 "$epoch") ms"
    [ "$(ms_between "$(column 4 "$epoch")" "$(seconds_now)")" -lt 5000 ]
}
# And where nobody begins it anew, the writer stands still in time all the same, and is killed as it is later.
node_gone() {
    local runner epoch since
    runner=$(newest 1) epoch=$(newest 2)
    kill -STOP "$(cat "$work/$runner.pid")"
    cat "$work/$runner.pid" >"$work/stopped"
    since=$(seconds_now)
    kill -9 "$(network_process_of "$runner")"
    gone_on "$runner" "$epoch" "$since"
    kill -CONT "$(cat "$work/$runner.pid")"
    rm "$work/stopped"
    within 30 is_removed "$runner" "$epoch"
    [ ! -e "$work/wrote/$epoch-$runner.asked" ]
}
# An update is asked for, and the new one starts when the old one is gone.
updated() {
    local epoch
    epoch=$(newest 2)
    NOT_ON=$(account_of a) REGISTRY=$REGISTRY
    export NOT_ON REGISTRY
    sed 's/cpus: "0.2"/cpus: "0.3"/' "$here/fenced.yaml" >"$work/fenced.yaml"
    at a deploy -f "$work/fenced.yaml" --yes >"$work/said"
    within 30 follows_on "$epoch"
    evidence "epoch $(newest 2) wrote first $(ms_between "$(column 4 "$epoch")" "$(column 3 "$(newest 2)")") ms after the last word of $epoch"
}
never_two() {
    python3 "$here/fenced.py" overlap "$work" >"$work/said"
    while read -r line; do evidence "$line"; done <"$work/said"
}
leaves_nothing() {
    kill "$(cat "$work/collector.pid")"
    rm "$work/collector.pid"
    at a delete writer --yes >/dev/null
    all_down
}

step 'four machines on one cable' lay_four_cables
step 'the first founds its network' found
for machine in b c d; do step "$machine joins by invite" join "$machine"; done
all_offer() {
    local machine
    for machine in b c d; do at "$machine" node offer --cpus 2 --memory 2g --disk 20g >/dev/null; done
}
step 'three offer what they have' all_offer
step 'an exclusive service writes on one of them' deployed
step 'it has one replica' two_are_refused
step 'a cut of two seconds moves nothing' short_cut
step 'cut off it stands still, and then the next one writes' cut_off
step 'back again it is killed as it is' killed_as_it_is
step 'an update waits for the old one' updated
step 'a node that is killed is begun anew in time' node_killed
step 'a node that is gone is no writer' node_gone
step 'no two wrote at once' never_two
step 'allod down leaves nothing' leaves_nothing
