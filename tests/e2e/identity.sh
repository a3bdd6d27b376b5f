#!/bin/bash
# Who acts: a phrase that restores an account on another machine, a passphrase and its unlocking, rotation, and a key for
# an agent that may do what its grant says and nothing else.
#
#   ALLOD=target/debug/allod tests/e2e/identity.sh        E2E_KEEP=1 keeps its folder
#
# Every step prints ok or FAIL with its evidence; all run, whatever failed before, but the first.
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

# A disk of 4 TiB, of which almost nothing is really there: so much is dear enough to exceed a budget of 5 a day on a
# machine of any size.
disk() {
    truncate -s 4T "$work/disk.img"
    mkfs.ext4 -q -F -m 0 -T largefile4 -J size=16 -E lazy_itable_init=1,nodiscard "$work/disk.img"
    mkdir "$ALLOD_HOME"
    mount -o loop,noinit_itable "$work/disk.img" "$ALLOD_HOME"
}
give_disk_back() {
    local rc=$?
    set +e
    [ ! -e "$work/up.pid" ] || is_gone "$(up_pid)" || {
        timeout 60 "$ALLOD" down --yes </dev/null >/dev/null 2>&1
        within 20 is_gone "$(up_pid)"
    }
    umount "$ALLOD_HOME"
    (exit $rc)
    finish
}
trap give_disk_back EXIT

# ---- other homes and other machines

# at HOME COMMAND...: the same program with another home, without that home's own API.
at() { ALLOD_HOME=$work/$1 "$ALLOD" --api "$(api_url)" "${@:2}" </dev/null; }

# elsewhere HOME COMMAND...: the same on a machine with another id, as a mount namespace shows it.
elsewhere() {
    local home=$1
    shift
    [ -e "$work/$home.machine-id" ] || od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$work/$home.machine-id"
    ALLOD_HOME=$work/$home unshare --mount --propagation private bash -c '
        mount --bind "$1" /etc/machine-id || exit 99
        shift
        exec "$@"' - "$work/$home.machine-id" "$ALLOD" --api "$(api_url)" "$@" </dev/null
}

account_of() { "$@" identity show -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["subject"])'; }
key_of() { "$@" identity show -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["key"])'; }
is_private() { [ "$(stat -c %a "$1")" = 600 ] || { echo "$1 is open: $(stat -c %a "$1")"; return 1; }; }
words_in() { wc -w <"$1"; }

# refused CODE-WORDS COMMAND...: exit 5, with these words and a next step.
refused() {
    local words=$1
    shift
    fails_with 5 "$@"
    grep -qE -- "$words" "$work/said" || { echo "no /$words/ in:"; cat "$work/said"; return 1; }
    grep -q '^help: ' "$work/said" || { echo "no next step in:"; cat "$work/said"; return 1; }
}

# ---- an identity and its phrase

init() {
    allod identity init --phrase-file "$work/phrase" >"$work/init.out" 2>"$work/init.err"
    is_private "$work/phrase"
    is_private "$ALLOD_HOME/identity.age"
    [ "$(words_in "$work/phrase")" = 24 ]
    ! grep -qF "$(cut -d' ' -f1-3 "$work/phrase")" "$work/init.out" "$work/init.err" || { echo "the phrase was printed"; return 1; }
    fails_with 4 allod identity init
    evidence "24 words in a file of mode 600, none on a stream"
}

phrase_needs_a_terminal() {
    fails_with 2 allod identity export --phrase
    fails_with 2 allod identity export --phrase-file "$work/phrase"
    # A terminal of its own shows it, numbered.
    script -qec "$ALLOD identity export --phrase" /dev/null </dev/null >"$work/typescript" 2>&1 || true
    grep -aq " 1. $(cut -d' ' -f1 "$work/phrase") " "$work/typescript"
    grep -aq "24. $(cut -d' ' -f24 "$work/phrase")" "$work/typescript"
    evidence "shown on a terminal: $(grep -ac '[0-9]\. ' "$work/typescript") rows"
}

up() {
    start_allod
    [ "$(account_of allod)" = "$(allod account show -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["account"])')" ]
}

