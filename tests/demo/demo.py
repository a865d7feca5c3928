#!/usr/bin/env python3
"""The demo: kilnd, two real repositories, each built in a microVM of its own.

Nothing in it can be canned: every run commits a fresh random nonce to both repositories; the
builds compile it into programs; the artifacts that come back are run here, on the host.
"""
import argparse
import http.client
import json
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
START = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - START:4.0f}s] {text}", flush=True)


def run(*argv, **kw):
    return subprocess.run(argv, check=True, capture_output=True, text=True, **kw).stdout.strip()


def git(cwd, *argv):
    return run("git", "-c", "user.name=kiln demo", "-c", "user.email=demo@kiln.invalid",
               "-c", "commit.gpgsign=false", "-c", "safe.directory=*", *argv, cwd=cwd)


def publish(work, name, repos):
    """Make the work tree a commit of its own and serve it as repos/<name>.git."""
    commit = git(work, "rev-parse", "HEAD")
    bare = f"{repos}/{name}.git"
    git(repos, "clone", "-q", "--bare", work, bare)
    return commit


def kiln_repository(work, nonce):
    """The sources as committed (not the history: it may be shallow), with the nonce in it."""
    os.mkdir(work)
    archive = subprocess.Popen(["git", "-c", "safe.directory=*", "archive", "HEAD"], cwd=TOP, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", work], stdin=archive.stdout, check=True)
    if archive.wait() != 0:
        sys.exit("git archive failed: is this a git checkout?")
    with open(f"{work}/tests/demo/nonce", "w", encoding="ascii") as f:
        f.write(nonce + "\n")
    git(work, "init", "-q", "-b", "main")
    git(work, "add", "-A", "-f")
    git(work, "commit", "-q", "-m", "Import kiln, with the nonce of this demo")


def upstream_repository(work, nonce, build):
    source = run("bash", f"{TOP}/tests/demo/upstream.sh", env=dict(os.environ, BUILD=build)).split("\n")[-1]
    shutil.copytree(source, work, symlinks=True)
    with open(f"{work}/figlet.c", "a", encoding="latin-1") as f:
        f.write(f'\n__attribute__((used)) static const char demo_nonce[] = "nonce {nonce}";\n')
    git(work, "init", "-q", "-b", "main")
    git(work, "add", "-A", "-f")
    git(work, "commit", "-q", "-m", "Import the Debian source, with the nonce of this demo")


class Api:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self, method, path, body=None):
        c = http.client.HTTPConnection(self.host, self.port, timeout=900)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        c.request(method, path, json.dumps(body) if body is not None else None, headers)
        return c.getresponse()

    def call(self, method, path, body=None):
        r = self.open(method, path, body)
        data = json.loads(r.read())
        if r.status >= 400:
            sys.exit(f"{method} {path}: {r.status} {data['error']['message']}")
        return data

    def follow(self, build_id):
        """Print the log as it comes: server-sent events, until the one that ends it."""
        data, line_begins = [], True
        for raw in self.open("GET", f"/build/{build_id}/log?follow=1"):
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            if line.startswith("event: end"):
                return
            if line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
            elif not line and data:  # an empty line ends the event; its data lines are joined
                for part in "\n".join(data).splitlines(keepends=True):
                    print(("        | " if line_begins else "") + part, end="", flush=True)
                    line_begins = part.endswith("\n")
                data = []


def submit(api, title, job):
    say(f"{title}: POST /build {json.dumps(job)}")
    return api.call("POST", "/build", job)["build_id"]


def follow(api, title, build_id):
    """Show the log as it comes, then the verdict and the artifacts. Returns the manifest's files."""
    say(f"{title}: {build_id}, its log as it comes:")
    api.follow(build_id)
    info = api.call("GET", f"/build/{build_id}")
    say(f"{title}: {info['status']}, class {info['class']}" + (f": {info['message']}" if info.get("message") else ""))
    for line in info["log"]:
        print("        " + line)
    files = api.call("GET", f"/build/{build_id}/artifacts")["files"]
    for f in files:
        print(f"        artifact {f['path']}  {f.get('size', 0)} bytes  sha256 {f.get('sha256', '')[:16]}…")
    if info["status"] != "completed":
        sys.exit(f"{title}: the build did not succeed; see the log above")
    return files


def fetch(api, build_id, path, to):
    r = api.open("GET", f"/build/{build_id}/artifacts/{path}")
    if r.status != 200:
        sys.exit(f"cannot fetch {path}: {r.status}")
    with open(to, "wb") as f:
        f.write(r.read())
    os.chmod(to, 0o755)
    return to


def check(ok, text):
    if not ok:
        sys.exit("NOT TRUE: " + text)
    say("checked: " + text)


