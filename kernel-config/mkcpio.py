#!/usr/bin/env python3
"""mkcpio.py - write an initramfs (cpio, "newc" format) without root.

    mkcpio.py OUT --dir /dev[:MODE] --file /init=PATH[:MODE] --node /dev/console:c:5:1[:MODE]

Device nodes are records in the archive, not files on the host. Everything belongs to
root, times are 0 and records are sorted by name: the same input gives the same bytes.
Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
"""

import argparse
import os
import stat
import sys


def octal(text):
    mode = int(text, 8)
    if not 0 <= mode <= 0o7777:
        raise argparse.ArgumentTypeError(f"mode {text} is not between 0 and 7777")
    return mode


def name_of(path):
    """The archive's name of an absolute guest path: no leading slash."""
    if not path.startswith("/") or os.path.normpath(path) != path or path == "/":
        raise argparse.ArgumentTypeError(f"{path} is not a plain absolute path")
    return path[1:]


def dir_entry(text):
    path, _, mode = text.partition(":")
    return name_of(path), stat.S_IFDIR | octal(mode or "0755"), None, (0, 0)


def file_entry(text):
    path, sep, source = text.partition("=")
    if not sep:
        raise argparse.ArgumentTypeError(f"{text}: expected GUESTPATH=HOSTPATH[:MODE]")
    source, _, mode = source.partition(":")
    with open(source, "rb") as f:
        data = f.read()
    return name_of(path), stat.S_IFREG | octal(mode or "0644"), data, (0, 0)


def node_entry(text):
    path, kind, major, minor, *mode = text.split(":")
    kinds = {"c": stat.S_IFCHR, "b": stat.S_IFBLK}
    return name_of(path), kinds[kind] | octal(*mode or ["0600"]), None, (int(major), int(minor))


def record(inode, name, mode, data=None, device=(0, 0)):
    data = data or b""
    nlink = 2 if stat.S_ISDIR(mode) else 1
    fields = (inode, mode, 0, 0, nlink, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
    return pad(head) + pad(data)


def pad(data):
    return data + b"\0" * (-len(data) % 4)


def archive(entries):
    """The whole archive as bytes; every entry's folder must be an entry too."""
    entries = sorted(entries)
    names = {e[0] for e in entries}
    if len(names) != len(entries):
        raise SystemExit("mkcpio.py: a name was given twice")
    for name in names:
        if "/" in name and os.path.dirname(name) not in names:
            raise SystemExit(f"mkcpio.py: /{name}: give --dir /{os.path.dirname(name)} too")
    body = b"".join(record(i, *e) for i, e in enumerate(entries, 1))
    return body + record(0, "TRAILER!!!", 0)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("out")
    p.add_argument("--dir", type=dir_entry, dest="entries", action="append", metavar="PATH[:MODE]")
    p.add_argument("--file", type=file_entry, dest="entries", action="append",
                   metavar="PATH=SOURCE[:MODE]")
    p.add_argument("--node", type=node_entry, dest="entries", action="append",
                   metavar="PATH:c|b:MAJOR:MINOR[:MODE]")
    args = p.parse_args()
    temporary = f"{args.out}.{os.getpid()}.tmp"
    with open(temporary, "wb") as f:
        f.write(archive(args.entries or []))
    os.rename(temporary, args.out)


if __name__ == "__main__":
    try:
        main()
    except OSError as e:
        sys.exit(f"mkcpio.py: {e}")
