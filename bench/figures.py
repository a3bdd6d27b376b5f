"""Numbers from samples, and the tables that show them."""

import math
import os
import platform
import subprocess
import time


def quantile(samples, share):
    """The nearest-rank quantile: a value that was really measured."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def milliseconds(seconds):
    return ("%.1f" if seconds >= 0.01 else "%.2f") % (seconds * 1000)


def rates(samples):
    """The median of some rates, and all of them."""
    return "%.0f (%s)" % (quantile(samples, 0.5), ", ".join("%.0f" % one for one in samples))


def compare(title, samples):
    """A table of p50 and p99 per contender; ratios are to the last one, which is ours.

    A contender that was not measured has no row and is named below the table.
    """
    rows = ["### " + title, "", "| | n | p50 ms | p99 ms | p50 to ours |", "|---|---|---|---|---|"]
    ours = samples[-1][1]
    for name, times in samples:
        if not times:
            continue
        middle = quantile(times, 0.5)
        ratio = "%.1fx" % (middle / quantile(ours, 0.5)) if ours else ""
        cells = (name, len(times), milliseconds(middle), milliseconds(quantile(times, 0.99)), ratio)
        rows.append("| %s | %d | %s | %s | %s |" % cells)
    rows += ["", "Not measured: %s." % name] if (name := missing(samples)) else []
    return "\n".join(rows) + "\n"


def missing(samples):
    return ", ".join(name for name, times in samples if not times)


def facts(title, rows):
    """A two-column table."""
    lines = ["### " + title, "", "| | |", "|---|---|"]
    return "\n".join(lines + ["| %s | %s |" % row for row in rows]) + "\n"


def machine():
    """One line on where and when: a figure without it means nothing."""
    commit = subprocess.run(
        ["git", "-C", os.path.dirname(os.path.abspath(__file__)), "rev-parse", "--short", "HEAD"],
        capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) // 1024
    return "%s, commit %s, %d cores, %d MiB, Linux %s, load %.1f at the start" % (
        time.strftime("%F %H:%M", time.gmtime()),
        commit or "unknown",
        os.cpu_count(),
        memory,
        platform.release(),
        os.getloadavg()[0],
    )
