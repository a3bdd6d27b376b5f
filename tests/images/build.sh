#!/bin/bash
# Builds the images of the tests from Debian packages: no daemon, no public registry, no root.
#
#   tests/images/build.sh [OUT]      OUT defaults to $ALLOD_FIXTURES/images
#
# OUT/oci/NAME_TAG/            one OCI layout per image
# OUT/registry/                storage of a docker-registry that already holds all of them
# OUT/nginx.docker.tar         nginx:alpine as `docker save` writes it
# OUT/nginx.oci.tar            nginx:alpine as an OCI archive
#
# busybox:1          static busybox with all its applets; its one layer is under every other image
# nginx:alpine       Debian's nginx, one page on port 80, logs to stdout (the name is for the docs)
# redis:7            Debian's redis-server, append-only file on the volume /data
# guestbook-web:1,2  examples/guestbook/web on Debian's Python; its last layer is zstd and has
#                    whiteouts; the two tags differ in what /healthz answers
#
# A second run with the same inputs does nothing.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
# shellcheck source=tests/lib.sh
. "$here/../lib.sh"
out=${1:-$ALLOD_FIXTURES/images}

arch=$(dpkg --print-architecture)
case $arch in
amd64) triplet=x86_64-linux-gnu loader=ld-linux-x86-64.so.2 loader_dir=lib64 ;;
arm64) triplet=aarch64-linux-gnu loader=ld-linux-aarch64.so.1 loader_dir=lib ;;
*) die "images are built for amd64 and arm64, this is $arch" ;;
esac

python_packages=(
    python3.11-minimal libpython3.11-minimal libpython3.11-stdlib
    libc6 zlib1g libexpat1 libssl3 libbz2-1.0 liblzma5 libffi8
)
redis_packages=(
    redis-server redis-tools
    libc6 libatomic1 libcap2 libgcrypt20 libgpg-error0 libjemalloc2 liblz4-1 liblzf1 liblzma5
    libssl3 libstdc++6 libgcc-s1 libsystemd0 libzstd1
)
nginx_packages=(nginx nginx-common libc6 libcrypt1 libpcre2-8-0 libssl3 zlib1g)

# Unpacks packages under $1. Some still say /lib where Debian 12 means /usr/lib: one tree, with links.
unpack() {
    local root=$1 dir
    shift
    fetch_packages "$root" "$@"
    for dir in bin sbin lib lib64; do
        mkdir -p "$root/usr/$dir"
        if [ -d "$root/$dir" ]; then
            cp -a "$root/$dir/." "$root/usr/$dir/"
            rm -rf "${root:?}/$dir"
        fi
        ln -s "usr/$dir" "$root/$dir"
    done
}

# What a minimal image has no use for; and the links, which the base layer brings.
prune() {
    local root=$1 dir
    rm -rf "$root"/usr/share/{doc,man,lintian,locale,vim,apport,bug,gcc*} \
        "$root"/etc/{init.d,cron*,ufw,logrotate.d,default} "$root"/usr/lib/{systemd,tmpfiles.d,sysusers.d}
    for dir in bin sbin lib lib64; do rm -f "${root:?}/$dir"; done
    find "$root" -type d -empty -delete
}

# Fails, with the name, if a program needs a library that the image lacks.
check_libraries() {
    local root=$1 program=$2 listed
    listed=$("$root/usr/$loader_dir/$loader" --inhibit-cache --library-path \
        "$root/usr/lib/$triplet" --list "$root$program" 2>&1) || die "$program: $listed"
    # --inhibit-cache still leaves the loader's default path: only what lies in the image counts.
    if grep '=> /' <<<"$listed" | grep -vF "=> $root/"; then
        die "$program uses libraries of this machine, listed above: add their packages"
    fi
}

base_layer() {
    local root=$work/base applet applets
    unpack "$root" busybox-static
    rm -rf "${root:?}/usr/share" "${root:?}/etc"
    mkdir -p "$root"/{dev,etc,proc,run,srv,sys,tmp,var/log,root,usr/share/doc/busybox}
    chmod 1777 "$root/tmp"
    applets=$("$root/usr/bin/busybox" --list)
    for applet in $applets; do
        [ "$applet" = busybox ] || ln -s busybox "$root/usr/bin/$applet"
    done
    cat >"$root/etc/passwd" <<'TXT'
root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/srv:/bin/false
guestbook:x:1000:1000:guestbook:/srv:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
TXT
    cat >"$root/etc/group" <<'TXT'
root:x:0:
www-data:x:33:
guestbook:x:1000:
nogroup:x:65534:
TXT
    echo "busybox, static" >"$root/usr/share/doc/busybox/README"
}

