#!/usr/bin/env python3
"""What the tools of Debian 12 can't do to an image: name an erofs, and describe an image.

image.py label FILE LABEL
    writes the volume label (at most 15 bytes) into an erofs superblock. mkfs.erofs 1.5 has no option for it.
image.py describe FILE TREE NAME FORMAT SUITE PROFILE,PROFILE...
    prints the JSON that lies beside an image. Nothing in it depends on when or where it was made.

The superblock is described in the kernel's fs/erofs/erofs_fs.h.
"""
import hashlib
import json
import os
import struct
import subprocess
import sys

SUPER_OFFSET = 1024
BLOCK_BYTES = 4096
MAGIC = 0xE0F5E1E2
CHECKSUM_AT = 4
COMPAT_AT = 8
LABEL_AT = 64
LABEL_BYTES = 16
COMPAT_CHECKSUM = 1


def crc32c(data):
    """The CRC that the kernel takes over the superblock's block: initial ~0, not inverted at the end."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


def label(path, name):
    name = name.encode()
    if len(name) >= LABEL_BYTES:
        sys.exit(f"label {name!r} is longer than {LABEL_BYTES - 1} bytes")
    with open(path, "r+b") as image:
        image.seek(SUPER_OFFSET)
        block = bytearray(image.read(BLOCK_BYTES - SUPER_OFFSET))
        magic, checksum, compat = struct.unpack_from("<III", block)
        if magic != MAGIC:
            sys.exit(f"{path} is not an erofs image")
        struct.pack_into("<I", block, CHECKSUM_AT, 0)
        if compat & COMPAT_CHECKSUM and crc32c(block) != checksum:
            sys.exit(f"the superblock of {path} has a wrong checksum")
        block[LABEL_AT:LABEL_AT + LABEL_BYTES] = name.ljust(LABEL_BYTES, b"\0")
        if compat & COMPAT_CHECKSUM:
            struct.pack_into("<I", block, CHECKSUM_AT, crc32c(block))
        image.seek(SUPER_OFFSET)
        image.write(block)


def packages(tree):
    out = subprocess.run(["dpkg-query", f"--admindir={tree}/var/lib/dpkg", "-W", "-f",
                          "${binary:Package} ${Version} ${db:Status-Status}\n"],
                         check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in out.splitlines())
    return {name: version for name, version, status in rows if status == "installed"}


def os_release(tree):
    with open(f"{tree}/etc/os-release", encoding="utf-8") as file:
        pairs = (line.rstrip("\n").split("=", 1) for line in file if "=" in line)
        return {key: value.strip('"') for key, value in pairs}


def describe(path, tree, name, kind, suite, profiles):
    digest = hashlib.sha256()
    with open(path, "rb") as image:
        while block := image.read(1 << 20):
            digest.update(block)
    release = os_release(tree)
    with open(f"{tree}/etc/debian_version", encoding="utf-8") as file:
        point = file.read().strip()
    json.dump({
        "name": name,
        "format": kind,
        "size_bytes": os.stat(path).st_size,
        "sha256": digest.hexdigest(),
        "os": {"id": release.get("ID"), "name": release.get("PRETTY_NAME"), "version": point},
        "suite": suite,
        "profiles": profiles.split(","),
        "packages": packages(tree),
    }, sys.stdout, indent=1, sort_keys=False)
    print()


def main(args):
    if len(args) == 3 and args[0] == "label":
        label(*args[1:])
    elif len(args) == 7 and args[0] == "describe":
        describe(*args[1:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
