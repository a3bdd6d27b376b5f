#!/usr/bin/env python3
"""Asks one URL all the time, on a connection of its own each time, and writes down what came of it.

    asker.py URL FILE STOP [HOST [RATE]]      a line for each request: seconds, then the status or what went wrong

Ends when the file STOP is there. Without a RATE one request follows the other; with it so many begin every second,
whether those before have been answered or not.
"""

import concurrent.futures
import os
import sys
import time
import urllib.error
import urllib.request


def ask(url, host):
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
            return str(answer.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except OSError as error:
        return "failed: %s" % error


def main():
    url, file, stop = sys.argv[1:4]
    host = sys.argv[4] if len(sys.argv) > 4 else None
    rate = float(sys.argv[5]) if len(sys.argv) > 5 else None
    with open(file, "w", buffering=1) as lines, concurrent.futures.ThreadPoolExecutor(64) as pool:

        def asked():
            at = time.time()
            lines.write("%.3f %s\n" % (at, ask(url, host)))

        due = time.monotonic()
        while not os.path.exists(stop):
            if rate:
                pool.submit(asked)
                due += 1 / rate
                time.sleep(max(0, due - time.monotonic()))
            else:
                asked()
                time.sleep(0.02)


if __name__ == "__main__":
    main()
