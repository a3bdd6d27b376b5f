#!/bin/bash
# The first path, as a newcomer walks it: from nothing to a verified bill, on a cloud of one.
#
#   ALLOD=target/debug/allod tests/e2e/first_path.sh      E2E_KEEP=1 keeps its folder
#   E2E_SHARED=1 on a machine where others make namespaces: then only our own id is audited
#
# Every step prints ok or FAIL with its evidence; all run, whatever failed before, but the first.
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

compose=$repo/examples/guestbook/compose.yaml
GUESTBOOK_PORT=$(free_port)
export GUESTBOOK_PORT
REGISTRY=$("$here/../images/registry.sh" start "$work/registry")
export REGISTRY
host_names | sort >"$work/before"

# ---- the ways in: the ingress by name, the plain port, the published port

# ingress HOST PATH [CURL ARGUMENTS]
ingress() {
    local host=$1 path=$2
    shift 2
    curl -sS --max-time 10 -H "Host: $host" "$@" "http://$(cat "$work/ingress")$path"
}
guestbook() { ingress web.guestbook.localhost "$@"; }
published() { curl -sS --max-time 10 "http://127.0.0.1:$GUESTBOOK_PORT$1"; }
answers() { grep -qF -- "$1" <<<"$("${@:2}" 2>&1)"; }
sign() { [ "$(guestbook /entries -o /dev/null -w '%{http_code}' -d "name=$1&text=$2")" = 303 ]; }
has_entry() { says "^$1: $2\$" guestbook /entries; }

# ---- single images

run_image() {
    allod run "$REGISTRY/nginx:alpine" --port 80 --yes | tee "$work/run.out"
    local plain named
    plain=$(grep -oE 'http://127\.0\.0\.1:[0-9]+' "$work/run.out" | head -1)
    named=$(grep -oE 'http://[a-z0-9.-]*\.localhost:[0-9]+' "$work/run.out" | head -1)
    if [ -z "$plain" ] || [ -z "$named" ]; then
        echo "no two URLs in what it printed"
        return 1
    fi
    echo "127.0.0.1:${named##*:}" >"$work/ingress"
    says 'Welcome to nginx' curl -sS "$plain"
    says 'Welcome to nginx' ingress "$(cut -d/ -f3 <<<"$named" | cut -d: -f1)" /
}

run_archive() {
    allod run --name "$1" --image-file "$images/$2" --port 80 --yes | tee "$work/archive.out"
    says 'Welcome to nginx' curl -sS \
        "$(grep -oE 'http://127\.0\.0\.1:[0-9]+' "$work/archive.out" | head -1)"
    allod delete "$1" --yes
}

run_behind_login() {
    local address
    address=$("$here/../images/registry.sh" start "$work/registry-login" 0 alice:secret)
    fails_with '1|4' allod run "$address/nginx:alpine" --name locked --port 80 --timeout 20 --yes
    allod delete locked --yes || true
    "$ALLOD" registry login "$address" --username alice --password-stdin <<<secret
    allod run "$address/nginx:alpine" --name unlocked --port 80 --yes
    allod delete unlocked --yes
}

# ---- the guestbook

deploy() { GUESTBOOK_VERSION=$1 allod deploy "$compose" --yes; }
version_is() { answers "ok, version $1" guestbook /healthz; }

deploy_and_answer() {
    deploy "$1"
    within 30 version_is "$1"
    evidence "$(guestbook /healthz)"
}

followed() {
    guestbook '/healthz?mark=followed' >/dev/null
    grep -q 'mark=followed' "$work/followed"
}
follow_logs() {
    local rc=0
    timeout 15 "$ALLOD" logs -f web </dev/null >"$work/followed" 2>&1 &
    local follower=$!
    within 10 followed || rc=$?
    kill "$follower" 2>/dev/null || true
    wait "$follower" || true
    evidence "$(grep -m1 'mark=followed' "$work/followed")"
    return $rc
}

exec_inside() {
    says '^1000$' allod exec web -- id -u
    says '0 +[1-9][0-9]+ ' allod exec web -- cat /proc/self/uid_map
    fails_with 7 allod exec web -- sh -c 'exit 7'
    [ "$(echo 'echo from-stdin' | "$ALLOD" exec web -- sh)" = from-stdin ]
}

