#!/bin/bash
# Four machines of four owners, each in a network namespace of its own, two of them behind routers that let nobody in and
# give every connection another port: three join the first by invite, which relays; all four decide blocks together, and
# then one, and two of them, are gone.
#
#   ALLOD=target/debug/allod tests/e2e/many_owners.sh      E2E_KEEP=1 keeps its folder
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

all=(a b c d)
# shellcheck source=tests/e2e/machines.bash
. "$(dirname "$0")/machines.bash"

lay_cables() {
    lay_hub
    plug a 1
    plug b 2
    plug_behind c 3
    plug_behind d 4
    evidence "$block.1 to $block.4; c and d behind routers"
}
# ---- the story

found() {
    input= begin a up --relay "$block.1:7443"
    evidence "$(at a network status | grep -E '^validators')"
}
each_reaches_each() {
    local of
    of=$(node_of d)
    within 40 is_reached c "$of" relayed
    within 40 is_reached a "$of" direct
    within 40 is_reached b "$of" direct
    at c network peers >"$work/said"
    evidence "$(grep -F "$(cut -c6-15 <<<"$of")" "$work/said" | tr -s ' ' | cut -c1-120)"
}
# The way to another machine, why it is no better, and what to change.
doctor_tells() {
    says 'through the relay of ' at c doctor "$(node_of d)"
    says 'forward a UDP port' at c doctor "$(node_of d)"
    says 'directly, at ' at a doctor "$(node_of b)"
    fails_with 3 at a doctor nobody
}
used_up() {
    fails_with 1 in_net b env ALLOD_HOME="$work/thief" timeout 100 "$ALLOD" join \
        "$(cat "$work/b.invite")" --api 127.0.0.1:0 --ingress 127.0.0.1:0
    grep -q 'ask for a new' "$work/said"
    [ "$(at a node list -o json | field 'len(it)')" = 4 ]
}
# pay FROM TO: one credit, and the payee's own machine says so.
is_paid() { [ "$(balance_of "$1")" != "$2" ]; }
pay() {
    local before
    before=$(balance_of "$2" || echo 0)
    at "$1" --timeout 30s credits send "$(account_of "$2")" 1 --yes >/dev/null
    within 30 is_paid "$2" "$before"
    evidence "$2 has $(balance_of "$2")"
}
one_is_pulled() {
    pull d
    pay a b
    pay b c
}
it_comes_back() {
    input= begin d up
    all_follow d
    at d validator status | grep -c decides | grep -qx 4
}
two_are_pulled() {
    pull c
    pull d
    fails_with '9|1' at a credits send "$(account_of b)" 1 --yes
    grep -q 'no quorum: 2 of 4 validators are reached, waiting for ' "$work/said"
    says 'no quorum: 2 of 4' at b network status
    evidence "reads go on: height $(height_of b)"
}
# What could not be decided has waited, and is decided now.
three_are_enough() {
    local before
    before=$(balance_of b)
    input= begin c up
    within 60 is_paid b "$before"
    evidence "b has $(balance_of b)"
    pay a c
}
leaves_nothing() {
    go_down a b c
    # One was pulled, and did not come back.
    [ -z "$(ALLOD_HOME=$work/d audit "$(cat "$work/d/installation")")" ]
}

step 'four machines on one cable' lay_cables
step 'the first founds its network' found
for machine in b c d; do step "$machine joins by invite" join "$machine"; done
step 'all know what the first knows' all_follow b c d
step 'each reaches each, two by the relay of the first' each_reaches_each
step 'the doctor tells how each is reached' doctor_tells
step 'an invite is good for one' used_up
step 'all four decide from the fourth on' elect b c d
step 'anybody pays anybody' pay a b
step 'each sees it on its own machine' all_follow b c d
step 'one is gone, and nobody notices' one_is_pulled
step 'it comes back and knows everything' it_comes_back
step 'two are gone: reads go on, changes do not' two_are_pulled
step 'three are enough' three_are_enough
step 'allod down leaves nothing' leaves_nothing
