#!/usr/bin/env python3
"""Holds a CycloneDX list against what cargo builds into the program, and makes them the same.

The tool that makes the list sees the workspace as a whole, so that it also lists what only tests or
other programs have turned on: that is taken out. Whatever is lacking is an error.

    tests/sbom.py REPOSITORY LIST
"""

import json
import subprocess
import sys


def main():
    repository, path = sys.argv[1:]
    with open(path) as file:
        listed = json.load(file)
    if listed["bomFormat"] != "CycloneDX":
        sys.exit("sbom: %s is no CycloneDX list" % path)
    components = {(one["name"], one["version"]): one for one in listed["components"]}
    tree = subprocess.run(
        ["cargo", "tree", "--locked", "--offline", "-p", "allod", "--edges", "normal,build",
         "--target", "x86_64-unknown-linux-gnu", "--prefix", "none", "--format", "{p}"],
        cwd=repository, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    built = {tuple(line.split(" ")[:2]) for line in tree.splitlines() if line}
    built = {(name, version.lstrip("v")) for name, version in built} - {("allod", listed["metadata"]["component"]["version"])}
    if missing := built - components.keys():
        sys.exit("sbom: the list lacks %s" % sorted(missing))
    extra = {components[one]["bom-ref"] for one in components.keys() - built}
    listed["components"] = [one for one in listed["components"] if one["bom-ref"] not in extra]
    listed["dependencies"] = [
        {**one, "dependsOn": [ref for ref in one.get("dependsOn", []) if ref not in extra]}
        for one in listed["dependencies"] if one["ref"] not in extra
    ]  # fmt: skip
    known = {one["bom-ref"] for one in listed["components"]} | {listed["metadata"]["component"]["bom-ref"]}
    refs = [ref for one in listed["dependencies"] for ref in [one["ref"], *one["dependsOn"]]]
    if unknown := set(refs) - known:
        sys.exit("sbom: dependencies that are not listed: %s" % sorted(unknown))
    with open(path, "w") as file:
        json.dump(listed, file, indent=2)
        file.write("\n")
    foreign = [one for one in listed["components"] if one["name"].split("-")[0] != "allod"]
    without = [one["name"] for one in foreign if not one.get("purl") or not one.get("hashes")]
    if without:
        sys.exit("sbom: nothing to find or check these by: %s" % without)
    print("%s: %d components, each with a hash" % (path, len(foreign)))


if __name__ == "__main__":
    main()