restore_elsewhere() {
    elsewhere second identity import --phrase-file "$work/phrase"
    [ "$(account_of elsewhere second)" = "$(account_of allod)" ]
    says "$(account_of allod)" elsewhere second account show
    # The file is bound to the machine: the same home with another machine id does not open.
    elsewhere third identity import --phrase-file "$work/phrase" 2>/dev/null
    fails_with 4 at third account show
    fails_with 4 elsewhere second identity import --phrase-file "$work/phrase"
}

wrong_phrases() {
    sed 's/^[a-z]* /zoo /' "$work/phrase" >"$work/wrong"
    fails_with 4 at fourth identity import --phrase-file "$work/wrong"
    cut -d' ' -f1-12 "$work/phrase" >"$work/wrong"
    fails_with 4 at fourth identity import --phrase-file "$work/wrong"
    # A good phrase of an account that this network does not know.
    ALLOD_HOME=$work/stranger allod identity init --phrase-file "$work/strange"
    fails_with 4 at fourth identity import --phrase-file "$work/strange"
    [ ! -e "$work/fourth/identity.age" ]
}

# ---- a passphrase

passphrase() {
    echo 'correct horse battery' >"$work/passphrase"
    chmod 600 "$work/passphrase"
    at closed identity import --phrase-file "$work/phrase" --passphrase-file "$work/passphrase"
    fails_with 4 at closed account show
    ALLOD_PASSPHRASE_FILE=$work/passphrase says 'balance' at closed account show
    echo 'wrong horse battery' >"$work/wrong"
    ALLOD_PASSPHRASE_FILE=$work/wrong fails_with 4 at closed account show
}

unlocking() {
    ALLOD_PASSPHRASE_FILE=$work/passphrase at closed identity unlock --for 10m
    local socket
    socket=$(find "$work/closed/run" -name 'unlocked-*')
    is_private "$socket"
    says 'balance' at closed account show
    says 'unlocked' at closed identity show
    ! grep -rqaE '^seed |allod-identity-v1' "$work/closed" || { echo "the key is on disk in clear"; return 1; }
    # Another user, who can walk to the socket, cannot connect to it. We can, which shows that the try is a fair one.
    local holder
    holder=$(pgrep -f "identity-holder --socket $socket")
    chmod 711 "$work"
    connects "$socket"
    ! setpriv --reuid 65534 --regid 65534 --clear-groups bash -c "$(declare -f connects); connects '$socket'"
    at closed identity lock
    within 5 is_gone "$holder"
    [ ! -e "$socket" ]
    fails_with 4 at closed account show
    ALLOD_PASSPHRASE_FILE=$work/passphrase at closed identity unlock --for 1s
    within 10 is_locked
    evidence "locked by itself"
}
connects() {
    perl -MSocket -e 'socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; connect($s, sockaddr_un($ARGV[0])) or die "$!\n"' "$1"
}
is_locked() { ! at closed account show >/dev/null 2>&1; }

# A process that can be dumped and traced belongs to its user under /proc; one that cannot belongs to root.
hardened() {
    local other=$work/other user='setpriv --reuid 65534 --regid 65534 --clear-groups'
    mkdir "$other"
    chown 65534:65534 "$other"
    cp "$ALLOD" "$work/allod"
    cp "$work/passphrase" "$work/other.passphrase"
    chown 65534 "$work/other.passphrase"
    as_user() { ALLOD_HOME=$other/home ALLOD_PASSPHRASE_FILE=$work/other.passphrase $user "$work/allod" "$@" </dev/null; }
    as_user identity init --passphrase-file "$work/other.passphrase"
    as_user identity unlock --for 1m
    local holder plain
    holder=$(pgrep -u 65534 -f "identity-holder --socket $other")
    $user sleep 60 &
    plain=$!
    within 5 is_of "$plain" 65534
    is_of "$holder" 0
    kill "$plain"
    as_user identity lock
    within 5 is_gone "$holder"
    evidence "/proc/HOLDER/mem belongs to root, that of another process of the user to the user"
}
is_of() { [ "$(stat -c %u "/proc/$1/mem")" = "$2" ]; }

