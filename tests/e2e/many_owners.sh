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
net=mo$$
# A block of private addresses (RFC 1918) that this machine does not use.
block=10.$((64 + RANDOM % 64)).$((RANDOM % 256))

# ---- the machines: namespaces on one bridge, which stands in a namespace too

# plug MACHINE NUMBER: on the bridge.
plug() {
    ip netns add "$net$1"
    ip -n "$net$1" link set lo up
    ip -n "$net$1" link add eth0 type veth peer name "port$1" netns "$net"
    ip -n "$net" link set "port$1" master hub up
    ip -n "$net$1" addr add "$block.$2/24" dev eth0
    ip -n "$net$1" link set eth0 up
}
# plug_behind MACHINE NUMBER: behind a router of its own, as at home; "symmetric" as RFC 3489 calls it.
plug_behind() {
    plug "r$1" "$2"
    ip netns add "$net$1"
    ip -n "$net$1" link set lo up
    ip -n "$net$1" link add eth0 type veth peer name inside netns "${net}r$1"
    ip -n "${net}r$1" addr add 192.168.77.1/24 dev inside
    ip -n "${net}r$1" link set inside up
    ip -n "$net$1" addr add 192.168.77.2/24 dev eth0
    ip -n "$net$1" link set eth0 up
    ip -n "$net$1" route add default via 192.168.77.1
    ip netns exec "${net}r$1" sysctl -qw net.ipv4.ip_forward=1
    ip netns exec "${net}r$1" nft -f - <<'RULES'
table ip home {
    chain out { type nat hook postrouting priority 100; oifname "eth0" masquerade fully-random; }
    chain through {
        type filter hook forward priority 0; policy drop;
        iifname "inside" accept
        ct state established,related accept
    }
    chain in { type filter hook input priority 0; iifname "eth0" ct state new drop; }
}
RULES
}

lay_cables() {
    ip netns add "$net"
    ip -n "$net" link add hub type bridge
    ip -n "$net" link set hub up
    plug a 1
    plug b 2
    plug_behind c 3
    plug_behind d 4
    evidence "$block.1 to $block.4; c and d behind routers"
}
cut_cables() {
    local machine
    for machine in "${all[@]}" rc rd ''; do ip netns delete "$net$machine" 2>/dev/null; done
    return 0
}

# at MACHINE ARGUMENTS...: a command there, for the owner of that machine.
at() {
    local machine=$1
    shift
    nsenter --net="/run/netns/$net$machine" env ALLOD_HOME="$work/$machine" "$ALLOD" "$@" </dev/null
}
# begin MACHINE ARGUMENTS...: a node there in the background, until it is ready.
begin() {
    local machine=$1
    shift
    rm -f "$work/$machine.out"
    nsenter --net="/run/netns/$net$machine" env ALLOD_HOME="$work/$machine" "$ALLOD" "$@" --api 127.0.0.1:0 \
        --ingress 127.0.0.1:0 <"${input:-/dev/null}" >"$work/$machine.out" 2>>"$work/$machine.err" &
    echo $! >"$work/$machine.pid"
    within 60 is_ready_or_gone "$machine"
    grep -q '^ready ' "$work/$machine.out" || { tail -n 5 "$work/$machine.err"; return 1; }
}
is_ready_or_gone() { grep -q '^ready ' "$work/$1.out" || is_gone "$(cat "$work/$1.pid")"; }
# Every process of a machine, by its home: none of another is touched.
processes_of() {
    local pid
    for pid in /proc/[0-9]*; do
        [ "$(readlink "$pid/exe" 2>/dev/null)" = "$(realpath "$ALLOD")" ] || continue
        [ "$(readlink "$pid/ns/net")" = "$(readlink "$work/$1.ns" 2>/dev/null || cat "$work/$1.ns")" ] || continue
        echo "${pid#/proc/}"
    done
}
# Without a word, as when its plug is pulled.
pull() {
    local pids
    pids=$(processes_of "$1")
    [ -n "$pids" ]
    # shellcheck disable=SC2086
    kill -9 $pids
    within 20 is_gone "$(cat "$work/$1.pid")"
}
end_all() {
    local rc=$? machine
    for machine in "${all[@]}"; do
        [ ! -e "$work/$machine.pid" ] || is_gone "$(cat "$work/$machine.pid")" ||
            timeout 60 nsenter --net="/run/netns/$net$machine" env ALLOD_HOME="$work/$machine" "$ALLOD" down --yes \
                </dev/null >/dev/null 2>&1 || true
        [ ! -e "$work/$machine.pid" ] || pull "$machine" 2>/dev/null || true
    done
    cut_cables
    if [ $failures != 0 ]; then
        for machine in "${all[@]}"; do
            echo "-- the end of $machine's log:"
            tail -n 12 "$work/$machine.err" 2>/dev/null || true
        done
    fi
    (exit $rc)
    finish
}
trap end_all EXIT

