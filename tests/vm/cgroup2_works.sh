#!/bin/sh
# Proves the guest itself: everything that a container runtime asks of a kernel, by hand.
set -eu
step() { echo "ok   $*"; }

grep 'cgroup2' /proc/mounts
if grep ' cgroup ' /proc/mounts; then echo "FAIL cgroup v1 is mounted"; exit 1; fi
echo "controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"
step "pure cgroup v2 on $(uname -r)"

mkdir /sys/fs/cgroup/limited
echo 16M >/sys/fs/cgroup/limited/memory.max
echo 0 >/sys/fs/cgroup/limited/memory.swap.max 2>/dev/null || true
# dd fills a buffer of one block: 64 MiB cannot fit into 16.
if sh -c 'echo $$ >/sys/fs/cgroup/limited/cgroup.procs; dd if=/dev/zero of=/dev/null bs=64M count=1'
then echo "FAIL memory.max let 64 MiB through"; exit 1; fi
grep -q '^oom_kill [1-9]' /sys/fs/cgroup/limited/memory.events
step "memory.max kills: $(grep '^oom_kill ' /sys/fs/cgroup/limited/memory.events)"

mkdir -p /var/o/lower /var/o/upper /var/o/work /var/o/merged
echo below >/var/o/lower/file
mount -t overlay overlay -o lowerdir=/var/o/lower,upperdir=/var/o/upper,workdir=/var/o/work /var/o/merged
rm /var/o/merged/file
[ -c /var/o/upper/file ] && [ -f /var/o/lower/file ]
umount /var/o/merged
step "overlay on $(grep ' / ' /proc/mounts | tail -1 | cut -d' ' -f3), with a whiteout"

ip link add br0 type bridge
ip addr add 10.9.0.1/24 dev br0
ip link set br0 up
ip netns add inner
ip link add outside type veth peer name eth0 netns inner
ip link set outside master br0 up
ip -n inner addr add 10.9.0.2/24 dev eth0
ip -n inner link set eth0 up
ip -n inner route add default via 10.9.0.1
ip netns exec inner ping -c 1 -W 5 10.9.0.1 >/dev/null
step "veth and bridge: ping from a network namespace"

cat >/tmp/rules.nft <<'NFT'
table inet trial {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "br0" ip daddr != { 10.0.0.0/8, 192.168.0.0/16 } accept
    }
    chain nat {
        type nat hook postrouting priority 100;
        iifname "br0" masquerade
    }
    chain published {
        type nat hook output priority -100;
        ip daddr 127.0.0.1 tcp dport 8080 dnat ip to 10.9.0.2:80
    }
}
NFT
nft -f /tmp/rules.nft
nft list ruleset | grep -q masquerade
step "nft: filter, masquerade and dnat"

[ -c /dev/net/tun ]
unshare -Ur true
step "tun device, user namespace"
