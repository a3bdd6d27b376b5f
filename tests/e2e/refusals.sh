#!/bin/bash
# What goes wrong, as a person meets it: each refusal with its exit and its next step, before anything is charged; and
# what fails after all stays explained by `status`, `events` and `why`.
#
#   ALLOD=target/debug/allod tests/e2e/refusals.sh      E2E_KEEP=1 keeps its folder
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

REGISTRY=$("$here/../images/registry.sh" start "$work/registry")
python3 "$here/../images/liar.py" "$REGISTRY" >"$work/liar" 2>/dev/null &
echo $! >"$work/listener.pid"
within 60 test -s "$work/liar"
LIAR=$(cat "$work/liar")

# ---- what must stay as it was

# Balance, the owner's key with its nonce, and the bill: what is refused changes none of them. The node's own key reports
# all the time.
books() {
    "$ALLOD" account show </dev/null | grep -v '  report  '
    "$ALLOD" bill </dev/null
}
fetched() { find "$ALLOD_HOME" -path '*/images/*' -type f ! -name lock 2>/dev/null | sort; }

# refused EXIT PATTERN COMMAND...: it must end so and say so, with a next step, and leave no trace.
refused() {
    local codes=$1 pattern=$2 again
    shift 2
    for again in again ''; do
        books >"$work/books"
        fetched >"$work/fetched"
        fails_with "$codes" "$@"
        grep -qiE -- "$pattern" "$work/said" || { echo "no /$pattern/ in:"; cat "$work/said"; return 1; }
        grep -qE '^(help|next):' "$work/said" || { echo "no next step in:"; cat "$work/said"; return 1; }
        fetched | diff "$work/fetched" - || { echo "files are left"; return 1; }
        ! books | diff "$work/books" - || break
        # What runs says every half a minute what it used: not twice in a row just here.
        [ -n "$again" ] || { echo "the books changed"; return 1; }
    done
}
run_from() { allod run "$LIAR/$1/nginx:alpine" --name never --port 80 --yes; }

# Asked at once, since each waits in its own time.
hanging() {
    local rc=0
    run_from silent >"$work/hanging.said" 2>&1 || rc=$?
    echo $rc >"$work/hanging.rc"
}
gave_up() {
    within 30 test -s "$work/hanging.rc"
    evidence "exit $(cat "$work/hanging.rc"): $(head -n 1 "$work/hanging.said" | cut -c1-160)"
    [ "$(cat "$work/hanging.rc")" = 8 ]
    grep -q 'did not answer' "$work/hanging.said"
}

# ---- doors and names

port_taken() {
    local port
    port=$(cut -d: -f2 <<<"$REGISTRY")
    refused 1 "port .*:$port .*taken" \
        allod run "$REGISTRY/nginx:alpine" --name never --port "$port:80" --yes
}
name_taken() {
    allod run "$REGISTRY/busybox:1" --name first --yes -- sleep 1000
    refused 1 'an app `first` already' \
        allod run "$REGISTRY/nginx:alpine" --name first --port 80 --yes
    allod delete first --yes
}
host_taken() {
    printf 'name: one\nservices: { a: { image: "%s/busybox:1", command: sleep 1000, x-allod: { ingress: [{ host: shop.localhost, port: 80 }], ready: { exec: ["true"] } } } }\n' \
        "$REGISTRY" >"$work/one.yaml"
    sed 's/^name: one/name: two/' "$work/one.yaml" >"$work/two.yaml"
    allod deploy "$work/one.yaml" --yes
    refused 1 'shop.localhost leads to the app one' allod deploy "$work/two.yaml" --yes
    allod delete one --yes
}
broken_file() {
    printf 'services:\n  web:\n    image: nginx\n    ports: ["80:http"]\n' >"$work/broken.yaml"
    refused 2 'broken.yaml:4:13' allod deploy "$work/broken.yaml" --yes
    grep -q 'help: write it as 80' "$work/said"
}
huge_file() {
    head -c 10000000 /dev/zero | tr '\0' '#' >"$work/huge.yaml"
    refused 2 'too many|more than' allod deploy "$work/huge.yaml" --yes
}
budget() {
    "$ALLOD" keys add --out "$work/limited" --verbs deploy,read --budget 0.000001/day \
        </dev/null >/dev/null
    books | grep -v '^ed25519' >"$work/books"
    fails_with 5 "$ALLOD" --identity "$work/limited" \
        run "$REGISTRY/busybox:1" --name never --yes -- sleep 1000
    grep -q 'budget' "$work/said"
    books | grep -v '^ed25519' | diff "$work/books" -
}

# ---- what fails after it was placed

