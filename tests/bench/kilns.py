# SPDX-License-Identifier: Apache-2.0
"""kilns.py - kiln's side of the comparisons: builds through a kilnd, builds through a supervisor.

What is timed is read from outside: the moment a file changes (inotify), the at_ms of events.
"""

import contextlib
import http.client
import io
import json
import os
import re
import secrets
import socket
import struct
import subprocess
import tarfile
import time
import uuid

from outside import Inotify, family, pss_kib

WAIT_S = 240
MIB = 1 << 20


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=WAIT_S)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WAIT_S)
        self.sock.connect(self.path)


class Kilnd:
    """A kilnd of its own; use as a context manager."""

    def __init__(self, programs, parts, root, machine):
        self.root, self.machine = root, machine
        self.builds = root / "data" / "builds"
        config = root / "kiln.yaml"
        config.write_text(f"dir: {root}/data\nsocket: {root}/kilnd.sock\nport: 0\n"
                          f"kernel: {parts.kernel}\ninitramfs: {parts.initramfs}\n"
                          f"probe_initramfs: {parts.probe}\nsupervisor: {programs}/kiln-supervisor\n"
                          f"images_dir: {parts.images}\nimage: c\nvmm:\n  vhost_device_vsock: {parts.vdv}\n")
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ready.bind(f"{root}/ready")
        ready.settimeout(0.5)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("KILN_")}
        self.log = open(root / "kilnd.log", "w+b")
        self.process = subprocess.Popen(
            [programs / "kilnd", "--config", config], stdin=subprocess.DEVNULL, stderr=self.log,
            env={**environment, "NOTIFY_SOCKET": f"{root}/ready"})
        while True:
            if self.process.poll() is not None:
                raise RuntimeError("kilnd: " + (root / "kilnd.log").read_text(errors="replace"))
            with contextlib.suppress(socket.timeout):
                ready.recv(64)
                break
        ready.close()
        while self.call("GET", "/health")["probing"]:  # whether KVM works: once, before builds
            time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def call(self, method, path, body=None):
        connection = UnixConnection(self.root / "kilnd.sock")
        connection.request(method, path, json.dumps(body) if body is not None else None,
                           {"Content-Type": "application/json"} if body is not None else {})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:300]!r}")
        return json.loads(data) if data.startswith((b"{", b"[")) else data

    def post(self, run):
        return self.call("POST", "/build", {"source": "none", "steps": [{"name": "bench", "run": run}],
                                            **self.machine})["build_id"]

    def until(self, folder, condition, what):
        deadline = time.monotonic() + WAIT_S
        with Inotify(folder) as changes:
            while not (value := condition()):
                if text_of(folder / "result.json"):
                    raise RuntimeError(f"the build ended without {what}: " + verdict_of(folder))
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no {what} within {WAIT_S} s")
                changes.wait(1)
        return value

    def vmm_pid(self, build_id):
        """The VMM of a build that is running its step."""
        folder = self.builds / build_id
        self.until(self.builds, folder.exists, "build directory")
        self.until(folder, lambda: "step_begin" in text_of(folder / "events.jsonl"), "step")
        return json.loads((folder / "run.json").read_text())["vmm_pid"]

    def cancel(self, build_id):
        self.call("POST", f"/build/{build_id}/cancel")
        self.call("GET", f"/build/{build_id}/log?follow=1")

    def first_byte(self, clock):
        """One build that prints a line. Times in ms; "post" is when the request was sent."""
        word = f"bench-{secrets.token_hex(8)}"
        with Inotify(self.builds) as changes:
            post_ns = time.monotonic_ns()
            build_id = self.post(f"echo {word}")
            answered_ns = time.monotonic_ns()
            folder = self.builds / build_id
            while not folder.exists():
                changes.wait(1)
        line = re.compile(rf"^{word}$", re.M)
        self.until(folder, lambda: line.search(text_of(folder / "log")), "output of the step")
        first_ns = time.monotonic_ns()
        wall_ns = time.time_ns() - time.monotonic_ns()
        self.call("GET", f"/build/{build_id}/log?follow=1")  # until it has its verdict
        events = events_of(folder)
        run = json.loads((folder / "run.json").read_text())
        vmm_ns = clock.started_ns(run["vmm_pid"])

        def event_ns(kind, **members):
            at_ms = next(e["at_ms"] for e in events
                         if e["type"] == kind and members.items() <= e.items())
            return at_ms * 1000000 + 500000 - wall_ns  # at_ms has no fraction: half a ms on average

        marks = {"answered": answered_ns, "vmm": vmm_ns, "hello": event_ns("hello"),
                 "running": event_ns("state", state="running_build"),
                 "step": event_ns("step_begin"), "first_byte": first_ns}
        times = {name: (ns - post_ns) / 1e6 for name, ns in marks.items()}
        return {"hello_ms": times["hello"] - times["vmm"], "first_ms": times["first_byte"],
                "first_after_vmm_ms": times["first_byte"] - times["vmm"], "marks_ms": times}


