"""Reads what the writers of fenced.sh have written, on whichever machine: each line is a time in seconds since the boot.

  fenced.py collect FOLDER         keeps all of it under FOLDER/wrote while the writers come and go
  fenced.py show FOLDER            prints one line for each epoch: machine, epoch, first, last, count, longest pause
  fenced.py overlap FOLDER         fails where two epochs wrote at the same time
"""

import glob
import os
import re
import sys
import time


def collect(folder):
    os.makedirs(folder + "/wrote", exist_ok=True)
    known = {}
    while True:
        for path in glob.glob(folder + "/*/root/workloads/*/logs/*"):
            parts = path.split("/")
            machine, epoch = parts[-6], int(parts[-3].rsplit("-", 1)[1])
            try:
                text = open(path, errors="replace").read()
            except OSError:
                continue  # It was removed just now.
            times = known.setdefault((machine, epoch), set())
            new = {float(it) for it in re.findall(r"wrote (\d+\.\d\d)\b", text)} - times
            times |= new
            with open(f"{folder}/wrote/{epoch}-{machine}", "a") as kept:
                kept.writelines(f"{it}\n" for it in sorted(new))
            if "asked" in text:
                open(f"{folder}/wrote/{epoch}-{machine}.asked", "w").close()
        time.sleep(0.05)


def epochs(folder):
    found = []
    for path in glob.glob(folder + "/wrote/*"):
        name = os.path.basename(path)
        times = sorted(float(line) for line in open(path)) if not name.endswith(".asked") else []
        if times:
            epoch, machine = name.split("-")
            pause = max((b - a for a, b in zip(times, times[1:])), default=0)
            found.append((int(epoch), machine, times[0], times[-1], len(times), pause))
    return sorted(found)


def main(what, folder):
    if what == "collect":
        collect(folder)
    for epoch, machine, first, last, count, pause in epochs(folder):
        if what == "show":
            print(machine, epoch, first, last, count, round(pause * 1000))
    if what == "overlap":
        all_of_them = epochs(folder)
        for before, after in zip(all_of_them, all_of_them[1:]):
            gap = after[2] - before[3]
            print(f"epoch {after[0]} on {after[1]} wrote first {gap:.2f} s after the last word of {before[0]} on {before[1]}")
            if gap <= 0:
                sys.exit("two wrote at once")
        if len(all_of_them) < 2:
            sys.exit("there was one writer only")


main(*sys.argv[1:])
