# SPDX-License-Identifier: Apache-2.0
"""A kilnd with the real supervisor, kernel, agent and image: every build of it boots a VM.

RealKilnd is the client and the daemon of standin/lab.py with real parts; Repos makes git
repositories and serves them on loopback. At the end of a test module nothing may be left.
"""
import base64
import fcntl
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "standin"), str(HERE)]
from githttp import GitServer, Handler  # noqa: E402
from lab import BIN, Kilnd, until  # noqa: E402
from supervisor_lab import Parts, gone, stat_of  # noqa: E402

START_S = 30
BUILD_S = 120  # no build of these tests takes longer
SMALL = {"image": "c", "vcpus": 1, "memory_mib": 512, "disk_mib": 1024}
LOG_LINE = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\] (.*)")


class RealKilnd(Kilnd):
    """kilnd with real VMs. settings: "name=value" as for --set; the last one of a name counts."""

    count = itertools.count()  # each has uids of its own, also beside other test runs

    def make_files(self):
        parts = Parts()
        first = 700000 + os.getpid() % 4000 * 256 + next(self.count) % 8 * 32
        self.uids = range(first, first + 32)
        images = self.tmp / "images"
        images.mkdir()
        (images / "c.erofs").symlink_to(parts.image)
        (self.tmp / "kiln.yaml").write_text("log: info\n")
        self.values = {
            "dir": self.dir, "socket": self.socket, "port": 0, "kernel": parts.kernel,
            "initramfs": parts.initramfs, "probe_initramfs": parts.probe, "images_dir": images,
            "image": "c", "vmm.accel": "tcg", "vmm.vhost_device_vsock": parts.vdv,
            "uid_range.first": first, "uid_range.count": len(self.uids), "deadlines.grace_s": 2,
            "capacity.vcpus": 64, "capacity.memory_mib": 16384}

    def sets(self, without=()):
        words = [f"{key}={value}" for key, value in self.values.items() if key not in without]
        return [w for s in words + self.settings for w in ("--set", s)]

    def args(self):
        return [str(BIN / "kilnd"), "--config", str(self.tmp / "kiln.yaml"), *self.sets()]

    def start(self, wrap=()):
        """Ready is what kilnd tells systemd: a datagram to $NOTIFY_SOCKET."""
        where = str(self.tmp / "ready")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, \
                open(self.tmp / "kilnd.log", "ab") as log:
            ready.bind(where)
            self.proc = subprocess.Popen([*wrap, *self.args()], stderr=log, stdin=subprocess.DEVNULL,
                                         env=self.env | {"NOTIFY_SOCKET": where})
            ready.settimeout(START_S)
            try:
                assert b"READY=1" in ready.recv(256)
            except socket.timeout:
                raise AssertionError("kilnd is not ready: " + self.said()) from None
            finally:
                os.unlink(where)
        return self

    def said(self):
        return (self.tmp / "kilnd.log").read_text(errors="replace")

    def stop(self):
        self.proc.terminate()
        assert self.proc.wait(START_S) == 0, self.said()

    def build(self, *commands, **job):
        """Submit; commands become steps. Without repo_url there is no source."""
        body = dict(SMALL, **job)
        if "repo_url" not in body:
            body.setdefault("source", "none")
        if commands:
            body["steps"] = [{"name": f"s{i}", "run": c} for i, c in enumerate(commands)]
        r = self.ask("POST", "/build", body)
        assert r.status == 200, r.body
        assert r.json["status"] == "queued"
        return Build(self, r.json["build_id"])

    def kiln(self, *words, cwd=None):
        """The kiln command with this kilnd's settings."""
        return subprocess.run([BIN / "kiln", words[0], "--config", str(self.tmp / "kiln.yaml"), *self.sets({"port"}),
                               *map(str, words[1:])], env=self.env, cwd=cwd or self.tmp,
                              capture_output=True, text=True, timeout=BUILD_S, check=False,
                              stdin=subprocess.DEVNULL)

    def vm_processes(self):
        """(pid, name) of everything that runs under a uid of ours or for a directory of ours."""
        mark, found = f"{self.dir}/builds/".encode(), []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                uid = os.stat(f"/proc/{entry}").st_uid
                cmdline = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            state = stat_of(entry)
            if (uid in self.uids or mark in cmdline) and state and state[2] != "Z":
                found.append((int(entry), state[0]))
        return found


