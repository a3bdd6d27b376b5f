#!/usr/bin/env python3
"""Measures how long a ledger with a long history takes to start, and how fast that history is executed
again; prints Markdown.

    bench/restart.py [--transfers 1000000] [--accounts 1000] [--n 5] [--program PATH/endure]

Needs a release build: cargo build --release -p allod-ledger --example endure. The process that makes
the history dies without closing it, so that the first start replays the log; later ones follow a clean
stop. Each start is a process of its own, with the file in the page cache. Executing it again reads every
block from the store, from genesis on, and checks each word of its header, on one thread.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import figures

HERE = os.path.dirname(os.path.abspath(__file__))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "..", "target"))


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.stdout.strip():
        raise RuntimeError("%s: %s" % (" ".join(command), done.stderr.strip()[-1000:]))
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--transfers", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--n", type=int, default=5)
    parser.add_argument("--program", default=TARGET + "/release/examples/endure")
    args = parser.parse_args()
    program = os.path.abspath(args.program)
    print("## %s\n" % figures.machine())
    with tempfile.TemporaryDirectory(prefix="allod-restart-") as folder:
        book, node = folder + "/book", folder + "/node"
        subprocess.run([program, "found", book, "--accounts", str(args.accounts)], check=True)
        made = call(program, "history", book, node, str(args.transfers))
        store = os.path.getsize(node + "/ledger/store.redb")
        starts = [call(program, "open", book, node) for _ in range(args.n + 1)]
        again = call(program, "replay", book, node)
    rows = [
        ("transfers", args.transfers),
        ("accounts", args.accounts),
        ("blocks", made["blocks"]),
        ("making it", "%.1f s" % made["seconds"]),
        ("store", "%.0f MB" % (store / 1e6)),
        ("start after it was killed: until it answers reads", seconds(starts[:1], "open_seconds")),
        ("the same: until one more transfer is committed", seconds(starts[:1], "answer_seconds")),
        ("start after a clean stop: until it answers reads", seconds(starts[1:], "open_seconds")),
        ("the same: until one more transfer is committed", seconds(starts[1:], "answer_seconds")),
    ]
    print(figures.facts("Start with a long history", rows))
    spent = {part: again[part + "_seconds"] for part in ("read", "verify", "execute")}
    rows = [
        ("transactions/s, signatures checked", rate(again, sum(spent.values()))),
        ("transactions/s, signatures aside", rate(again, spent["read"] + spent["execute"])),
        ("transactions/s, execution alone", rate(again, spent["execute"])),
    ]
    rows += [("seconds to %s all" % part, "%.1f" % took) for part, took in spent.items()]
    print()
    print(figures.facts("A long history executed again, one thread", rows))


def rate(again, seconds):
    return "%d" % (again["transactions"] / seconds)


def seconds(starts, name):
    """The median, and all where there are few."""
    found = [start[name] for start in starts]
    shown = ", ".join("%.3f" % one for one in found)
    return "%.3f s (%s)" % (figures.quantile(found, 0.5), shown)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit("restart: %s" % error)
