#!/bin/busybox sh
# shellcheck shell=dash
# Stage two, on the disk: what an init system does before it starts anything, then the script.
b=/bin/busybox
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
for applet in $($b --list); do
    [ -e "/usr/bin/$applet" ] || [ -e "/usr/sbin/$applet" ] || $b ln -s busybox "/usr/bin/$applet"
done
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
# Shared propagation, as systemd leaves it: a runtime that forgets to unshare it must be seen.
mount --make-rshared /
mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
echo "+cpuset +cpu +io +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
mkdir -p /sys/fs/cgroup/user.slice/session.scope
for module in /vm/modules/*; do insmod "$module" 2>/dev/null; done
ip link set lo up
hostname vm
stty -F /dev/ttyS1 raw
sh -c 'echo $$ >/sys/fs/cgroup/user.slice/session.scope/cgroup.procs; exec /vm/script' \
    </dev/null >/dev/ttyS1 2>&1
code=$?
sync
echo "vm-exit $code" >/dev/ttyS1
poweroff -f
