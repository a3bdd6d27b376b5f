# shellcheck shell=bash
# What every story shares: an installation of its own, steps that show evidence, an audit of the host.
# Sourced by the stories beside it, never run.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
# shellcheck source=tests/lib.sh
. "$here/../lib.sh"

ALLOD=${ALLOD:-${CARGO_TARGET_DIR:-$repo/target}/debug/allod}
[ -x "$ALLOD" ] || die "no program at $ALLOD. Next: cargo build -p allod, or set ALLOD"
[ "$(id -u)" = 0 ] || die "containers need root. Next: sudo -E $0"
images=$ALLOD_FIXTURES/images
[ -d "$images" ] || die "no images. Next: make images"

work=$(mktemp -d "/tmp/allod-e2e-XXXXXX")
export ALLOD_HOME=$work/home
failures=0 steps=0

allod() { "$ALLOD" "$@" </dev/null; }

# step NAME COMMAND...: runs it in a subshell that ends at its first failing command; prints `ok` or
# `FAIL`, how long it took, its evidence, and on failure the end of what it said.
step() {
    local name=$1 began rc evidence
    shift
    began=$(date +%s%N)
    # Not `if` and not `||`: both would switch `set -e` off inside.
    set +e
    (
        set -e
        "$@"
    ) >"$work/step.out" 2>&1
    rc=$?
    set -e
    steps=$((steps + 1))
    printf '%-4s %s (%d ms)\n' "$([ $rc = 0 ] && echo ok || echo FAIL)" "$name" \
        $((($(date +%s%N) - began) / 1000000))
    evidence=$(grep -a '^evidence: ' "$work/step.out" | sed 's/^evidence: /       /' || true)
    [ -z "$evidence" ] || echo "$evidence"
    if [ $rc != 0 ]; then
        failures=$((failures + 1))
        sed -e '/^evidence: /d' -e 's/^/     | /' "$work/step.out" | tail -n 15
    fi
}

evidence() { echo "evidence: $*"; }

# fails_with CODES COMMAND...: it must end with one of the codes (`7` or `1|8`); its words are kept.
fails_with() {
    local codes=$1 rc=0
    shift
    "$@" >"$work/said" 2>&1 || rc=$?
    evidence "exit $rc: $(tail -n 2 "$work/said" | tr '\n' ' ' | cut -c1-200)"
    [[ $rc =~ ^($codes)$ ]] || { echo "expected exit $codes, got $rc:"; cat "$work/said"; return 1; }
}

# says PATTERN COMMAND...: it must succeed and say so on stdout.
says() {
    local pattern=$1
    shift
    "$@" >"$work/said" || { echo "$* failed, and said:"; cat "$work/said"; return 1; }
    grep -aqE -- "$pattern" "$work/said" || { echo "no /$pattern/ in:"; cat "$work/said"; return 1; }
    evidence "$(grep -aE -m1 -- "$pattern" "$work/said" | cut -c1-160)"
}

# within SECONDS COMMAND...: tries it again until it succeeds.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.2
    done
}

# A command for a workload that ends as soon as it is asked to; `sleep` alone would wait to be killed.
# shellcheck disable=SC2034
obedient=(sh -c "trap 'exit 0' TERM; while :; do sleep 0.2; done")

is_json() { "$@" -o json | python3 -m json.tool; }

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Starts `allod up` in the background and waits for its `ready` line. Steps are subshells: what they
# learn is in files, which up_pid and api_url read.
start_allod() {
    local began waited
    began=$(date +%s%N)
    # The shell that waited for the one before writes how it ended: that must not be read as the end of this one.
    [ ! -e "$work/up.pid" ] || within 10 test -s "$work/up.rc"
    rm -f "$work"/up.{pid,rc,out}
    {
        # A shell's background job ignores Ctrl-C: give it back, as a terminal would.
        env --default-signal=INT "$ALLOD" up --api 127.0.0.1:0 --ingress "127.0.0.1:${ingress_port:-0}" ${up_args:-} \
            </dev/null >"$work/up.out" 2>>"$work/up.err" &
        echo $! >"$work/up.pid"
        rc=0
        wait $! || rc=$?
        echo $rc >"$work/up.rc"
    } &
    for waited in $(seq 600); do
        [ -z "$(api_url)" ] || break
        [ ! -e "$work/up.rc" ] || { echo "allod up ended:"; cat "$work/up.err"; return 1; }
        sleep 0.05
    done
    [ -n "$(api_url)" ] || { echo "no ready line after $waited tries:"; cat "$work/up.err"; return 1; }
    evidence "ready $(api_url) after $((($(date +%s%N) - began) / 1000000)) ms"
}

up_pid() { cat "$work/up.pid"; }
api_url() { sed -n 's/^ready \(http[^ ]*\)$/\1/p' "$work/up.out" 2>/dev/null; }
is_gone() { ! kill -0 "$1" 2>/dev/null; }

# Everything on this host that bears the installation's id or lies under its home, one per line.
audit() {
    local mark=$1 pid
    # What is not there fails no pipe: silence is an answer.
    set +e +o pipefail
    ip netns list | grep -a "$mark" | sed 's/^/netns /'
    ip -o link | grep -a "$mark" | sed 's/^/link /'
    grep -aE "$mark|$work/home" /proc/mounts | sed 's/^/mount /'
    find /sys/fs/cgroup -type d -name "*$mark*" | sed 's/^/cgroup /'
    nft list tables 2>/dev/null | grep -a "$mark" | sed 's/^/nft /'
    { iptables-save 2>/dev/null || true; } | grep -a "$mark" | sed 's/^/iptables /'
    losetup -a 2>/dev/null | grep -a "$work/home" | sed 's/^/loop /'
    for pid in /proc/[0-9]*; do
        [ "$(readlink "$pid/exe" 2>/dev/null)" = "$(realpath "$ALLOD")" ] || continue
        tr '\0' '\n' 2>/dev/null <"$pid/environ" | grep -qxF "ALLOD_HOME=$ALLOD_HOME" || continue
        echo "process ${pid#/proc/} $(tr '\0' ' ' <"$pid/cmdline")"
    done
    set -e -o pipefail
    return 0
}

# Names that any installation leaves; compared before and after, to catch what forgot its id.
host_names() {
    ip netns list
    ip -o link | cut -d: -f2 | sed 's/@.*//'
    nft list tables 2>/dev/null
    find /sys/fs/cgroup -maxdepth 3 -type d -name '*allod*'
    cut -d' ' -f2 /proc/mounts
}

finish() {
    local rc=$?
    trap - EXIT
    if [ -e "$work/up.pid" ] && ! is_gone "$(up_pid)"; then
        timeout 60 "$ALLOD" down --yes </dev/null >/dev/null 2>&1 || true
        kill "$(up_pid)" 2>/dev/null || true
        within 20 is_gone "$(up_pid)" || kill -9 "$(up_pid)" 2>/dev/null || true
    fi
    [ ! -e "$work/listener.pid" ] || kill "$(cat "$work/listener.pid")" 2>/dev/null || true
    for dir in "$work"/registry*; do
        [ ! -d "$dir" ] || "$here/../images/registry.sh" stop "$dir" || true
    done
    if [ $rc != 0 ] || [ $failures != 0 ] || [ -n "${E2E_KEEP:-}" ]; then
        [ -s "$work/up.err" ] && { echo "-- the end of allod up's log:"; tail -n 30 "$work/up.err"; }
        echo "$(basename "$0"): $failures of $steps steps failed; kept $work"
        exit 1
    fi
    rm -rf "$work"
    echo "$(basename "$0"): $steps steps ok"
}
trap finish EXIT
