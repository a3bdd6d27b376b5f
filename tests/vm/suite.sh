#!/bin/sh
# In the guest: the container tests that are named.
set -eu
grep -q ' cgroup2 ' /proc/mounts
if grep -q ' cgroup ' /proc/mounts; then echo "FAIL cgroup v1 is mounted"; exit 1; fi
echo "pure cgroup v2 on $(uname -r)"

# The disk, as on a machine: what is in memory keeps no attributes of layers.
mkdir -p /var/tmp
export TMPDIR=/var/tmp
# shellcheck disable=SC2046 # one word for each name
"$(cat /vm/suite)" --test-threads 1 $(cat /vm/names) || exit 1
echo "ok   the container tests ($(cut -d. -f1 /proc/uptime) s)"