field() { python3 -c 'import json, sys; print(eval(sys.argv[1], {"it": json.load(sys.stdin)}))' "$1"; }
node_of() { at "$1" network status -o json | field 'it["node"]'; }
height_of() { at "$1" network status -o json | field 'it["height"]'; }
account_of() { at "$1" identity show -o json | field 'it["subject"]'; }
balance_of() { at "$1" credits balance -o json | field 'it["balance"]'; }

# ---- the story

found() {
    input= begin a up --relay "$block.1:7443"
    readlink "/proc/$(cat "$work/a.pid")/ns/net" >"$work/a.ns"
    evidence "$(at a network status | grep -E '^validators')"
}
invite() {
    at a invite >"$work/$1.invite"
    grep -q '^allod-invite-' "$work/$1.invite"
    evidence "$(wc -c <"$work/$1.invite") characters"
}
is_listed() { at a node list -o json | grep -q "\"$1\""; }
# join MACHINE: from the command until the first machine lists it.
join() {
    local began
    invite "$1"
    began=$(date +%s%N)
    input=$work/$1.invite begin "$1" join -
    readlink "/proc/$(cat "$work/$1.pid")/ns/net" >"$work/$1.ns"
    within 30 is_listed "$(node_of "$1")"
    evidence "$1 is listed $((($(date +%s%N) - began) / 1000000)) ms after its command"
    [ ! -e "$work/$1/node/joining" ]
}
follows() { [ "$(height_of "$1")" -ge "$2" ]; }
# all_follow MACHINES...: what the first has decided, these know within seconds.
all_follow() {
    local height machine
    height=$(height_of a)
    for machine in "$@"; do within 30 follows "$machine" "$height"; done
    evidence "height $height"
}
# way FROM TO: how one reaches the other.
way() {
    at "$1" network peers -o json |
        field "[('direct' if p['is_direct'] else 'relayed') if p['by'] else 'not' for p in it if p['node'] == '$2'][0]"
}
is_reached() { [ "$(way "$1" "$2" 2>/dev/null)" = "$3" ]; }
each_reaches_each() {
    local of
    of=$(node_of d)
    within 40 is_reached c "$of" relayed
    within 40 is_reached a "$of" direct
    within 40 is_reached b "$of" direct
    at c network peers >"$work/said"
    evidence "$(grep -F "$(cut -c6-15 <<<"$of")" "$work/said" | tr -s ' ' | cut -c1-120)"
}
used_up() {
    fails_with 1 nsenter --net="/run/netns/$net"b env ALLOD_HOME="$work/thief" timeout 100 "$ALLOD" join \
        "$(cat "$work/b.invite")" --api 127.0.0.1:0 --ingress 127.0.0.1:0
    grep -q 'ask for a new' "$work/said"
    [ "$(at a node list -o json | field 'len(it)')" = 4 ]
}
elect() {
    local machine node
    for machine in b c d; do
        node=$(node_of "$machine")
        at "$machine" validator stand "$node" >/dev/null
        at a validator add "$node" >"$work/said"
    done
    evidence "$(tail -n 1 "$work/said")"
    grep -qx 'one of 4 may fail' "$work/said"
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
    local machine
    for machine in a b c; do
        at "$machine" down --yes
        within 30 is_gone "$(cat "$work/$machine.pid")"
    done
    for machine in "${all[@]}"; do
        [ -z "$(ALLOD_HOME=$work/$machine audit "$(cat "$work/$machine/installation")")" ]
    done
}

step 'four machines on one cable' lay_cables
step 'the first founds its network' found
for machine in b c d; do step "$machine joins by invite" join "$machine"; done
step 'all know what the first knows' all_follow b c d
step 'each reaches each, two by the relay of the first' each_reaches_each
step 'an invite is good for one' used_up
step 'all four decide from the fourth on' elect
step 'anybody pays anybody' pay a b
step 'each sees it on its own machine' all_follow b c d
step 'one is gone, and nobody notices' one_is_pulled
step 'it comes back and knows everything' it_comes_back
step 'two are gone: reads go on, changes do not' two_are_pulled
step 'three are enough' three_are_enough
step 'allod down leaves nothing' leaves_nothing
