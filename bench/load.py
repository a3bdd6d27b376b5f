#!/usr/bin/env python3
"""Loads the API of a node of its own with ten times the clients it can serve; prints Markdown.

    bench/load.py [--clients 200] [--seconds 65] [--flood 65] [--programs target/release]

Needs root, `tests/images/build.sh` and release builds:

    cargo build --release -p allod
    cargo build --release -p allod-api --example load

The node has the first processor and the clients have the second, so that the clients' own work does
not count as the server's; among the clients the bad ones give way to the good. The peak lasts for
longer than a used nonce is remembered (60 s), so that its memory is what such a load lastingly takes.
While the flood lasts, the only replica of an app is killed, and the app's bill is read: what is
metered must go on every 30 s. All of it takes under three minutes.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time

import figures
from docker import wait_for_200
from ours import Allod, cpu_seconds, smaps, tree
from run import TARGET, registry

SERVER = ["taskset", "-c", "0"]
CLIENTS = ["taskset", "-c", "1"]


class Watch:
    """Samples the memory of the network process, and what the app's bill says, until stopped."""

    def __init__(self, allod):
        self.allod = allod
        self.pid = next(pid for pid in tree(allod.process.pid) if b"network-process" in command(pid))
        self.memory, self.processor, self.metered, self.is_over = [], [], [], False
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def _watch(self):
        while not self.is_over:
            self.memory.append((time.monotonic(), smaps(self.pid)["Rss"] / 1024))
            self.processor.append((time.monotonic(), cpu_seconds([self.pid])))
            try:
                self.metered.append((time.monotonic(), metered(self.allod)))
            except RuntimeError as error:
                self.metered.append((time.monotonic(), None))
                print("bill: %s" % error, file=sys.stderr)
            time.sleep(0.5)

    def stop(self):
        self.is_over = True
        self.thread.join()

    def most(self, since, until):
        return max(mib for at, mib in self.memory if since <= at <= until)

    def busy(self, until, seconds):
        """Which share of a processor the process had in the seconds before a moment."""
        taken = [(at, used) for at, used in self.processor if until - seconds <= at <= until]
        return (taken[-1][1] - taken[0][1]) / (taken[-1][0] - taken[0][0])

    def gaps(self, since, until):
        """Seconds between two moments at which the metered time rose."""
        rises, last = [], None
        for at, value in self.metered:
            if value is None or not since <= at <= until:
                continue
            if last is not None and value > last:
                rises.append(at)
            last = value
        return [b - a for a, b in zip(rises, rises[1:])], len(rises)


