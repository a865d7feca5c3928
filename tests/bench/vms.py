# SPDX-License-Identifier: Apache-2.0
"""vms.py - the VMs that kiln is compared with: bare guests and a Debian with sshd.

All of them run with the command line of a QEMU that kiln started (Blueprint), so that nothing
differs but what is behind its descriptors and what a comparison is about.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from outside import Inotify

CONSOLE = "console.log"
WAIT_S = 120


class Blueprint:
    """The command lines of a live QEMU of kiln's and of its vsock device, and the files behind
    QEMU's descriptors. family: the processes of that build."""

    def __init__(self, pid, family, image, keep):
        self.argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        self.argv[0] = os.readlink(f"/proc/{pid}/exe")
        self.files = {}  # descriptor: (flag of bare.c, path)
        for value in self.argv:
            if found := re.fullmatch(r"/proc/self/fd/(\d+)", value):
                self.files[int(found[1])] = ("r", os.readlink(f"/proc/{pid}/fd/{found[1]}"))
        for option, value in pairs(self.argv[1:]):
            if option == "-add-fd":  # QEMU moves it: which file it is can be seen by its use
                n, fdset = map(int, re.fullmatch(r"fd=(\d+),set=(\d+)", value).groups())
                use = next(v for o, v in pairs(self.argv[1:]) if v and f"/dev/fdset/{fdset}" in v)
                self.files[n] = ("r", str(image)) if "readonly=on" in use else ("a", CONSOLE)
        if "vhost-user-vsock-device,chardev=vsock" not in self.argv:
            raise RuntimeError("this kiln uses the kernel's vsock device; the floors only know "
                               "vhost-device-vsock (vmm.vsock: user)")
        device = next(p for p, name in family if name.startswith("vhost-device-vs"))
        self.vsock_argv = Path(f"/proc/{device}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        self.vsock_argv[0] = os.readlink(f"/proc/{device}/exe")
        # The guests of the floors leave the scratch disk alone: one copy serves them all.
        self.scratch = keep / "scratch.img"
        subprocess.run(["cp", "--sparse=always", f"/proc/{pid}/cwd/scratch.img", self.scratch],
                       check=True)

    def fd_after(self, option):
        return int(self.argv[self.argv.index(option) + 1].rsplit("/", 1)[1])


class Bare:
    """Guests of which only the initramfs differs from kiln's, read by bare.c."""

    def __init__(self, blueprint, tools, root, clock):
        self.blueprint, self.tools = blueprint, tools
        self.root, self.clock = root, clock

    def run(self, initramfs, port, say=None, receive_bytes=0):
        """Boot, receive, kill. Times in ns of CLOCK_MONOTONIC: started, accept, first, last."""
        with self.folder() as folder, self.vsock_device(folder):
            command = [self.tools / "bare", "--listen", folder / f"v.sock_{port}", "--dir", folder]
            initrd = self.blueprint.fd_after("-initrd")
            for n, (flag, path) in self.blueprint.files.items():
                if path == CONSOLE:
                    path = folder / CONSOLE
                elif n == initrd:
                    path = initramfs
                command += ["--fd", f"{n}={flag}:{path}"]
            if say:
                command += ["--say", say + "\n", "--to", folder / "received",
                            "--bytes", str(receive_bytes)]
            done = subprocess.run([*map(str, command), "--", *self.blueprint.argv],
                                  capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"{done.stderr.strip()}; console: {end_of(folder / CONSOLE)}")
            times = json.loads(done.stdout)
            if say and (folder / "received").stat().st_size != receive_bytes:
                raise RuntimeError("the file is not as long as what came")
        times["started_ns"] = self.clock.started_ns(times["pid"])
        return times

    @contextlib.contextmanager
    def folder(self):
        folder = Path(tempfile.mkdtemp(dir=self.root))
        try:
            os.link(self.blueprint.scratch, folder / "scratch.img")
            yield folder
        finally:
            shutil.rmtree(folder)

    @contextlib.contextmanager
    def vsock_device(self, folder):
        argv = [str(folder / a) if a == "vhost.sock" else a for a in self.blueprint.vsock_argv]
        with Inotify(folder) as changes, open(folder / "vsock.log", "wb") as log:
            child = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log)
            try:
                while not (folder / "vhost.sock").exists():
                    if child.poll() is not None:
                        raise RuntimeError((folder / "vsock.log").read_text())
                    changes.wait(1)
                self.await_listening(folder / "vhost.sock")
                yield
            finally:
                child.kill()
                child.wait()

    @staticmethod
    def await_listening(path):
        """The name is there from bind() on; a connection before listen() is refused, and no
        event tells of listen(). A socket that listens has the flag 0x10000 in /proc/net/unix."""
        deadline = time.monotonic() + WAIT_S
        listening = re.compile(rf"^\S+ \S+ \S+ 00010000 .* {re.escape(str(path))}$", re.M)
        while not listening.search(Path("/proc/net/unix").read_text()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"nobody listens on {path}")
            time.sleep(0.001)


