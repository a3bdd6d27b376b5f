#!/usr/bin/env python3
"""A guestbook: lists entries, takes new ones, and keeps them in Redis.

It speaks Redis' protocol itself, over a socket, so that the image holds Python and nothing else.
    GET  /          the book, newest entry first (as text for curl: GET /entries)
    POST /entries   name=...&text=...
    GET  /healthz   200 when Redis answers, else 503 with the reason
"""

import html
import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

REDIS = os.environ.get("REDIS_HOST", "redis")
REDIS_PORT = int(os.environ.get("REDIS_PORT", "6379"))
PORT = int(os.environ.get("PORT", "8000"))
VERSION = os.environ.get("GUESTBOOK_VERSION", "0")
ENTRY_BYTES_MAX = 2000
ENTRIES_SHOWN = 100

PAGE = """<!doctype html><title>Guestbook</title>
<style>body{font:16px sans-serif;max-width:40em;margin:2em auto}li{margin:.5em 0}</style>
<h1>Guestbook</h1>
<form method=post action=/entries><input name=name placeholder="Your name" required>
<input name=text placeholder="Say something" size=40 required> <button>Sign</button></form>
<ul>%s</ul><p><small>served by %s, version %s</small></p>
"""


def redis(*words):
    """Sends one command and returns its reply: text, a number, or a list of texts."""
    with socket.create_connection((REDIS, REDIS_PORT), timeout=3) as link:
        request = b"*%d\r\n" % len(words)
        for word in words:
            data = str(word).encode()
            request += b"$%d\r\n%s\r\n" % (len(data), data)
        link.sendall(request)
        with link.makefile("rb") as stream:
            return reply(stream)


def reply(stream):
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise OSError("redis closed the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise OSError("redis says: " + rest.decode(errors="replace"))
    if kind == b":":
        return int(rest)
    if kind == b"$":
        if int(rest) < 0:
            return None
        return stream.read(int(rest) + 2)[:-2].decode(errors="replace")
    if kind == b"*":
        return [reply(stream) for _ in range(int(rest))]
    return rest.decode(errors="replace")


def entries():
    return redis("LRANGE", "guestbook", 0, ENTRIES_SHOWN - 1)


class Book(BaseHTTPRequestHandler):
    """One request."""

    timeout = 15

    def do_GET(self):
        self.answer({"/": self.page, "/entries": self.list, "/healthz": self.health})

    def do_POST(self):
        self.answer({"/entries": self.sign})

    def answer(self, routes):
        handler = routes.get(self.path.partition("?")[0])
        try:
            status, kind, body = handler() if handler else (404, "text/plain", "no such page\n")
        except OSError as error:
            status, kind = 503, "text/plain"
            body = "cannot reach redis at %s:%d: %s\n" % (REDIS, REDIS_PORT, error)
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind + "; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        if status == 303:
            self.send_header("Location", "/")
        self.end_headers()
        self.wfile.write(data)

    def page(self):
        rows = "".join("<li>%s</li>" % html.escape(entry) for entry in entries())
        return 200, "text/html", PAGE % (rows, html.escape(socket.gethostname()), VERSION)

    def list(self):
        return 200, "text/plain", "".join(entry + "\n" for entry in entries())

    def health(self):
        redis("PING")
        return 200, "text/plain", "ok, version %s\n" % VERSION

    def sign(self):
        length = int(self.headers.get("Content-Length", 0))
        if not 0 < length <= ENTRY_BYTES_MAX:
            return 413, "text/plain", "an entry has 1 to %d bytes\n" % ENTRY_BYTES_MAX
        form = parse_qs(self.rfile.read(length).decode(errors="replace"))
        if "name" not in form or "text" not in form:
            return 400, "text/plain", "name and text are needed\n"
        line = " ".join((form["name"][0] + ": " + form["text"][0]).split())
        redis("LPUSH", "guestbook", line)
        return 303, "text/plain", "thank you\n"

    def log_message(self, format, *args):
        print("%s %s" % (self.address_string(), format % args), flush=True)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("guestbook on :%d, redis at %s:%d" % (PORT, REDIS, REDIS_PORT), flush=True)
    ThreadingHTTPServer(("", PORT), Book).serve_forever()


if __name__ == "__main__":
    main()
