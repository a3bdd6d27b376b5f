#!/usr/bin/env python3
"""Does to a real ledger on a real disk what power, disks and kill -9 do, and checks what is left.

    tests/durability/run.py PATH/endure                      # every scene, as often as `make test` does
    tests/durability/run.py PATH/endure --only kill=200,power_cut=40 [--seed 7]
    tests/durability/run.py PATH/endure --agree OTHER/endure # two builds and one chain of 50,000
    ... --record docs/trust.md                               # adds a row for each scene that passed

Needs root, for mounts; they are made where nobody else sees them, and end with this program. The seed
decides the moments of the faults, and is printed; the machine's own timing is not repeated by it.
"""

import argparse
import datetime
import os
import shutil
import subprocess
import sys
import tempfile
import time

import scenes
from victim import Broken

PRIVATE = "ALLOD_DURABILITY_PRIVATE"
HERE = os.path.dirname(os.path.abspath(__file__))
HEADING = "| date | commit | scene | rounds | figures | seed | seconds |"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", help="the example `endure` of allod-ledger, built")
    parser.add_argument("--only", default="", help="scenes, each with its count: kill=200,damage")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--agree", metavar="OTHER", help="another build of the same program")
    parser.add_argument("--transactions", type=int, default=50_000)
    parser.add_argument("--record", metavar="PAGE", help="the page that gets a row for each scene")
    args = parser.parse_args()
    if os.geteuid():
        sys.exit("durability: this mounts file systems. Next: run it as root")
    if PRIVATE not in os.environ:
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe("unshare", command, {**os.environ, PRIVATE: "1"})
    program = os.path.abspath(args.program)
    with tempfile.TemporaryDirectory(prefix="allod-durability-") as folder:
        if args.agree:
            where = scenes.Scene(program, folder, args.seed, args.transactions)
            other = os.path.abspath(args.agree)
            report("builds_agree", where, lambda: scenes.builds_agree(where, other), args)
            return
        for name, count in wanted(args.only):
            inside = "%s/%s" % (folder, name)
            os.mkdir(inside)
            where = scenes.Scene(program, inside, "%s %d" % (name, args.seed), count)
            report(name, where, lambda: scenes.ALL[name][0](where), args)
            shutil.rmtree(inside, ignore_errors=True)


def wanted(only):
    """(scene, count) of the scenes that were asked for."""
    if not only:
        return [(name, count) for name, (_, count) in scenes.ALL.items()]
    asked = []
    for word in only.split(","):
        name, _, count = word.partition("=")
        if name not in scenes.ALL:
            sys.exit("durability: there is no scene %s; there are %s" % (name, ", ".join(scenes.ALL)))
        asked.append((name, int(count or scenes.ALL[name][1])))
    return asked


def report(name, where, scene, args):
    began = time.monotonic()
    try:
        figures = scene()
    except (Broken, OSError, RuntimeError, subprocess.SubprocessError) as error:
        sys.exit("durability: %s, seed %d: %s" % (name, args.seed, error))
    shown = ", ".join("%s %s" % (what, figure) for what, figure in figures.items())
    took = time.monotonic() - began
    print("%s: %d rounds: %s (%.1f s)" % (name, where.rounds, shown, took), flush=True)
    if args.record:
        today = datetime.datetime.now(datetime.timezone.utc).date()
        cells = (today, commit(), name, where.rounds, shown, args.seed, round(took))
        record(args.record, "| %s |" % " | ".join(str(cell) for cell in cells))


def commit():
    """The commit that is checked, and whether what it builds was changed since."""

    def git(*words):
        return subprocess.run(["git", "-C", HERE, *words], capture_output=True, text=True)

    changed = git("diff", "--quiet", "HEAD", "--", ":/crates", ":/Cargo.lock").returncode
    return git("rev-parse", "--short", "HEAD").stdout.strip() + ("+changes" if changed else "")


def record(page, row):
    """Adds a row to the table under the heading, newest last; begins the table where it is missing."""
    with open(page) as file:
        lines = file.read().splitlines()
    if HEADING not in lines:
        lines += ["", "## Faults survived on a real disk", "", HEADING, "|---" * 7 + "|"]
    last = lines.index(HEADING) + 1
    while last < len(lines) and lines[last].startswith("|"):
        last += 1
    lines.insert(last, row)
    with open(page + ".new", "w") as file:
        file.write("\n".join(lines) + "\n")
    os.replace(page + ".new", page)


if __name__ == "__main__":
    main()