def command(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            return file.read()
    except OSError:
        return b""


def metered(allod):
    """All the ready time on the bill, in milliseconds."""
    return ready_ms(json.loads(allod.command("bill", "-o", "json")))


def ready_ms(value):
    if isinstance(value, dict):
        own = int(value["ready_ms"]) if "ready_ms" in value else 0
        return own or sum(ready_ms(one) for one in value.values())
    return sum(map(ready_ms, value)) if isinstance(value, list) else 0


def masters():
    return {int(pid) for pid in filter(str.isdigit, os.listdir("/proc")) if b"nginx: master" in command(int(pid))}


def quantile(times):
    if not times["n"]:
        return "none"
    return "%.1f, %.1f (n=%d)" % (times["p50_ms"], times["p99_ms"], times["n"])


def owner_rows(flood):
    """The owner, who makes a connection for each read."""
    ways = [
        ("inside", "at the own door"),
        ("elsewhere", "over TCP from another address than the flood"),
        ("beside", "over TCP from the flood's address"),
    ]
    for name, where in ways:
        owner = flood["owner_" + name]
        bad = (owner["refused"]["n"], owner["cut"])
        yield ("the owner %s: p50, p99 ms; refused, cut" % where, "%s; %d, %d" % (quantile(owner["admitted"]), *bad))


def report(phases, watch, times, replaced, clients):
    alone, peak, flood = (phases[name] for name in ("alone", "peak", "flood"))
    good, best = flood["valid"], peak["valid"]
    goodput = good["admitted_per_second"] / best["admitted_per_second"]
    slower = good["admitted"]["p99_ms"] / best["admitted"]["p99_ms"]
    ended = {name: times[name] for name in phases}
    idle = watch.most(0, times["start"])
    at_peak = watch.most(times["start"], ended["peak"])
    at_flood = watch.most(ended["peak"], ended["flood"])
    gaps, rises = watch.gaps(ended["peak"] - 35, ended["flood"])
    busy = [watch.busy(times[name], phases[name]["seconds"]) for name in ("peak", "flood")]
    bad = [flood[kind] for kind in ("garbage", "slow", "half_open")]
    offered = (
        good["admitted_per_second"] + good["refused_per_second"]
        + sum(kind["refused_per_second"] + kind["opened_per_second"] for kind in bad)
    )  # fmt: skip
    shed = sum(flood[kind]["shed"] for kind in ("valid", "garbage"))
    told = sum(flood[kind]["told_when"] for kind in ("valid", "garbage"))
    rows = [
        ("one client: admitted/s; p50, p99 ms", "%.0f; %s" % (alone["valid"]["admitted_per_second"], quantile(alone["valid"]["admitted"]))),
        ("peak, %d clients: signed reads/s; p50, p99 ms" % clients, "%.0f; %s" % (best["admitted_per_second"], quantile(best["admitted"]))),
        ("flood: admitted/s; p50, p99 ms", "%.0f; %s" % (good["admitted_per_second"], quantile(good["admitted"]))),
        ("goodput to peak", "%.0f %%" % (100 * goodput)),
        ("share of a processor that the node had, peak, flood", "%.0f %%, %.0f %%" % (100 * busy[0], 100 * busy[1])),
        ("admitted p99 to that at peak", "%.2fx" % slower),
        ("flood: requests and connections offered a second", "%.0f" % offered),
        ("shed with 429 or 503; of them with Retry-After", "%d; %d" % (shed, told)),
        ("refused on an open connection, valid clients: p50, p99 ms", quantile(good["refused"])),
        ("refused, garbage, from its write: p50, p99 ms", quantile(flood["garbage"]["refused"])),
        ("refused, garbage, from its connect: p50, p99 ms", quantile(flood["garbage"]["refused_anew"])),
        ("connections cut: valid, garbage, slow, half-open", ", ".join(str(flood[kind]["cut"]) for kind in ("valid", "garbage", "slow", "half_open"))),
        *owner_rows(flood),
        ("memory of the network process, idle, peak, flood: MiB", "%.1f, %.1f, %.1f" % (idle, at_peak, at_flood)),
        ("memory, flood to peak", "%+.0f %%" % (100 * (at_flood / at_peak - 1))),
        ("a killed replica answered again after", "%.2f s" % replaced if replaced else "never"),
        ("the bill's ready time rose; seconds between", "%d times; %s" % (rises, ", ".join("%.1f" % gap for gap in gaps))),
    ]  # fmt: skip
    print(figures.facts("Requests under load", rows))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=65)
    parser.add_argument("--flood", type=int, default=65)
    parser.add_argument("--programs", default=TARGET + "/release", help="where the builds lie")
    args = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print("## %s\n" % figures.machine())
    with tempfile.TemporaryDirectory(prefix="allod-load-") as folder:
        allod = Allod(args.programs + "/allod", folder + "/home", SERVER)
        try:
            with registry(folder + "/registry") as address:
                before = masters()
                image = "%s/nginx:alpine" % address
                said = allod.command("run", image, "--port", "80", "--name", "web", "--yes", "-o", "json")
                url = next(word for word in said.split('"') if word.startswith("http://127.0.0.1:"))
                wait_for_200(url, 30)
            measure(allod, args, url, next(iter(masters() - before)))
        finally:
            allod.stop()
    print("Load at the end: %.1f." % os.getloadavg()[0])


def measure(allod, args, url, victim):
    program = [*CLIENTS, args.programs + "/examples/load"]
    program += [str(n) for n in (args.clients, args.seconds, args.flood)]
    phases, times, replaced = {}, {}, None
    watch = Watch(allod)
    try:
        time.sleep(2)
        times["start"] = time.monotonic()
        load = subprocess.Popen(program, env=allod.env, stdout=subprocess.PIPE, text=True)
        for line in load.stdout:
            phase = json.loads(line)
            phases[phase["phase"]] = phase
            times[phase["phase"]] = time.monotonic()
            if phase["phase"] == "peak":
                time.sleep(2 + args.flood / 3)
                os.kill(victim, signal.SIGKILL)
                began = time.monotonic()
                wait_for_gone(url)
                wait_for_200(url, 30)
                replaced = time.monotonic() - began
        if load.wait():
            raise RuntimeError("the clients failed")
    finally:
        watch.stop()
    for phase in phases.values():
        print(json.dumps(phase), file=sys.stderr)
    report(phases, watch, times, replaced, args.clients)


def wait_for_gone(url):
    """Until the killed replica no longer answers, so that it cannot be taken for its successor."""
    host, port = url.split("/")[2].split(":")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        code = subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-m", "1", "http://%s:%s/" % (host, port)], check=False
        ).returncode
        if code:
            return


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit("load: %s" % error)
