# SPDX-License-Identifier: Apache-2.0
"""outside.py - what can be seen of processes and files from outside: changes of a directory,
the moment of an exec, the tree of processes, memory."""

import ctypes
import os
import re
import select
import socket
import struct
import threading
from pathlib import Path

IN_MODIFY, IN_MOVED_TO, IN_CREATE = 0x2, 0x80, 0x100
CN_IDX_PROC, PROC_EVENT_EXEC = 1, 2


class Inotify:
    """Wakes up when something in a directory changes; use as a context manager."""

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        mask = IN_MODIFY | IN_MOVED_TO | IN_CREATE
        if libc.inotify_add_watch(self.fd, os.fsencode(path), mask) < 0:
            raise OSError(ctypes.get_errno(), f"inotify_add_watch: {path}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def wait(self, seconds):
        if select.select([self.fd], [], [], seconds)[0]:
            os.read(self.fd, 65536)


class ExecClock:
    """When each process executed its program, by the kernel's own clock (CLOCK_MONOTONIC, ns).

    The kernel's process connector says so, to root only.
    """

    def __init__(self):
        self.seen = {}
        try:
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 11)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            self.socket.bind((0, CN_IDX_PROC))
            listen = struct.pack("=I", 1)
            msg = struct.pack("=IIIIHH", CN_IDX_PROC, 1, 0, 0, len(listen), 0) + listen
            self.socket.send(struct.pack("=IHHII", 16 + len(msg), 3, 0, 0, 0) + msg)
        except OSError as error:
            raise RuntimeError(f"the kernel does not tell when a VMM starts ({error}): "
                               "the benchmark must run as root") from None
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while True:
            try:
                data = self.socket.recv(65536)
            except OSError:  # the buffer was overrun: what was lost will be missed below
                continue
            if len(data) >= 60 and struct.unpack_from("=I", data, 36)[0] == PROC_EVENT_EXEC:
                at_ns, pid = struct.unpack_from("=Qi", data, 44)
                self.seen[pid] = at_ns

    def started_ns(self, pid):
        if pid not in self.seen:
            raise RuntimeError(f"the start of process {pid} was not seen")
        return self.seen[pid]


def stat_of(pid):
    """(name, parent) of a process, or None."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.index("(") + 1:text.rindex(")")], int(text[text.rindex(")") + 2:].split()[1])


def family(pid):
    """(pid, name) of a process and all that descend from it."""
    children, names = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (found := stat_of(entry)):
            names[int(entry)] = found[0]
            children.setdefault(found[1], []).append(int(entry))
    out, todo = [], [pid]
    while todo:
        one = todo.pop()
        if one in names:
            out.append((one, names[one]))
        todo += children.get(one, [])
    return out


def pss_kib(pid):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB", text, re.M)[1])
