#!/bin/bash
# Somebody leaves: takes an export along, founds another network with the same identity, and goes on there with the same
# apps. The export is checked where no network is, and none that was changed passes.
#
#   ALLOD=target/debug/allod tests/e2e/leaving.sh      E2E_KEEP=1 keeps its folder
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

REGISTRY=$("$here/../images/registry.sh" start "$work/registry")
export REGISTRY
file=$work/mine.allod
port=$(free_port)
served=(sh -c "httpd -p 9 -h /srv; ${obedient[2]}")
elsewhere() { ALLOD_HOME=$work/elsewhere "$ALLOD" "$@" </dev/null; }
end_elsewhere() {
    local rc=$?
    [ ! -e "$work/elsewhere.pid" ] || is_gone "$(cat "$work/elsewhere.pid")" || elsewhere down --yes || true
    (exit $rc)
    finish
}
trap end_elsewhere EXIT

field() { python3 -c 'import json, sys; print(eval(sys.argv[1], {"it": json.load(sys.stdin)}))' "$1"; }
runs_apps() {
    allod run "$REGISTRY/nginx:alpine" --name web --port 80 --env GREETING=swordfish --yes >"$work/said"
    allod scale web 2 --yes >/dev/null
    allod run "$REGISTRY/busybox:1" --name diary --volume data:/data --port "$port:9" --yes -- "${served[@]}" >/dev/null
    # What a tar has to say of files: an owner, a mode, a second name, a link, and a hole.
    allod exec diary -- sh -c 'cd /data && echo "dear diary" >page && chown 7:8 page && chmod 640 page &&
        ln page again && ln -s page link && truncate -s 67108864 hole && echo end >>hole'
    within 60 is_billed
}
is_billed() { allod bill verify 2>/dev/null | grep -q 'evidence item'; }
exported() {
    says 'while replicas went on with diary/data' allod export "$work/busy.allod"
    # Nothing writes to what nobody runs, and the copy is of one moment.
    allod scale diary 0 --yes >/dev/null
    within 20 is_still
    says 'while nothing used them' allod export "$file"
    grep -q 'the export is right' "$work/said"
    [ "$(stat -c %a "$file" "$file.volumes" "$file.volumes/diary.data.tar.gz" | tr '\n' ' ')" = '600 700 600 ' ]
    tar -tvzf "$file.volumes/diary.data.tar.gz" >"$work/listed"
    grep -q '^-rw-r----- 7/8 .* ./page$' "$work/listed"
    ! grep -q swordfish "$file"
    evidence "$(stat -c %s "$file") bytes, and $(stat -c %s "$file.volumes/diary.data.tar.gz") of data"
    allod scale diary 1 --yes >/dev/null
    fails_with 1 allod export "$file"
    grep -q 'is not written over' "$work/said"
    says 'no data of volumes' allod export --no-volumes "$work/bare.allod"
    [ ! -e "$work/bare.allod.volumes" ]
    allod export - >"$work/piped.allod"
    grep -q '"signature"' "$work/piped.allod"
}
is_still() { [ "$(allod status -o json | field "[r['lease'] for a in it if a['name'] == 'diary' for s in a['services'] for r in s['replicas'] if r['lease']]")" = '[]' ]; }
# Without a home, and so without any network or identity.
is_checked_anywhere() {
    ALLOD_HOME=$work/nobody says 'the export is right' allod import --check "$file"
    grep -q 'the bill of' "$work/said"
    grep -q 'the data of diary/data' "$work/said"
    grep 'no row was left out' "$work/said" | grep -q 'all [0-9]* row(s): .* 1 volume(s)'
    evidence "$(grep -o 'all [0-9]* row(s).*' "$work/said")"
    # A row.
    python3 -c 'import json, sys
body, signed = open(sys.argv[1]).read().splitlines()
it = json.loads(body)
mine = it["belongings"]
mine["rows"] = [row for row in mine["rows"] if not row["key"].startswith("09")]
print(json.dumps(it), signed, sep="\n")' "$file" >"$work/short.allod"
    ALLOD_HOME=$work/nobody fails_with 1 allod import --check "$work/short.allod"
    grep -q '1 row(s) were left out: 1 volume(s)' "$work/said"
    # One byte of the data.
    cp -a "$file" "$work/torn.allod"
    cp -a "$file.volumes" "$work/torn.allod.volumes"
    printf x | dd of="$work/torn.allod.volumes/diary.data.tar.gz" bs=1 seek=40 conv=notrunc status=none
    ALLOD_HOME=$work/nobody fails_with 1 allod import --check "$work/torn.allod"
    grep -q 'it was changed' "$work/said"
    sed '1s/"manifests":\[/"manifests": [/' "$file" >"$work/bent.allod"
    ! cmp -s "$file" "$work/bent.allod"
    ALLOD_HOME=$work/nobody fails_with 1 allod import --check "$work/bent.allod"
    grep -q 'it was changed' "$work/said"
    echo '{}' >"$work/none.allod"
    ALLOD_HOME=$work/nobody fails_with 2 allod import --check "$work/none.allod"
}
leaves() {
    allod identity export --phrase-file "$work/phrase" >/dev/null
    allod delete --everything --yes >/dev/null
    allod down --yes
    within 60 test -s "$work/up.rc"
    [ -z "$(audit "$id")" ]
}
founds_anew() {
    elsewhere identity import --phrase-file "$work/phrase" --unchecked >/dev/null
    ALLOD_HOME=$work/elsewhere "$ALLOD" up --api 127.0.0.1:0 --ingress 127.0.0.1:0 \
        </dev/null >"$work/elsewhere.out" 2>"$work/elsewhere.err" &
    echo $! >"$work/elsewhere.pid"
    within 30 grep -q '^ready ' "$work/elsewhere.out"
    evidence "$(elsewhere network status -o json | field 'it["network"]')"
    [ "$(elsewhere network status -o json | field 'it["network"]')" != "$(cat "$work/network")" ]
}
serves() {
    curl -s -m 5 -H 'Host: web.localhost' "http://$(elsewhere network status -o json | field 'it["ingress"]')/" |
        grep -q 'Welcome to nginx'
}
# Somebody else has the app's port, so that it cannot begin; its data wait for it.
waits_for_its_port() {
    python3 -c 'import signal, socket, sys
held = socket.create_server(("", int(sys.argv[1])))
print("held", flush=True)
signal.pause()' "$port" >"$work/held" &
    local holder=$!
    within 10 grep -q held "$work/held"
    fails_with 1 elsewhere import "$file" --app diary --yes
    kill "$holder"
    wait "$holder" || true
    grep -q 'stays on this machine until it is imported again' "$work/said"
    [ "$(elsewhere status -o json)" = '[]' ]
}
keeps_its_data() {
    ! elsewhere import "$file" --app diary --yes >"$work/said" 2>&1 && grep -q 'it has data already' "$work/said"
}
goes_on() {
    # Damaged data begin nothing, and without them nothing begins empty unless one says so.
    fails_with 1 elsewhere import "$work/torn.allod" --yes
    grep -q 'it was changed' "$work/said"
    [ "$(elsewhere status -o json)" = '[]' ]
    fails_with 1 elsewhere import "$work/bare.allod" --app diary --yes
    grep -q 'say --empty-volumes' "$work/said"
    waits_for_its_port
    says 'deployed diary' elsewhere import "$file" --yes
    within 10 serves
    [ "$(elsewhere status -o json | field 'sorted((a["name"], s["wanted"], s["ready"]) for a in it for s in a["services"])')" = "[('diary', 0, 0), ('web', 2, 2)]" ]
    says swordfish elsewhere exec web -- env
    # As it was scaled to 0 when the export was made.
    elsewhere scale diary 1 --yes >/dev/null
    says 'dear diary' elsewhere exec diary -- cat /data/link
    says '^7 8 640 2$' elsewhere exec diary -- stat -c '%u %g %a %h' /data/again
    says '^67108868 ' elsewhere exec diary -- sh -c 'echo "$(stat -c %s /data/hole) in $(stat -c %b /data/hole) blocks"'
    fails_with 1 elsewhere import "$file" --app web --yes
    grep -q 'it is there already' "$work/said"
    # Over data that an app has nothing is put.
    elsewhere delete diary --yes >/dev/null
    within 20 keeps_its_data
    elsewhere volume list >"$work/said"
    grep -q diary "$work/said"
    fails_with 3 elsewhere import "$file" --app nobody --yes
}
# A stranger holds the file, and reads nothing of it.
opens_for_nobody_else() {
    ALLOD_HOME=$work/stranger allod identity init --phrase-file "$work/strangers-phrase" >/dev/null 2>&1
    fails_with '2|4' env ALLOD_HOME="$work/stranger" "$ALLOD" --api "$(sed -n 's/^ready \(http[^ ]*\)$/\1/p' "$work/elsewhere.out")" import "$file" --yes
}
leaves_nothing() {
    elsewhere delete --everything --yes >/dev/null
    elsewhere down --yes
    within 60 is_gone "$(cat "$work/elsewhere.pid")"
    local left
    left=$(ALLOD_HOME=$work/elsewhere audit "$(cat "$work/elsewhere/installation")")
    [ -z "$left" ] || { echo "$left"; return 1; }
}

step 'allod up' start_allod
[ $failures = 0 ] || exit 1
id=$(cat "$ALLOD_HOME/installation")
allod network status -o json | field 'it["network"]' >"$work/network"
step 'two apps, one with a volume, and a bill' runs_apps
step 'all of it is written to one file' exported
step 'anybody checks it, and no other passes' is_checked_anywhere
step 'its owner leaves, and nothing stays' leaves
step 'and founds another network elsewhere' founds_anew
step 'the apps go on there' goes_on
step 'for nobody else' opens_for_nobody_else
step 'allod down leaves nothing' leaves_nothing
