#!/usr/bin/env python3
"""Measures Allod beside dockerd and etcd, in one run, interleaved; prints Markdown.

    ALLOD=target/release/allod bench/run.py [--n 30] [--only start,http,commit,idle]

Needs root, `tests/setup.sh bench` and `tests/images/build.sh`. Without ALLOD the peers are measured
alone. Two figures are taken below the command line, by a program that prints one JSON object:
    ALLOD_START   {"seconds": [...]}   one entry per container started, run and deleted
    ALLOD_COMMIT  {"latency_seconds": [...], "transfers_per_second": X}
Absolute times depend on the machine and its load; compare the ratios within one run.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile

import figures
import ours
from docker import Docker
from etcd import Etcd, free_port

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.environ.get("ALLOD_FIXTURES", os.path.join(HERE, "..", "target", "fixtures"))
FIXTURES = os.path.abspath(FIXTURES)
TOOLS = FIXTURES + "/tools"
ETCD_SECONDS = 5
ETCD_OUTSTANDING = 256
IDLE_SECONDS = 60


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


def container_starts(docker, count):
    times = {"docker run --rm": [], "docker run --rm --network none": []}
    docker.start_once("busybox:1")
    for _ in range(count):
        times["docker run --rm"].append(docker.start_once("busybox:1"))
        bare = docker.start_once("busybox:1", "--network", "none")
        times["docker run --rm --network none"].append(bare)
    mine = ours.hook("ALLOD_START")
    rows = list(times.items()) + [("allod (ALLOD_START)", mine["seconds"] if mine else [])]
    return figures.compare("Container start, image cached, `true`, to its end", rows)


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


def commits(etcd):
    alone, _ = etcd.puts(1, ETCD_SECONDS)
    many, took = etcd.puts(ETCD_OUTSTANDING, ETCD_SECONDS)
    mine = ours.hook("ALLOD_COMMIT")
    latencies = mine["latency_seconds"] if mine else []
    rows = [("etcd put, 1 outstanding", alone), ("allod transfer (ALLOD_COMMIT)", latencies)]
    rates = [("etcd puts/s, %d outstanding" % ETCD_OUTSTANDING, "%.0f" % (len(many) / took))]
    if mine:
        rates.append(("allod transfers/s, signatures verified", "%.0f" % mine["transfers_per_second"]))
    return (
        figures.compare("Commit of one change, quorum of one, fsync on", rows)
        + "\n"
        + figures.facts("Sustained commits", rates)
    )


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
    parser.add_argument("--only", default="start,http,commit,idle")
    args = parser.parse_args()
    wanted = args.only.split(",")
    program = os.environ.get("ALLOD")

    print("## %s\n" % figures.machine())
    with tempfile.TemporaryDirectory(prefix="allod-bench-") as folder, contextlib.ExitStack() as stack:
        docker = allod = None
        if program and {"http", "idle"} & set(wanted):
            allod = ours.Allod(program, folder + "/home")
            stack.callback(allod.stop)
        if allod and "idle" in wanted:
            print(idle(allod, program), flush=True)
        if {"start", "http"} & set(wanted):
            os.mkdir(folder + "/docker")
            archives = [archive(folder, "busybox:1"), archive(folder, "nginx:alpine")]
            docker = Docker(TOOLS, folder + "/docker", archives)
            stack.callback(docker.stop)
        if "start" in wanted:
            print(container_starts(docker, args.n), flush=True)
        if "http" in wanted:
            address = stack.enter_context(registry(folder + "/registry"))
            print(first_answers(docker, allod, address, args.n), flush=True)
        if "commit" in wanted:
            etcd = Etcd(TOOLS, folder)
            stack.callback(etcd.stop)
            print(commits(etcd), flush=True)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit("bench: %s" % error)
