# SPDX-License-Identifier: Apache-2.0
"""A kilnd of a test's own: a directory, the stand-in supervisor, a client. No VM."""
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BIN = pathlib.Path(os.environ.get("KILN_BIN", ROOT / "build" / "bin"))
STANDIN = HERE / "kiln-supervisor-standin"
DEADLINE_S = 20


def until(what, fn):
    """Wait for what another process does: the first true value of fn, or a failure."""
    end = time.monotonic() + DEADLINE_S
    while True:
        value = fn()
        if value:
            return value
        assert time.monotonic() < end, f"{what}: not within {DEADLINE_S} s"
        time.sleep(0.005)


class Response:
    def __init__(self, resp):
        self.status, self.headers, self.body = resp.status, resp.headers, resp.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """(status, code, field) of an error."""
        e = self.json["error"]
        assert e["message"]
        return self.status, e["code"], e.get("field")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=DEADLINE_S)
        self.unix_path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.unix_path)


class Events:
    """Server-sent events of one response, as (event, id, data); comments as (None, None, text)."""

    def __init__(self, conn, resp):
        self.conn, self.resp = conn, resp

    def __iter__(self):
        name, ident, data = "message", None, []
        while True:
            line = self.resp.readline()
            if not line:
                return
            line = line.decode()[:-1]
            if not line:
                if data:
                    yield name, ident, "\n".join(data)
                name, ident, data = "message", None, []
            elif line.startswith(":"):
                yield None, None, line[1:].strip()
            else:
                key, _, value = line.partition(": ")
                if key == "data":
                    data.append(value)
                elif key == "id":
                    ident = int(value)
                elif key == "event":
                    name = value

    def close(self):
        self.conn.close()
        self.resp.close()


