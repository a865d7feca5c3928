#!/usr/bin/env python3
"""Count the VMs that boot while a command runs: vmcount.py OUTFILE COMMAND...

A VM is an execution of a VMM (qemu-system-*, firecracker) with a kernel, seen from outside:
the kernel's process connector reports every exec (root), so no test can claim a boot that did
not happen. Without root /proc is scanned five times a second; a VM lives longer than that.
"""
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time

CN_IDX_PROC, PROC_EVENT_EXEC = 1, 2


def is_vm(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            argv = f.read().split(b"\0")
        with open(f"/proc/{pid}/stat", "rb") as f:
            start = f.read().rsplit(b")", 1)[1].split()[19]
    except OSError:
        return None
    name = os.path.basename(argv[0]).decode("utf-8", "replace")
    if name.startswith("qemu-system") and b"-kernel" in argv or name == "firecracker":
        return pid, start
    return None


def connector():
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 11)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    s.bind((0, CN_IDX_PROC))
    listen = struct.pack("=I", 1)
    msg = struct.pack("=IIIIHH", CN_IDX_PROC, 1, 0, 0, len(listen), 0) + listen
    s.send(struct.pack("=IHHII", 16 + len(msg), 3, 0, 0, 0) + msg)
    return s


def watch(stop, seen):
    try:
        s = connector()
    except OSError:
        while not stop.is_set():
            for pid in filter(str.isdigit, os.listdir("/proc")):
                vm = is_vm(int(pid))
                if vm:
                    seen.add(vm)
            time.sleep(0.2)
        return
    while not stop.is_set():
        if not select.select([s], [], [], 0.2)[0]:
            continue
        try:
            data = s.recv(65536)
        except OSError:  # a burst overran the buffer; the next event is read as usual
            continue
        if len(data) < 60 or struct.unpack_from("=I", data, 36)[0] != PROC_EVENT_EXEC:
            continue
        vm = is_vm(struct.unpack_from("=i", data, 52)[0])
        if vm:
            seen.add(vm)


def main():
    stop, seen = threading.Event(), set()
    t = threading.Thread(target=watch, args=(stop, seen))
    t.start()
    rc = subprocess.call(sys.argv[2:], close_fds=False)
    stop.set()
    t.join()
    with open(sys.argv[1], "w", encoding="ascii") as f:
        f.write(f"{len(seen)}\n")
    return rc


if __name__ == "__main__":
    sys.exit(main())
