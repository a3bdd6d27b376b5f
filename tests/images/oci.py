#!/usr/bin/env python3
"""Writes one OCI image layout from root file systems on disk. Standard library and zstd(1) only.

    oci.py OUT --name NAME:TAG --config config.json LAYER[:zstd] [LAYER[:zstd]...]

Each LAYER is a directory; it becomes one layer tar: sorted, owner 0:0, time 0, so that the same
files give the same digests. A file named `.wh.NAME` deletes NAME of the layers below, and an empty
`.wh..wh..opq` hides everything below its directory (the whiteouts of the OCI image spec).
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"


def layer_tar(root):
    """The bytes of a reproducible tar of everything under `root`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        inodes = {}
        for path in sorted(walk(root)):
            info = tar.gettarinfo(path, arcname=os.path.relpath(path, root))
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = 0
            if info.islnk():
                # Hard links are named after the first path in sorted order, whatever inode says.
                info.linkname = inodes[os.stat(path).st_ino]
            elif info.isreg():
                inodes[os.stat(path).st_ino] = info.name
            if info.isreg():
                with open(path, "rb") as file:
                    tar.addfile(info, file)
            else:
                tar.addfile(info)
    return out.getvalue()


def walk(root):
    """Every path below `root`, directories included, symlinks not followed."""
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            yield os.path.join(folder, name)


def compress(tar, kind):
    if kind == "zstd":
        return ZSTD, subprocess.run(
            ["zstd", "-q", "-c"], input=tar, stdout=subprocess.PIPE, check=True
        ).stdout
    return GZIP, gzip.compress(tar, compresslevel=6, mtime=0)


class Layout:
    """An OCI image layout directory with one image in it."""

    def __init__(self, out):
        self.out = out
        os.makedirs(os.path.join(out, "blobs", "sha256"), exist_ok=True)

    def blob(self, media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(self.out, "blobs", "sha256", digest), "wb") as file:
            file.write(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    def json_blob(self, media_type, value):
        return self.blob(media_type, json.dumps(value, sort_keys=True).encode())

    def finish(self, name, manifest):
        manifest["annotations"] = {"org.opencontainers.image.ref.name": name}
        self.write("oci-layout", {"imageLayoutVersion": "1.0.0"})
        self.write("index.json", {"schemaVersion": 2, "manifests": [manifest]})

    def write(self, name, value):
        with open(os.path.join(self.out, name), "w") as file:
            json.dump(value, file, sort_keys=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--name", required=True)
    parser.add_argument("--config", required=True, help="the `config` object of the image")
    parser.add_argument("layers", nargs="+")
    args = parser.parse_args()

    layout = Layout(args.out)
    descriptors, diff_ids = [], []
    for layer in args.layers:
        root, _, kind = layer.partition(":")
        tar = layer_tar(root)
        diff_ids.append("sha256:" + hashlib.sha256(tar).hexdigest())
        descriptors.append(layout.blob(*compress(tar, kind)))
    with open(args.config) as file:
        config = json.load(file)
    image = {
        "architecture": os.environ.get("IMAGE_ARCH", "amd64"),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": os.path.basename(layer)} for layer in args.layers],
    }
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": layout.json_blob("application/vnd.oci.image.config.v1+json", image),
        "layers": descriptors,
    }
    layout.finish(args.name, layout.json_blob(manifest_type, manifest))


if __name__ == "__main__":
    main()
