# shellcheck shell=bash
# Machines of different owners for a story: network namespaces on one bridge, some behind routers that let nobody in and
# give every connection another port. Sourced after story.bash, with `all` naming the machines; never run.

net=mo$$
# A block of private addresses (RFC 1918) that no machine chooses for what runs on it: those are from 10.64 to 10.127, and one
# behind a router does not see what is outside.
block=10.$((128 + RANDOM % 64)).$((RANDOM % 256))

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
# lay_trap MACHINE: counts what leaves it for any address that is not private (RFC 1918, RFC 4193) or on its link. Multicast
# is let through that no router passes on: who wants to hear what (224.0.0.22), and the neighbours' group. There is a way out, though it leads nowhere: without one nothing would even try.
lay_trap() {
    ip -n "$net$1" route append default dev eth0 metric 10
    ip netns exec "$net$1" nft -f - <<'RULES'
table inet trap {
    counter strangers { }
    chain judged {
        ip daddr { 127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16, 224.0.0.22, 239.255.97.108 } return
        ip6 daddr { ::1, fe80::/10, fc00::/7, ff02::/16 } return
        counter name strangers
    }
    chain out { type filter hook output priority 0; jump judged; }
    chain through { type filter hook forward priority 0; jump judged; }
}
RULES
}
strangers_of() { ip netns exec "$net$1" nft -j list counter inet trap strangers | field 'it["nftables"][-1]["counter"]["packets"]'; }
lay_hub() {
    ip netns add "$net"
    ip -n "$net" link add hub type bridge
    ip -n "$net" link set hub up
}
cut_cables() {
    local machine
    # Not every machine is behind a router.
    for machine in "${all[@]}"; do
        ip netns delete "${net}r$machine" 2>/dev/null || true
        ip netns delete "$net$machine" 2>/dev/null || true
    done
    ip netns delete "$net" 2>/dev/null || true
}

