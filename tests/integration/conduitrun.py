"""Runs conduit and dialer with build/bin/conduit-driver, which plays control."""
import json
import os
import queue
import subprocess
import tempfile
import threading

from kilnwire import TOP, Guest

DRIVER = os.path.join(os.environ.get("KILN_BUILD", os.path.join(TOP, "build")), "bin",
                      "conduit-driver")


def document(**over):
    doc = {
        "format": 1, "build_id": "build_test", "attempt": 1,
        "vmm": {"kind": "qemu"}, "machine": {"image": "/dev/null"},
        "deadlines_ms": {"boot": 10000, "clone": 10000, "steps": 10000, "upload": 10000,
                         "job": 10000, "heartbeat": 30000, "grace": 1000},
        "limits": {"log_bytes": 0, "artifact_bytes": 1 << 30, "artifact_files": 10000,
                   "console_bytes": 65536, "events": 2000},
        "egress": {"mode": "allow", "allow": [], "deny": [], "private": []},
        "spec": {"build_id": "build_test", "steps": [{"name": "s", "run": "true"}]},
    }
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(doc.get(key), dict):
            doc[key] = {**doc[key], **value}
        else:
            doc[key] = value
    return doc


class Conduit:
    """One build. Use as a context: it ends what it started."""

    def __init__(self, source=None, world=(), **over):
        """source: a file for the source stream; world: argv that the driver is started by."""
        self.tmp = tempfile.TemporaryDirectory(prefix="kiln-conduit-")
        self.dir = os.path.join(self.tmp.name, "build")
        os.mkdir(self.dir)
        self.sock = os.path.join(self.tmp.name, "v.sock_1024")
        doc = os.path.join(self.tmp.name, "job.json")
        with open(doc, "w", encoding="utf-8") as f:
            json.dump(document(**over), f)
        self.proc = subprocess.Popen([*world, DRIVER, self.dir, doc, self.sock] + ([source] if source else []),
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True, bufsize=1)
        self.messages, self.seen, self.errors = queue.Queue(), [], []
        threading.Thread(target=self._read_out, daemon=True).start()
        threading.Thread(target=self._read_err, daemon=True).start()
        pids = self.wait("pids")
        self.conduit_pid, self.dialer_pid = pids["conduit"], pids["dialer"]
        self.wait("ready")

    def _read_out(self):
        for line in self.proc.stdout:
            self.messages.put(json.loads(line))
        self.messages.put(None)

    def _read_err(self):
        for line in self.proc.stderr:
            self.errors.append(line)

    def wait(self, kind, timeout=20):
        """The next message of this kind; others are kept in `seen`."""
        while True:
            m = self.messages.get(timeout=timeout)
            assert m is not None, f"ended before '{kind}': {self.seen} {self.errors}"
            self.seen.append(m)
            if m["kind"] == kind:
                return m

    def drain(self):
        """Messages that are there by now."""
        while not self.messages.empty():
            m = self.messages.get()
            if m is not None:
                self.seen.append(m)
        return self.seen

    def command(self, text):
        self.proc.stdin.write(text + "\n")
        self.proc.stdin.flush()

    def finish(self):
        """The VM is gone: files become final. Returns the totals."""
        self.command("finish")
        m = self.wait("finished")
        assert self.proc.wait(10) == 0, self.errors
        return m

    def guest(self, **hello):
        return Guest(self.sock, **hello)

    def log(self):
        with open(os.path.join(self.dir, "log"), "rb") as f:
            return f.read()

    def events(self, kind=None):
        with open(os.path.join(self.dir, "events.jsonl"), encoding="utf-8") as f:
            all_ = [json.loads(line) for line in f]
        assert [e["seq"] for e in all_] == list(range(1, len(all_) + 1))
        return [e for e in all_ if kind in (None, e["type"])]

    def manifest(self):
        with open(os.path.join(self.dir, "manifest.json"), encoding="utf-8") as f:
            return json.load(f)

    def artifact(self, index):
        with open(os.path.join(self.dir, "artifacts", str(index)), "rb") as f:
            return f.read()

    def children(self):
        """Pids of conduit and artifact process."""
        with open(f"/proc/{self.conduit_pid}/task/{self.conduit_pid}/children",
                  encoding="ascii") as f:
            return [self.conduit_pid] + [int(p) for p in f.read().split()]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.proc.stdin.close()  # the driver ends, in whatever world it runs
        try:
            self.proc.wait(10)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        self.tmp.cleanup()
