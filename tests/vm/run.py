#!/usr/bin/env python3
"""Boots Debian's cloud kernel under QEMU (pure emulation) and runs one script in it.

    run.py --script FILE [--program PATH ...] [--tree DIR] [--timeout S]

The guest is a fresh machine as Debian 12 sets it up: cgroup v2 and nothing of v1, ext4 as its root,
a loopback device and no network card. It holds busybox, every --program with the libraries that it
needs (stripped of debug data), and what lies under --tree, each at the path it had there.

A script that says `vm-reset` has the power cut at once, and is run again by the next boot from the same disk.

The script's output is ours, and so is its exit code; 124 when the time is over, 125 when the guest
could not be built or died without an answer: then the end of its console is printed.
"""

import argparse
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.environ.get("ALLOD_FIXTURES", os.path.join(HERE, "..", "..", "target", "fixtures"))
TOOLS = os.path.join(FIXTURES, "tools")
EXIT_TIMEOUT, EXIT_BROKEN = 124, 125
# Instead of an exit code: the script wants the power cut.
RESET = -1
RESETS_MAX = 4

# What mounts the root; crc32c is found by its alias at run time, so no `depends` names it.
BOOT_MODULES = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"]
# What containers need: their file system, their network, and the firewall around it.
GUEST_MODULES = [
    "overlay", "veth", "bridge", "br_netfilter", "tun", "loop",
    "nf_tables", "nft_chain_nat", "nft_masq", "nft_nat", "nft_redir", "nft_ct", "nft_limit",
    "nft_reject_inet", "nft_fib_inet", "nft_numgen", "nft_connlimit", "nft_meta_bridge",
    "nf_conntrack_bridge",
]  # fmt: skip


class Broken(Exception):
    """The guest cannot be built; the text says what to do."""


class Kernel:
    """The unpacked kernel package: its image, and its modules with what each depends on."""

    def __init__(self):
        folder = os.path.join(TOOLS, "lib", "modules")
        versions = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        if not versions:
            raise Broken("no guest kernel under %s. Next: tests/setup.sh" % TOOLS)
        self.version = versions[-1]
        self.image = os.path.join(TOOLS, "boot", "vmlinuz-" + self.version)
        self.folder = os.path.join(folder, self.version)
        self.paths = {}
        for where, _, files in os.walk(self.folder):
            for file in files:
                if file.endswith(".ko"):
                    self.paths[module_name(file)] = os.path.join(where, file)
        with open(os.path.join(self.folder, "modules.builtin")) as file:
            self.builtin = {module_name(os.path.basename(line.strip())) for line in file}

    def ordered(self, wanted):
        """Paths of `wanted` and all they depend on, each after its dependencies."""
        done = []

        def visit(name):
            if name in self.builtin or self.paths.get(name) in done:
                return
            if name not in self.paths:
                raise Broken("kernel %s has no module %s" % (self.version, name))
            with open(self.paths[name], "rb") as file:
                found = re.search(rb"\0depends=([^\0]*)\0", file.read())
            for other in (found.group(1).decode() if found else "").split(","):
                if other:
                    visit(module_name(other))
            done.append(self.paths[name])

        for name in wanted:
            visit(name)
        return done


def module_name(file):
    return file.removesuffix(".ko").replace("-", "_")


def cpio(entries):
    """An uncompressed `newc` archive of (name, mode, bytes): what a kernel unpacks as initramfs."""
    out = bytearray()
    for inode, (name, mode, data) in enumerate(entries + [("TRAILER!!!", 0, b"")], 1):
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def initramfs(kernel):
    """Stage one: insert the disk's modules, mount it, hand over to it."""
    modules = kernel.ordered(BOOT_MODULES)
    entries = [(name, 0o040755, b"") for name in ("bin", "dev", "proc", "sys", "root", "modules")]
    entries.append(("bin/busybox", 0o100755, read(shutil.which("busybox"))))
    entries.append(("init", 0o100755, read(os.path.join(HERE, "init"))))
    for index, path in enumerate(modules):
        entries.append(("modules/%02d-%s" % (index, os.path.basename(path)), 0o100644, read(path)))
    return cpio(entries)