# give_clock MACHINE: everything of allod on it reads a clock that can be set, from then on.
give_clock() {
    local of=$work/$1.clock
    # The network process has no rights in the story's folder, and an environment of its own: it is told by /etc.
    mkdir "$of"
    mktemp -d /tmp/allod-clock-XXXXXX >"$of/at"
    chmod 755 "$(cat "$of/at")"
    cc -shared -fPIC -O2 -DSHIFT="\"$(cat "$of/at")/shift\"" -o "$(cat "$of/at")/clock.so" "$here/clock.c"
    mkdir "$of/etc"
    echo "$(cat "$of/at")/clock.so" >"$of/etc/ld.so.preload"
    # One mount namespace for all of its life, as a machine has: kept where its mount cannot spread.
    mount --bind "$of" "$of"
    mount --make-private "$of"
    touch "$of/mounts"
    unshare --mount="$of/mounts" mount -t overlay overlay -o "lowerdir=$of/etc:/etc" /etc
    set_clock "$1" 0
}
# set_clock MACHINE SECONDS: so far ahead, or behind if below zero, at once.
set_clock() {
    # In place: it is mapped by whoever reads the clock.
    python3 -c 'import os, struct, sys
os.pwrite(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644), struct.pack("q", int(sys.argv[2])), 0)' \
        "$(cat "$work/$1.clock/at")/shift" "$2"
}
# with_clock MACHINE: what a command of allod on it is begun by.
with_clock() {
    clock=()
    [ ! -e "$work/$1.clock" ] || clock=(nsenter --mount="$work/$1.clock/mounts")
}
# give_disk MACHINE MIB: its home is a disk of its own.
give_disk() {
    truncate -s "$2M" "$work/$1.disk"
    mkfs.ext4 -q -F -m 0 "$work/$1.disk"
    mkdir "$work/$1"
    mount -o loop "$work/$1.disk" "$work/$1"
}
# What a machine was given outside of the story's folder, or on top of it.
give_back() {
    local machine
    for machine in "${all[@]}"; do
        ! mountpoint -q "$work/$machine" || umount "$work/$machine" || true
        [ ! -e "$work/$machine.clock/at" ] || rm -r "$(cat "$work/$machine.clock/at")"
        ! mountpoint -q "$work/$machine.clock" || umount "$work/$machine.clock/mounts" "$work/$machine.clock" || true
    done
}
# in_net MACHINE COMMAND...: a command of the host's in that machine's network.
in_net() {
    local machine=$1
    shift
    nsenter --net="/run/netns/$net$machine" "$@"
}
# at MACHINE ARGUMENTS...: a command of allod there, for the owner of that machine.
at() {
    local machine=$1
    shift
    with_clock "$machine"
    in_net "$machine" "${clock[@]}" env ALLOD_HOME="$work/$machine" "$ALLOD" "$@" </dev/null
}
# begin MACHINE ARGUMENTS...: a node there in the background, until it is ready.
begin() {
    local machine=$1
    shift
    rm -f "$work/$machine.out"
    with_clock "$machine"
    # Not by `in_net`: the number of a function's process would be that of a shell, outside.
    nsenter --net="/run/netns/$net$machine" "${clock[@]}" env ALLOD_HOME="$work/$machine" "$ALLOD" "$@" --api 127.0.0.1:0 \
        --ingress 127.0.0.1:0 <"${input:-/dev/null}" >"$work/$machine.out" 2>>"$work/$machine.err" &
    echo $! >"$work/$machine.pid"
    within 60 is_ready_or_gone "$machine"
    grep -q '^ready ' "$work/$machine.out" || { tail -n 5 "$work/$machine.err"; return 1; }
    readlink "/proc/$(cat "$work/$machine.pid")/ns/net" >"$work/$machine.ns"
}
is_ready_or_gone() { grep -q '^ready ' "$work/$1.out" || is_gone "$(cat "$work/$1.pid")"; }
# Every process of allod on a machine, by its network: none of another is touched.
processes_of() {
    local pid
    for pid in /proc/[0-9]*; do
        [ "$(readlink "$pid/exe" 2>/dev/null)" = "$(realpath "$ALLOD")" ] || continue
        [ "$(readlink "$pid/ns/net")" = "$(cat "$work/$1.ns")" ] || continue
        echo "${pid#/proc/}"
    done
}
# Without a word, as when its plug is pulled.
pull() {
    local pids
    pids=$(processes_of "$1")
    [ -n "$pids" ]
    # One that was about to end anyway may have.
    # shellcheck disable=SC2086
    kill -9 $pids 2>/dev/null || true
    within 20 is_gone "$(cat "$work/$1.pid")"
}
end_all() {
    local rc=$? machine
    # Whatever fails here, the rest is still taken away.
    set +e
    for machine in "${all[@]}"; do
        with_clock "$machine"
        [ ! -e "$work/$machine.pid" ] || is_gone "$(cat "$work/$machine.pid")" ||
            timeout 60 nsenter --net="/run/netns/$net$machine" "${clock[@]}" env ALLOD_HOME="$work/$machine" "$ALLOD" down --yes \
                </dev/null >/dev/null 2>&1 || true
        [ ! -e "$work/$machine.pid" ] || pull "$machine" 2>/dev/null || true
    done
    end_images
    come_together
    cut_cables
    give_back
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

invite() {
    at a invite >"$work/$1.invite"
    grep -q '^allod-invite-' "$work/$1.invite"
    evidence "$(wc -c <"$work/$1.invite") characters"
}
is_listed() { at a node list -o json | grep -q "\"$1\""; }
# join MACHINE ARGUMENTS...: from the command until the first machine lists it, in less than ten seconds wherever it is.
join() {
    local began
    invite "$1"
    began=$(date +%s%N)
    input=$work/$1.invite begin "$1" join - "${@:2}"
    within 30 is_listed "$(node_of "$1")"
    echo $((($(date +%s%N) - began) / 1000000)) >>"$work/joined"
    evidence "$1 is listed $(tail -n 1 "$work/joined") ms after its command"
    [ "$(tail -n 1 "$work/joined")" -lt 10000 ] || { echo 'that is not soon'; return 1; }
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
elect() {
    local machine node
    for machine in "$@"; do
        node=$(node_of "$machine")
        at "$machine" validator stand "$node" >/dev/null
        at a validator add "$node" >"$work/said"
    done
    evidence "$(tail -n 1 "$work/said")"
    grep -qx 'one of 4 may fail' "$work/said"
}

# The same images on each machine, at the same address.
REGISTRY=127.0.0.1:5000
serve_images() {
    local machine
    for machine in "${all[@]}"; do
        in_net "$machine" "$here/../images/registry.sh" start "$work/registry-$machine" "${REGISTRY#*:}" >/dev/null
    done
}
end_images() {
    local machine
    for machine in "${all[@]}"; do
        [ ! -e "$work/registry-$machine" ] || "$here/../images/registry.sh" stop "$work/registry-$machine"
    done
}
# All go, and nothing of theirs is left on the host.
all_down() { go_down "${all[@]}"; }
# go_down MACHINES...: at once.
go_down() {
    local machine going=()
    for machine in "$@"; do
        goes_down "$machine" &
        going+=($!)
    done
    for machine in "${going[@]}"; do wait "$machine"; done
    evidence "$(sort "$work"/*.went | tr '\n' ' ')"
}
goes_down() {
    local began
    began=$(date +%s%N)
    at "$1" down --yes
    within 30 is_gone "$(cat "$work/$1.pid")"
    echo "$1 $((($(date +%s%N) - began) / 1000000)) ms" >"$work/$1.went"
    [ -z "$(ALLOD_HOME=$work/$1 audit "$(cat "$work/$1/installation")")" ]
}

# ---- five machines of five owners, "a" to "e": two of them behind routers, and an app that runs on one of them
lay_five_cables() {
    lay_hub
    plug a 1
    plug b 2
    plug c 3
    plug_behind d 4
    plug_behind e 5
    serve_images
    evidence "$block.1 to $block.5; d and e behind routers"
}
# The cable from a machine, or its router, to the bridge.
cable() { if [ -e "/run/netns/${net}r$1" ]; then echo "portr$1"; else echo "port$1"; fi; }
unplug() { ip -n "$net" link set "$(cable "$1")" down; }
plug_in() { ip -n "$net" link set "$(cable "$1")" up; }
found() { input= begin a up --relay "$block.1:7443"; }
all_offer() {
    local machine
    for machine in b c d e; do at "$machine" node offer --cpus 2 --memory 2g --disk 20g >/dev/null; done
}
# now_of APP: its replica's machine and its epoch.
now_of() { at a status -o json | field "' '.join([r['node'] + ' ' + str(r['epoch']) for a in it if a['name'] == '$1' for s in a['services'] for r in s['replicas'] if r['lease']])"; }
runner_of() {
    local machine node
    node=$(now_of "$1" | cut -d ' ' -f 1)
    for machine in "${all[@]}"; do [ "$(cat "$work/$machine.node")" != "$node" ] || echo "$machine"; done
}
code() {
    in_net a curl -s -m "${1:-10}" -o /dev/null -w '%{http_code}' -H 'Host: web.localhost' \
        "http://$(cat "$work/door")/" || true
}
answers() { [ "$(code "${patience:-1}")" = 200 ]; }
runs() {
    local machine
    for machine in "${all[@]}"; do node_of "$machine" >"$work/$machine.node"; done
    at a run "$REGISTRY/nginx:alpine" --name web --port 80 --on "operator!=$(account_of a)" --yes >"$work/said"
    at a network status -o json | field 'it["ingress"]' >"$work/door"
    within 10 answers
    evidence "$(runner_of web) runs it"
}
is_back() { [ "$(at a node list -o json | field "[n['is_unreachable'] for n in it if n['node'] == '$(cat "$work/$1.node")'][0]")" = False ]; }
pays() { at a --timeout 10s credits send "$(account_of b)" 1 --yes >/dev/null 2>&1; }
# weather RULE...: what becomes of packets from one machine to another.
weather() {
    ip netns exec "$net" nft delete table bridge weather 2>/dev/null || true
    [ $# = 0 ] || {
        echo 'table bridge weather {'
        echo 'chain between {'
        echo 'type filter hook forward priority 0'
        printf '%s\n' "$@"
        echo '}'
        echo '}'
    } | ip netns exec "$net" nft -f -
}
# pay_often COUNT: one payment after the other, and how long each took.
pay_often() {
    local began payee
    payee=$(account_of b)
    : >"$work/paid"
    for _ in $(seq "$1"); do
        began=$(date +%s%N)
        at a --timeout 30s credits send "$payee" 1 --yes >/dev/null
        echo $((($(date +%s%N) - began) / 1000000)) >>"$work/paid"
    done
    sort -n "$work/paid" >"$work/sorted"
    evidence "$1 payments: p50 $(sed -n "$((($1 + 1) / 2))p" "$work/sorted") ms, \
p99 $(sed -n "$((($1 * 99 + 99) / 100))p" "$work/sorted") ms, longest $(tail -n 1 "$work/sorted") ms"
}
# Every frame that leaves a machine for another one takes so many milliseconds, and so does every answer.
lie_apart() {
    local machine ports=()
    come_together
    for machine in "${all[@]}"; do
        ports+=("$(cable "$machine")")
        [ ! -e "/run/netns/${net}r$machine" ] || machine=r$machine
        in_net "$machine" python3 "$here/distance.py" plain eth0
    done
    nsenter --net="/run/netns/$net" python3 "$here/distance.py" "$1" "${ports[@]}" >"$work/distance" 2>&1 &
    echo $! >"$work/distance.pid"
    within 10 grep -qx apart "$work/distance"
}
come_together() {
    [ -e "$work/distance.pid" ] || return 0
    kill "$(cat "$work/distance.pid")" 2>/dev/null || true
    within 10 is_gone "$(cat "$work/distance.pid")"
    rm "$work/distance.pid"
}

# five_machines MILLISECONDS: the steps until the app runs; all the time they lie so far apart.
five_machines() {
    local machine
    step 'five machines on one cable' lay_five_cables
    [ $# = 0 ] || step "$1 ms from each to the next" lie_apart "$1"
    step 'the first founds its network' found
    for machine in b c d e; do step "$machine joins by invite" join "$machine"; done
    step 'all offer what they have' all_offer
    step 'four are validators' elect b c d
    step 'all know what the first knows' all_follow b c d e
    step 'an app runs on one of them' runs
}
