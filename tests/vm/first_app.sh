#!/bin/sh
# In the guest: a cloud of one, one app from an archive, its limits, exec, and a clean end.
set -eu
step() { echo "ok   $* ($(cut -d. -f1 /proc/uptime) s)"; }
fail() { echo "FAIL $*"; tail -n 40 /var/lib/up.err; exit 1; }

export ALLOD_HOME=/var/lib/home
allod up --api 127.0.0.1:0 --ingress 127.0.0.1:0 >/var/lib/up.out 2>/var/lib/up.err &
up=$!
while ! grep -q '^ready ' /var/lib/up.out; do
    kill -0 $up 2>/dev/null || fail "allod up ended"
    sleep 1
done
step "allod up: $(grep '^ready ' /var/lib/up.out)"

allod run --name web --image-file /vm/nginx.oci.tar --port 80 --memory 64m --yes --timeout 240 \
    >/var/lib/run.out || fail "allod run"
url=$(grep -oE 'http://127\.0\.0\.1:[0-9]+' /var/lib/run.out | head -n 1)
wget -q -O - "$url" | grep 'Welcome to nginx' || fail "no answer at $url"
step "allod run: $url answers"

group=$(find /sys/fs/cgroup -type d -path "*$(cat $ALLOD_HOME/installation)*" | while read -r dir; do
    [ "$(cat "$dir/memory.max" 2>/dev/null)" = 67108864 ] && echo "$dir"
done | head -n 1)
[ -n "$group" ] || fail "no cgroup has memory.max of 64 MiB"
step "memory.max $(cat "$group/memory.max") in $group"

[ "$(allod exec web -- cat /proc/1/comm)" = nginx ] || fail "exec"
step "allod exec"

allod down --yes || fail "allod down"
wait $up || fail "allod up ended with $?"
left=$(find /sys/fs/cgroup -type d -name "*$(cat $ALLOD_HOME/installation)*")
[ -z "$left" ] || fail "left behind: $left"
step "allod down: nothing left"
