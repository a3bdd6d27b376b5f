#!/bin/bash
# Installs what the tests need from Debian's own archive, and nothing when all of it is there.
#
#   tests/setup.sh          what `make test` needs
#   tests/setup.sh bench    also etcd, which `make bench` measures against
#
# Two ways, so that no service is ever enabled or started on a developer's machine:
# small tools are installed with apt (services held down by a policy-rc.d that says no); whatever
# ships a daemon (registry, dockerd, etcd) and the guest kernel are only unpacked into
# $ALLOD_FIXTURES/tools, which `rm -rf` undoes.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib.sh
. "$here/lib.sh"
tools=$ALLOD_FIXTURES/tools

# command=package: the command is how we know that the package is there.
wanted_commands=(
    cc=build-essential
    skopeo=skopeo
    nft=nftables
    ip=iproute2
    busybox=busybox-static
    python3=python3
    zstd=zstd
    curl=curl
    mkfs.ext4=e2fsprogs
    strace=strace
    iptables=iptables
    openssl=openssl
    pgrep=procps
    unshare=util-linux
    man=man-db
    qemu-system-x86_64=qemu-system-x86
)
wanted_unpacked=(docker-registry linux-image-cloud-amd64 docker.io containerd runc tini)
if [ "${1:-}" = bench ]; then
    wanted_unpacked+=(etcd-server etcd-client)
elif [ -n "${1:-}" ]; then
    die "usage: tests/setup.sh [bench]"
fi

missing_packages() {
    local pair
    for pair in "${wanted_commands[@]}"; do
        command -v "${pair%%=*}" >/dev/null || echo "${pair#*=}"
    done
}

update_once() {
    [ -z "${updated:-}" ] || return 0
    echo "setup: apt-get update" >&2
    apt-get -qq update || die "apt-get update failed: is a Debian mirror reachable?"
    updated=1
}

install() {
    local policy=/usr/sbin/policy-rc.d made=
    [ "$(id -u)" = 0 ] || die "these Debian packages are missing: $*
Next: run this once as root:  apt-get install --no-install-recommends $*"
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && made=1
    fi
    update_once
    echo "setup: installing $*" >&2
    local rc=0
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" \
        >"$ALLOD_FIXTURES/apt.log" 2>&1 || rc=$?
    [ -z "$made" ] || rm -f $policy
    [ $rc = 0 ] || { tail -20 "$ALLOD_FIXTURES/apt.log" >&2; die "apt-get install failed"; }
}

# The meta package of the guest kernel names the package that holds it.
real_package() {
    case $1 in
    linux-image-cloud-amd64)
        apt-cache depends "$1" | awk '/Depends: linux-image-6/ { print $2; exit }' ;;
    *) echo "$1" ;;
    esac
}

unpack() {
    local package=$1 real
    [ ! -e "$tools/.have/$package" ] || return 0
    real=$(real_package "$package")
    if [ -z "$real" ] || ! apt-cache show "$real" >/dev/null 2>&1; then
        [ "$(id -u)" = 0 ] || die "no package lists. Next: run apt-get update as root"
        update_once
        real=$(real_package "$package")
    fi
    echo "setup: unpacking $real" >&2
    fetch_packages "$tools" "$real"
    mkdir -p "$tools/.have" && touch "$tools/.have/$package"
}

mkdir -p "$tools"
mapfile -t missing < <(missing_packages)
[ ${#missing[@]} = 0 ] || install "${missing[@]}"
for package in "${wanted_unpacked[@]}"; do unpack "$package"; done
if ! command -v cargo-nextest >/dev/null; then
    command -v cargo >/dev/null || die "no cargo. Next: install Rust 1.95 or newer (https://rustup.rs)"
    echo "setup: cargo install cargo-nextest (once, some minutes)" >&2
    cargo install --quiet --locked cargo-nextest
fi
