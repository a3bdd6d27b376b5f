#!/bin/bash
# A real registry (Debian's docker-registry) on loopback, over plain HTTP.
#
#   registry.sh start DIR [PORT] [USER:PASSWORD]   prints 127.0.0.1:PORT; PORT 0 (default) picks one
#   registry.sh stop DIR
#
# DIR holds its copy of the built images (tests may push to it or damage it), its log and its pid.
# With USER:PASSWORD it demands a login. Starting twice prints the address of the running one.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib.sh
. "$here/../lib.sh"
images=${ALLOD_IMAGES:-$ALLOD_FIXTURES/images}
program=$ALLOD_FIXTURES/tools/usr/bin/docker-registry

is_ours() {
    [ -f "$dir/pid" ] && [ "$(readlink "/proc/$(cat "$dir/pid")/exe" 2>/dev/null)" = "$(realpath "$program")" ]
}

start() {
    local port=${1:-0} login=${2:-} address=''
    [ -x "$program" ] || die "no docker-registry. Next: tests/setup.sh"
    mkdir -p "$dir"
    if is_ours; then cat "$dir/address"; return; fi
    if [ ! -d "$dir/storage" ]; then
        if [ -d "$images/registry" ]; then
            cp -a --reflink=auto "$images/registry" "$dir/storage"
        else
            mkdir "$dir/storage"
        fi
    fi
    {
        echo "version: 0.1"
        echo "log: {level: info, formatter: text, accesslog: {disabled: true}}"
        echo "storage: {filesystem: {rootdirectory: $dir/storage}, delete: {enabled: true}}"
        echo "http: {addr: '127.0.0.1:$port'}"
        [ -z "$login" ] || echo "auth: {htpasswd: {realm: allod-tests, path: $dir/htpasswd}}"
    } >"$dir/config.yml"
    if [ -n "$login" ]; then
        # shellcheck disable=SC2016
        PASSWORD=${login#*:} perl -e \
            'print "$ARGV[0]:", crypt($ENV{PASSWORD}, q($2b$05$abcdefghijklmnopqrstuu)), "\n"' \
            "${login%%:*}" >"$dir/htpasswd"
    fi
    # setsid and closed descriptors: the caller's `$(...)` must not wait for the registry.
    OTEL_TRACES_EXPORTER=none setsid "$program" serve "$dir/config.yml" \
        </dev/null >"$dir/log" 2>&1 9>&- &
    echo $! >"$dir/pid"
    for _ in $(seq 600); do
        address=$(grep -o 'listening on 127.0.0.1:[0-9]*' "$dir/log" | head -1 | cut -d' ' -f3) || true
        [ -z "$address" ] || break
        kill -0 "$(cat "$dir/pid")" 2>/dev/null || break
        sleep 0.05
    done
    [ -n "$address" ] || { cat "$dir/log" >&2; die "the registry did not start"; }
    echo "$address" | tee "$dir/address"
}

stop() {
    local pid waited
    is_ours || return 0
    pid=$(cat "$dir/pid")
    kill "$pid"
    for waited in $(seq 100); do
        is_ours || { rm -f "$dir/pid"; return 0; }
        sleep 0.05
    done
    kill -9 "$pid"
    rm -f "$dir/pid"
}

verb=${1:-} dir=${2:-}
[ -n "$dir" ] || die "usage: registry.sh start DIR [PORT] [USER:PASSWORD] | stop DIR"
case $verb in
start) dir=$(realpath -m "$dir") && shift 2 && start "$@" ;;
stop) dir=$(realpath -m "$dir") && stop ;;
*) die "unknown verb $verb" ;;
esac