# A replica reaches its siblings by name, and nothing of the host: neither by the host's own address
# nor by the gateway. The listener is proved to answer the host, or silence would prove nothing.
stays_inside() {
    local address port gateway
    address=$(ip -4 -o addr show scope global | awk '{ sub("/.*", "", $4); print $4; exit }')
    port=$(free_port)
    (cd "$images/oci" && exec python3 -m http.server "$port" --bind 0.0.0.0 >/dev/null 2>&1) &
    echo $! >"$work/listener.pid"
    within 10 curl -sS -o /dev/null "http://$address:$port/"
    reaches() {
        allod exec web -- python3 -c \
            'import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)' "$@"
    }
    reaches redis 6379
    evidence "redis:6379 reached from web"
    gateway=$(allod exec web -- sh -c "ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'")
    fails_with 1 reaches "$address" "$port"
    fails_with 1 reaches "$gateway" "$port"
    kill "$(cat "$work/listener.pid")"
}

hosts_seen() {
    seq 20 | while read -r _; do guestbook / | grep -oE 'served by [^,]+'; done | sort -u
}
seen_exactly() { [ "$(hosts_seen | wc -l)" = "$1" ]; }

scale_up_and_down() {
    allod scale web 3
    within 40 seen_exactly 3
    evidence "$(hosts_seen | tr '\n' ' ')"
    allod scale web 1
    within 40 seen_exactly 1
}

# Asks all the time while the version changes; counts the requests that did not get a 200.
update_and_roll_back() {
    (
        while [ ! -e "$work/stop" ]; do
            guestbook /healthz -o /dev/null -w '%{http_code}\n' || echo none
        done
    ) >"$work/codes" 2>/dev/null &
    local asker=$!
    deploy_and_answer 2
    allod rollback web
    within 40 version_is 1
    touch "$work/stop"
    wait "$asker" || true
    evidence "$(grep -c 200 "$work/codes") requests answered meanwhile, lost: $(grep -vc 200 "$work/codes" || true)"
}

restart_keeps() {
    allod restart redis
    within 30 answers "ann: $1" guestbook /entries
}

delete_keeps_the_volume() {
    allod delete guestbook --yes >"$work/deleted" 2>&1
    cat "$work/deleted"
    grep -q 'data' "$work/deleted" || { echo "it does not name the volume it kept"; return 1; }
    deploy_and_answer 1
    within 30 has_entry ann hello
}

# ---- money

bill_adds_up() {
    says 'web' allod bill
    is_json allod bill
    says '.' allod bill verify
}

credits() {
    says '[0-9]' allod credits balance
    is_json allod credits balance
    says '.' allod credits history
}

# ---- what goes wrong, and what it is called

# fails_and_says CODES PATTERN COMMAND...
fails_and_says() {
    local codes=$1 pattern=$2
    shift 2
    fails_with "$codes" "$@"
    grep -qiE -- "$pattern" "$work/said" || { echo "no /$pattern/ in:"; cat "$work/said"; return 1; }
}
run_nginx() { allod run "$REGISTRY/nginx:alpine" --name refused --port "$1" --yes "${@:2}"; }

bad_image() {
    fails_and_says '1|3' 'not found|does not exist|no such|unknown|has no image' \
        allod run "$REGISTRY/nosuch:1" --name refused --port 80 --timeout 30 --yes
    allod delete refused --yes || true
}
bad_port() {
    fails_and_says '1|8' 'port 81|:81' run_nginx 81 --timeout 20
    allod delete refused --yes || true
}
bad_memory() { fails_and_says 7 memory run_nginx 80 --memory 900g; }
bad_compose() {
    printf 'services:\n  web:\n    image: nginx\n    privileged: true\n' >"$work/bad.yaml"
    fails_and_says '2|5' privileged allod deploy "$work/bad.yaml" --yes
    grep -qE 'bad\.yaml:4|:4:' "$work/said" || { echo "not its line:"; cat "$work/said"; return 1; }
}

# ---- the process tree: the agent may die, the workloads may not

container_start() { allod exec redis -- cat /proc/1/stat | cut -d' ' -f22; }
listener_of_api() {
    ss -Hltnp "sport = :$(api_url | grep -oE '[0-9]+$')" | grep -oE 'pid=[0-9]+' | head -1 | cut -d= -f2
}

