#!/usr/bin/env python3
"""boot_test.py - boots a kernel under QEMU's microvm machine and judges what it does.

Called by boot-test.sh, which builds the guests. Every case is a real VM: the probe guest
must say its byte on vsock within the deadline (with acpi=off and acpi=on), a kernel
without an init must leave a panic on the serial line and end QEMU, and the features
guest must find everything that the configuration promises.
"""

import argparse
import ctypes
import os
import select
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

DEADLINE_S = 60
PROBE_PORT = 1023
IN_CREATE = 0x100

HZ = 100  # CONFIG_HZ

# What README.md recommends for QEMU; there each word has its reason.
CMDLINE = "console=ttyS0 quiet panic=-1 reboot=t 8250.nr_uarts=1 rcupdate.rcu_expedited=1"


def cmdline_tcg(tsc_khz, cpus):
    """The words for an emulated CPU: what the kernel would else measure, badly."""
    words = f"tsc=reliable no_timer_check tsc_early_khz={tsc_khz} lpj={tsc_khz * 1000 // HZ}"
    return words + (" noreplace-smp" if cpus == 1 else "")


class Machine:
    """A flavour of the microvm machine: how the guest finds its devices."""

    def __init__(self, name, options, bus, words):
        self.name = name
        self.options = options  # of -M
        self.bus = bus          # suffix of QEMU's device names
        self.words = words      # on the kernel's command line


MACHINES = [
    Machine("acpi=off", "acpi=off", "device", "acpi=off pci=off"),
    Machine("acpi=on", "acpi=on", "device", "pci=off"),
    Machine("pcie=on", "acpi=on,pcie=on", "pci", ""),
]


def wait_for_name(folder_fd, name, deadline):
    """Blocks until a file NAME was created in the watched folder."""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([folder_fd], [], [], left)[0]:
            raise TimeoutError(f"{name} did not appear")
        data = os.read(folder_fd, 4096)
        at = 0
        while at < len(data):
            _, _, _, length = struct.unpack_from("iIII", data, at)
            if data[at + 16:at + 16 + length].rstrip(b"\0").decode() == name:
                return
            at += 16 + length


class Vsock:
    """A vhost-device-vsock and the listener for the probe's port, in a folder of its own."""

    def __init__(self, program, folder):
        self.socket_path = os.path.join(folder, "vhost.sock")
        uds = os.path.join(folder, "v.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{uds}_{PROBE_PORT}")
        self.listener.listen(16)
        libc = ctypes.CDLL(None, use_errno=True)
        watch = libc.inotify_init1(os.O_CLOEXEC)
        if libc.inotify_add_watch(watch, folder.encode(), IN_CREATE) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")
        self.log = open(os.path.join(folder, "vsock.log"), "wb")
        self.process = subprocess.Popen(
            [program, "--guest-cid", "3", "--socket", self.socket_path, "--uds-path", uds],
            stdout=self.log, stderr=self.log)
        wait_for_name(watch, "vhost.sock", time.monotonic() + DEADLINE_S)
        os.close(watch)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.listener.close()


def qemu_command(args, machine, folder, initrd, cmdline, vsock=None, disks=()):
    """The command of a microvm with memory that vhost-user can share."""
    words = f"{cmdline} {machine.words} {cmdline_tcg(args.tsc_khz, args.cpus)} {args.append}"
    command = [
        args.qemu, "-M",
        f"microvm,accel=tcg,{machine.options},pit=on,pic=on,rtc=on,memory-backend=m0",
        "-cpu", "max", "-smp", str(args.cpus), "-m", f"{args.memory}M",
        "-object", f"memory-backend-memfd,id=m0,size={args.memory}M,share=on",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-global", "virtio-mmio.force-legacy=false",
        "-kernel", args.vmlinux, "-initrd", initrd,
        "-append", words.strip(),
        "-chardev", f"file,id=s0,path={folder}/serial.log", "-serial", "chardev:s0",
        "-device", f"virtio-rng-{machine.bus}",
    ]
    for i, disk in enumerate(disks):
        mode = ",readonly=on" if disk.endswith(".erofs") else ""
        command += ["-drive", f"if=none,id=d{i},file={disk},format=raw{mode}",
                    "-device", f"virtio-blk-{machine.bus},drive=d{i}"]
    if vsock:
        command += ["-chardev", f"socket,id=v0,path={vsock.socket_path}",
                    "-device", f"vhost-user-vsock-{machine.bus},chardev=v0"]
    return command


def serial_log(folder):
    with open(os.path.join(folder, "serial.log"), errors="replace") as f:
        return f.read()


class Failure(Exception):
    pass


