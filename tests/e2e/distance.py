"""Distance between the machines of a story: every frame that leaves one is held back for a while before it reaches the bridge.

    distance.py plain LINK                in a machine's network namespace, first: nothing is left to a network card to do
    distance.py MILLISECONDS PORT...      in the network namespace of the bridge `hub`; says "apart" once it carries

Each named port of the bridge becomes a tap of that name, and the cable that was the port is read and written here. There is
no `tc netem` in every kernel. Frames are neither lost nor reordered: for that there are rules of nftables on the bridge.
"""

import collections
import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

TUNSETIFF, TAP, NO_HEADER = 0x400454CA, 0x0002, 0x1000
SIOCETHTOOL = 0x8946
# ETHTOOL_STXCSUM, _SSG, _STSO, _SGSO, _SGRO: checksums, and packets larger than a frame.
OFFLOADS = 0x17, 0x19, 0x1F, 0x24, 0x2C
ETH_P_ALL, FRAME_BYTES_MAX, BATCH = 3, 65536, 64


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def without_offloads(name):
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for command in OFFLOADS:
        off = ctypes.create_string_buffer(struct.pack("II", command, 0), 8)
        try:
            fcntl.ioctl(probe, SIOCETHTOOL, struct.pack("16sP16x", name.encode(), ctypes.addressof(off)))
        except OSError:
            # Not every link has every one of them.
            pass


def tap(name):
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP | NO_HEADER))
    return descriptor


def cable(name):
    """The cable that was a port, and the tap that is one now."""
    old = f"wire-{name}"
    if not any(link == old for _, link in socket.if_nameindex()):
        ip("link", "set", name, "down")
        ip("link", "set", name, "nomaster")
        ip("link", "set", name, "name", old)
        ip("link", "set", old, "up")
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    wire.bind((old, ETH_P_ALL))
    wire.setblocking(False)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    port = tap(name)
    ip("link", "set", name, "master", "hub", "up")
    return wire, port


def main():
    if sys.argv[1] == "plain":
        return without_offloads(sys.argv[2])
    delay = float(sys.argv[1]) / 1000
    poll, out_of, into = select.poll(), {}, {}
    for name in sys.argv[2:]:
        wire, port = cable(name)
        poll.register(wire, select.POLLIN)
        poll.register(port, select.POLLIN)
        out_of[wire.fileno()] = wire, port
        into[port] = wire
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("apart", flush=True)
    held = collections.deque()
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) * 1000 if held else None
        ready = poll.poll(wait)
        for descriptor, _ in ready:
            for _ in range(BATCH):
                try:
                    if descriptor in into:
                        into[descriptor].send(os.read(descriptor, FRAME_BYTES_MAX))
                        continue
                    wire, port = out_of[descriptor]
                    frame, source = wire.recvfrom(FRAME_BYTES_MAX)
                    if source[2] != socket.PACKET_OUTGOING:
                        held.append((time.monotonic() + delay, port, frame))
                except OSError:
                    break
        now = time.monotonic()
        while held and held[0][0] <= now:
            _, port, frame = held.popleft()
            try:
                os.write(port, frame)
            except OSError:
                pass


main()
