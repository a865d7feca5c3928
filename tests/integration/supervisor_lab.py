"""supervisor_lab.py - starts kiln-supervisor as kilnd does, for one build at a time.

The document, the build directory and the paths of kernel, image and programs; everything
that a test wants to be different is an argument. The fixtures are imported by the tests.
"""

import contextlib
import copy
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
B = Path(os.environ.get("KILN_BUILD_DIR", REPO / "build"))
SUPERVISOR = Path(os.environ.get("KILN_SUPERVISOR", B / "bin" / "kiln-supervisor"))
WAIT_S = 240  # no test waits longer for anything


class Parts:
    """Paths of what a VM is made of: what `make setup-check` leaves, or the environment's."""

    def __init__(self):
        self.kernel = self._path("KILN_KERNEL", "share/vmlinux")
        self.initramfs = self._path("KILN_INITRAMFS", "share/agent.cpio")
        self.image = self._path("KILN_TEST_IMAGE", "share/images/c.erofs")
        self.vdv = self._path("KILN_VHOST_DEVICE_VSOCK", "bin/vhost-device-vsock")
        self.probe = self._path("KILN_PROBE_INITRAMFS", "share/probe.cpio")

    @staticmethod
    def _path(variable, name):
        path = Path(os.environ.get(variable, B / name))
        assert path.exists(), f"{path} is missing: make setup-check, or set {variable}"
        return path.resolve()


def document(parts, work, **changes):
    """A good supervisor document; changes: dotted paths, e.g. {"vmm.kernel": "/nowhere"}."""
    doc = {
        "format": 1, "build_id": f"build_{uuid.uuid4()}", "attempt": 1,
        "vmm": {"kind": "qemu", "accel": "tcg", "qemu": "qemu-system-x86_64", "vsock": "auto",
                "vhost_device_vsock": str(parts.vdv), "kernel": str(parts.kernel),
                "initramfs": str(parts.initramfs), "probe_initramfs": str(parts.probe),
                "cmdline_append": "", "cache_dir": str(work / "cache")},
        "machine": {"image": str(parts.image), "image_name": "c", "image_format": "erofs",
                    "vcpus": 1, "memory_mib": 512, "disk_mib": 1024},
        "uid_range": [623000, 16] if os.geteuid() == 0 else None, "uid_dir": str(work / "uids"),
        "deadlines_ms": {"boot": 3000, "clone": 10000, "steps": 30000, "upload": 10000,
                         "job": 60000, "heartbeat": 5000, "grace": 2000},
        "emulation_factor": 10,
        "limits": {"log_bytes": 0, "artifact_bytes": 1 << 30, "artifact_files": 10000,
                   "console_bytes": 262144, "events": 10000},
        "egress": {"mode": "none", "allow": [], "deny": [], "private": []},
        "ca_file": "",
        "spec": {"source": "none", "steps": [{"name": "hello", "run": "echo hello"}],
                 "env": {}, "workspace": "/workspace", "user": "build", "image": "c",
                 "artifacts": {"paths": [], "exclude": []}, "grace_ms": 2000,
                 "artifact_bytes_max": 1 << 30, "artifact_files_max": 10000},
    }
    doc["spec"]["build_id"] = doc["build_id"]
    for path, value in changes.items():
        *folders, name = path.split(".")
        at = doc
        for folder in folders:
            at = at[folder]
        at[name] = copy.deepcopy(value)
    return doc


