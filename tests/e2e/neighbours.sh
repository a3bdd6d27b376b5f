#!/bin/bash
# Three machines of three owners on one local network; an app of the second's runs on the third. The founder is gone, and
# there was never a relay; the other two have lost their power and come back under other addresses, which nobody can tell the
# ledger. They find each other, and the app answers through its owner's door.
#
#   ALLOD=target/debug/allod tests/e2e/neighbours.sh      E2E_KEEP=1 keeps its folder
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

all=(a b c)
# shellcheck source=tests/e2e/machines.bash
. "$(dirname "$0")/machines.bash"

lay_cables() {
    lay_hub
    plug a 1
    plug b 2
    plug c 3
    serve_images
}
founded() { input= begin a up; }
known_of_c() { at b network peers -o json | field "[p['addresses'] for p in it if p['node'] == '$(cat "$work/c.node")'][0]"; }
runs_on_c() {
    node_of c >"$work/c.node"
    at c node offer --cpus 2 --memory 2g --disk 20g >/dev/null
    at a credits send "$(account_of b)" 100 --yes >/dev/null
    within 20 is_paid
    at b run "$REGISTRY/nginx:alpine" --name web --port 80 --on "operator=$(account_of c)" --yes >"$work/said"
    within 20 answers_at_b
    known_of_c >"$work/known"
}
is_paid() { [ "$(balance_of b)" != 0 ]; }
# Through the door of b as it is now.
answers_at_b() {
    local door
    door=$(at b network status -o json | field 'it["ingress"]')
    [ "$(in_net b curl -s -m 2 -o /dev/null -w '%{http_code}' -H 'Host: web.localhost' "http://$door/")" = 200 ]
}
# moves MACHINE NUMBER: another address.
moves() {
    ip -n "$net$1" addr flush dev eth0
    ip -n "$net$1" addr add "$block.$2/24" dev eth0
}
# come_back NUMBER ARGUMENTS...: both were without power, and have other addresses; the founder is gone.
come_back() {
    local first=$1
    shift
    unplug a
    pull b
    pull c
    moves b "$first"
    moves c $((first + 1))
    input= begin b up "$@"
    input= begin c up "$@"
    began=$(date +%s%N)
}
find_each_other() {
    local began by
    come_back 12
    within 30 answers_at_b
    evidence "the app answers after $((($(date +%s%N) - began) / 1000000)) ms; c has $block.13, the ledger says $(cat "$work/known")"
    ! grep -qF "$block.13:" "$work/known"
}
# words SECONDS MACHINE: what it says to its neighbours in that time.
words() {
    in_net "$2" nft -f - <<'RULES'
table inet words {
    counter said { }
    chain out { type filter hook output priority 0; ip daddr 239.255.97.108 counter name said; }
}
RULES
    sleep "$1"
    in_net "$2" nft -j list counter inet words said | field 'it["nftables"][-1]["counter"]["packets"]'
    in_net "$2" nft delete table inet words
}
says_little() {
    local said
    said=$(words 10 b)
    evidence "$said words in 10 s"
    [ "$said" -ge 2 ] && [ "$said" -le 5 ]
}
# Told not to, they say nothing, and do not find each other.
find_nobody() {
    local began
    come_back 22 --no-lan-discovery
    [ "$(words 15 b)" = 0 ]
    ! answers_at_b || return 1
}
founder_is_back() {
    local machine
    plug_in a
    for machine in b c; do within 60 follows "$machine" "$(height_of a)"; done
    within 60 answers_at_b
}
leaves_nothing() {
    at b delete web --volumes --yes >/dev/null
    all_down
}

step 'three machines on one cable' lay_cables
step 'the first founds its network' founded
for machine in b c; do step "$machine joins by invite" join "$machine"; done
step 'all know what the first knows' all_follow b c
step 'an app of one runs on the other' runs_on_c
step 'under other addresses, without the first, they find each other' find_each_other
step 'they say little' says_little
step 'told not to look, they find nobody' find_nobody
step 'the first is back, and so are all' founder_is_back
step 'allod down leaves nothing' leaves_nothing
