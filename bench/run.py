#!/usr/bin/env python3
"""Measures Allod beside dockerd and etcd, in one run, interleaved; prints Markdown.

    bench/run.py [--n 30] [--only start,http,commit,idle,law,density,meter,logs,quorum] [--programs target/release]

Needs root, `tests/setup.sh bench`, `tests/images/build.sh` and release builds:

    cargo build --release -p allod
    cargo build --release -p allod-ledger --example commit -p allod-runtime --example start
    cargo build --release -p allod-state --example law
    cargo build --release -p allod-node --example quorum

What is not built is not measured, and the output says so. Absolute times depend on the machine and
its load; compare the ratios within one run.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time

import figures
import ours
from docker import Docker
from etcd import Etcd, free_port

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.environ.get("ALLOD_FIXTURES", os.path.join(HERE, "..", "target", "fixtures"))
FIXTURES = os.path.abspath(FIXTURES)
TOOLS = FIXTURES + "/tools"
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "..", "target"))
COMMIT_ROUNDS = 3
ETCD_SECONDS = 3
ETCD_OUTSTANDING = 256
IDLE_SECONDS = 60
CROWD, CROWD_OF_DOCKER = 500, 50
LOG_MIB, LOG_ROUNDS = 256, 3


def archive(folder, image):
    """`docker save` of a test image, for `docker load`."""
    layout = "%s/images/oci/%s" % (FIXTURES, image.replace(":", "_"))
    path = "%s/%s.tar" % (folder, image.replace(":", "_"))
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "-q", "oci:%s:%s" % (layout, image),
         "docker-archive:%s:%s" % (path, image)],
        check=True,
    )  # fmt: skip
    return path


@contextlib.contextmanager
def registry(folder):
    script = HERE + "/../tests/images/registry.sh"
    done = subprocess.run([script, "start", folder], check=True, stdout=subprocess.PIPE, text=True)
    try:
        yield done.stdout.strip()
    finally:
        subprocess.run([script, "stop", folder], check=False)


def container_starts(docker, program, layout, count):
    times = {"docker run --rm": [], "docker run --rm --network none": []}
    docker.start_once("busybox:1")
    starts = ours.Starts([program, "--paced", layout]) if program else None
    for _ in range(count):
        times["docker run --rm"].append(docker.start_once("busybox:1"))
        bare = docker.start_once("busybox:1", "--network", "none")
        times["docker run --rm --network none"].append(bare)
        if starts:
            starts.turn()
    mine = starts.figures() if starts else {}
    rows = list(times.items())
    rows.append(("allod, from the agent", mine.get("resident_seconds")))
    rows.append(("allod, a client process", mine.get("seconds")))
    rows.append(("allod, from the agent, alone in its app", mine.get("alone_seconds")))
    shown = figures.compare("Container from start to removal, image cached, `true`", rows)
    if starts:
        phases = zip(("made", "ended", "removed"), zip(*mine["resident_phases"]))
        middles = ((name, figures.quantile(times, 0.5)) for name, times in phases)
        said = ("%s %s" % (name, figures.milliseconds(middle)) for name, middle in middles)
        shown += "\nOurs from the agent by phase, p50 ms: %s.\n" % ", ".join(said)
        shown += "\nInside ours: `%s`\n" % "; ".join(" ".join(l.split()) for l in starts.confined)
    return shown


def first_answers(docker, allod, address, count):
    theirs, mine = [], []
    image = "%s/nginx:alpine" % address
    docker.first_answer("nginx:alpine", free_port(), 80)
    if allod:
        allod.first_answer(image, 80, "warm")
    for turn in range(count):
        theirs.append(docker.first_answer("nginx:alpine", free_port(), 80))
        if allod:
            mine.append(allod.first_answer(image, 80, "b%d" % turn))
    rows = [("docker run -d -p", theirs), ("allod run --port", mine)]
    return figures.compare("Enter to HTTP 200, nginx, image cached", rows)


def commits(etcd, program, folder):
    """Rounds of both, one after the other, so that a busy minute meets both."""
    alone, latencies, puts, transfers, client_shares = [], [], [], [], []
    for _ in range(COMMIT_ROUNDS):
        alone += etcd.puts(1, ETCD_SECONDS)[0]
        if program:
            mine = ours.commits([program, folder])
            latencies += mine["latency_seconds"]
            transfers.append(mine["transfers_per_second"])
        before = time.process_time()
        many, took = etcd.puts(ETCD_OUTSTANDING, ETCD_SECONDS)
        client_shares.append((time.process_time() - before) / took)
        puts.append(len(many) / took)
    rows = [("etcd put, 1 under way", alone), ("allod transfer, 1 under way", latencies)]
    share = "; its client took %.2f of one core" % figures.quantile(client_shares, 0.5)
    rates = [("etcd puts/s, %d under way%s" % (ETCD_OUTSTANDING, share), figures.rates(puts))]
    if transfers:
        name = "allod transfers/s, 8000 under way, signatures verified"
        rates.append((name, figures.rates(transfers)))
        ratio = figures.quantile(transfers, 0.5) / figures.quantile(puts, 0.5)
        rates.append(("transfers to puts", "%.2fx" % ratio))
    return (
        figures.compare("Commit of one change, quorum of one, fsync on", rows)
        + "\n"
        + figures.facts("Sustained commits, median (all %d rounds)" % COMMIT_ROUNDS, rates)
    )


def law(program):
    """The law alone, on one core: no peer runs beside it, because none can be run without its servers."""
    done = subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True)
    rows = []
    for seen in map(json.loads, done.stdout.splitlines()):
        if seen["what"] == "transfers":
            name = "transfers/s in blocks of %d" % seen["per_block"]
            rows.append((name, "%d" % seen["per_s"]))
            rows.append((name + ", signatures verified", "%d" % seen["with_signatures_per_s"]))
        else:
            for key, what in (
                ("decisions_per_s", "placements decided/s"),
                ("placed_per_s", "placements executed/s, lease, rows and root included"),
                ("refused_by_all_per_s", "demands/s that every node refuses, every reason listed"),
            ):
                rows.append(("%s, %d nodes" % (what, seen["nodes"]), "%d" % seen[key]))
    return figures.facts("The law on one core", rows)


def quorums(etcd, program, folder):
    """Four validators, and three members of etcd, one after the other."""
    alone, puts, single, transfers, latencies = [], [], [], [], []
    for _ in range(COMMIT_ROUNDS):
        alone += etcd.puts(1, ETCD_SECONDS)[0]
        mine = ours.json_of([program, "measure", folder])
        single += mine["single_seconds"]
        transfers.append(mine["transfers_per_second"])
        latencies.append("%.0f and %.0f" % (mine["many_p50_ms"], mine["many_p99_ms"]))
        many, took = etcd.puts(ETCD_OUTSTANDING, ETCD_SECONDS)
        puts.append(len(many) / took)
    rows = [
        ("etcd put, 3 members, 1 under way", alone),
        ("allod transfer, 4 validators, one every 20 ms", single),
    ]
    rates = [
        ("etcd puts/s, 3 members, %d under way" % ETCD_OUTSTANDING, figures.rates(puts)),
        ("allod transfers/s, 4 validators, 8000 under way", figures.rates(transfers)),
        ("their p50 and p99 ms, by round", ", ".join(latencies)),
    ]
    shown = figures.compare("Commits of several, all on this machine", rows)
    return shown + "\n" + figures.facts("Many under way", rates)


def density(docker, crowd, count, peers):
    """Both make sleeping containers, one after the other."""
    theirs = docker.crowd("busybox:1", peers) if docker else None
    rows = []
    if theirs:
        rows.append(("docker run -d", theirs["seconds"]))
    rows.append(("allod, from the agent", crowd["seconds"]))
    shown = figures.compare("Sleeping containers, each from its making to its running", rows)
    last = crowd["seconds"][-100:]
    root = [kib / 1024 for kib in crowd["root_pss_kib"]]
    own = sum(crowd["shim_pss_kib"]) + crowd["root_pss_kib"][1] - crowd["root_pss_kib"][0]
    facts = [
        ("containers", count),
        ("the last %d of them, p50" % len(last), "%s ms" % figures.milliseconds(figures.quantile(last, 0.5))),
        ("shim, PSS p50", "%d KiB" % figures.quantile(crowd["shim_pss_kib"], 0.5)),
        ("root process, PSS before and with them", "%.1f MiB, %.1f MiB" % tuple(root)),
        ("own memory of each, shim and share of the root process", "%.0f KiB" % (own / count)),
        ("less memory available on the machine, each", "%.0f KiB" % (crowd["available_kib_less"] / count)),
        ("removal of each", "%s ms" % figures.milliseconds(crowd["removal_seconds"])),
    ]  # fmt: skip
    if theirs:
        kib = figures.quantile(theirs["shim_pss_kib"], 0.5)
        facts.append(("docker: containerd-shim, PSS p50 (%d containers)" % peers, "%d KiB" % kib))
    return shown + "\n" + figures.facts("Memory beside %d containers" % count, facts)


def meter(crowd, count):
    """No peer: docker's own statistics are a stream for each container."""
    wall, cpu = crowd["meter_seconds"], crowd["meter_cpu_seconds"]
    rows = [
        ("one round, all %d" % count, "%s ms" % figures.milliseconds(wall)),
        ("of a core for one round", "%s ms" % figures.milliseconds(cpu)),
        ("of a core for one sample", "%.0f us" % (cpu / count * 1e6)),
        ("of a core, a round every 30 s", "%.3f %%" % (cpu / 30 * 100)),
        ("of a core between rounds (guard, repair of the network)",
         "%.2f %%" % (crowd["idle_cpu_per_second"] * 100)),
    ]  # fmt: skip
    return figures.facts("Metering %d containers" % count, rows)