class Kilnd:
    def __init__(self, tmp, *settings, tcp=False, env=None):
        self.tmp = pathlib.Path(tmp)
        self.dir = self.tmp / "data"
        self.socket = self.tmp / "s"
        self.settings = list(settings)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("KILN_")} | (env or {})
        for name in ("HOST", "PORT"):
            self.env.pop(name, None)
        self.tcp = tcp
        self.port = None
        self.proc = None
        self.lines = []
        self.make_files()

    def make_files(self):
        for name in ("kernel", "initramfs"):
            (self.tmp / name).write_bytes(b"not real")
        images = self.tmp / "images"
        images.mkdir(exist_ok=True)
        image = bytearray(4096)
        image[1024:1028] = b"\xe2\xe1\xf5\xe0"
        (images / "builder.erofs").write_bytes(image)
        (self.tmp / "kiln.yaml").write_text("log: info\n")

    def args(self):
        if self.tcp and not self.port:
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                self.port = s.getsockname()[1]
        values = {
            "dir": self.dir, "socket": self.socket, "port": self.port or 0,
            "kernel": self.tmp / "kernel", "initramfs": self.tmp / "initramfs",
            "probe_initramfs": self.tmp / "initramfs", "images_dir": self.tmp / "images",
            "vmm.qemu": "/bin/true", "supervisor": STANDIN, "capacity.vcpus": 1000,
            "capacity.memory_mib": 1000000}
        words = [str(BIN / "kilnd"), "--config", str(self.tmp / "kiln.yaml")]
        for key, value in values.items():
            words += ["--set", f"{key}={value}"]
        for s in self.settings:
            words += ["--set", s]
        return words

    def start(self, wrap=()):
        self.proc = subprocess.Popen([*wrap, *self.args()], env=self.env, stderr=subprocess.PIPE, text=True)
        self.lines = []
        for line in self.proc.stderr:
            self.lines.append(line)
            if line.endswith("is ready\n"):
                break
        else:
            raise AssertionError("kilnd did not start: " + "".join(self.lines))
        self.drain = threading.Thread(target=self._drain, args=(self.proc.stderr,), daemon=True)
        self.drain.start()
        return self

    def _drain(self, pipe):
        for line in pipe:
            self.lines.append(line)

    def start_fails(self):
        """Exit status and standard error of a kilnd that refuses to start."""
        p = subprocess.run(self.args(), env=self.env, capture_output=True, text=True, timeout=DEADLINE_S,
                           check=False)
        return p.returncode, p.stderr

    def stop(self):
        """SIGTERM; returns the seconds it took."""
        begin = time.monotonic()
        self.proc.terminate()
        assert self.proc.wait(DEADLINE_S) == 0, "".join(self.lines)
        return time.monotonic() - begin

    def kill9(self):
        self.proc.kill()
        self.proc.wait()

    def close(self):
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        self.end_supervisors()

    def supervisors(self):
        """Pids of what runs with --dir below this lab's own directory."""
        mark = f"--dir\0{self.dir}/builds/".encode()
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "cmdline").read_bytes():
                    yield int(entry.name)
            except (FileNotFoundError, ProcessLookupError):
                pass

    def end_supervisors(self):
        """What is still held by a stand-in of ours goes away with the test."""
        def none_left():
            left = list(self.supervisors())
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return not left
        until("supervisors are gone", none_left)

    # ---- the client ----

    def conn(self, tcp=None):
        if self.tcp if tcp is None else tcp:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        return UnixConnection(self.socket)

    def ask(self, method, path, body=None, headers=None, conn=None, tcp=None):
        c = conn or self.conn(tcp)
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        c.request(method, path, body, headers)
        r = Response(c.getresponse())
        if not conn:
            c.close()
        return r

    def get(self, path, **headers):
        return self.ask("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def submit(self, **job):
        """POST /build; keyword arguments in capitals are the stand-in's orders."""
        env = {"KILN_STANDIN_" + k: v if isinstance(v, str) else json.dumps(v)
               for k, v in job.items() if k.isupper()}
        body = {"repo_url": "https://example.org/r.git", "env": env}
        body.update({k: v for k, v in job.items() if not k.isupper()})
        r = self.ask("POST", "/build", body)
        assert r.status == 200, r.body
        assert r.json["status"] == "queued"
        return r.json["build_id"]

    def hold(self, **job):
        """A build whose stand-in has begun and waits for orders."""
        build_id = self.submit(HOLD="1", **job)
        self.order(build_id, cmd="nothing")
        return build_id

    def show(self, build_id):
        r = self.get("/build/" + build_id)
        assert r.status == 200, r.body
        return r.json

    def follow(self, build_id, last=None, query=""):
        c = self.conn()
        c.request("GET", f"/build/{build_id}/log?follow=1{query}",
                  headers={} if last is None else {"Last-Event-ID": str(last)})
        resp = c.getresponse()
        assert resp.status == 200, resp.read()
        assert resp.headers["Content-Type"].startswith("text/event-stream")
        return Events(c, resp)

    def wait(self, build_id):
        """Follow to the end; returns the build."""
        events = self.follow(build_id)
        names = [name for name, _, _ in events]
        events.close()
        assert names[-1] == "end", names
        return self.show(build_id)

    def wait_status(self, build_id, *status):
        return until(f"{build_id} is {status}", lambda: self.show(build_id)["status"] in status)

    # ---- the stand-in of a build that holds ----

    def build_dir(self, build_id):
        return self.dir / "builds" / build_id

    def _ctl(self, build_id):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(DEADLINE_S)
        try:
            fd = os.open(self.build_dir(build_id), os.O_RDONLY)
            try:
                s.connect(f"/proc/self/fd/{fd}/ctl")
            finally:
                os.close(fd)
        except (FileNotFoundError, ConnectionRefusedError):
            s.close()
            return None
        return s

    def order(self, build_id, **command):
        """One order over ctl; returns when the stand-in has done it."""
        with until("ctl", lambda: self._ctl(build_id)) as s:
            s.sendall(json.dumps(command).encode() + b"\n")
            s.shutdown(socket.SHUT_WR)
            assert s.makefile().readline() == "ok\n"

    def pid(self, build_id):
        return json.loads((self.build_dir(build_id) / "run.json").read_text())["pid"]