def wait_exit(process, folder):
    try:
        process.wait(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        raise Failure(f"QEMU did not end in {DEADLINE_S} s; console:\n{serial_log(folder)}")


def boot_probe(args, machine, folder):
    """Returns (seconds to the byte, seconds to QEMU's end)."""
    vsock = Vsock(args.vsock, folder)
    started = time.monotonic()
    qemu = subprocess.Popen(qemu_command(args, machine, folder, args.probe, CMDLINE, vsock))
    try:
        vsock.listener.settimeout(DEADLINE_S)
        try:
            connection, _ = vsock.listener.accept()
        except TimeoutError:
            raise Failure(f"no connection in {DEADLINE_S} s; console:\n{serial_log(folder)}")
        with connection:
            connection.settimeout(DEADLINE_S)
            byte = connection.recv(1)
            byte_s = time.monotonic() - started
        if byte != b"K":
            raise Failure(f"the guest said {byte!r}, not b'K'")
        wait_exit(qemu, folder)
        return byte_s, time.monotonic() - started
    finally:
        qemu.kill()
        qemu.wait()
        vsock.close()


def run_guest(args, machine, folder, initrd, cmdline, vsock=None, disks=()):
    """Boots until QEMU ends by itself; returns the console's text."""
    qemu = subprocess.Popen(qemu_command(args, machine, folder, initrd, cmdline, vsock, disks))
    try:
        wait_exit(qemu, folder)
    finally:
        qemu.kill()
        qemu.wait()
    return serial_log(folder)


def case_probe(args, machine):
    times = []
    for _ in range(args.runs):
        with tempfile.TemporaryDirectory(prefix="kiln-boot-") as folder:
            times.append(boot_probe(args, machine, folder))
    to_byte, to_end = ([t[i] for t in times] for i in (0, 1))
    return (f"QEMU start to byte: median {statistics.median(to_byte):.3f} s "
            f"({min(to_byte):.3f} to {max(to_byte):.3f}), to QEMU's end "
            f"{statistics.median(to_end):.3f} s, n={args.runs}")


def case_no_vsock(args, machine):
    with tempfile.TemporaryDirectory(prefix="kiln-boot-") as folder:
        console = run_guest(args, machine, folder, args.probe, CMDLINE)
    if "kiln-probe\n" not in console.replace("\r", ""):
        raise Failure(f"the probe did not say its name; console:\n{console}")
    return "the probe says so on the console"


def case_panic(args, machine):
    with tempfile.TemporaryDirectory(prefix="kiln-boot-") as folder:
        console = run_guest(args, machine, folder, args.probe, CMDLINE + " rdinit=/no-such-init")
    lines = [line for line in console.splitlines() if "Kernel panic" in line]
    if not lines:
        raise Failure(f"no panic on the console:\n{console}")
    return f"QEMU ends, console has: {lines[0].strip()}"


def case_features(args, machine):
    """The VM of a real build: two CPUs, 1 GiB, vsock, an erofs and an ext4 disk."""
    args = argparse.Namespace(**{**vars(args), "cpus": 2, "memory": 1024})
    with tempfile.TemporaryDirectory(prefix="kiln-boot-") as folder:
        vsock = Vsock(args.vsock, folder)
        try:
            console = run_guest(args, machine, folder, args.features, CMDLINE, vsock, args.disk)
        finally:
            vsock.close()
    lines = [line.strip() for line in console.splitlines()]
    failed = [line for line in lines if line.startswith("not ok")]
    passed = [line for line in lines if line.startswith("ok ")]
    if failed or "end of checks" not in lines or not passed:
        raise Failure("\n".join(failed) or f"the guest did not finish; console:\n{console}")
    return f"{len(passed)} features found"


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("vmlinux")
    p.add_argument("--qemu", default="qemu-system-x86_64")
    p.add_argument("--vsock", required=True, help="vhost-device-vsock program")
    p.add_argument("--probe", required=True, help="probe.cpio")
    p.add_argument("--features", required=True, help="features.cpio")
    p.add_argument("--disk", action="append", default=[], help="disk image of the features guest")
    p.add_argument("--runs", type=int, default=5, help="boots per timed case")
    p.add_argument("--cpus", type=int, default=1)
    p.add_argument("--memory", type=int, default=256, help="MiB")
    p.add_argument("--tsc-khz", type=int, required=True, help="this machine's counter, from tsc_khz")
    p.add_argument("--append", default="", help="more words for the kernel command line")
    args = p.parse_args()
    cases = {"probe": case_probe, "no vsock": case_no_vsock, "panic": case_panic,
             "features": case_features}
    failures = 0
    for name, case in cases.items():
        for machine in MACHINES:
            try:
                print(f"ok   {name}, {machine.name}: {case(args, machine)}", flush=True)
            except Failure as e:
                failures += 1
                print(f"FAIL {name}, {machine.name}: {e}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
