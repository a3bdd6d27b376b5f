#!/bin/bash
# What nobody needs leaves the disk: images beyond the bound, the longest unused first, but none that an app could need
# at once; volumes that were given up; manifests that no revision names.
#
#   ALLOD=target/debug/allod tests/e2e/collect.sh      E2E_KEEP=1 keeps its folder
set -euo pipefail
# shellcheck source=tests/e2e/story.bash
. "$(dirname "$0")/story.bash"

REGISTRY=$("$here/../images/registry.sh" start "$work/registry")
export REGISTRY
node=$ALLOD_HOME/node root=$ALLOD_HOME/root
compose=$work/two.yaml
cat >"$compose" <<'YAML'
name: two
services:
  one:
    image: ${REGISTRY}/${IMAGE}
    cpus: "0.1"
    command: ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"]
    volumes:
      - data:/data
volumes:
  data:
YAML

run_app() { allod run "$REGISTRY/$2" --name "$1" --cpus 0.1 --storage 64m --yes -- "${obedient[@]}"; }
layers() { find "$root/layers" -mindepth 1 -maxdepth 1 -type d ! -name '.*' | wc -l; }
images() { find "$node/images/images" -type f 2>/dev/null | wc -l; }
manifests() { find "$node/manifests" -type f | wc -l; }
images_bytes() { allod network status -o json | sed -n 's/^ *"images_bytes": \([0-9]*\),*$/\1/p'; }
# As if nobody had used any of it since yesterday.
grow_old() {
    find "$node/images" "$node/manifests" -exec touch -d yesterday {} +
    find "$root/layers" -maxdepth 2 -exec touch -d yesterday {} +
}
# What nobody needs is looked for when an agent begins.
again() {
    kill -INT "$(up_pid)"
    within 30 is_gone "$(up_pid)"
    up_args=$1
    start_allod
    collected() { [ "$(images_bytes)" -gt 0 ]; }
    within 30 collected
    evidence "$(images) images, $(layers) layers, $(manifests) manifests, $(images_bytes) bytes"
}

# Of three apps that were run, two are left on the host.
is_removed() { [ "$(find "$root/workloads" -mindepth 1 -maxdepth 1 | wc -l)" = 2 ]; }

some_apps() {
    run_app stays redis:7
    run_app goes nginx:alpine
    IMAGE=guestbook-web:1 allod deploy "$compose" --yes
    IMAGE=busybox:1 allod deploy "$compose" --yes
    allod delete goes --yes
    within 20 is_removed
    layers >"$work/layers"
    images >"$work/images"
    manifests >"$work/manifests"
    evidence "$(images) images, $(layers) layers, $(manifests) manifests"
}
fits() {
    grow_old
    again ""
    [ "$(layers)" = "$(cat "$work/layers")" ]
    [ "$(images)" = "$(cat "$work/images")" ]
    images_bytes >"$work/bytes"
    [ "$(manifests)" -lt "$(cat "$work/manifests")" ] || { echo "the deleted app's manifest is left"; return 1; }
}
too_new() {
    run_app goes nginx:alpine
    allod delete goes --yes
    within 20 is_removed
    again "--images-max 0"
    [ "$(layers)" = "$(cat "$work/layers")" ]
}
too_much() {
    grow_old
    again "--images-max 0"
    [ "$(layers)" -lt "$(cat "$work/layers")" ]
    [ "$(images)" -lt "$(cat "$work/images")" ]
    [ "$(images_bytes)" -lt "$(cat "$work/bytes")" ]
    says 'images +[0-9]' allod network status
}
# Nothing can be fetched any more: what an app needs must be here.
needed_is_here() {
    "$here/../images/registry.sh" stop "$work/registry"
    allod restart stays
    allod restart two
    allod rollback two
    evidence "restarted and rolled back without a registry"
}
volumes() { find "$root/volumes" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l; }
kept_and_listed() {
    allod delete two --yes
    [ "$(volumes)" = 1 ]
    says 'data' allod volume list
}
given_up() {
    local name
    name=$(allod volume list -o json | sed -n 's/^ *"name": "\(.*\)",*$/\1/p' | head -n 1)
    allod volume remove "$name" --yes
    no_volume() { [ "$(volumes)" = 0 ]; }
    within 20 no_volume
    not_listed() { ! allod volume list | grep -q data; }
    within 20 not_listed
}
down() {
    allod delete stays --yes
    allod down --yes
    within 60 test -s "$work/up.rc"
}

step "allod up" start_allod
[ $failures = 0 ] || exit 1
step "some apps, and one that is deleted" some_apps
step "what fits stays, but the deleted app's manifest" fits
step "what was used just now stays" too_new
step "beyond the bound, what nobody needs goes" too_much
step "what an app needs stayed" needed_is_here
step "a volume whose app is deleted is kept, and listed" kept_and_listed
step "a volume that is given up leaves the disk" given_up
step "allod down" down