def said(docker, program, layout):
    """One container that says a lot; both keep all of it."""
    mine, theirs = [], []
    for _ in range(LOG_ROUNDS):
        seen = ours.json_of([program, "logs", layout, str(LOG_MIB)])
        mine.append(seen["bytes"] / 1e6 / seen["seconds"])
        if docker:
            theirs.append((LOG_MIB << 20) / 1e6 / docker.say("busybox:1", LOG_MIB))
    rows = [("allod", figures.rates(mine))]
    if theirs:
        rows.append(("docker, json-file", figures.rates(theirs)))
    title = "Log of one container, MB/s, lines of 128 bytes, %d MiB, its start and end included"
    return figures.facts(title % LOG_MIB, rows)


def idle(allod, program):
    seen = allod.idle(IDLE_SECONDS)
    rows = [
        ("`allod up` to ready", "%.0f ms" % (allod.seconds_to_ready * 1000)),
        ("idle processes", seen["processes"]),
        ("idle memory, sum of PSS (of RSS)", "%.1f MiB (%.1f)" % (seen["pss_mib"], seen["rss_mib"])),
        ("idle CPU over %d s" % IDLE_SECONDS, "%.2f %% of one core" % seen["cpu_percent"]),
        ("binary", "%.1f MB" % (os.path.getsize(program) / 1e6)),
    ]
    return figures.facts("Cost of doing nothing", rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=int(os.environ.get("N", "30")))
    parser.add_argument("--only", default="start,http,commit,idle,law")
    parser.add_argument("--programs", default=TARGET + "/release", help="where the builds lie")
    parser.add_argument("--crowd", type=int, default=CROWD, help="containers at once")
    args = parser.parse_args()
    wanted = args.only.split(",")

    def built(name):
        path = os.path.abspath(os.path.join(args.programs, name))
        if os.access(path, os.X_OK):
            return path
        print("Not built, so not measured: `%s`.\n" % name)
        return None

    program = built("allod") if {"http", "idle"} & set(wanted) else None
    print("## %s\n" % figures.machine())
    with tempfile.TemporaryDirectory(prefix="allod-bench-") as folder, contextlib.ExitStack() as stack:
        docker = allod = None
        if program:
            allod = ours.Allod(program, folder + "/home")
            stack.callback(allod.stop)
        if allod and "idle" in wanted:
            print(idle(allod, program), flush=True)
        speed = built("examples/law") if "law" in wanted else None
        if speed:
            print(law(speed), flush=True)
        if {"start", "http", "density", "logs"} & set(wanted):
            os.mkdir(folder + "/docker")
            archives = [archive(folder, "busybox:1"), archive(folder, "nginx:alpine")]
            docker = Docker(TOOLS, folder + "/docker", archives)
            stack.callback(docker.stop)
        if "start" in wanted:
            layout = FIXTURES + "/images/oci/busybox_1"
            print(container_starts(docker, built("examples/start"), layout, args.n), flush=True)
        crowds = {"density", "meter", "logs"} & set(wanted)
        many = built("examples/start") if crowds else None
        layout = FIXTURES + "/images/oci/busybox_1"
        if many and {"density", "meter"} & set(wanted):
            crowd = ours.json_of([many, "crowd", layout, str(args.crowd)])
            if "density" in wanted:
                print(density(docker, crowd, args.crowd, min(CROWD_OF_DOCKER, args.crowd)), flush=True)
            if "meter" in wanted:
                print(meter(crowd, args.crowd), flush=True)
        if many and "logs" in wanted:
            print(said(docker, many, layout), flush=True)
        if "http" in wanted:
            address = stack.enter_context(registry(folder + "/registry"))
            print(first_answers(docker, allod, address, args.n), flush=True)
        if "commit" in wanted:
            etcd = Etcd(TOOLS, folder)
            stack.callback(etcd.stop)
            print(commits(etcd, built("examples/commit"), folder), flush=True)
        quorum = built("examples/quorum") if "quorum" in wanted else None
        if quorum:
            etcd = Etcd(TOOLS, folder, 3)
            stack.callback(etcd.stop)
            print(quorums(etcd, quorum, folder), flush=True)
        print("Load at the end: %.1f." % os.getloadavg()[0])


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit("bench: %s" % error)