network_process_dies() {
    local pid started
    pid=$(listener_of_api)
    started=$(container_start)
    [ "$pid" != "$(up_pid)" ] || { echo "the process with the API is the root process"; return 1; }
    evidence "pid $pid, user $(stat -c %U "/proc/$pid")"
    [ "$(stat -c %u "/proc/$pid")" != 0 ] || { echo "it runs as root"; return 1; }
    kill -9 "$pid"
    within 20 version_is 1
    within 20 answers "$started" container_start
    [ "$(listener_of_api)" != "$pid" ]
    has_entry ann hello
}

stop_leaves_workloads() {
    local started
    started=$(container_start)
    ingress_port=$(cut -d: -f2 "$work/ingress")
    kill -INT "$(up_pid)"
    within 20 is_gone "$(up_pid)"
    grep -qi 'running' "$work/up.err" "$work/up.out" || { echo "it does not say that they go on"; return 1; }
    audit "$id" >"$work/audited"
    grep -q '^cgroup ' "$work/audited" || { echo "no workload is left"; return 1; }
    start_allod
    within 20 version_is 1
    within 20 answers "$started" container_start
}

kill_the_root_process() {
    local started
    started=$(container_start)
    ingress_port=$(cut -d: -f2 "$work/ingress")
    kill -9 "$(up_pid)"
    within 20 is_gone "$(up_pid)"
    start_allod
    within 30 version_is 1
    within 20 answers "$started" container_start
}

down() {
    allod down --yes
    within 60 test -s "$work/up.rc"
    [ "$(cat "$work/up.rc")" = 0 ] || { echo "allod up ended with $(cat "$work/up.rc")"; return 1; }
}

nothing_of_ours_is_left() {
    local left
    left=$(audit "$id")
    [ -z "$left" ] || { echo "$left"; return 1; }
    [ -z "${E2E_SHARED:-}" ] || return 0
    host_names | sort >"$work/after"
    diff "$work/before" "$work/after"
}

the_audit_sees() {
    audit "$id" >"$work/audited"
    evidence "$(cut -d' ' -f1 "$work/audited" | sort | uniq -c | tr -s ' \n' ' ')"
    for kind in cgroup nft process; do grep -q "^$kind " "$work/audited"; done
}

# ---- the story

step "allod up" start_allod
[ $failures = 0 ] || exit 1
id=$(cat "$ALLOD_HOME/installation")

step "doctor finds nothing missing" allod doctor
step "run an image, reach it by name and by port" run_image
step "run from a docker-save archive" run_archive saved nginx.docker.tar
step "run from an OCI archive" run_archive oci nginx.oci.tar
step "run from a registry that wants a login" run_behind_login
step "plan names a price" says '[0-9]' allod plan "$compose"
step "plan as JSON" is_json allod plan "$compose"
step "deploy the guestbook" deploy_and_answer 1
step "sign the book" sign ann hello
step "the entry is in the book" has_entry ann hello
step "the published port answers" says 'version 1' published /healthz
step "status shows the app" says 'guestbook' allod status
step "status as JSON" is_json allod status
step "logs" says 'guestbook on :8000' allod logs web
step "logs -f" follow_logs
step "exec" exec_inside
step "a workload reaches its siblings and not the host" stays_inside
step "scale to 3 and back" scale_up_and_down
step "events" says 'web' allod events
step "deploy version 2, roll back" update_and_roll_back
step "the entry survives a restart of redis" restart_keeps hello
step "the entry survives delete and deploy" delete_keeps_the_volume
step "bill, and bill verify" bill_adds_up
step "credits" credits
step "refused: an image that is not there" bad_image
step "refused: a port that nobody listens on" bad_port
step "refused: more memory than there is" bad_memory
step "refused: privileged, with its line" bad_compose
step "refused: an app that is not there" fails_with 3 allod logs nosuch
step "refused: no arguments" fails_with 2 allod run
step "unreachable: another home" fails_with 9 env ALLOD_HOME="$work/other" "$ALLOD" status
step "the audit sees what runs" the_audit_sees
step "kill -9 of the network process" network_process_dies
step "Ctrl-C leaves workloads running; up adopts them" stop_leaves_workloads
step "kill -9 of the root process; up adopts them" kill_the_root_process
step "the entry is still in the book" has_entry ann hello
step "allod down" down
step "nothing of ours is left on the host" nothing_of_ours_is_left