def text_of(path):
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def events_of(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def verdict_of(folder):
    result = json.loads((folder / "result.json").read_text())
    return f"{result['class']}: {result['message']}; console: {text_of(folder / 'console.log')[-300:]}"


def event_of(folder, kind):
    """The first event of a kind, or None; of a build that may not have got that far."""
    for line in text_of(folder / "events.jsonl").splitlines(keepends=True):
        if line.endswith("\n") and json.loads(line)["type"] == kind:
            return json.loads(line)
    return None


def source_tar(tool):
    """The source of measured builds: the program that makes the load."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("load")
        info.size, info.mode = tool.stat().st_size, 0o755
        tar.addfile(info, io.BytesIO(tool.read_bytes()))
    return out.getvalue()


class Build:
    """One kiln-supervisor, started as docs/build-directory.md says, and its directory."""

    def __init__(self, program, document, root, source):
        self.dir = root / document["build_id"]
        self.dir.mkdir()
        ours, theirs = socket.socketpair()
        self.stderr = open(root / f"{document['build_id']}.stderr", "w+b")
        self.process = subprocess.Popen(
            [program, "--dir", self.dir, "--job-fd", str(theirs.fileno()), "--source-fd",
             str(source.fileno())], pass_fds=(theirs.fileno(), source.fileno()),
            stdin=subprocess.DEVNULL, stderr=self.stderr)
        theirs.close()
        text = json.dumps(document).encode()
        ours.sendall(struct.pack("<I", len(text)) + text)
        ours.settimeout(WAIT_S)
        self.answer = ours.makefile().readline().rstrip("\n")
        ours.close()

    def json(self, name):
        return json.loads((self.dir / name).read_text())

    def events(self):
        return events_of(self.dir)

    def log_end(self):
        with open(self.dir / "log", "rb") as log:
            log.seek(max(0, os.path.getsize(log.name) - 4096))
            return log.read().decode(errors="replace")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.stderr.close()
        subprocess.run(["rm", "-rf", self.dir, self.stderr.name], check=True)


class Supervised:
    """Builds through kiln-supervisor alone, with the caps lifted."""

    def __init__(self, program, parts, root, machine, tool):
        self.program, self.parts, self.root, self.machine = program, parts, root, machine
        self.source = root / "source.tar"
        self.source.write_bytes(source_tar(tool))

    def document(self, steps, artifacts, user):
        parts, most = self.parts, 8 << 30
        build_id = f"build_{uuid.uuid4()}"
        return {
            "format": 1, "build_id": build_id, "attempt": 1,
            "vmm": {"kind": "qemu", "accel": "auto", "qemu": "qemu-system-x86_64", "vsock": "user",
                    "vhost_device_vsock": str(parts.vdv), "kernel": str(parts.kernel),
                    "initramfs": str(parts.initramfs), "probe_initramfs": str(parts.probe),
                    "cmdline_append": "", "cache_dir": str(self.root / "cache")},
            "machine": {**self.machine, "image": str(parts.image), "image_name": "c",
                        "image_format": "erofs"},
            "uid_range": [623000, 16] if os.geteuid() == 0 else None,
            "uid_dir": str(self.root / "uids"),
            "deadlines_ms": {"boot": 30000, "clone": 60000, "steps": 120000, "upload": 120000,
                             "job": 600000, "heartbeat": 30000, "grace": 2000},
            "emulation_factor": 10,
            "limits": {"log_bytes": 0, "artifact_bytes": most, "artifact_files": 1000000,
                       "console_bytes": 262144, "events": 100000},
            "egress": {"mode": "none", "allow": [], "deny": [], "private": []}, "ca_file": "",
            "spec": {"build_id": build_id, "source": "tar", "env": {}, "workspace": "/workspace",
                     "steps": [{"name": f"step {i}", "run": run} for i, run in enumerate(steps)],
                     "user": user, "image": "c", "grace_ms": 2000,
                     "artifacts": {"paths": list(artifacts), "exclude": []},
                     "artifact_bytes_max": most, "artifact_files_max": 1000000}}

    @contextlib.contextmanager
    def build(self, steps, artifacts=(), user="build"):
        with open(self.source, "rb") as source:
            build = Build(self.program, self.document(steps, artifacts, user), self.root, source)
        try:
            if build.answer != "ok":
                raise RuntimeError(f"kiln-supervisor: {build.answer}")
            yield build
        finally:
            build.close()

    @staticmethod
    def finish(build):
        if build.process.wait(WAIT_S) != 0:
            raise RuntimeError("kiln-supervisor wrote no result")
        result = build.json("result.json")
        if result["class"] != "ok":
            raise RuntimeError(f"the build ended as {verdict_of(build.dir)}; {build.log_end()[-300:]}")
        return result

    def log(self, size):
        """MiB/s of a step's lines, from their first byte in the file to the step's end."""
        with self.build([f"./load lines {size}"]) as build:
            with Inotify(build.dir) as changes:
                while not (begin := event_of(build.dir, "step_begin")):
                    changes.wait(1)
                while (build.dir / "log").stat().st_size <= begin["log_offset"]:
                    changes.wait(1)
            first_ms = time.time_ns() / 1e6
            result = self.finish(build)
            if result["log_bytes"] < size or (build.dir / "log").stat().st_size < size:
                raise RuntimeError(f"the log has {result['log_bytes']} bytes, not {size}")
            seconds = (event_of(build.dir, "step_end")["at_ms"] - first_ms) / 1000
        return {"mib_s": size / MIB / seconds}

    def artifacts(self, count, size):
        """MiB/s and files/s from the state `collecting` to the event `artifacts`.

        The step ends with sync: its own writing to the scratch disk is not what is measured."""
        with self.build([f"mkdir out && ./load files out {count} {size} && sync"], ["out"]) as build:
            self.finish(build)
            begin = next(e["at_ms"] for e in build.events()
                         if e["type"] == "state" and e["state"] == "collecting_artifacts")
            event = next(e for e in build.events() if e["type"] == "artifacts")
            listed = [f for f in build.json("manifest.json")["files"] if f["type"] == "file"]
            if len(listed) != count or any(f["size"] != size or not f["sha256"] for f in listed):
                raise RuntimeError(f"{len(listed)} files came, not {count} of {size} bytes")
        seconds = (event["at_ms"] - begin) / 1000
        return {"mib_s": count * size / MIB / seconds, "files_s": count / seconds}

    def memory(self, log_bytes, count, size):
        """Peak PSS in KiB while a build streams: its processes, and the agent from inside."""
        watch = ("./load lines %d & p=$!; while kill -0 $p 2>/dev/null; do "
                 "sed -n 's/^Pss: *//p' /proc/1/smaps_rollup >>/tmp/pss; sleep 0.2; done; wait; "
                 "echo; echo agent-pss $(sort -n /tmp/pss | tail -n 1)" % log_bytes)
        steps = [f"mkdir out && ./load files out {count} {size}", watch]
        peaks = {}
        with self.build(steps, ["out"], user="root") as build:
            while build.process.poll() is None:
                sample = pss_of_build(build)
                for name, kib in sample.items():
                    peaks[name] = max(peaks.get(name, 0), kib)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    build.process.wait(0.1)
            self.finish(build)
            found = re.search(r"^agent-pss (\d+) kB", build.log_end(), re.M)
        if not found:
            raise RuntimeError("the step could not read /proc/1/smaps_rollup")
        return {**peaks, "agent": int(found[1])}


def pss_of_build(build):
    """PSS in KiB of: conduit (it has the log open), supervisor (all of its processes, conduit
    included), vmm, vsock."""
    sample = {}
    for pid, name in family(build.process.pid):
        try:
            kib = pss_kib(pid)
            files = {os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")}
        except (OSError, TypeError):  # it has just ended
            continue
        if name.startswith("qemu"):
            kind = "vmm"
        elif name.startswith("vhost-device"):
            kind = "vsock"
        else:
            kind = "supervisor"
            if str(build.dir / "log") in files:
                sample["conduit"] = sample.get("conduit", 0) + kib
        sample[kind] = sample.get(kind, 0) + kib
    return sample