# told PATTERN APP: all three say it, and why names the node and its verdict.
told() {
    local pattern=$1 app=$2 verb
    for verb in status events why; do
        "$ALLOD" "$verb" "$app" </dev/null >"$work/told" 2>&1
        grep -qiE -- "$pattern" "$work/told" || { echo "$verb does not say /$pattern/:"; cat "$work/told"; return 1; }
    done
    grep -q 'where it may run' "$work/told" || { echo "no verdicts in:"; cat "$work/told"; return 1; }
    evidence "$(grep -iE -m1 -- "$pattern" "$work/told" | sed 's/  */ /g' | cut -c1-160)"
}
# What was never ready costs nothing.
no_charge() {
    "$ALLOD" bill </dev/null >"$work/bill"
    awk -v app="$1" '$1 == app && $6 != 0 { print; bad = 1 } END { exit bad }' "$work/bill"
}
lie() {
    fails_with 1 allod run "$LIAR/$1/nginx:alpine" --name "$1" --port 80 --yes --timeout 40
    told "$2" "$1"
    no_charge "$1"
    ! find "$ALLOD_HOME" -path '*/images/partial/*' -type f | grep . || { echo "a part is left"; return 1; }
    allod delete "$1" --yes
}
# Without a port or a check a service is ready once it runs; that it ends is found out afterwards.
exits() {
    allod run "$REGISTRY/busybox:1" --name exits --yes -- sh -c 'echo my last words; sleep 1; exit 3'
    within 20 told '(code|exit[a-z]*) 3' exits
    says 'my last words' allod why exits
    allod delete exits --yes
}
never_ready() {
    printf 'name: deaf\nservices: { web: { image: "%s/busybox:1", command: sleep 1000, x-allod: { ready: { tcp: 81, within: 2s } } } }\n' \
        "$REGISTRY" >"$work/deaf.yaml"
    fails_with '1|8' allod deploy "$work/deaf.yaml" --yes --timeout 5
    told 'ready|listen|81' deaf
    no_charge deaf
    allod delete deaf --yes
}
too_much_memory() {
    allod run "$REGISTRY/busybox:1" --name hungry --memory 16m --yes -- sh -c 'sleep 1; tail /dev/zero'
    within 20 told 'memory' hungry
    allod delete hungry --yes
}

# The network's history is not this machine's to begin again: the home is told of, and nothing is written.
ledger_is_gone() {
    allod down --yes
    within 60 test -s "$work/up.rc"
    mv "$ALLOD_HOME/node/ledger" "$work/ledger"
    env --default-signal=INT "$ALLOD" up --api 127.0.0.1:0 --ingress 127.0.0.1:0 </dev/null >"$work/up.out" 2>"$work/up.err" &
    echo $! >"$work/up.pid"
    within 20 grep -q 'node/ledger of this home is gone' "$work/up.err"
    [ ! -e "$ALLOD_HOME/node/ledger" ] || { echo 'a new one was begun'; return 1; }
    # Whoever asks meanwhile hears the same, at once.
    local began
    began=$(date +%s%N)
    fails_with 9 allod status
    grep -q 'tried .* node/ledger of this home is gone' "$work/said"
    grep -q '^help:' "$work/said"
    evidence "after $((($(date +%s%N) - began) / 1000000)) ms"
    [ $((($(date +%s%N) - began) / 1000000)) -lt 10000 ] || { echo 'that took too long'; return 1; }
    kill -INT "$(cat "$work/up.pid")"
    within 20 is_gone "$(cat "$work/up.pid")"
    # Restored, it goes on.
    mv "$work/ledger" "$ALLOD_HOME/node/ledger"
    start_allod
    allod network status
}

# ---- the story

step "allod up" start_allod
[ $failures = 0 ] || exit 1
books >"$work/books.first"
hanging &
step "401: a login is needed" refused 4 'registry login' run_from closed
step "403: forbidden" refused 5 'forbids' run_from forbidden
step "404: no such image" refused 3 'has no image' run_from missing
step "429: too many pulls" refused 1 'asks to wait 3600 s' run_from limited
step "500: the registry fails" refused 1 'answered 500' run_from broken
step "a redirect into the house" refused 5 'redirects to .* refused' run_from redirecting
step "built for another platform" refused 7 'no image for linux' run_from elsewhere
step "nobody listens" refused 9 'cannot reach' \
    allod run "127.0.0.1:$(free_port)/nginx:alpine" --name never --yes
step "no reference" refused 2 'not an image reference' allod run 'Not An Image' --name never --yes
step "a port that is taken" port_taken
step "more memory than there is" refused 7 'memory' \
    allod run "$REGISTRY/nginx:alpine" --name never --memory 900g --yes
step "more disk than there is" refused 7 'disk' \
    allod run "$REGISTRY/nginx:alpine" --name never --storage 900t --yes
step "a broken deploy file, with its place" broken_file
step "ten megabytes of deploy file" huge_file
step "an app that is not there" refused 3 'no app' allod why nosuch
step "silence is given up" gave_up
step "nothing was charged, nothing is left" diff "$work/books.first" <(books)
step "a key's budget" budget
step "a name that is taken" name_taken
step "a host name that is taken" host_taken
step "a layer that is not what its digest says" lie damaged 'digest'
step "a layer that is longer than it should be" lie longer 'digest|bytes'
step "a layer that the registry lost" lie gone 'has no image|not have the image'
step "a container that ends at once" exits
step "a probe that never passes" never_ready
step "more memory than it may have" too_much_memory
step "a ledger that is gone is not begun again" ledger_is_gone