class Build:
    """One submitted build, seen over the API."""

    def __init__(self, k, build_id):
        self.k, self.id, self.dir = k, build_id, k.build_dir(build_id)
        self.info, self.raw = None, b""

    def wait(self):
        """Follow the log to the verdict; then info is the build and raw its log."""
        self.info = self.k.wait(self.id)
        self.raw = self.k.get(f"/build/{self.id}/log").body
        return self

    def expect(self, klass, words=""):
        """Wait; class and words of the message must be these."""
        self.wait()
        assert (self.info["class"], words in (self.info["message"] or "")) == (klass, True), \
            f"{self.info['class']}: {self.info['message']}\n{self.log[-6000:]}\n{self.k.said()[-3000:]}"
        return self

    def until_logged(self, text):
        """Follow the log until it holds text."""
        seen, events = "", self.k.follow(self.id)
        for name, _, data in events:
            assert name != "end", f"the build ended without '{text}': {data}\n{seen}"
            seen += data if name == "message" else ""
            if text in seen:
                break
        events.close()
        return self

    @property
    def log(self):
        return self.raw.decode(errors="replace")

    @property
    def lines(self):
        return self.log.splitlines()

    def after(self, mark):
        """The value of the line 'mark=value' of the log."""
        found = [line[len(mark) + 1:] for line in self.lines if line.startswith(mark + "=")]
        assert len(found) == 1, f"{mark}: {found}\n{self.log}"
        return found[0]

    @property
    def status_lines(self):
        return [LOG_LINE.fullmatch(line)[1] for line in self.info["log"]]

    def events(self, kind):
        lines = (self.dir / "events.jsonl").read_text().splitlines()
        return [e for e in map(json.loads, lines) if e["type"] == kind]

    def files(self):
        return {f["path"]: f for f in self.k.get(f"/build/{self.id}/artifacts").json["files"]}

    def left_nothing(self):
        """No process, no socket or disk, no lock, no uid in use by this build."""
        assert not (self.dir / "vm").exists()
        until("the lock is free", lambda: lock_is_free(self.dir / "lock"))
        assert not (self.dir / "ctl").exists()


def lock_is_free(path):
    with open(path, "rb") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def assert_nothing_left(k):
    """After the last build: no process of any VM, and no uid lock held."""
    left = k.vm_processes()
    if not gone([pid for pid, _ in left]):
        left = k.vm_processes()
        for pid, _ in left:
            os.kill(pid, signal.SIGKILL)
        pytest.fail(f"left behind: {left}")
    held = [p.name for p in (k.dir / "uids").glob("*") if not lock_is_free(p)]
    assert held == []


def git(cwd, *words):
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org",
                           "-c", "protocol.file.allow=always", "-c", "safe.directory=*", *words], cwd=cwd,
                          env=env, check=True, capture_output=True, text=True).stdout.strip()


class Repos:
    """Bare repositories below root, served over smart HTTP on loopback."""

    def __init__(self, root):
        self.work, self.root = root / "work", root / "repos"
        self.work.mkdir(parents=True)
        self.root.mkdir()
        self.server = GitServer(str(self.root))
        self.port, self.url = self.server.port, self.server.url

    def init(self, name):
        (self.work / name).mkdir()
        git(self.work / name, "init", "-q", "-b", "main", ".")
        return self.work / name

    def commit(self, name, message="c", **files):
        """Write files, commit everything; returns the commit."""
        for path, text in files.items():
            to = self.work / name / path
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_text(text)
        git(self.work / name, "add", "-A")
        git(self.work / name, "commit", "-q", "--allow-empty", "-m", message)
        return git(self.work / name, "rev-parse", "HEAD")

    def publish(self, name, **config):
        git(self.root, "clone", "-q", "--bare", self.work / name, f"{name}.git")
        for key, value in config.items():
            git(self.root / f"{name}.git", "config", key.replace("_", "."), value)

    def simple(self, name, **files):
        self.init(name)
        commit = self.commit(name, **files)
        self.publish(name)
        return commit

    @staticmethod
    def closed_port():
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]

    def close(self):
        self.server.close()


