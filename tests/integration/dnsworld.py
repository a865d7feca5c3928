"""A network of its own for the dialer: name server, one TCP server, the conduit driver in it.

Run as root under `unshare -n -m`: dnsworld.py RESOLV_CONF DRIVER ARGS…
Serves the names of ZONE; all addresses are loopback ones. Prints nothing itself.
"""
import contextlib
import fcntl
import socket
import struct
import subprocess
import sys
import threading

PORT = 8080
ZONE = {  # name: A records, AAAA records; None: no answer at all; missing: NXDOMAIN
    "good.test": (["127.0.0.1"], ["::1"]),
    "private.test": (["10.0.0.1"], []),
    "mixed.test": (["10.0.0.1", "127.0.0.1"], []),
    "second.test": (["127.0.0.2", "127.0.0.1"], []),  # nobody listens on the first
    "empty.test": ([], []),
    "many.test": ([f"127.0.1.{i}" for i in range(20)], []),
    "silent.test": None,
}


def lo_up():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 1 | 64))  # SIOCSIFFLAGS: IFF_UP, IFF_RUNNING


def answer(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    kind, = struct.unpack(">H", query[at + 1:at + 3])
    question = query[12:at + 5]
    name = ".".join(labels).lower()
    if name not in ZONE:
        return query[:2] + struct.pack(">HHHHH", 0x8183, 1, 0, 0, 0) + question
    if ZONE[name] is None:
        return None
    family, addresses = {1: (socket.AF_INET, ZONE[name][0]), 28: (socket.AF_INET6, ZONE[name][1])}[kind]
    out = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(addresses), 0, 0) + question
    for a in addresses:
        raw = socket.inet_pton(family, a)
        out += struct.pack(">HHHIH", 0xc00c, kind, 1, 60, len(raw)) + raw
    return out


def dns(sock):
    while True:
        query, peer = sock.recvfrom(2000)
        out = answer(query)
        if out:
            sock.sendto(out, peer)


def tcp(sock):
    while True:
        conn, _ = sock.accept()
        with conn, contextlib.suppress(OSError):  # a guest that is gone already
            conn.sendall(b"hello")


def main():
    lo_up()
    subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.53", 53))
    threading.Thread(target=dns, args=(udp,), daemon=True).start()
    threading.Thread(target=tcp, args=(socket.create_server(("127.0.0.1", PORT)),), daemon=True).start()
    sys.exit(subprocess.call(sys.argv[2:]))


if __name__ == "__main__":
    main()