nginx_layer() {
    local root=$work/nginx
    unpack "$root" "${nginx_packages[@]}"
    check_libraries "$root" /usr/sbin/nginx
    prune "$root"
    mkdir -p "$root"/var/{lib,log}/nginx "$root/usr/share/nginx/html"
    # As the official image does: the files that nginx opens are the standard streams.
    ln -s /dev/stdout "$root/var/log/nginx/access.log"
    ln -s /dev/stderr "$root/var/log/nginx/error.log"
    cp "$here/nginx.conf" "$root/etc/nginx/nginx.conf"
    rm -rf "$root"/etc/nginx/sites-* "$root"/etc/nginx/snippets
    echo "<h1>Welcome to nginx!</h1>" >"$root/usr/share/nginx/html/index.html"
}

redis_layer() {
    local root=$work/redis
    unpack "$root" "${redis_packages[@]}"
    check_libraries "$root" /usr/bin/redis-server
    check_libraries "$root" /usr/bin/redis-cli
    prune "$root"
    rm -rf "$root/etc/redis"
    mkdir -p "$root/data"
}

python_layer() {
    local root=$work/python stdlib=$work/python/usr/lib/python3.11
    unpack "$root" "${python_packages[@]}"
    check_libraries "$root" /usr/bin/python3.11
    rm -rf "$stdlib"/{distutils,ensurepip,idlelib,test,tkinter,unittest,pydoc_data/topics.py}
    ln -s python3.11 "$root/usr/bin/python3"
    # Byte code that never looks at file times: a start costs a third, and the layer is reproducible.
    PYTHONHOME=$root/usr PYTHONHASHSEED=0 "$root/usr/$loader_dir/$loader" --library-path \
        "$root/usr/lib/$triplet" "$root/usr/bin/python3.11" -m compileall -q \
        --invalidation-mode unchecked-hash -s "$root" "$stdlib"
    prune "$root"
}

# The application's layer also deletes from the layers below, as `RUN rm -rf` would.
web_layer() {
    local root=$work/web
    mkdir -p "$root"/srv "$root"/usr/lib/python3.11 "$root"/usr/share/doc/guestbook
    install -m 755 "$repo/examples/guestbook/web/guestbook.py" "$root/srv/guestbook.py"
    touch "$root/usr/lib/python3.11/.wh.lib2to3" "$root/usr/share/doc/.wh..wh..opq"
    echo "guestbook" >"$root/usr/share/doc/guestbook/README"
}

image() {
    local name=$1 tag=$2 config=$3
    shift 3
    IMAGE_ARCH=$arch python3 "$here/oci.py" "$fresh/oci/${name}_$tag" \
        --name "$name:$tag" --config "$config" "$@"
}

build() {
    mkdir -p "$fresh/oci"
    base_layer
    nginx_layer
    redis_layer
    python_layer
    web_layer
    image busybox 1 "$here/busybox.json" "$work/base"
    image nginx alpine "$here/nginx.json" "$work/base" "$work/nginx"
    image redis 7 "$here/redis.json" "$work/base" "$work/redis"
    image guestbook-web 1 "$here/guestbook-web.json" "$work/base" "$work/python" "$work/web:zstd"
    sed 's/GUESTBOOK_VERSION=1/GUESTBOOK_VERSION=2/' "$here/guestbook-web.json" >"$work/web2.json"
    image guestbook-web 2 "$work/web2.json" "$work/base" "$work/python" "$work/web:zstd"

    local copy=(skopeo --insecure-policy copy -q)
    "${copy[@]}" "oci:$fresh/oci/nginx_alpine:nginx:alpine" \
        "docker-archive:$fresh/nginx.docker.tar:nginx:alpine"
    "${copy[@]}" "oci:$fresh/oci/nginx_alpine:nginx:alpine" \
        "oci-archive:$fresh/nginx.oci.tar:nginx:alpine"
    local address
    address=$(ALLOD_IMAGES=$fresh "$here/registry.sh" start "$work/registry" 0)
    local layout ref
    for layout in "$fresh"/oci/*; do
        ref=$(basename "$layout")
        ref=${ref%_*}:${ref##*_}
        "${copy[@]}" --dest-tls-verify=false "oci:$layout:$ref" "docker://$address/$ref" ||
            die "cannot push $ref to $address"
    done
    "$here/registry.sh" stop "$work/registry"
    mv "$work/registry/storage" "$fresh/registry"
}

stamp=$(cat "$here"/* "$here/../lib.sh" "$repo"/examples/guestbook/web/*.py | sha256sum | cut -d' ' -f1)-$arch
mkdir -p "$(dirname "$out")"
exec 9>"$out.lock"
flock 9
[ "$(cat "$out/.stamp" 2>/dev/null || true)" != "$stamp" ] || exit 0

echo "images: building into $out" >&2
work=$(mktemp -d) fresh=$out.new
trap '"$here/registry.sh" stop "$work/registry" >/dev/null 2>&1 || true; rm -rf "$work" "$fresh"' EXIT
rm -rf "$fresh"
build
echo "$stamp" >"$fresh/.stamp"
rm -rf "$out" && mv "$fresh" "$out"
