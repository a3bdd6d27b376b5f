#!/bin/bash
# Five machines of five owners: two behind symmetric routers, which reach each other by members' relays alone, of which there
# are two. The relay that carries is killed or its cable is pulled, again and again, and an app of one of the two that runs on
# the other is asked through its owner's door until it answers.
#
#   ALLOD=target/debug/allod tests/e2e/relay_gone.sh      E2E_KEEP=1 keeps its folder; TIMES=10 … kills and cuts so often each
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

all=(a b c d e)
# shellcheck source=tests/e2e/machines.bash
. "$(dirname "$0")/machines.bash"

relay_of() { case $1 in b) echo "$block.2:7443" ;; c) echo "$block.3:7443" ;; esac; }
founded() { input= begin a up; }
# The two find each other by relays alone, and are found by both of them.
is_found_by_two() {
    at a network peers -o json >"$work/peers"
    [ "$(field "sorted(len(p['relayed_by']) for p in it if p['node'] in ('$(cat "$work/d.node")', '$(cat "$work/e.node")'))" <"$work/peers")" = '[2, 2]' ]
}
both_are_found() {
    local machine
    for machine in "${all[@]}"; do node_of "$machine" >"$work/$machine.node"; done
    within 60 is_found_by_two
    within 40 is_reached d "$(cat "$work/e.node")" relayed
    within 40 is_reached e "$(cat "$work/d.node")" relayed
}
# A bridge as Docker makes one: nobody else has anything to look for there.
lay_docker_bridge() {
    ip -n "${net}e" link add docker0 type bridge
    ip -n "${net}e" addr add 172.17.0.1/16 dev docker0
    ip -n "${net}e" link set docker0 up
}
# What the ledger says of where e is: its own address, and none of the links to what runs there.
publishes_no_inner_address() {
    local own inner
    at a network peers -o json | field "'\n'.join(sorted(a for p in it if p['node'] == '$(cat "$work/e.node")' for a in p['addresses']))" >"$work/published"
    inner=$(ip -n "${net}e" -o -4 addr show | awk '$2 ~ /^(docker0|allod-)/ { sub("/.*", "", $4); print $4 }')
    [ "$(wc -l <<<"$inner")" = 2 ]
    evidence "$(tr '\n' ' ' <"$work/published")are published, $(tr '\n' ' ' <<<"$inner")are not"
    grep -q '^192.168.77.2:' "$work/published"
    for own in $inner; do ! grep -q "^$own:" "$work/published" || return 1; done
}
one_offers() { at e node offer --cpus 2 --memory 2g --disk 20g >/dev/null; }
runs_on_e() {
    at a credits send "$(account_of d)" 100 --yes >/dev/null
    within 20 has_credits
    at d run "$REGISTRY/nginx:alpine" --name web --port 80 --on "operator=$(account_of e)" --yes >"$work/said"
    at d network status -o json | field 'it["ingress"]' >"$work/door"
    within 20 answers_at_d 5
}
has_credits() { [ "$(balance_of d)" != 0 ]; }
# One request through d's door to e, and whether it is answered within so many seconds.
answers_at_d() {
    [ "$(in_net d curl -s -m "$1" -o /dev/null -w '%{http_code}' -H 'Host: web.localhost' "http://$(cat "$work/door")/")" = 200 ]
}
# The machine by whose relay the requests of d get to e.
carrier() {
    local node
    node=$(at d network peers -o json | field "[p['relay'] for p in it if p['node'] == '$(cat "$work/e.node")'][0]")
    for machine in b c; do [ "$(cat "$work/$machine.node")" != "$node" ] || echo "$machine"; done
}
# gone HOW: the relay in use is gone. A request that has no answer after half a second is given up for another one.
gone() {
    local machine began took
    machine=$(carrier)
    [ -n "$machine" ]
    within 20 answers_at_d 2
    if [ "$1" = killed ]; then pull "$machine"; else unplug "$machine"; fi
    began=$(date +%s%N)
    until answers_at_d 0.5; do [ $((($(date +%s%N) - began) / 1000000)) -lt 60000 ]; done
    took=$((($(date +%s%N) - began) / 1000000))
    echo "$1 $took" >>"$work/took"
    evidence "$machine was $1; the app answers after $took ms"
    # What half of them take is judged at the end.
    [ "$took" -lt 15000 ]
    # It is not held up later either, as what waits for a dead relay might.
    for _ in $(seq 40); do answers_at_d 5; done
    if [ "$1" = killed ]; then input= begin "$machine" up --relay "$(relay_of "$machine")"; else plug_in "$machine"; fi
    within 60 follows "$machine" "$(height_of a)"
    within 30 carries "$machine"
}
# Whether a machine's relay has both as its guests again: each has a connection to it.
carries() {
    [ "$(in_net "$1" ss -Htn state established "sport = :7443" | awk '{ split($4, from, ":"); print from[1] }' |
        grep -cE "^${block//./\\.}\.(4|5)$")" -ge 2 ]
}
percentiles() {
    local kind half
    for kind in killed unplugged; do
        grep "^$kind " "$work/took" | cut -d ' ' -f 2 | sort -n >"$work/sorted"
        half=$(sed -n "$((($(wc -l <"$work/sorted") + 1) / 2))p" "$work/sorted")
        evidence "$kind: $(wc -l <"$work/sorted") times, p50 $half ms, longest $(tail -n 1 "$work/sorted") ms"
        [ "$half" -lt 3000 ]
    done
}
leaves_nothing() {
    at d delete web --volumes --yes >/dev/null
    all_down
}

step 'five machines on one cable' lay_five_cables
step 'one has a bridge for containers' lay_docker_bridge
step 'the first founds its network' founded
for machine in b c; do step "$machine joins by invite, and relays" join "$machine" --relay "$(relay_of "$machine")"; done
for machine in d e; do step "$machine joins by invite" join "$machine"; done
step 'one offers what it has' one_offers
step 'four are validators' elect b c d
step 'all know what the first knows' all_follow b c d e
step 'both behind routers are found by two relays' both_are_found
step 'an app runs behind one router and is asked behind the other' runs_on_e
# Whatever changes is told within seconds.
sleep 5
step 'links to what runs on a machine are told nobody' publishes_no_inner_address
for ((n = 1; n <= ${TIMES:-5}; n++)); do
    step "the relay in use is killed ($n)" gone killed
    step "the cable of the relay in use is pulled ($n)" gone unplugged
done
step 'how long nothing was answered' percentiles
step 'allod down leaves nothing' leaves_nothing
