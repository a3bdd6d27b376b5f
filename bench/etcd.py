"""etcd as a peer: members with their defaults (fsync on), driven by a closed loop.

The client speaks gRPC itself, over one HTTP/2 connection: etcd's JSON gateway would be measured
instead of etcd, and its `check perf` limits its own rate. Whether every put was committed is read from
the revision afterwards, so responses need no header decoding here.
"""

import os
import re
import signal
import socket
import struct
import subprocess
import time

DATA, HEADERS, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
VALUE = b"v" * 128


class Etcd:
    """A running etcd of our own on free ports: one member, or several that are one cluster; the first is asked."""

    def __init__(self, tools, folder, members=1):
        self.log = folder + "/etcd.log"
        self.etcdctl = tools + "/usr/bin/etcdctl"
        ports = [(free_port(), free_port()) for _ in range(members)]
        self.address = ("127.0.0.1", ports[0][0])
        urls = [("http://127.0.0.1:%d" % client, "http://127.0.0.1:%d" % peer) for client, peer in ports]
        cluster = ",".join("member%d=%s" % (at, peer) for at, (_, peer) in enumerate(urls))
        log = open(self.log, "wb")
        self.processes = [
            subprocess.Popen(
                [
                    tools + "/usr/bin/etcd", "--name", "member%d" % at,
                    "--data-dir", "%s/etcd-%d-%d" % (folder, members, at),
                    "--listen-client-urls", client, "--advertise-client-urls", client,
                    "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                    "--initial-cluster", cluster,
                ],
                stdout=log, stderr=subprocess.STDOUT,
            )
            for at, (client, peer) in enumerate(urls)
        ]  # fmt: skip
        deadline = time.monotonic() + 30
        while self._revision() is None:
            has_ended = any(process.poll() is not None for process in self.processes)
            if has_ended or time.monotonic() > deadline:
                self.stop()
                with open(self.log) as file:
                    raise RuntimeError("etcd did not start:\n" + file.read()[-2000:])
            time.sleep(0.1)

    def _revision(self):
        done = subprocess.run(
            [self.etcdctl, "--endpoints", "127.0.0.1:%d" % self.address[1], "get", "-w", "json", "x"],
            capture_output=True, text=True, env={**os.environ, "ETCDCTL_API": "3"},
        )  # fmt: skip
        found = re.search(r'"revision":(\d+)', done.stdout)
        return int(found.group(1)) if found else None

    def puts(self, outstanding, seconds):
        """Latencies of puts with `outstanding` of them always under way, for `seconds`."""
        before = self._revision()
        latencies, took = closed_loop(self.address, outstanding, seconds)
        committed = self._revision() - before
        if committed != len(latencies):
            raise RuntimeError("etcd answered %d puts, committed %d" % (len(latencies), committed))
        return latencies, took

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def closed_loop(address, outstanding, seconds):
    link = socket.create_connection(address)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    headers = request_headers(address)
    link.sendall(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        # INITIAL_WINDOW_SIZE and the connection's window: room for every answer of the run.
        + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31 - 1))
        + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1 - 65535))
    )
    latencies, began, stream, buffer = [], {}, 1, b""
    start = time.monotonic()
    out = b""
    for _ in range(outstanding):
        began[stream] = time.monotonic()
        out += put(stream, headers)
        stream += 2
    while began:
        if out:
            link.sendall(out)
        data = link.recv(1 << 16)
        if not data:
            raise RuntimeError("etcd closed the connection")
        out, buffer = b"", buffer + data
        now = time.monotonic()
        at = 0
        while len(buffer) - at >= 9:
            length = int.from_bytes(buffer[at : at + 3], "big")
            if len(buffer) - at < 9 + length:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            answered = int.from_bytes(buffer[at + 5 : at + 9], "big")
            if kind == HEADERS and flags & END_STREAM:
                latencies.append(now - began.pop(answered))
                if now - start < seconds:
                    began[stream] = now
                    out += put(stream, headers)
                    stream += 2
            elif kind in (SETTINGS, PING) and not flags & ACK:
                body = buffer[at + 9 : at + 9 + length] if kind == PING else b""
                out += frame(kind, ACK, 0, body)
            elif kind == GOAWAY:
                raise RuntimeError("etcd says go away: %r" % buffer[at + 9 : at + 9 + length])
            at += 9 + length
        buffer = buffer[at:]
    link.close()
    return latencies, time.monotonic() - start


def frame(kind, flags, stream, body):
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def text(value):
    return bytes([len(value)]) + value


def request_headers(address):
    """HPACK without compression: indexed names where the static table has them, literal values."""
    return (
        b"\x83\x86"  # :method POST, :scheme http
        + b"\x04" + text(b"/etcdserverpb.KV/Put")
        + b"\x01" + text(b"%s:%d" % (address[0].encode(), address[1]))
        + b"\x0f\x10" + text(b"application/grpc")  # content-type
        + b"\x00" + text(b"te") + text(b"trailers")
    )  # fmt: skip


def put(stream, headers):
    """One gRPC call: a PutRequest with a key of its own and 128 bytes of value."""
    key = b"bench/%012d" % stream
    message = b"\x0a" + text(key) + b"\x12" + bytes([len(VALUE) & 0x7F | 0x80, len(VALUE) >> 7]) + VALUE
    body = b"\0" + struct.pack(">I", len(message)) + message
    return frame(HEADERS, END_HEADERS, stream, headers) + frame(DATA, END_STREAM, stream, body)
