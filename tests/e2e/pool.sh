#!/bin/bash
# Five machines of five owners, three of them behind routers that let nobody in: what one owner deploys runs on the
# others' machines, is reached through machines that do not run it, is read by nobody else, is paid for, and moves on
# when its machine is drained.
#
#   ALLOD=target/debug/allod tests/e2e/pool.sh      E2E_KEEP=1 keeps its folder
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

all=(a b c d e)
# shellcheck source=tests/e2e/machines.bash
. "$(dirname "$0")/machines.bash"

compose=$repo/examples/guestbook/compose.yaml

lay_cables() {
    local machine
    lay_hub
    plug a 1
    plug b 2
    plug_behind c 3
    plug_behind d 4
    plug_behind e 5
    for machine in "${all[@]}"; do lay_trap "$machine"; done
    serve_images
    evidence "$block.1 to $block.5; c, d and e behind routers"
}

found() { input= begin a up --relay "$block.1:7443"; }
# offer MACHINE FLAGS...: what it has is open to all.
offer() {
    local machine=$1
    shift
    at "$machine" node offer --cpus 2 --memory 2g --disk 20g "$@" >"$work/said"
    evidence "$(cat "$work/said")"
}
on() { echo "operator=$(account_of "$1")"; }
runs_on() { [ "$(at a status -o json | field "[r['node'] for a in it if a['name'] == '$1' for s in a['services'] for r in s['replicas'] if r['lease']][0]")" = "$(node_of "$2")" ]; }
# through MACHINE HOST [PATH] [CURL...]: a request at that machine's ingress.
through() {
    local machine=$1 host=$2 path=${3:-/} door
    shift 2
    [ $# = 0 ] || shift
    door=$(at "$machine" network status -o json | field 'it["ingress"]')
    in_net "$machine" curl -sS -m 10 -H "Host: $host" "http://$door$path" "$@"
}
answers_through() { [ "$(through "$1" "$2" / -o /dev/null -w '%{http_code}' 2>/dev/null)" = 200 ]; }
# runner_of APP: the machine that its first replica is on.
runner_of() {
    local machine
    for machine in "${all[@]}"; do ! runs_on "$1" "$machine" || { echo "$machine"; return; }; done
    return 1
}
run_on_another() {
    local began
    began=$(date +%s%N)
    at a run "$REGISTRY/nginx:alpine" --name web --port 80 --on "operator!=$(account_of a),price<1" --yes >"$work/said"
    evidence "ready on $(runner_of web) after $((($(date +%s%N) - began) / 1000000)) ms"
    [ "$(runner_of web)" != a ]
    through a web.localhost | grep -q 'Welcome to nginx'
}
# The workload is on one machine, and nothing of it on the others.
is_there_alone() {
    local machine
    for machine in "${all[@]}"; do
        echo "$machine $(find "$work/$machine/root/workloads" -mindepth 1 -maxdepth 1 | wc -l)"
    done >"$work/said"
    grep -qx "$(runner_of web) 1" "$work/said"
    [ "$(awk '{ sum += $2 } END { print sum }' "$work/said")" = 1 ]
}
both_behind_routers() {
    local door=c
    at a run "$REGISTRY/nginx:alpine" --name far --port 80 --on region=de --yes >"$work/said"
    [ "$(runner_of far)" != c ] || door=d
    within 20 answers_through a far.localhost
    # The other one could take over: it reads the manifest, and its door leads there, too.
    within 20 answers_through $door far.localhost
    evidence "$(runner_of far) runs it; from $door: $(way $door "$(node_of "$(runner_of far)")")"
}
# Dear, and so nobody's standby.
reads_nothing() {
    [ -z "$(ls "$work/e/node/manifests")" ]
    [ -n "$(ls "$work/c/node/manifests")" ]
    [ -n "$(ls "$work/d/node/manifests")" ]
    [ "$(through e far.localhost / -o /dev/null -w '%{http_code}')" = 404 ]
    evidence "e holds no manifest; the door of e says 404"
}
guestbook() { through a web.guestbook.localhost "$@"; }
services_together() {
    REGISTRY=$REGISTRY at a deploy "$compose" --on "$(on b)" --yes >"$work/said"
    [ "$(guestbook /entries -o /dev/null -w '%{http_code}' -d 'name=ann&text=hello')" = 303 ]
    guestbook /entries | grep -q '^ann: hello$'
    evidence "$(guestbook /entries | head -1)"
}
# Data are fetched from the machine that has them.
takes_data_along() {
    at a exec guestbook/redis -- redis-cli save >/dev/null
    at a export "$work/a.allod" >"$work/said"
    tar -tzf "$work/a.allod.volumes/guestbook.data.tar.gz" >"$work/listed"
    grep -q 'dump.rdb' "$work/listed"
    tar -xOzf "$work/a.allod.volumes/guestbook.data.tar.gz" --wildcards '*dump.rdb' | grep -qa hello
    evidence "$(stat -c %s "$work/a.allod.volumes/guestbook.data.tar.gz") bytes of data from b"
    says 'the data of guestbook/data' at a import --check "$work/a.allod"
}
# What only the machine that runs it can answer is asked of it, by whichever machine is asked.
reached_where_it_is() {
    says 'GET / HTTP' at a logs web/web -n 20
    says 'nginx: master' at a exec web/web -- cat /proc/1/cmdline
    # What ends at once has nothing lost of it.
    for _ in 1 2 3 4 5 6 7 8; do [ "$(at a exec web/web -- echo last words)" = 'last words' ]; done
    fails_with 7 at a exec web/web -- sh -c 'exit 7'
    [ "$(echo 'echo from-stdin' | in_net a env ALLOD_HOME="$work/a" "$ALLOD" exec web/web -- sh)" = from-stdin ]
    fails_with '[1-9]' at b logs web
    grep -q 'no app' "$work/said"
}
follows_from_afar() {
    in_net a env ALLOD_HOME="$work/a" "$ALLOD" logs web/web -n 1 -f </dev/null >"$work/followed" 2>&1 &
    echo $! >"$work/following"
    within 10 is_followed
    kill "$(cat "$work/following")"
}
is_followed() {
    through a web.localhost / -o /dev/null -A from-afar
    grep -q from-afar "$work/followed"
}
# An image that was handed to one machine runs there or not at all, and that is said before anything is charged.
handed_over() {
    fails_with 7 at a run --image-file "$images/nginx.docker.tar" --name handed --port 80 --on region=fr --yes
    grep -q 'not sealed for it' "$work/said"
    at a run --image-file "$images/nginx.docker.tar" --name handed --port 80 --yes >"$work/said"
    runs_on handed a
}
# What was planned is deployed, or nothing.
planned() {
    local plan target
    printf 'name: pinned\nservices:\n  pin:\n    image: %s/nginx:alpine\n' "$REGISTRY" >"$work/pinned.yaml"
    at a plan "$work/pinned.yaml" -o json >"$work/said"
    plan=$(field 'it["id"]' <"$work/said")
    target=$(field 'it["placements"][0]["node"]' <"$work/said")
    for machine in "${all[@]}"; do [ "$(node_of "$machine")" != "$target" ] || break; done
    at "$machine" node cordon "$target" >/dev/null
    fails_with 1 at a deploy "$work/pinned.yaml" --plan "$plan" --yes
    grep -q 'something else than its plan' "$work/said"
    at "$machine" node uncordon "$target" >/dev/null
    at a deploy "$work/pinned.yaml" --plan "$plan" --yes >"$work/said"
    runs_on pinned "$machine"
}
refused_on_nobody() {
    fails_with 7 at a run "$REGISTRY/nginx:alpine" --name nowhere --port 80 --on region=mars --yes
    grep -q 'is in region' "$work/said"
}
earns() { python3 -c 'import sys; sys.exit(not float(sys.argv[1]) > 0)' "$(balance_of "$1")"; }
is_paid_for() {
    local web far
    web=$(runner_of web) far=$(runner_of far)
    within 90 earns "$web"
    within 90 earns "$far"
    evidence "$web has $(balance_of "$web"), $far has $(balance_of "$far")"
    at a bill verify >"$work/said"
    evidence "$(tail -n 1 "$work/said")"
}
# ask PATH HOST RATE: so many requests a second, until told to stop.
ask() {
    local door
    door=$(at a network status -o json | field 'it["ingress"]')
    in_net a python3 "$repo/tests/e2e/asker.py" "http://$door$1" "$work/asked" "$work/stop" "$2" "$3" &
    echo $! >"$work/asker.pid"
}
asked() { [ "$(wc -l <"$work/asked")" -ge "$1" ]; }
seconds_asked() { awk 'NR == 1 { first = $1 } $1 > last { last = $1 } END { printf "%d\n", last - first }' "$work/asked"; }
# Two hundred requests a second for a minute. What has a volume stays where its data are; the rest moves, and nobody who
# asks notices.
drained() {
    local before
    before=$(runner_of web)
    ask / web.localhost 200
    within 20 asked 1000
    at "$before" node drain "$(node_of "$before")" --timeout 20s >"$work/drain.said" 2>&1 || true
    evidence "$(tail -n 1 "$work/drain.said")"
    within 300 asked 12000
    touch "$work/stop"
    within 120 is_gone "$(cat "$work/asker.pid")"
    evidence "web went from $before to $(runner_of web)"
    evidence "$(wc -l <"$work/asked") requests in $(seconds_asked) s, $(grep -vc ' 200$' "$work/asked" || true) failed"
    [ "$(runner_of web)" != "$before" ]
    [ "$(grep -vc ' 200$' "$work/asked")" = 0 ]
}
# What answers finds the service beside it on its own machine, on whichever it runs; that one takes its time to start.
pair_of_services() {
    cat >"$work/pair.yaml" <<'YAML'
name: pair
services:
  front:
    image: ${REGISTRY}/busybox:1
    depends_on: [back]
    command:
      - sh
      - -c
      - |
        mkdir -p /srv/cgi-bin
        cat >/srv/cgi-bin/ask <<'CGI'
        #!/bin/sh
        back=$$(nslookup back | sed -n '/^Name/,$$s/^Address[ 0-9]*: *\([0-9.]*\).*/\1/p' | head -n 1)
        if timeout 20 wget -q -O /dev/null "http://$$back:8080/"; then status='200 OK'; else status='502 Bad Gateway'; fi
        printf 'Status: %s\r\nContent-Type: text/plain\r\n\r\n' "$$status"
        CGI
        chmod 755 /srv/cgi-bin/ask
        exec httpd -f -p 80 -h /srv
    x-allod: { ingress: [{ host: pair.localhost, port: 80 }] }
  back:
    image: ${REGISTRY}/busybox:1
    command: [sh, -c, "sleep 6; mkdir /www; echo here >/www/index.html; exec httpd -f -p 8080 -h /www"]
    expose: ["8080"]
YAML
}
has_left() {
    local left="[r for a in it if a['name'] == '$1' for s in a['services'] for r in s['replicas'] if r['node'] == '$2']"
    [ "$(at a status -o json | field "len($left)")" = 0 ]
}
pair_drained() {
    local before count
    pair_of_services
    REGISTRY=$REGISTRY at a deploy "$work/pair.yaml" --on "operator!=$(account_of a),price<1" --yes >"$work/said"
    before=$(runner_of pair)
    rm "$work/stop"
    ask /cgi-bin/ask pair.localhost 20
    within 20 asked 60
    at "$before" node drain "$(node_of "$before")" --timeout 60s >"$work/drain.said" 2>&1 || true
    within 60 has_left pair "$(node_of "$before")"
    count=$(wc -l <"$work/asked")
    within 20 asked "$((count + 60))"
    touch "$work/stop"
    within 30 is_gone "$(cat "$work/asker.pid")"
    evidence "pair went from $before to $(runner_of pair)"
    evidence "$(wc -l <"$work/asked") requests, $(grep -vc ' 200$' "$work/asked" || true) failed"
    [ "$(runner_of pair)" != "$before" ]
    [ "$(grep -vc ' 200$' "$work/asked")" = 0 ]
}
withdrawn() {
    at c node withdraw "$(node_of c)" >/dev/null
    fails_with 7 at a run "$REGISTRY/nginx:alpine" --name more --port 80 --on "$(on c)" --yes
    grep -q 'offers nothing' "$work/said"
}
# Whoever calls a service of somebody else's, such as a public resolver or relay, is in the trap; that it closes is seen at
# the end (192.0.2.1 is nobody's, RFC 5737).
speaks_with_members_alone() {
    local machine
    for machine in "${all[@]}"; do echo "$machine $(strangers_of "$machine")"; done >"$work/said"
    evidence "packets to public addresses: $(tr '\n' ' ' <"$work/said")"
    ! grep -qv ' 0$' "$work/said" || return 1
    for machine in "${all[@]}"; do
        in_net "$machine" python3 -c 'import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b"?", ("192.0.2.1", 53))'
        [ "$(strangers_of "$machine")" = 1 ]
    done
}
# All that somebody has goes at once: apps, also those on machines of others, their data, and keys that were given away.
deletes_everything() {
    # What was handed to one machine is sealed for that one still.
    [ "$(at a why handed -o json | field "len([v for v in it['verdicts'] if 'not sealed' in str(v)])")" = 4 ]
    at a keys add --out "$work/reader.key" --verbs read --ttl 1h >/dev/null
    at a delete --everything --yes >"$work/said"
    evidence "$(head -n 1 "$work/said" | cut -c1-160)"
    [ "$(at a status -o json | field 'len(it)')" = 0 ]
    within 30 has_no_volumes
    says 'nothing to delete' at a delete --everything --yes
    # Those of others, and their offers, stay.
    [ "$(at a node list -o json | field "len([n for n in it if n['prices'] and n['operator'] == '$(account_of b)'])")" = 1 ]
}
has_no_volumes() { [ "$(at a volume list -o json | field 'len([v for v in it if v["standing"] != "dropped"])')" = 0 ]; }
leaves_nothing() { all_down; }

step 'five machines on one cable' lay_cables
step 'the first founds its network' found
for machine in b c d e; do step "$machine joins by invite" join "$machine"; done
step 'b offers what it has' offer b --region fr --tag ssd
step 'c offers what it has' offer c --region de
step 'd offers what it has' offer d --region de
step 'e offers what it has, and it is dear' offer e --region us --cpu-price 9
step 'all know what the first knows' all_follow b c d e
step 'an app runs on the machine of another' run_on_another
step 'it is there and nowhere else' is_there_alone
step 'neither runner nor door has a public address' both_behind_routers
step 'whoever neither runs it nor stands by reads nothing' reads_nothing
step 'services that speak with one another are together' services_together
step 'data of a volume are taken along from another machine' takes_data_along
step 'logs and exec reach it where it is' reached_where_it_is
step 'what it writes is followed from afar' follows_from_afar
step 'an image that was handed over stays' handed_over
step 'a plan is deployed or nothing is' planned
step 'nobody offers that' refused_on_nobody
step 'who runs it is paid' is_paid_for
step 'a machine is drained while it is asked all the time' drained
step 'services that are together move without being missed' pair_drained
step 'a machine offers no more' withdrawn
step 'nobody speaks with anybody but members' speaks_with_members_alone
step 'all that one has is deleted at once' deletes_everything
step 'allod down leaves nothing' leaves_nothing