class Debian:
    """A Debian with systemd and sshd on the same QEMU, kernel, CPUs and memory.

    Its disk takes the place of kiln's two, QEMU's own network that of vsock. Nothing else is
    left out or added; the network is a fixed address, so it waits for no DHCP.
    """

    FILES = {
        "/etc/machine-id": "6b696c6e6b696c6e6b696c6e6b696c6e\n",
        "/etc/systemd/network/10-bench.network":
            "[Match]\nType=ether\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n"
            "LinkLocalAddressing=no\nIPv6AcceptRA=no\n",
    }

    def __init__(self, blueprint, image, root, clock):
        for program in ("ssh", "ssh-keygen", "debugfs"):
            if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
                raise RuntimeError(f"{program} is missing: apt-get install openssh-client e2fsprogs")
        self.root = Path(tempfile.mkdtemp(dir=root))
        self.clock = clock
        self.blueprint = blueprint
        self.key = self.root / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self.image = self.root / "prepared.ext4"
        subprocess.run(["cp", "--sparse=always", image, self.image], check=True)
        self.prepare()

    def prepare(self):
        """Write the key and the network's configuration into the image, without mounting it."""
        files = dict(self.FILES)
        files["/root/.ssh/authorized_keys"] = Path(f"{self.key}.pub").read_text()
        commands = ["rm /etc/machine-id"]
        for i, (path, text) in enumerate(files.items()):
            (self.root / f"file{i}").write_text(text)
            commands += [f"write {self.root}/file{i} {path}", f"sif {path} mode 0100644",
                         f"sif {path} uid 0", f"sif {path} gid 0"]
        commands += ["sif /root/.ssh mode 040700",
                     "symlink /etc/systemd/system/multi-user.target.wants/systemd-networkd.service "
                     "/lib/systemd/system/systemd-networkd.service"]
        done = subprocess.run(["/sbin/debugfs", "-w", "-f", "-", self.image], text=True,
                              input="\n".join(commands) + "\n", capture_output=True, check=True)
        noise = [line for line in done.stderr.splitlines()[1:] if line.strip()]
        if noise:
            raise RuntimeError("; ".join(noise))

    def argv(self, disk, port):
        out, old = [], self.blueprint.argv
        skip = {"-initrd", "-add-fd", "-serial", "-name"}
        for option, value in pairs(old[1:]):
            if option in skip or option == "-chardev" or option == "-drive":
                continue
            if option == "-device" and not value.startswith("virtio-rng"):
                continue
            if option == "-append":
                value += " root=/dev/vda rw"
            if option == "-kernel":
                value = self.blueprint.files[self.blueprint.fd_after("-kernel")][1]
            out += [option] if value is None else [option, value]
        return [old[0], *out, "-chardev", f"file,id=console,path={disk.parent}/{CONSOLE}",
                "-serial", "chardev:console",
                "-drive", f"if=none,id=root,format=raw,cache=unsafe,file={disk}",
                "-device", "virtio-blk-device,drive=root",
                "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22",
                "-device", "virtio-net-device,netdev=net"]

    def run(self):
        """Seconds from the VMM's start to the output of the first ssh command."""
        folder = Path(tempfile.mkdtemp(dir=self.root))
        disk = folder / "disk.ext4"
        subprocess.run(["cp", "--sparse=always", self.image, disk], check=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        with open(folder / "qemu.err", "wb") as err:
            vm = subprocess.Popen(self.argv(disk, port), stdin=subprocess.DEVNULL, stderr=err,
                                  stdout=err)
        try:
            self.await_sshd(vm, port, folder)
            ssh = subprocess.run(
                ["ssh", "-F", "none", "-i", self.key, "-p", str(port), "-o", "BatchMode=yes", "-o",
                 "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
                 "LogLevel=ERROR", "root@127.0.0.1", "echo first"],
                capture_output=True, text=True, timeout=WAIT_S, check=False)
            ended_ns = time.monotonic_ns()
            if ssh.stdout != "first\n":
                raise RuntimeError(f"ssh: {ssh.stderr.strip() or ssh.returncode}")
            return (ended_ns - self.clock.started_ns(vm.pid)) / 1e9
        finally:
            vm.kill()
            vm.wait()
            shutil.rmtree(folder)

    @staticmethod
    def await_sshd(vm, port, folder):
        """Until sshd has said its name. QEMU accepts for the guest and closes while it has no
        sshd, so there is nothing to wait for but the next try, 20 ms later."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if vm.poll() is not None:
                raise RuntimeError("QEMU: " + (folder / "qemu.err").read_text(errors="replace"))
            with socket.socket() as s:
                s.settimeout(max(0.1, deadline - time.monotonic()))
                with contextlib.suppress(OSError):
                    s.connect(("127.0.0.1", port))
                    if s.recv(4) == b"SSH-":
                        return
            time.sleep(0.02)
        raise RuntimeError(f"no sshd within {WAIT_S} s; console: {end_of(folder / CONSOLE)}")


def pairs(argv):
    """(option, value or None) of QEMU's command line."""
    i = 0
    while i < len(argv):
        value = argv[i + 1] if i + 1 < len(argv) and not argv[i + 1].startswith("-") else None
        yield argv[i], value
        i += 1 if value is None else 2


def end_of(path):
    return path.read_text(errors="replace")[-400:] if path.exists() else "(none)"
