#!/bin/bash
# Five machines of five owners on a network that loses packets, lets them through in one direction only, or keeps two
# machines apart that both reach the others; and a validator whose ledger is gone.
#
#   ALLOD=target/debug/allod tests/e2e/bad_weather.sh      E2E_KEEP=1 keeps its folder; PAYMENTS=50 … pays so often under loss
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

all=(a b c d e)
# shellcheck source=tests/e2e/machines.bash
. "$(dirname "$0")/machines.bash"

loses_a_third() {
    local before
    before=$(now_of web)
    weather 'numgen random mod 100 < 30 counter drop'
    pay_often "${PAYMENTS:-10}"
    # Longer than it takes to give somebody up.
    sleep 10
    within 20 answers
    evidence "$(ip netns exec "$net" nft list table bridge weather | grep -o 'packets [0-9]*') were lost"
    weather
    [ "$(now_of web)" = "$before" ]
}
# Two that do not reach one another reach the others.
keeps_two_apart() {
    weather "iifname \"$(cable a)\" oifname \"$(cable b)\" drop" "iifname \"$(cable b)\" oifname \"$(cable a)\" drop"
    sleep 10
    pay_often 5
    within 30 follows b "$(height_of a)"
    weather
}
# One that speaks and hears nothing: the others go on without it, and it comes back.
hears_nothing() {
    weather "oifname \"$(cable c)\" drop"
    sleep 10
    pay_often 5
    ! follows c "$(height_of a)" || { echo 'it hears them all the same'; return 1; }
    weather
    within 60 follows c "$(height_of a)"
    within 60 is_back c
    within 10 answers
}
# What it knew is gone, but not who it is: it learns everything anew, and votes again.
ledger_is_lost() {
    local before
    pull c
    rm -r "$work/c/node/ledger"
    before=$(height_of a)
    # With another one away nobody decides, so that no block can hold its report of that.
    pull d
    input= begin c up
    within 60 follows c "$before"
    at c network status | grep -q 'ledger was lost' || { echo 'it votes at once, whatever it signed before'; return 1; }
    # Reached, and no vote: both are waited for by name, and each in its own words.
    at a credits send "$(account_of b)" 1 --yes >"$work/said" 2>&1 && { echo 'two of four decided'; return 1; }
    evidence "$(grep -m1 'no quorum' "$work/said" | cut -c1-220)"
    grep -q "3 of 4 validators are reached, and 2 vote, waiting for .* ($(short_of d)); .* ($(short_of c)) can be reached" "$work/said"
    input= begin d up
    within 60 follows d "$(height_of a)"
    # Its report is in a block now, which is younger than the loss, and it votes again.
    within 20 votes c
    pull d
    # Three of four are needed, and it is one of the three.
    pay_often 3
    input= begin d up
    within 60 follows d "$(height_of a)"
}
short_of() { cut -c 6-15 "$work/$1.node"; }
votes() { at "$1" network status >"$work/said" && ! grep -q 'ledger was lost' "$work/said"; }
verifies() { at a bill verify >"$work/said" 2>&1 && grep -q 'evidence item' "$work/said"; }
leaves_nothing() {
    at a delete web --volumes --yes >/dev/null
    all_down
}

five_machines
step 'three packets of ten are lost, and nobody is given up' loses_a_third
step 'two do not reach one another, and nobody notices' keeps_two_apart
step 'one hears nothing, and comes back' hears_nothing
step 'the ledger of a validator is lost, and it learns everything anew' ledger_is_lost
step 'the bill verifies' within 60 verifies
step 'allod down leaves nothing' leaves_nothing
