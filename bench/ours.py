"""Allod itself: an installation of its own under a temporary home, through its public commands."""

import json
import os
import re
import select
import signal
import subprocess
import time

from docker import wait_for_200

READY_TIMEOUT = 60


class Allod:
    """A running `allod up`; `program` is the release binary."""

    def __init__(self, program, home, prefix=()):
        self.program = os.path.abspath(program)
        self.env = {**os.environ, "ALLOD_HOME": home}
        self.log = open(home + ".log", "wb")
        began = time.monotonic()
        self.process = subprocess.Popen(
            [*prefix, self.program, "up", "--api", "127.0.0.1:0", "--ingress", "127.0.0.1:0"],
            env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log,
        )  # fmt: skip
        try:
            self.api = self._ready(began + READY_TIMEOUT)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.seconds_to_ready = time.monotonic() - began

    def _ready(self, deadline):
        pending = b""
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.process.stdout], [], [], left)[0]:
                break
            data = os.read(self.process.stdout.fileno(), 4096)
            if not data:
                break
            pending += data
            found = re.search(rb"^ready (\S+)$", pending, re.MULTILINE)
            if found:
                return found.group(1).decode()
        raise RuntimeError("allod up printed no `ready`; see %s" % self.log.name)

    def command(self, *words):
        done = subprocess.run(
            [self.program, *words], env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
            text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError("allod %s: %s" % (" ".join(words), done.stderr.strip()[-1000:]))
        return done.stdout

    def first_answer(self, image, port, name):
        """Seconds from Enter on `allod run` to the first HTTP 200 on the plain loopback URL."""
        began = time.monotonic()
        said = self.command("run", image, "--port", str(port), "--name", name, "--yes", "-o", "json")
        url = re.search(r"http://127\.0\.0\.1:\d+", said)
        if not url:
            raise RuntimeError("allod run printed no loopback URL: " + said)
        wait_for_200(url.group(0) + "/", 30)
        took = time.monotonic() - began
        self.command("delete", name, "--yes")
        return took

    def idle(self, seconds):
        """Memory and share of one core of all our processes, once they have nothing to do."""
        time.sleep(5)
        before = cpu_seconds(tree(self.process.pid))
        time.sleep(seconds)
        pids = tree(self.process.pid)
        after = cpu_seconds(pids)
        memory = [smaps(pid) for pid in pids]
        return {
            "processes": len(pids),
            "rss_mib": sum(one["Rss"] for one in memory) / 1024,
            "pss_mib": sum(one["Pss"] for one in memory) / 1024,
            "cpu_percent": 100 * (after - before) / seconds,
        }

    def stop(self):
        subprocess.run([self.program, "down", "--yes"], env=self.env, capture_output=True)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Starts:
    """The program that starts containers below the command line, one turn at a time."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )  # fmt: skip
        self.confined = []
        while (line := self._line()) != "ready":
            self.confined.append(line)

    def _line(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise RuntimeError("starting containers: " + self.process.stderr.read()[-1000:].strip())
        return line.strip()

    def turn(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self._line()

    def figures(self):
        """Seconds of every turn; the program ends."""
        self.process.stdin.close()
        figures = json.loads(self._line())
        self.process.wait()
        return figures


def commits(command):
    """One run of the program that commits transfers."""
    return json_of(command)


def json_of(command):
    """The object on the last line of what a program says."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        name = os.path.basename(command[0])
        raise RuntimeError("%s: %s" % (name, done.stderr.strip()[-1000:]))
    return json.loads(done.stdout.strip().splitlines()[-1])


def tree(root):
    """The pids of `root` and everything that descends from it."""
    children = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(pid))
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        left += children.get(pid, [])
    return found


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        try:
            with open("/proc/%d/stat" % pid) as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def smaps(pid):
    """Rss and Pss of a process in KiB; zero when it has just ended."""
    sums = {"Rss": 0, "Pss": 0}
    try:
        with open("/proc/%d/smaps_rollup" % pid) as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name in sums:
                    sums[name] = int(rest.split()[0])
    except OSError:
        pass
    return sums
