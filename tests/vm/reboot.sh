#!/bin/sh
# In the guest: an app with a volume, then the power is cut. After the next boot it runs again, under a new epoch, with
# its data; nothing of the former boot is left, and the time between is on no bill.
set -eu
step() { echo "ok   $* ($(cut -d. -f1 /proc/uptime) s)"; }
fail() { echo "FAIL $*"; tail -n 40 /var/lib/up.err; exit 1; }

export ALLOD_HOME=/var/lib/home
port=8080

allod_up() {
    allod up --api 127.0.0.1:0 --ingress 127.0.0.1:0 >/var/lib/up.out 2>/var/lib/up.err &
    up=$!
    while ! grep -q '^ready ' /var/lib/up.out; do
        kill -0 $up 2>/dev/null || fail "allod up ended"
        sleep 0.2
    done
    step "allod up: $(grep '^ready ' /var/lib/up.out)"
}
# field NAME: the values of that field in the status of the app, one per line.
field() { allod status web -o json | sed -n "s/^ *\"$1\": \"*\([^\",]*\)\"*,*\$/\1/p"; }
answers() { wget -q -O - "http://127.0.0.1:$port" 2>/dev/null | grep -q 'Welcome to nginx'; }
within() {
    left=$1
    shift
    until "$@"; do
        left=$((left - 1))
        [ $left -gt 0 ] || return 1
        sleep 1
    done
}
ready_ms() {
    allod bill -o json | sed -n 's/^ *"ready_ms": "*\([0-9]*\)"*,*$/\1/p' | {
        sum=0
        while read -r ms; do sum=$((sum + ms)); done
        echo $sum
    }
}
groups() { find /sys/fs/cgroup -type d -path "*$(cat $ALLOD_HOME/installation)*" -name '*-[0-9]*'; }
workloads() { ls "$ALLOD_HOME/root/workloads"; }

if [ ! -e /var/lib/was-cut ]; then
    allod_up
    allod run --name web --image-file /vm/nginx.oci.tar --port $port:80 --volume data:/data --memory 64m \
        --storage 64m --yes --timeout 240 >/var/lib/run.out || fail "allod run"
    answers || fail "no answer"
    allod exec web -- sh -c 'echo kept >/data/file; sync' || fail "exec"
    field epoch >/var/lib/epoch
    workloads >/var/lib/workloads
    step "the app runs, epoch $(cat /var/lib/epoch): $(cat /var/lib/workloads)"
    date +%s >/var/lib/was-cut
    sync
    echo vm-reset
    sleep 1000
fi

cut=$(cat /var/lib/was-cut)
began=$(date +%s)
allod_up
within 60 answers || { allod status web; allod events web; fail "no answer after the boot"; }
step "the app answers again, $((began - cut)) s after the cut"
[ "$(allod exec web -- cat /data/file)" = kept ] || fail "its volume lost data"
step "its volume is as it was"

epoch=$(field epoch)
[ "$epoch" -gt "$(cat /var/lib/epoch)" ] || fail "the epoch is $epoch, as before"
allod events web >/var/lib/events
grep -q 'gone when the node looked' /var/lib/events || { cat /var/lib/events; fail "no event says that it was lost"; }
step "epoch $epoch, and the law knows: $(grep -m 1 'gone when' /var/lib/events)"

of_before() { workloads | grep -qxF "$(cat /var/lib/workloads)"; }
within 20 eval '! of_before' || fail "what ran before the cut is left: $(workloads)"
[ "$(workloads | wc -l)" = 1 ] || fail "not one workload: $(workloads)"
[ "$(groups | wc -l)" -ge 1 ] || fail "no control group"
step "of the former boot nothing is left: $(workloads)"

allod delete web --volumes --yes || fail "delete"
within 30 eval '[ -z "$(workloads)" ]' || fail "left after delete: $(workloads)"
is_settled() { allod bill verify >/var/lib/verified 2>&1; }
within 20 is_settled || { cat /var/lib/verified; fail "bill verify"; }
billed=$(($(ready_ms) / 1000))
# What could be ready: from each lease's first readiness until the cut, of which the evidence of the last 30 s is lost, or
# until now.
ready_at() { date -u -d "$(grep "lease.ready .*epoch $1)" /var/lib/events | head -n 1 | cut -c1-19)" +%s; }
ready_max=$((cut - $(ready_at "$(cat /var/lib/epoch)") + $(date +%s) - $(ready_at "$epoch") + 2))
[ $billed -le $ready_max ] || fail "$billed s are billed, of $ready_max s at most"
[ $billed -gt 0 ] || fail "nothing is billed"
step "$billed s are billed, of $ready_max s at most; $((began - cut)) s between are not"

[ -z "$(ls -A "$ALLOD_HOME/root/volumes" 2>/dev/null)" ] || fail "a volume is left"
allod down --yes || fail "allod down"
wait $up || fail "allod up ended with $?"
left=$(find /sys/fs/cgroup -type d -name "*$(cat $ALLOD_HOME/installation)*")
[ -z "$left" ] || fail "left behind: $left"
step "allod down: nothing left"