class GuardedHandler(Handler):
    def handle_git(self):
        self.server.authorizations.append(self.headers.get("Authorization"))
        if self.server.redirect:
            return self.refuse(302, "Location", self.server.redirect + self.path)
        if self.server.expected and self.headers.get("Authorization") != self.server.expected:
            self.read_body()
            return self.refuse(401, "WWW-Authenticate", 'Basic realm="kiln"')
        return super().handle_git()

    def refuse(self, status, name, value):
        self.send_response(status)
        self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = handle_git


class GuardedServer(GitServer):
    """A git server that demands credentials ("user:password"), redirects, or speaks TLS (an SSLContext)."""

    def __init__(self, root, credentials=None, redirect=None, tls=None):
        super().__init__(str(root))
        self.httpd.expected = credentials and "Basic " + base64.b64encode(credentials.encode()).decode()
        self.httpd.redirect, self.httpd.authorizations = redirect, []
        self.httpd.RequestHandlerClass = GuardedHandler
        self.authorizations, self.origin = self.httpd.authorizations, f"http://127.0.0.1:{self.port}"
        if tls:
            self.httpd.socket = tls.wrap_socket(self.httpd.socket, server_side=True)
            self.origin = f"https://localhost:{self.port}"

    def url(self, name):
        return f"{self.origin}/{name}.git"


def certificate(folder):
    """A private CA and what it signed for localhost: (path of the CA, server's SSLContext)."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=kiln test CA")
    openssl("req", *key, "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=localhost")
    (folder / "ext").write_text("subjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "ext", "-out", "cert.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "ca.pem", context


class Lab:
    """A directory that a build's uid can reach, repositories, and kilnds that end with it."""

    def __init__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="kiln-e2e."))
        os.chmod(self.root, 0o711)
        self.repos = Repos(self.root)
        self.kilnds = []

    def kilnd(self, *settings, private=("127.0.0.0/8",)):
        home = self.root / f"k{len(self.kilnds)}"
        home.mkdir(mode=0o711)
        k = RealKilnd(home, "egress.private=" + ",".join(private), *settings)
        self.kilnds.append(k)
        return k.start()

    def close(self):
        try:
            for k in self.kilnds:
                if k.proc.poll() is None and not list(k.supervisors()):
                    assert_nothing_left(k)
        finally:
            for k in self.kilnds:
                k.close()
            self.repos.close()
            shutil.rmtree(self.root)


class Gate:
    """A server at which steps wait, over the guest's proxy, until the test lets them go."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(BUILD_S)
        self.port = self.listener.getsockname()[1]
        self.rule = f"127.0.0.1:{self.port}"
        self.waiting = []
        # the answer to CONNECT has an empty line at its end, and nothing comes until we close
        self.step = (f"exec 9<>/dev/tcp/127.0.0.1/3128; printf 'CONNECT {self.rule} HTTP/1.1\\r\\n\\r\\n' >&9; "
                     "cat <&9 >/dev/null; exec 9>&-")

    def arrived(self):
        """Wait until one more step is at the gate."""
        self.waiting.append(self.listener.accept()[0])

    def open(self):
        for s in self.waiting:
            s.close()
        self.waiting = []

    def close(self):
        self.open()
        self.listener.close()


@pytest.fixture
def gate():
    the = Gate()
    yield the
    the.close()


@pytest.fixture(scope="module")
def lab():
    the = Lab()
    yield the
    the.close()