def libraries(program):
    """Every shared object that ldd names for `program`; none for a static one."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True)
    if "not found" in listed.stdout:
        raise Broken("%s lacks a library on this machine:\n%s" % (program, listed.stdout))
    return re.findall(r"(?:=> |^\s*)(/\S+) \(0x", listed.stdout, re.MULTILINE)


def put(root, source, target=None):
    """Copies `source` (links followed) to the same path under `root`, through its /usr merge."""
    target = target or os.path.abspath(source)
    into = os.path.join(root, os.path.dirname(target).lstrip("/"))
    os.makedirs(into, exist_ok=True)
    into = os.path.join(into, os.path.basename(target))
    if not os.path.exists(into):
        shutil.copy2(source, into)
    return into


def put_program(root, program):
    """A program of this machine with its libraries, at the paths they have here."""
    found = shutil.which(program)
    if not found:
        raise Broken("no program %s on this machine. Next: tests/setup.sh" % program)
    target = os.path.join(os.path.realpath(os.path.dirname(found)), os.path.basename(found))
    copy = put(root, found, target)
    subprocess.run(["strip", "--strip-debug", copy], check=False, stderr=subprocess.DEVNULL)
    for library in libraries(found):
        put(root, library)


def guest_root(root, kernel, args):
    """The files of the guest's root file system."""
    for name in ("dev", "etc", "proc", "root", "run", "sys", "tmp", "mnt", "var/lib", "vm/modules"):
        os.makedirs(os.path.join(root, name))
    for name in ("bin", "sbin", "lib", "lib64"):
        os.makedirs(os.path.join(root, "usr", name))
        os.symlink("usr/" + name, os.path.join(root, name))
    if args.tree:
        subprocess.run(["cp", "-a", args.tree + "/.", root], check=True)
    # busybox' own shell would run its applets instead of the programs given.
    for program in ["dash"] + args.program:
        put_program(root, program)
    os.symlink("dash", os.path.join(root, "usr/bin/sh"))
    put(root, shutil.which("busybox"), "/usr/bin/busybox")
    put(root, os.path.join(HERE, "guest.sh"), "/vm/guest.sh")
    put(root, args.script, "/vm/script")
    os.chmod(os.path.join(root, "vm/script"), 0o755)
    for index, path in enumerate(kernel.ordered(BOOT_MODULES + GUEST_MODULES)):
        put(root, path, "/vm/modules/%02d-%s" % (index, os.path.basename(path)))
    for name, text in {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        "etc/group": "root:x:0:\nnogroup:x:65534:\n",
        "etc/hosts": "127.0.0.1 localhost vm\n",
        "etc/hostname": "vm\n",
    }.items():
        if not os.path.exists(os.path.join(root, name)):
            with open(os.path.join(root, name), "w") as file:
                file.write(text)


def make_disk(path, root, free_mib):
    used = int(subprocess.run(["du", "-sm", root], capture_output=True, check=True).stdout.split()[0])
    with open(path, "wb") as file:
        file.truncate((used + used // 8 + free_mib) << 20)
    make = ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1", "-d", root, path]
    subprocess.run(make, check=True)


def qemu(kernel, work, args):
    return subprocess.Popen(
        [
            "qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "1",
            "-m", str(args.memory), "-nodefaults", "-display", "none", "-no-reboot",
            "-kernel", kernel.image, "-initrd", work + "/initramfs",
            "-append", "console=ttyS0 loglevel=5 panic=-1 mitigations=off cgroup_no_v1=all",
            "-drive", "file=%s/disk.img,format=raw,if=virtio,cache=unsafe" % work,
            "-serial", "file:%s/console.log" % work, "-serial", "stdio",
        ],  # fmt: skip
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


def follow(process, deadline):
    """Passes the script's output on; returns its exit code, RESET, or None without one."""
    pending = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left)[0]:
            continue
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            return None
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            found = re.fullmatch(rb"vm-exit (\d+)", line.strip())
            if found:
                return int(found.group(1))
            if line.strip() == b"vm-reset":
                return RESET
            sys.stdout.buffer.write(line.rstrip(b"\r") + b"\n")
        sys.stdout.flush()
    return EXIT_TIMEOUT


def run(args, work):
    kernel = Kernel()
    root = work + "/root"
    os.mkdir(root)
    guest_root(root, kernel, args)
    make_disk(work + "/disk.img", root, args.disk)
    with open(work + "/initramfs", "wb") as file:
        file.write(initramfs(kernel))
    started = time.monotonic()
    for _ in range(RESETS_MAX + 1):
        process = qemu(kernel, work, args)
        try:
            code = follow(process, started + args.timeout)
        finally:
            process.kill()
            process.wait()
        if code != RESET:
            break
        # What the guest had not written out is lost with it; what it had is in the image.
        print("vm: power cut after %.1f s" % (time.monotonic() - started), file=sys.stderr)
    else:
        raise Broken("the script wants the power cut without end")
    print("vm: %.1f s in the guest" % (time.monotonic() - started), file=sys.stderr)
    if code is None or code == EXIT_TIMEOUT:
        print("vm: %s; its console ends:" % ("no answer" if code is None else "time is over"),
              file=sys.stderr)  # fmt: skip
        sys.stderr.write(read(work + "/console.log").decode(errors="replace")[-4000:])
    return EXIT_BROKEN if code is None else code


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--script", required=True, help="run by /bin/sh in the guest, as root")
    parser.add_argument("--program", action="append", default=[], help="a program of this machine")
    parser.add_argument("--tree", help="a directory copied over the guest's root")
    parser.add_argument("--timeout", type=float, default=300, help="seconds, boot included")
    parser.add_argument("--memory", type=int, default=1024, help="MiB")
    parser.add_argument("--disk", type=int, default=2048, help="MiB free on the (sparse) root disk")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="allod-vm-") as work:
        try:
            sys.exit(run(args, work))
        except (Broken, OSError, subprocess.CalledProcessError) as error:
            print("vm: %s" % error, file=sys.stderr)
            sys.exit(EXIT_BROKEN)


if __name__ == "__main__":
    main()
