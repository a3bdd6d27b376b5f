#!/bin/bash
# Five machines of five owners, four of them validators: the plug of whichever runs an app is pulled, and the app answers
# from another one; whoever comes back does not run it twice, and a short silence moves nothing. One that runs nothing is
# missed as well.
#
#   ALLOD=target/debug/allod tests/e2e/failover.sh      E2E_KEEP=1 keeps its folder
#   FAILOVERS=20 … has so many plugs pulled, and tells how long the app was gone each time
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

all=(a b c d e)
# shellcheck source=tests/e2e/machines.bash
. "$(dirname "$0")/machines.bash"

# Those that could take over have the image before they have to.
fetched_ahead() {
    local machine
    for machine in "${all[@]}"; do
        [ -z "$(find "$work/$machine/node" -path '*/blobs/sha256/*' -type f)" ] || echo "$machine"
    done >"$work/fetched"
    [ "$(wc -l <"$work/fetched")" -ge 3 ]
}
standbys_have_it() {
    within 30 fetched_ahead
    evidence "$(tr '\n' ' ' <"$work/fetched")have it"
}
# For longer than it takes to give somebody up, whatever it holds.
nobody_is_missed() {
    local end=$((SECONDS + 16))
    while [ $SECONDS -lt $end ]; do
        [ "$(at a node list -o json | field "[n['node'] for n in it if n['is_unreachable']]")" = '[]' ]
        sleep 0.5
    done
}
short_silence() {
    local before runner
    before=$(now_of web) runner=$(runner_of web)
    unplug "$runner"
    sleep 3
    plug_in "$runner"
    nobody_is_missed
    [ "$(now_of web)" = "$before" ]
    within 10 answers
}
# One that runs nothing is missed all the same: it gets nothing while it is gone, and is back by itself.
idle_is_missed() {
    local idle began took
    for idle in e d c b; do [ "$idle" = "$(runner_of web)" ] || break; done
    unplug "$idle"
    began=$(date +%s%N)
    within 30 is_missed "$idle"
    took=$((($(date +%s%N) - began) / 1000000))
    evidence "$idle runs nothing and was unplugged; it is listed as not reached after $took ms"
    [ "$took" -gt 10000 ]
    fails_with 7 at a run "$REGISTRY/nginx:alpine" --name there --on "operator=$(of_node "$idle" "n['operator']")" --yes
    grep -q 'not reached' "$work/said"
    began=$(date +%s%N)
    at a run "$REGISTRY/nginx:alpine" --name beside --port 80 --on "operator!=$(account_of a)" --yes >"$work/said"
    evidence "what is deployed meanwhile is ready on $(runner_of beside) after $((($(date +%s%N) - began) / 1000000)) ms"
    [ "$(runner_of beside)" != "$idle" ]
    at a delete beside --yes >/dev/null
    plug_in "$idle"
    began=$(date +%s%N)
    within 60 is_back "$idle"
    evidence "plugged in again, it is back after $((($(date +%s%N) - began) / 1000000)) ms"
    within 60 is_alone
}
is_missed() { ! is_back "$1"; }
# Two validators on either side: neither decides anything, and nobody is given up for what was not heard meanwhile.
split_and_healed() {
    local before machine began
    before=$(now_of web)
    ip -n "$net" link add apart type bridge
    ip -n "$net" link set apart up
    for machine in c d e; do ip -n "$net" link set "$(cable "$machine")" master apart; done
    sleep 20
    for machine in c d e; do ip -n "$net" link set "$(cable "$machine")" master hub; done
    began=$(date +%s%N)
    within 20 pays
    evidence "a payment is decided $((($(date +%s%N) - began) / 1000000)) ms after it was healed"
    # Longer than it takes to give somebody up.
    sleep 8
    [ "$(now_of web)" = "$before" ]
    within 10 answers
}
# copies: on how many machines a workload is.
copies() {
    local machine count=0
    for machine in "${all[@]}"; do
        [ -z "$(find "$work/$machine/root/workloads" -mindepth 1 -maxdepth 1 2>/dev/null)" ] || count=$((count + 1))
    done
    echo $count
}
are_two() { [ "$(copies)" = 2 ]; }
is_alone() { [ "$(copies)" = 1 ]; }
# Its network alone is gone: it goes on serving whoever reaches it, until it hears that it was replaced.
pulled() {
    local before began took
    before=$(runner_of web)
    unplug "$before"
    began=$(date +%s%N)
    within 30 answers
    took=$((($(date +%s%N) - began) / 1000000))
    evidence "$before was unplugged; $(runner_of web) answers after $took ms"
    echo "$before $took" >>"$work/took"
    [ "$(runner_of web)" != "$before" ]
    within 10 are_two
    [ "$took" -lt 10000 ]
    # What it says comes from where it runs now.
    at a logs web -n 50 >"$work/logs"
    grep -q 'GET / HTTP' "$work/logs"
    # Without its owner's doing another machine stands by, and the one that is gone does no more.
    within 20 is_unsealed_for_it_alone "$before"
    plug_in "$before"
    within 60 is_alone
    [ "$(runner_of web)" != "$before" ]
    # Whoever is given up again and again says later each time that it is back.
    [ "$1" -gt 2 ] || within 60 is_back "$before"
    within 330 two_are_open
}
unsealed() { at a why web -o json | field "'\n'.join(sorted({v['node'] for v in it['verdicts'] if 'not sealed' in str(v)}))"; }
is_unsealed_for_it_alone() { [ "$(unsealed)" = "$(cat "$work/$1.node")" ]; }
two_are_open() { [ "$(at a node list -o json | field "len([n for n in it if n['prices'] and not n['is_unreachable']])")" -ge 3 ]; }
percentiles() {
    local kind
    for kind in "validator:bcd" "plain worker:e"; do
        grep "^[${kind#*:}] " "$work/took" | cut -d ' ' -f 2 | sort -n >"$work/sorted" || true
        [ ! -s "$work/sorted" ] || evidence "${kind%:*}: $(wc -l <"$work/sorted") times, p50 \
$(sed -n "$((($(wc -l <"$work/sorted") + 1) / 2))p" "$work/sorted") ms, longest $(tail -n 1 "$work/sorted") ms"
    done
}
# All its processes end without a word; it is begun again.
crashed() {
    local before began
    before=$(runner_of web)
    pull "$before"
    began=$(date +%s%N)
    within 30 answers
    evidence "$before was killed; $(runner_of web) answers after $((($(date +%s%N) - began) / 1000000)) ms"
    input= begin "$before" up
    within 60 is_alone
    within 60 is_back "$before"
    [ "$(runner_of web)" != "$before" ]
}
# of_node MACHINE FIELD: what the ledger says of it.
of_node() { at a node list -o json | field "[$2 for n in it if n['node'] == '$(cat "$work/$1.node")'][0]"; }
# What its witnesses saw of a machine that was gone for a while stays with it, and whoever asks for more goes elsewhere.
is_remembered() {
    local gone
    gone=$(tail -n 1 "$work/took" | cut -d ' ' -f 1)
    evidence "$gone: $(of_node "$gone" "n['days']"), $(of_node "$gone" "n['reputation_ppm']") of a million"
    [ "$(of_node "$gone" "sum(d['watched_ms'] - d['up_ms'] for d in n['days'])")" -gt 1000 ]
    ! at a run "$REGISTRY/nginx:alpine" --name picky --on 'reputation>=0.99,attested>7d' --yes >"$work/said" 2>&1
    grep -q 'has a reputation of 0.[0-9]*, and at least 0.99 is wanted' "$work/said"
    grep -q 'was seen by others for 0 h, and at least 168 h are wanted' "$work/said"
}
# Evidence comes every half a minute; what was given up before its first has no charge.
verifies() { at a bill verify >"$work/said" 2>&1 && grep -q 'evidence item' "$work/said"; }
bill_verifies() {
    within 60 verifies
    evidence "$(grep -c 'evidence item' "$work/said") leases; $(tail -n 1 "$work/said")"
}
leaves_nothing() {
    at a delete web --volumes --yes >/dev/null
    all_down
}

five_machines
step 'its standbys fetch its image' standbys_have_it
step 'a silence of three seconds moves nothing' short_silence
step 'a machine that runs nothing is missed, and comes back' idle_is_missed
step 'a network that was split in two gives nobody up' split_and_healed
for ((n = 1; n <= ${FAILOVERS:-2}; n++)); do step "the plug is pulled ($n)" pulled "$n"; done
step 'how long the app was gone' percentiles
step 'a machine is killed and begun again' crashed
step 'who was gone has a lower reputation' is_remembered
step 'the bill of all who ran it verifies' bill_verifies
step 'allod down leaves nothing' leaves_nothing
