#!/bin/bash
# The first path once more, on a host where dockerd runs: it drops what is forwarded (its FORWARD
# policy) and filters bridges (bridge-nf), which other people's packets then meet.
#
# All of it happens in a network namespace of its own, so that the machine's firewall stays as it is.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib.sh
. "$here/../lib.sh"
tools=$ALLOD_FIXTURES/tools
[ -x "$tools/usr/sbin/dockerd" ] || die "no dockerd. Next: tests/setup.sh"
[ -n "${IN_OWN_NETWORK:-}" ] || IN_OWN_NETWORK=1 exec unshare --net -- "$0" "$@"

folder=$(mktemp -d /tmp/allod-docker-XXXXXX)
name=allod-test-$$
docker() { "$tools/usr/bin/docker" -H "unix://$folder/sock" "$@"; }

finish() {
    local rc=$? group
    trap - EXIT
    if [ -n "${pid:-}" ]; then
        docker ps -q 2>/dev/null | while read -r container; do docker rm -f "$container" >/dev/null; done
        kill "$pid" 2>/dev/null || true
        timeout 30 tail --pid="$pid" -f /dev/null || kill -9 "$pid"
    fi
    for group in /sys/fs/cgroup/"$name" /sys/fs/cgroup/*/"$name"; do
        [ ! -d "$group" ] || rmdir "$group" || true
    done
    rm -rf "$folder"
    exit $rc
}
trap finish EXIT

ip link set lo up
# dockerd closes FORWARD where it finds forwarding off, as on a fresh machine.
echo 0 >/proc/sys/net/ipv4/ip_forward
PATH=$tools/usr/bin:$tools/usr/sbin:$PATH "$tools/usr/sbin/dockerd" --host "unix://$folder/sock" \
    --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" \
    --cgroup-parent "/$name" >"$folder/log" 2>&1 &
pid=$!
for _ in $(seq 300); do
    docker version >/dev/null 2>&1 && break
    kill -0 $pid 2>/dev/null || { tail -20 "$folder/log"; die "dockerd did not start"; }
    sleep 0.1
done

skopeo --insecure-policy copy -q "oci:$ALLOD_FIXTURES/images/oci/busybox_1:busybox:1" \
    "docker-archive:$folder/busybox.tar:busybox:1"
docker load -q -i "$folder/busybox.tar" >/dev/null
neighbour=$(docker run -d busybox:1 sleep 3600)
iptables -S FORWARD | grep -q '^-P FORWARD DROP' || die "this dockerd does not drop forwarded packets"
echo "ok   dockerd runs here, with FORWARD DROP and a container of its own"

"$here/first_path.sh"

[ "$(docker inspect -f '{{.State.Running}}' "$neighbour")" = true ] || die "Docker's container died"
iptables -S FORWARD | grep -q '^-P FORWARD DROP' || die "Docker's firewall was changed"
echo "ok   Docker's container still runs, and its firewall is as it was"
