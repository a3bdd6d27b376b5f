"""Docker as a peer: a dockerd of our own, in its own network namespace and folder.

Its firewall rules, bridge, images and socket are seen by nobody else, and a Docker that this machine
already runs is neither used nor touched. It is ended by its pid.
"""

import ctypes
import glob
import os
import signal
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

CLONE_NEWNET = 0x40000000
START_TIMEOUT = 60
POLL = 0.002


class Docker:
    """A running dockerd. Every act runs on one thread, which lives in dockerd's network."""

    def __init__(self, tools, folder, archives):
        self.name = "allod-bench-%d" % os.getpid()
        self.folder = folder
        self.socket = "unix://%s/docker.sock" % folder
        self.path = ":".join([tools + "/usr/bin", tools + "/usr/sbin", os.environ["PATH"]])
        self.client = tools + "/usr/bin/docker"
        self.daemon = None
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.thread = ThreadPoolExecutor(1)
        try:
            self.thread.submit(self._start, tools, archives).result()
        except BaseException:
            self.stop()
            raise

    def _start(self, tools, archives):
        with open("/run/netns/" + self.name) as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "cannot enter " + self.name)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        log = open(self.folder + "/dockerd.log", "wb")
        self.daemon = subprocess.Popen(
            [
                tools + "/usr/sbin/dockerd", "--host", self.socket,
                "--data-root", self.folder + "/data", "--exec-root", self.folder + "/exec",
                "--pidfile", self.folder + "/pid", "--cgroup-parent", "/" + self.name,
            ],
            env={**os.environ, "PATH": self.path}, stdout=log, stderr=log,
        )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT
        while self._docker("version", check=False).returncode:
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                with open(self.folder + "/dockerd.log") as file:
                    raise RuntimeError("dockerd did not start:\n" + file.read()[-2000:])
            time.sleep(0.1)
        for archive in archives:
            self._docker("load", "-q", "-i", archive)

    def _docker(self, *words, check=True):
        done = subprocess.run(
            [self.client, "-H", self.socket, *words], capture_output=True, text=True
        )
        if check and done.returncode:
            raise RuntimeError("docker %s: %s" % (" ".join(words), done.stderr.strip()))
        return done

    def start_once(self, image, *network):
        """Seconds that `docker run --rm IMAGE true` takes, from its exec to its exit."""

        def act():
            began = time.monotonic()
            self._docker("run", "--rm", *network, image, "true")
            return time.monotonic() - began

        return self.thread.submit(act).result()

    def first_answer(self, image, port, to):
        """Seconds from Enter on `docker run -d -p` to the first HTTP 200 on the published port."""

        def act():
            began = time.monotonic()
            done = self._docker("run", "-d", "-p", "127.0.0.1:%d:%d" % (port, to), image)
            wait_for_200("http://127.0.0.1:%d/" % port, 30)
            took = time.monotonic() - began
            self._docker("rm", "-f", done.stdout.strip())
            return took

        return self.thread.submit(act).result()

    def crowd(self, image, count):
        """Seconds of `docker run -d` of each of so many, and what memory their shims take."""

        def act():
            seconds, names = [], []
            for _ in range(count):
                began = time.monotonic()
                names.append(self._docker("run", "-d", image, "sleep", "100000").stdout.strip())
                seconds.append(time.monotonic() - began)
            shims = [pid for pid in self._shims() if any(name in _cmdline(pid) for name in names)]
            kib = [_pss_kib(pid) for pid in shims]
            if len(kib) != count:
                raise RuntimeError("%d shims of %d containers" % (len(kib), count))
            self._docker("rm", "-f", *names)
            return {"seconds": seconds, "shim_pss_kib": kib}

        return self.thread.submit(act).result()

    def _shims(self):
        pids = [pid for pid in os.listdir("/proc") if pid.isdigit()]
        return [pid for pid in pids if "containerd-shim" in _cmdline(pid).split("\0")[0]]

    def say(self, image, mib):
        """Seconds from the start of a container that says so much to its end."""

        def act():
            script = "yes %s | head -c %d" % ("x" * 127, mib << 20)
            began = time.monotonic()
            name = self._docker("run", "-d", image, "sh", "-c", script).stdout.strip()
            self._docker("wait", name)
            took = time.monotonic() - began
            self._docker("rm", name)
            return took

        return self.thread.submit(act).result()

    def stop(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGTERM)
            try:
                self.daemon.wait(30)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        self.thread.shutdown()
        subprocess.run(["ip", "netns", "delete", self.name], check=False)
        # dockerd leaves its parent cgroups behind: one per controller under v1, one under v2.
        for group in glob.glob("/sys/fs/cgroup/" + self.name) + glob.glob(
            "/sys/fs/cgroup/*/" + self.name
        ):
            os.rmdir(group)


def _cmdline(pid):
    try:
        with open("/proc/%s/cmdline" % pid) as file:
            return file.read()
    except OSError:
        return ""


def _pss_kib(pid):
    with open("/proc/%s/smaps_rollup" % pid) as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def wait_for_200(url, timeout):
    """Polls until the answer is 200."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                answer.read()
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise RuntimeError("no 200 from %s: %s" % (url, error)) from error
            time.sleep(POLL)