class Build:
    """One started supervisor and its build directory."""

    def __init__(self, doc, root, source=None, program=SUPERVISOR):
        self.doc = doc
        self.dir = root / doc["build_id"]
        self.dir.mkdir(parents=True)
        ours, theirs = socket.socketpair()
        command = [program, "--dir", self.dir, "--job-fd", str(theirs.fileno())]
        fds = [theirs.fileno()]
        if source is not None:
            command += ["--source-fd", str(source.fileno())]
            fds.append(source.fileno())
        self.stderr = open(root / f"{doc['build_id']}.stderr", "w+b")
        self.process = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL,
                                        stderr=self.stderr)
        theirs.close()
        text = doc if isinstance(doc, bytes) else json.dumps(doc).encode()
        ours.sendall(struct.pack("<I", len(text)) + text)
        ours.settimeout(WAIT_S)
        self.answer = ours.makefile().readline().rstrip("\n")
        ours.close()

    def json(self, name):
        return json.loads((self.dir / name).read_text())

    def events(self):
        path = self.dir / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def log(self):
        return (self.dir / "log").read_bytes().decode(errors="replace")

    def said(self):
        self.stderr.seek(0)
        return self.stderr.read().decode(errors="replace")

    def wait(self, timeout=WAIT_S):
        """The supervisor's end; returns result.json."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the supervisor did not end; it says:\n{self.said()}") from None
        assert status == 0, f"exit status {status}:\n{self.said()}"
        return self.json("result.json")

    def until(self, condition, what):
        """Wait for something the supervisor writes; woken by the directory's changes."""
        deadline = time.monotonic() + WAIT_S
        with Inotify(self.dir) as changes:
            while not (value := condition()):
                assert self.process.poll() is None, f"ended before {what}:\n{self.said()}"
                assert time.monotonic() < deadline, f"no {what}:\n{self.said()}"
                changes.wait(1)
        return value

    def vm_started(self):
        return self.until(lambda: self.json("run.json")["vmm_pid"], "VMM")

    def saw(self, **members):
        """Wait for an event that has these members."""
        return self.until(lambda: [e for e in self.events() if members.items() <= e.items()],
                          f"event {members}")

    def logged(self, text):
        return self.until(lambda: (self.dir / "log").exists() and text in self.log(), f"'{text}'")

    def ctl(self, request):
        with socket.socket(socket.AF_UNIX) as s:
            fd = os.open(self.dir, os.O_RDONLY)
            s.settimeout(10)
            s.connect(f"/proc/self/fd/{fd}/ctl")
            os.close(fd)
            s.sendall(json.dumps(request).encode() + b"\n")
            return s.makefile().readline().rstrip("\n")

    def processes(self):
        """(pid, name) of everything that descends from the supervisor."""
        return descendants(self.process.pid)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.stderr.close()


class Inotify:
    """Wakes up when something below a directory changes."""

    def __init__(self, path):
        import ctypes
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.libc.inotify_add_watch(self.fd, os.fsencode(path), 0x2 | 0x80 | 0x100) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def wait(self, seconds):
        import select
        if select.select([self.fd], [], [], seconds)[0]:
            os.read(self.fd, 65536)


def stat_of(pid):
    """(name, parent, state) of a process, or None."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
    return name, int(rest[1]), rest[0]


def descendants(pid):
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (found := stat_of(entry)):
            children.setdefault(found[1], []).append((int(entry), found[0]))
    out, todo = [], [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            out.append(child)
            todo.append(child[0])
    return out


def gone(pids, seconds=10):
    """Whether all processes have ended within so many seconds; waits on pidfds."""
    import select
    deadline = time.monotonic() + seconds
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
                return False
        finally:
            os.close(fd)
    return True


@contextlib.contextmanager
def laboratory():
    """A directory for builds, removed with everything in it at the end."""
    root = Path(tempfile.mkdtemp(prefix="kiln-sup-"))
    os.chmod(root, 0o711)
    try:
        yield root
    finally:
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def parts():
    return Parts()


@pytest.fixture
def lab():
    with laboratory() as root:
        yield root


@pytest.fixture
def start(parts, lab):
    """Start a build; at the end of the test none of its processes may be left."""
    builds = []

    def begin(source_file=None, **changes):
        build = Build(document(parts, lab, **changes), lab, source=source_file)
        builds.append(build)
        return build

    yield begin
    for build in builds:
        left = build.processes()
        build.close()
        assert_gone(left)


def steps(*commands, user="build", **more):
    """A spec of the document's kind with these steps."""
    return {"spec.steps": [{"name": f"step {i}", "run": c} for i, c in enumerate(commands)],
            "spec.user": user, **more}


def assert_gone(processes):
    """None of (pid, name) may be left; one that is fails the test and is ended."""
    pids = [pid for pid, _ in processes]
    if not gone(pids):
        left = [(pid, stat_of(pid)) for pid in pids if stat_of(pid)]
        for pid, _ in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        pytest.fail(f"left behind: {left}")


def lock_is_free(build):
    with open(build.dir / "lock", "rb") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def assert_left_nothing(build):
    assert not (build.dir / "vm").exists()
    assert not (build.dir / "ctl").exists()
    assert lock_is_free(build)


if __name__ == "__main__":  # one build by hand: supervisor_lab.py [path=json …]
    changes = {k: json.loads(v) for k, v in (a.split("=", 1) for a in sys.argv[1:])}
    with laboratory() as where:
        build = Build(document(Parts(), where, **changes), where)
        print(build.answer)
        print(json.dumps(build.wait(), indent=1))
        print(build.said())
        if (build.dir / "log").exists():
            print(build.log())
        build.close()
