#!/bin/bash
# Four machines of four owners, which all keep their power. One on the same local network as another gets another address,
# again and again, while the founder is gone; then the router of one behind a router gets another address outside, as a home
# does every night. Apps of the second's run on both: from the change until each answers again, by its owner's door.
#
#   ALLOD=target/debug/allod tests/e2e/moved.sh      E2E_KEEP=1 keeps its folder; TIMES=10 … changes the address so often
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

all=(a b c d)
# shellcheck source=tests/e2e/machines.bash
. "$(dirname "$0")/machines.bash"

lay_cables() {
    local machine
    lay_hub
    plug a 1
    plug b 2
    plug c 3
    plug_behind d 4
    # As at home: there is a way out, though it leads nowhere here.
    for machine in a b c; do ip -n "$net$machine" route add default via "$block.254"; done
    serve_images
}
founded() { input= begin a up --relay "$block.1:7443"; }
is_paid() { [ "$(balance_of b)" != 0 ]; }
# asked APP SECONDS: one request through the door of b, and whether it is answered in that time.
asked() {
    [ "$(in_net b curl -s -m "$2" -o /dev/null -w '%{http_code}' -H "Host: $1.localhost" "http://$(cat "$work/door")/")" = 200 ]
}
apps_run() {
    local machine
    for machine in "${all[@]}"; do node_of "$machine" >"$work/$machine.node"; done
    for machine in c d; do at "$machine" node offer --cpus 2 --memory 2g --disk 20g >/dev/null; done
    at a credits send "$(account_of b)" 100 --yes >/dev/null
    within 20 is_paid
    at b network status -o json | field 'it["ingress"]' >"$work/door"
    for machine in c d; do
        at b run "$REGISTRY/nginx:alpine" --name "on$machine" --port 80 --on "operator=$(account_of "$machine")" --yes >"$work/said"
        within 20 asked_of "$machine"
    done
    within 40 is_reached b "$(cat "$work/d.node")" direct
}
asked_of() { asked "on$1" 2; }
# outage MACHINE KIND: from now until its app answers, and goes on answering. A request without an answer is given up after
# half a second for another one.
outage() {
    local began took
    began=$(date +%s%N)
    until asked "on$1" 0.5; do [ $((($(date +%s%N) - began) / 1000000)) -lt 90000 ]; done
    took=$((($(date +%s%N) - began) / 1000000))
    echo "$2 $took" >>"$work/took"
    evidence "$(way b "$(cat "$work/$1.node")"): the app answers after $took ms"
}
# goes_on MACHINE: forty requests in a row, none lost.
goes_on() { for _ in $(seq 40); do asked "on$1" 5; done; }
# moves LINK NAMESPACE NUMBER: another address there.
moves() {
    ip -n "$2" addr flush dev "$1"
    ip -n "$2" addr add "$block.$3/24" dev "$1"
    ip -n "$2" route replace default via "$block.254" 2>/dev/null || true
}
machine_moves() {
    asked onc 2
    moves eth0 "${net}c" "$1"
    outage c moved
    goes_on c
}
router_moves() {
    local began
    within 30 is_reached b "$(cat "$work/d.node")" direct
    asked ond 2
    moves eth0 "${net}rd" "$1"
    began=$(date +%s%N)
    outage d rerouted
    within 60 is_reached b "$(cat "$work/d.node")" direct
    echo "direct $((($(date +%s%N) - began) / 1000000))" >>"$work/took"
    evidence "direct again after $((($(date +%s%N) - began) / 1000000)) ms"
    goes_on d
}
founder_goes() { unplug a; }
founder_is_back() {
    local machine
    plug_in a
    for machine in b c d; do within 60 follows "$machine" "$(height_of a)"; done
}
# tell KIND GOAL: how long they took; the median is judged, the longest of so few says more of this machine.
tell() {
    local sorted half
    sorted=$(grep "^$1 " "$work/took" | cut -d ' ' -f 2 | sort -n)
    half=$(sed -n "$((($(wc -l <<<"$sorted") + 1) / 2))p" <<<"$sorted")
    evidence "$1: $(wc -l <<<"$sorted") times, p50 $half ms, longest $(tail -n 1 <<<"$sorted") ms"
    [ "$half" -lt "$2" ]
    [ "$(tail -n 1 <<<"$sorted")" -lt $(($2 * 5)) ]
}
leaves_nothing() {
    at b delete onc --volumes --yes >/dev/null
    at b delete ond --volumes --yes >/dev/null
    all_down
}

step 'four machines on one cable, one behind a router' lay_cables
step 'the first founds its network, and relays' founded
for machine in b c d; do step "$machine joins by invite" join "$machine"; done
step 'all know what the first knows' all_follow b c d
step 'apps of one run on two others' apps_run
sleep 5
step 'the founder is gone' founder_goes
for ((n = 1; n <= ${TIMES:-3}; n++)); do step "one has another address ($n)" machine_moves $((10 + n)); done
step 'the founder is back' founder_is_back
for ((n = 1; n <= ${TIMES:-3}; n++)); do step "a router has another address ($n)" router_moves $((100 + n)); done
step 'another address, until an answer' tell moved 3000
step "a router's other address, until an answer" tell rerouted 3000
step "a router's other address, until the way is direct" tell direct 10000
step 'allod down leaves nothing' leaves_nothing