protection() {
    cp -r "$work/closed" "$work/changing"
    local here=$work/changing/identity.age
    printf 'another horse battery' >"$work/second-words"
    # Without the passphrase nothing is changed, and one way has to be named.
    fails_with 4 at changing identity protect --machine
    fails_with 2 at changing identity protect
    fails_with 2 at changing identity protect --machine --passphrase-file "$work/second-words"
    ALLOD_PASSPHRASE_FILE=$work/passphrase at changing identity protect --passphrase-file "$work/second-words"
    is_private "$here"
    ALLOD_PASSPHRASE_FILE=$work/passphrase fails_with 4 at changing account show
    ALLOD_PASSPHRASE_FILE=$work/second-words says 'balance' at changing account show
    # What is held open is asked for no passphrase, and is held no longer after the change.
    ALLOD_PASSPHRASE_FILE=$work/second-words at changing identity unlock --for 10m
    at changing identity protect --machine
    says 'this machine' at changing identity show
    ! grep -q unlocked "$work/said" || { echo "still held open"; return 1; }
    says 'balance' at changing account show
    [ "$(key_of at changing)" = "$(key_of at closed)" ]
    # Killed at any moment, the file opens, the old way or the new.
    local turn way other
    for turn in 1 2 3 4 5 6 7 8; do
        way=--machine other=passphrase
        [ $((turn % 2)) = 0 ] || way="--passphrase-file $work/passphrase" other=machine
        # shellcheck disable=SC2086  # an option and its value
        ALLOD_PASSPHRASE_FILE=$work/passphrase timeout -s KILL "0.$turn" env ALLOD_HOME="$work/changing" \
            "$ALLOD" identity protect $way </dev/null >/dev/null 2>&1 || true
        ALLOD_PASSPHRASE_FILE=$work/passphrase says 'balance' at changing account show
    done
    evidence "opened after 8 kills; the last left it to $(grep -ao 'opens with .*' "$here")"
}

exported() {
    allod identity export --out "$work/export.age" --passphrase-file "$work/passphrase"
    is_private "$work/export.age"
    ALLOD_PASSPHRASE_FILE=$work/passphrase elsewhere fifth identity import "$work/export.age"
    [ "$(account_of at fifth)" = "$(account_of allod)" ]
}

# ---- a key for an agent

# A replica of the shop reserves 2 credits a day: 800 GiB of disk, and a quarter of a CPU and of a GiB of memory.
REGISTRY=$("$here/../images/registry.sh" start "$work/registry")
export REGISTRY
shop=$work/shop.yaml
cat >"$shop" <<'YAML'
name: shop
services:
  shop:
    image: ${REGISTRY}/nginx:alpine
    ports: ["80"]
    deploy:
      replicas: ${REPLICAS}
    x-allod: { storage: 800GiB }
YAML

apps() {
    REPLICAS=1 allod deploy "$shop" --yes &
    allod run --name blog --image-file "$images/nginx.docker.tar" --port 80 --yes
    wait $!
}

agent() { ALLOD_HOME=$work/agent "$ALLOD" --api "$(api_url)" --identity "$work/$1" "${@:2}" </dev/null; }

agent_key() {
    allod keys add --out "$work/agent.key" --verbs deploy,scale --app shop --budget 5/day --ttl 30d
    is_private "$work/agent.key"
    says 'deploy,scale +shop +5(\.0*)?/day' allod keys list
    says 'shop' agent agent.key status
    ! grep -q blog "$work/said" || { echo "the agent sees another app"; return 1; }
}

agent_may() {
    agent agent.key scale shop 2
    says 'nginx' agent agent.key exec shop -- sh -c 'nginx -v 2>&1'
}

agent_may_not() {
    refused 'may not delete' agent agent.key delete shop --yes
    refused 'does not cover' agent agent.key scale blog 2
    refused 'does not cover' agent agent.key exec blog -- true
    refused 'verb read' agent agent.key logs shop
    refused 'may not transfer' agent agent.key credits send "$(account_of at stranger)" 1 --yes
    refused 'may not keys' agent agent.key keys add --out "$work/more.key" --verbs scale
    [ ! -e "$work/more.key" ]
    fails_with 3 agent agent.key scale nothing 2
}

agent_budget() {
    # Two replicas are within it, a third is not, whichever way it is asked for.
    REPLICAS=2 agent agent.key deploy "$shop" --yes
    refused 'budget is 5 credits' agent agent.key scale shop 3
    REPLICAS=3 refused 'budget is 5 credits' agent agent.key deploy "$shop" --yes
    says 'shop +shop +2/2 +ready' agent agent.key status
}

