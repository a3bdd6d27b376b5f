#!/usr/bin/env python3
"""A registry that does wrong on purpose, in front of an honest one.

    liar.py HONEST_ADDRESS [FILE]     prints its own address, then answers until it is killed

Layers of away/… are answered with 503 while FILE is there. The first part of an image's name says what goes wrong: limited/nginx:alpine is answered with 429.
What is not told apart here is fetched from the honest registry.
"""

import http.server
import json
import os
import socketserver
import sys
import time
import urllib.error
import urllib.request

HONEST = sys.argv[1]
AWAY = sys.argv[2] if len(sys.argv) > 2 else ""
STATUS = {"closed": 401, "forbidden": 403, "missing": 404, "limited": 429, "broken": 500}
PLATFORM = {"os": "linux", "architecture": "s390x"}
ELSEWHERE = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 7,
                   "digest": "sha256:" + "0" * 64, "platform": PLATFORM}],
}


class Liar(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, body=b"", headers=None, length=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def do_GET(self):
        parts = self.path.split("/")
        fault, rest = (parts[2], "/".join(parts[3:])) if len(parts) > 4 else ("", "")
        is_layer = "/blobs/" in self.path
        if fault in STATUS:
            wait = {"Retry-After": "3600"} if fault == "limited" else {}
            return self.say(STATUS[fault], b'{"errors":[{"message":"because"}]}', wait)
        if fault == "silent":
            return time.sleep(60)
        if fault == "redirecting":
            return self.say(307, headers={"Location": "http://169.254.169.254/latest/meta-data"})
        if fault == "elsewhere":
            kind = {"Content-Type": ELSEWHERE["mediaType"]}
            return self.say(200, json.dumps(ELSEWHERE).encode(), kind)
        kind, body = self.honest(rest)
        if body is None:
            return self.say(404)
        # Only what is large is a layer; the configuration stays as it is.
        if is_layer and len(body) > 20_000:
            if fault == "damaged":
                body = body[:9_000] + bytes([body[9_000] ^ 1]) + body[9_001:]
            if fault == "longer":
                body += b"more"
            if fault == "cut":
                return self.say(200, body[:9_000], length=len(body))
            if fault == "gone":
                return self.say(404)
            if fault == "away" and os.path.exists(AWAY):
                return self.say(503)
        return self.say(200, body, {"Content-Type": kind})

    def honest(self, rest):
        request = urllib.request.Request(f"http://{HONEST}/v2/{rest}")
        for kind in self.headers.get_all("Accept", []):
            request.add_header("Accept", kind)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.headers.get("Content-Type", ""), answer.read()
        except urllib.error.HTTPError:
            return "", None


# Not HTTPServer: it looks its own name up, which can take long.
socketserver.ThreadingTCPServer.daemon_threads = True
server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Liar)
print(f"127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
