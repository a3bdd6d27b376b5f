"""Disks that a test may lose: an ext4 in a file whose power can be cut, and a small one in memory."""

import contextlib
import fcntl
import os
import struct
import subprocess

# FS_IOC_SHUTDOWN, _IOR('X', 125, __u32): nothing reaches the disk after it, not even the journal
# that is still in memory.
SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError("%s: %s" % (" ".join(command), done.stderr.strip()))


class PowerCut:
    """An ext4 that can lose its power. What was not synced is then gone, as far as ext4 chooses."""

    def __init__(self, folder, megabytes=192):
        self.image, self.path = folder + "/image", folder + "/mounted"
        os.makedirs(self.path)
        with open(self.image, "wb") as image:
            image.truncate(megabytes << 20)
        call("mkfs.ext4", "-q", "-F", self.image)
        self.mount()

    def mount(self):
        call("mount", "-o", "loop", self.image, self.path)

    def cut(self):
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def unmount(self):
        call("umount", self.path)


@contextlib.contextmanager
def power_cut(folder):
    disk = PowerCut(folder)
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk.path], capture_output=True)


@contextlib.contextmanager
def in_memory(path, size, inodes=10_000):
    """A file system with so many bytes and inodes."""
    os.makedirs(path)
    call("mount", "-t", "tmpfs", "-o", "size=%d,nr_inodes=%d,mode=700" % (size, inodes), "none", path)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], capture_output=True)


def fill(path):
    """Takes every byte that is left."""
    with open(path, "wb", buffering=0) as file:
        for block in (1 << 16, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(block))


def fill_inodes(folder):
    """Takes every inode that is left; gives the names."""
    taken = []
    with contextlib.suppress(OSError):
        while True:
            name = "%s/taken-%d" % (folder, len(taken))
            os.close(os.open(name, os.O_CREAT | os.O_EXCL))
            taken.append(name)
    return taken