def start_kilnd(a, home, config):
    """kilnd says that it is ready the way it says so to systemd: a datagram to $NOTIFY_SOCKET."""
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready.bind(f"{home}/ready")
    ready.settimeout(0.5)
    with open(f"{home}/kilnd.log", "w", encoding="utf-8") as log:
        p = subprocess.Popen([f"{a.build}/bin/kilnd", "--config", config], stderr=log,
                             stdin=subprocess.DEVNULL, env=dict(os.environ, NOTIFY_SOCKET=f"{home}/ready"))
    while p.poll() is None:
        try:
            ready.recv(64)
            return p
        except socket.timeout:
            continue
    sys.exit("kilnd did not start:\n" + open(f"{home}/kilnd.log", encoding="utf-8").read())


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", default="build")
    a = p.parse_args()
    a.build = os.path.abspath(a.build)
    home = tempfile.mkdtemp(prefix="kiln-demo.")
    os.chmod(home, 0o755)
    procs = []
    try:
        demo(a, home, procs)
    finally:
        for proc in reversed(procs):
            proc.send_signal(signal.SIGTERM)
        for proc in procs:
            try:
                proc.wait(10)
            except subprocess.TimeoutExpired:
                proc.kill()
        shutil.rmtree(home, ignore_errors=True)
    say("everything the demo started is stopped, its files are gone")


def demo(a, home, procs):
    nonce = secrets.token_hex(16)
    repos = f"{home}/repos"
    os.mkdir(repos)
    say(f"two repositories with the fresh nonce {nonce}")
    kiln_repository(f"{home}/kiln", nonce)
    upstream_repository(f"{home}/figlet", nonce, a.build)
    commit = publish(f"{home}/kiln", "kiln", repos)
    publish(f"{home}/figlet", "figlet", repos)
    server = subprocess.Popen([sys.executable, f"{TOP}/tests/integration/githttp.py", repos],
                              stdout=subprocess.PIPE, text=True)
    procs.append(server)
    port = int(server.stdout.readline().split()[1])
    say(f"git's http-backend serves them on 127.0.0.1:{port}")

    config = f"{home}/kiln.yaml"
    with open(config, "w", encoding="utf-8") as f:
        f.write(f"""dir: {home}/data
socket: {home}/kilnd.sock
port: {free_port()}
kernel: {a.build}/share/vmlinux
images_dir: {a.build}/share/images
capacity:
  vcpus: 4
vmm:
  vhost_device_vsock: {a.build}/bin/vhost-device-vsock
egress:
  # the repositories of the demo are on this machine: without this line the address check refuses them
  private: ["127.0.0.1:{port}"]
""")
    port_api = int(next(line.split()[1] for line in open(config, encoding="utf-8") if line.startswith("port:")))
    procs.append(start_kilnd(a, home, config))
    api = Api("127.0.0.1", port_api)
    say("kilnd is up and answers on its REST API")

    # Both at once: each build has a VM of its own.
    figlet = submit(api, "figlet", {"repo_url": f"http://127.0.0.1:{port}/figlet.git", "vcpus": 1})
    kiln = submit(api, "kiln", {
        "repo_url": f"http://127.0.0.1:{port}/kiln.git", "image": "kiln", "commit": commit,
        "command": "make -j2 demo-guest", "artifacts": {"paths": ["build/bin/*"]}})
    follow(api, "figlet", figlet)
    out = fetch(api, figlet, "figlet", f"{home}/figlet.bin")
    with open(out, "rb") as f:
        check(f"nonce {nonce}".encode() in f.read(), "the figlet that came back holds the nonce")
    print(run(out, "-d", f"{home}/figlet/fonts", "kiln"))

    files = follow(api, "kiln", kiln)
    r = api.open("GET", f"/build/{kiln}/artifacts.tar")
    with open(f"{home}/artifacts.tar", "wb") as f:
        shutil.copyfileobj(r, f)
    with tarfile.open(f"{home}/artifacts.tar") as tar:
        check(sorted(m.name for m in tar.getmembers()) == sorted(f["path"] for f in files),
              "artifacts.tar holds what the manifest lists")
    proof = run(fetch(api, kiln, "build/bin/proof", f"{home}/proof"))
    print("        " + proof.replace("\n", "\n        "))
    facts = dict(line.split(" ", 1) for line in proof.split("\n"))
    check(facts["nonce"] == nonce, "the program that came back prints the nonce")
    check(facts["commit"] == commit, "and the commit")
    check(facts["kernel"] != platform.release(), f"and the guest's kernel release, not the host's ({platform.release()})")
    h = api.call("GET", "/health")
    say("GET /health: " + ", ".join(f"{k} {h[k]}" for k in ("version", "vmm", "accel", "vsock")) + f" ({h['reason']})")
    say("kiln built kiln: " + run(fetch(api, kiln, "build/bin/kiln", f"{home}/kiln.bin"), "version"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


if __name__ == "__main__":
    main()
