#!/usr/bin/env python3
"""seeds.py DIR - seeds for the fuzz targets, from the golden vectors and a few tars and rules."""
import io
import json
import os
import sys
import tarfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def vectors(name):
    with open(os.path.join(TOP, "protocol", "vectors", name), encoding="utf-8") as f:
        return json.load(f)


def put(top, target, seeds):
    folder = os.path.join(top, target)
    os.makedirs(folder, exist_ok=True)
    for i, data in enumerate(seeds):
        with open(os.path.join(folder, str(i)), "wb") as f:
            f.write(data)


def tars():
    for fmt in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        buf = io.BytesIO()
        with tarfile.open(fileobj=buf, mode="w", format=fmt) as t:
            for name, kind, link in [("d", tarfile.DIRTYPE, ""), ("d/f", tarfile.REGTYPE, ""),
                                     ("l", tarfile.SYMTYPE, "../x"), ("h", tarfile.LNKTYPE, "d/f"),
                                     ("n" * 90, tarfile.REGTYPE, ""), ("p", tarfile.FIFOTYPE, "")]:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, link
                info.size = 700 if kind == tarfile.REGTYPE else 0
                t.addfile(info, io.BytesIO(b"x" * 700))
        yield buf.getvalue()


def main():
    top = sys.argv[1]
    good = vectors("good.json")
    frames = [bytes.fromhex(v["hex"]) for v in good + vectors("refused.json")]
    guest = [bytes.fromhex(v["hex"]) for v in good if v["from"] == "guest"]
    put(top, "fuzz_wire", frames)
    put(top, "fuzz_conduit_stream", [b"\x07" + b"".join(guest[i:i + 4]) for i in range(len(guest))])
    put(top, "fuzz_conduit_session", [b"".join(guest[i:] + guest[:i]) for i in range(len(guest))])
    put(top, "fuzz_conduit_egress", [b"pypi.org:443\n*.example.org\n10.0.0.0/8:80\n[::1]:3000",
                                     b"a:*\n[::]:1\nfd00::/8\n127.0.0.1", b"\n\n\n", b"x.y\nx.y\n::/0\nx.y"])
    put(top, "fuzz_conduit_tar", tars())


main()