agent_ends() {
    allod keys add --out "$work/short.key" --verbs scale --app shop --ttl 1s
    within 10 has_expired
    refused 'expired' agent short.key scale shop 1
    allod keys add --out "$work/revoked.key" --verbs scale --app shop
    allod keys revoke "$(key_of agent revoked.key)" --yes
    refused 'revoked' agent revoked.key scale shop 1
    says "$(key_of agent agent.key)" allod keys show "$(key_of agent agent.key)"
}
has_expired() { ! agent short.key status >/dev/null 2>&1; }

own_key() {
    # The agent makes its key itself, and only the public half travels.
    ALLOD_HOME=$work/self allod identity init --account "$(account_of allod)"
    fails_with 4 at self status
    allod keys add "$(key_of at self)" --verbs read --app blog
    says 'blog' at self status
    at self logs blog >/dev/null
    refused 'verb deploy' at self exec blog -- true
}

# ---- rotation

rotate() {
    local before account
    account=$(account_of allod) before=$(key_of allod)
    cp "$ALLOD_HOME/identity.age" "$work/identity.before"
    allod identity rotate --yes --phrase-file "$work/phrase.new"
    [ "$(account_of allod)" = "$account" ] && [ "$(key_of allod)" != "$before" ]
    says 'shop' allod status
    # The old phrase and its copies say plainly that they are over.
    fails_with 4 elsewhere sixth identity import --phrase-file "$work/phrase"
    grep -q 'no longer works, nor does its recovery phrase' "$work/said"
    fails_with 4 elsewhere fifth status
    grep -q 'no longer works' "$work/said"
    elsewhere seventh identity import --phrase-file "$work/phrase.new"
    [ "$(account_of elsewhere seventh)" = "$account" ]
}

broken_off() {
    local account
    account=$(account_of allod)
    # The API is gone before the transaction arrives: the old key acts on, the next one waits.
    fails_with 9 "$ALLOD" --api http://127.0.0.1:1 identity rotate --yes </dev/null
    says 'go on with' allod identity show
    says 'shop' allod status
    cp "$ALLOD_HOME/identity.age" "$work/identity.old"
    cp "$ALLOD_HOME/identity.age.next" "$work/identity.next"
    allod identity rotate --yes
    # The crash comes after the block: the old file is still in its place.
    cp "$work/identity.old" "$ALLOD_HOME/identity.age"
    cp "$work/identity.next" "$ALLOD_HOME/identity.age.next"
    fails_with 4 allod status
    allod identity rotate --yes
    says 'shop' allod status
    [ "$(account_of allod)" = "$account" ]
}

nothing_leaks() {
    local place words
    words=$(cut -d' ' -f5-8 "$work/phrase")
    for place in "$ALLOD_HOME" "$work/up.err" "$work/up.out"; do
        ! grep -rqaF "$words" "$place" || { echo "the phrase is in $place"; return 1; }
    done
    curl -sS -o "$work/unsigned" -w '%{http_code}' "$(api_url)/v1/apps" | grep -q 401
    evidence "no words in the home and the logs; unsigned: $(cut -c1-120 "$work/unsigned")"
}

restart() {
    allod down --yes
    within 20 is_gone "$(up_pid)"
    start_allod
    # A rotated identity starts its network again, and old keys are still told what became of them.
    fails_with 4 elsewhere fifth status
    grep -q 'no longer works' "$work/said"
    says 'shop' allod status
}

disk
step "an identity is made, its phrase goes to a file" init
step "a phrase needs a terminal or a file of its own" phrase_needs_a_terminal
step "allod up takes the identity that is there" up
step "the phrase restores the account on another machine" restore_elsewhere
step "wrong phrases are refused" wrong_phrases
step "a passphrase closes the identity" passphrase
step "unlocking holds it open for a while" unlocking
step "who holds it open cannot be looked into" hardened
step "what opens the identity is changed" protection
step "an export opens on another machine" exported
step "two apps" apps
step "a key for an agent: deploy and scale shop, 5 credits a day, 30 days" agent_key
step "the agent does what it may" agent_may
step "the agent does nothing else" agent_may_not
step "the agent spends no more than 5 credits a day" agent_budget
step "expiry and revocation end keys" agent_ends
step "an agent that made its own key" own_key
step "rotation ends the old key and phrase" rotate
step "a rotation that is broken off goes on" broken_off
step "nothing leaks" nothing_leaks
step "all of it after a restart" restart
