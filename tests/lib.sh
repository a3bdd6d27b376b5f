# shellcheck shell=bash
# What every test script shares: where fixtures lie, how to fail, how to unpack a Debian package.
# Sourced, never run.

_tests_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# One folder holds everything the tests download or build; it may be deleted at any time.
export ALLOD_FIXTURES=${ALLOD_FIXTURES:-$(dirname "$_tests_dir")/target/fixtures}

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# fetch_packages DIR PACKAGE...: unpacks the packages under DIR without installing them.
# Downloads are kept, so that an image and the tools can share one.
fetch_packages() {
    local into=$1 debs=$ALLOD_FIXTURES/debs package deb
    shift
    mkdir -p "$into" "$debs"
    for package in "$@"; do
        deb=$(find "$debs" -name "${package}_*.deb" -print -quit)
        if [ -z "$deb" ]; then
            download "$debs" "$package"
            deb=$(find "$debs" -name "${package}_*.deb" -print -quit)
        fi
        dpkg-deb -x "$deb" "$into"
    done
}

# Old package lists name versions that the mirror has dropped: one update, then one more try.
download() {
    local into=$1 package=$2
    # apt drops to the user _apt, who may not be able to write here: let it stay who we are.
    local get=(apt-get -qq -o APT::Sandbox::User=root download "$package")
    (cd "$into" && "${get[@]}" 2>/dev/null) && return
    [ "$(id -u)" != 0 ] || apt-get -qq update
    (cd "$into" && "${get[@]}" >&2) ||
        die "cannot download the Debian package $package. Next: apt-get update as root, or check the mirror"
}
