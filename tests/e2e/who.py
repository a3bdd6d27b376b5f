#!/usr/bin/env python3
"""Which processes of allod, and of what it runs, there are on the machines of a story.

    who.py FOLDER PROGRAM MACHINE...          a line for each: machine, kind, number, start, words
    who.py --watch WORD FILE FOLDER PROGRAM MACHINE...
                                              looks for more than one first process with that word, until it is ended;
                                              what it sees goes to FILE

Kinds: root, network, guard, shim and worker (children of the root process), first (of a workload) and inner (its others).
A machine is known by its network namespace (FOLDER/MACHINE.ns), a workload by the installation that its control group
is named for (FOLDER/MACHINE/installation).
"""

import os
import sys
import time


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def link(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def started(pid):
    """When it began: with its number, this names a process for good. Zombies have ended."""
    words = read("/proc/%s/stat" % pid).rpartition(")")[2].split()
    return "" if not words or words[0] in "ZX" else words[19]


def kind_of(pid):
    if "network-process" in read("/proc/%s/cmdline" % pid).split("\0"):
        return "network"
    name = read("/proc/%s/comm" % pid).strip()
    return {"allod-guard": "guard", "allod-shim": "shim"}.get(name)


def processes(folder, program, machines):
    spaces = {read("%s/%s.ns" % (folder, one)).strip(): one for one in machines}
    roots = {read("%s/%s.pid" % (folder, one)).strip() for one in machines}
    homes = {read("%s/%s/installation" % (folder, one)).strip(): one for one in machines}
    homes.pop("", None)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        start = started(pid)
        if not start:
            continue
        if link("/proc/%s/exe" % pid) == program:
            machine = spaces.get(link("/proc/%s/ns/net" % pid))
            kind = "root" if pid in roots else kind_of(pid) or "worker"
        else:
            groups = read("/proc/%s/cgroup" % pid)
            machine = next((homes[home] for home in homes if home in groups), None)
            inside = [line for line in read("/proc/%s/status" % pid).splitlines() if line.startswith("NSpid:")]
            is_first = bool(inside) and len(inside[0].split()) > 2 and inside[0].split()[-1] == "1"
            kind = "first" if is_first else "inner"
        if machine:
            yield machine, kind, pid, start, read("/proc/%s/cmdline" % pid).replace("\0", " ").strip()[:60]


def watch(word, file, where):
    looks = 0
    while True:
        found = [one for one in processes(*where) if one[1] == "first" and word in read("/proc/%s/cmdline" % one[2])]
        looks += 1
        with open(file, "w") as lines:
            lines.write("%d looks\n" % looks)
        if len(found) > 1:
            with open(file + ".twice", "a") as lines:
                lines.write("%.3f %s\n" % (time.time(), found))
        time.sleep(0.1)


def main():
    words = sys.argv[1:]
    if words[0] == "--watch":
        watch(words[1], words[2], (words[3], os.path.realpath(words[4]), words[5:]))
    for one in processes(words[0], os.path.realpath(words[1]), words[2:]):
        print(*one)


if __name__ == "__main__":
    main()
