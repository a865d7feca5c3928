# SPDX-License-Identifier: Apache-2.0
"""kilnd's REST API with stand-in supervisors: every route, every refusal, restarts. No VM."""
import base64
import concurrent.futures
import fcntl
import http.client
import io
import json
import os
import pathlib
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import time
import urllib.parse

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "standin"))
from lab import BIN, ROOT, Kilnd, until  # noqa: E402

FINAL = ("completed", "failed", "cancelled")
UNKNOWN = "build_00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def k(tmp_path_factory):
    lab = Kilnd(tmp_path_factory.mktemp("kilnd"), tcp=True)
    yield lab.start()
    lab.close()


@pytest.fixture
def own(tmp_path):
    """A kilnd of the test's own, not yet started: own("setting=value")."""
    labs = []

    def make(*settings, **more):
        labs.append(Kilnd(tmp_path, *settings, **more))
        return labs[-1]
    yield make
    for lab in labs:
        lab.close()


# ---- the contract ----

def described_routes():
    """Methods and paths of docs/openapi.yaml, by its indentation."""
    routes, path = set(), None
    text = (ROOT / "docs" / "openapi.yaml").read_text()
    for line in text[text.index("\npaths:\n"):text.index("\ncomponents:\n")].splitlines():
        if m := re.fullmatch(r"  (/\S*):", line):
            path = m[1]
        elif m := re.fullmatch(r"    (get|post|put|delete|patch|head|options):", line):
            routes.add(f"{m[1].upper()} {path}")
    return routes


def test_openapi_describes_exactly_the_routes():
    p = subprocess.run([BIN / "kilnd", "--dump-routes"], capture_output=True, text=True, check=True)
    assert set(p.stdout.splitlines()) == described_routes()
    assert len(described_routes()) >= 9


def test_build_from_submission_to_verdict(k):
    artifacts = [{"path": "out/hello.txt", "text": "hi"}]
    build = k.submit(branch="main", LOG="compiling\n", ARTIFACTS=artifacts)
    b = k.wait(build)
    assert re.fullmatch(r"build_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", build)
    assert (b["id"], b["status"], b["class"], b["exit_code"]) == (build, "completed", "ok", 0)
    assert (b["repo_url"], b["branch"]) == ("https://example.org/r.git", "main")
    assert b["commit"] == "c" * 40
    assert b["artifacts_count"] == 1
    lines = [re.fullmatch(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\] (.*)", line)[1] for line in b["log"]]
    assert lines == ["Build queued", "Starting VM", "Cloning repository", "Running build",
                     "Collecting artifacts", "Build completed"]
    for key in ("created_at", "updated_at", "started_at", "ended_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", b[key])
    assert b["created_at"] <= b["started_at"] <= b["ended_at"]
    assert [(s["name"], s["exit_code"], s["log_end_offset"]) for s in b["steps"]] == [("build", 0, 10)]
    assert b["used"]["peak_bytes"] == 5678
    assert b["job"]["vcpus"] == 2
    assert k.get(f"/build/{build}/log").body == b"compiling\n"


def test_failed_build_says_why(k):
    build = k.submit(EXIT_CODE="3", MESSAGE="step build ended with exit code 3")
    b = k.wait(build)
    assert (b["status"], b["class"], b["exit_code"]) == ("failed", "user", 3)
    assert b["log"][-1].endswith("] Build failed: step build ended with exit code 3")


def test_health(k):
    until("probe", lambda: not k.get("/health").json["probing"])
    h = k.get("/health").json
    assert h["ok"] is True
    assert h["version"] == (ROOT / "VERSION").read_text().strip()
    assert (h["vmm"], h["accel"], h["emulated"], h["emulation_factor"]) == ("standin", "none", True, 20)
    assert h["reason"] == "a stand-in"
    assert h["disk_free_bytes"] > 0


def test_health_counts_builds(own):
    lab = own("capacity.max_running=1").start()
    first = lab.hold()
    lab.submit()
    h = lab.get("/health").json
    assert (h["running"], h["queued"]) == (1, 1)


def test_secrets_are_never_shown(k):
    body = {"repo_url": "https://example.org/r.git", "secrets": {"KEY": "s3cret-a"},
            "credentials": {"username": "u", "password": "s3cret-b"}}
    r = k.ask("POST", "/build", body)
    assert r.status == 200, r.body
    build = r.json["build_id"]
    before = k.get("/build/" + build).body
    after = json.dumps(k.wait(build))
    for text in (before.decode(), after):
        assert "s3cret" not in text
        assert json.loads(text)["job"]["secrets"] == {"KEY": "***"}
    rows = sqlite3.connect(k.dir / "kiln.db").execute("SELECT job FROM builds WHERE id = ?", (build,))
    assert "s3cret" not in rows.fetchone()[0], "the stored job keeps secrets after the verdict"


# ---- refusals ----

@pytest.mark.parametrize("body, status, code, field", [
    (b"", 400, "bad_json", None),
    (b"{", 400, "bad_json", None),
    (b"[]", 400, "bad_json", None),
    (b'{"repo_url": "https://e.org/x", "repo_url": "https://e.org/y"}', 400, "bad_json", None),
    (b"\xff\xfe\x00", 400, "bad_json", None),
    (b"[" * 100000, 400, "bad_json", None),
    (b"{}", 400, "missing_field", "repo_url"),
    (b'{"repo_url": 5}', 400, "bad_type", "repo_url"),
    (b'{"repo_url": "https://e.org/x", "vcpus": "two"}', 400, "bad_type", "vcpus"),
    (b'{"repo_url": "https://e.org/x", "vcpus": 0}', 400, "out_of_range", "vcpus"),
    (b'{"repo_url": "https://e.org/x", "memory_mib": 1e400}', 400, "bad_json", None),
    (b'{"repo_url": "https://e.org/x", "vcpu": 2}', 400, "unknown_field", "vcpu"),
    (b'{"repo_url": "ssh://e.org/x"}', 400, "unsupported_scheme", "repo_url"),
    (b'{"repo_url": "https://me:pw@e.org/x"}', 400, "userinfo", "repo_url"),
    (b'{"repo_url": "https://e.org/x", "vcpus": 200}', 403, "over_ceiling", "vcpus"),
])
def test_bad_submissions(k, body, status, code, field):
    before = len(k.get("/builds?limit=500").json)
    r = k.ask("POST", "/build", body)
    assert r.headers["Content-Type"] == "application/json"
    got = r.error
    assert (got[0], got[2]) == (status, field)
    assert code == got[1] or (code == "userinfo" and got[1] in ("userinfo", "bad_value"))
    assert len(k.get("/builds?limit=500").json) == before, "a refused build was stored"


@pytest.mark.parametrize("wish, field, ceiling", [
    ({"vcpus": 200}, "vcpus", 2), ({"user": "root"}, "user", ["build"]),
    ({"egress": "all"}, "egress.mode", "allow")])
def test_over_a_ceiling_the_ceiling_is_named(own, wish, field, ceiling):
    lab = own("ceilings.vcpus=2", "ceilings.users=build", "ceilings.egress=allow").start()
    r = lab.ask("POST", "/build", json.dumps({"repo_url": "https://e.org/x"} | wish))
    assert r.error == (403, "over_ceiling", field)
    assert r.json["error"]["ceiling"] == ceiling
    r = lab.ask("POST", "/build", b'{"repo_url": 5}')
    assert "ceiling" not in r.json["error"]


def test_oversized_body_is_refused_and_the_connection_goes_on(k):
    c = k.conn()
    r = k.ask("POST", "/build", b'{"x": "' + b"a" * (1 << 20) + b'"}', conn=c)
    assert r.error[:2] == (413, "too_large")
    assert k.ask("GET", "/health", conn=c).status == 200


@pytest.mark.parametrize("head", [
    b"Content-Length: -5\r\n", b"Content-Length: x\r\n", b"X-Long: " + b"a" * (1 << 20) + b"\r\n"])
def test_what_is_no_http_is_answered_by_the_library_as_documented(k, head):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(str(k.socket))
        try:
            s.sendall(b"POST /build HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered before all was sent
        answer = s.recv(65536)
    assert re.match(rb"HTTP/1\.1 4\d\d ", answer), answer
    assert b"application/json" not in answer
    page = (ROOT / "docs/openapi.yaml").read_text()
    assert "answered by the\n    HTTP library" in page


def test_flood_is_answered_before_it_is_sent(k):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(str(k.socket))
        s.sendall(b"POST /build HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  b"Content-Length: 999999999999\r\n\r\n{")
        assert s.recv(100).startswith(b"HTTP/1.1 413 ")


def test_endless_chunked_body_is_cut(k):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(str(k.socket))
        s.sendall(b"POST /build HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while sent < 64 << 20:
                s.sendall(b"10000\r\n" + b"a" * 65536 + b"\r\n")
                sent += 65536
        assert 8 << 20 <= sent < 32 << 20


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None,
                                  "application/jsonx"])
def test_only_json_is_taken(k, kind):
    c = k.conn()
    c.putrequest("POST", "/build")
    if kind:
        c.putheader("Content-Type", kind)
    c.putheader("Content-Length", "2")
    c.endheaders(b"{}")
    r = c.getresponse()
    assert r.status == 415
    assert json.loads(r.read())["error"]["field"] == "Content-Type"


def test_json_with_charset_is_taken(k):
    r = k.ask("POST", "/build", {"repo_url": "https://example.org/r"},
              {"Content-Type": "application/json; charset=utf-8"})
    assert r.status == 200


@pytest.mark.parametrize("method, path, status, code", [
    ("GET", "/", 404, "no_such_route"),
    ("GET", "/nothing", 404, "no_such_route"),
    ("GET", "//health", 404, "no_such_route"),
    ("GET", "/health/", 404, "no_such_route"),
    ("GET", "/build//log", 404, "no_such_route"),
    ("GET", f"/build/{UNKNOWN}", 404, "not_found"),
    ("GET", f"/build/{UNKNOWN}/log", 404, "not_found"),
    ("GET", f"/build/{UNKNOWN}/log?follow=1", 404, "not_found"),
    ("GET", f"/build/{UNKNOWN}/artifacts", 404, "not_found"),
    ("GET", f"/build/{UNKNOWN}/artifacts.tar", 404, "not_found"),
    ("GET", f"/build/{UNKNOWN}/artifacts/x", 404, "not_found"),
    ("POST", f"/build/{UNKNOWN}/cancel", 404, "not_found"),
    ("GET", "/build/..%2f..%2fetc", 404, "not_found"),
    ("GET", "/build/%2e%2e", 404, "not_found"),
    ("GET", "/build/x%00y", 400, "bad_path"),
    ("GET", "/build/x%zz", 400, "bad_path"),
    ("GET", "/build/x%4", 400, "bad_path"),
    ("GET", "/build/" + "x" * 9000, 414, "path_too_long"),
    ("GET", "/build", 405, "method_not_allowed"),
    ("PUT", "/build", 405, "method_not_allowed"),
    ("DELETE", f"/build/{UNKNOWN}", 405, "method_not_allowed"),
    ("POST", "/builds", 405, "method_not_allowed"),
    ("OPTIONS", "/build", 405, "method_not_allowed"),
])
def test_unknown_paths_ids_and_methods(k, method, path, status, code):
    r = k.ask(method, path)
    assert r.error[:2] == (status, code)
    if status == 405:
        assert r.headers["Allow"] == ("POST" if path == "/build" else "GET, HEAD")


@pytest.mark.parametrize("query, field", [
    ("limit=0", "limit"), ("limit=501", "limit"), ("limit=-1", "limit"), ("limit=x", "limit"),
    ("limit=99999999999999999999", "limit"), ("status=done", "status"), ("before=x", "before"),
    ("before=" + UNKNOWN, "before"), ("page=2", "page"), ("branch=%zz", "branch"),
    ("repo_url=" + "x" * 3000, "repo_url")])
def test_bad_list_queries(k, query, field):
    got = k.get("/builds?" + query).error
    assert (got[0], got[2]) == (400, field)


@pytest.mark.parametrize("query, headers, field", [
    ("follow=2", {}, "follow"), ("follow=1&encoding=hex", {}, "encoding"),
    ("follow=1", {"Last-Event-ID": "x"}, "Last-Event-ID"),
    ("follow=1", {"Last-Event-ID": "-1"}, "Last-Event-ID"),
    ("follow=1", {"Last-Event-ID": "9" * 30}, "Last-Event-ID")])
def test_bad_log_queries(k, query, headers, field):
    build = k.submit()
    got = k.ask("GET", f"/build/{build}/log?{query}", headers=headers).error
    assert (got[0], got[2]) == (400, field)


@pytest.mark.parametrize("raw, status", [
    (b"\x00" * 100, None), (b"GET\r\n\r\n", None), (b"GET / HTTP/9.9\r\n\r\n", b"505"),
    (b"A" * 100000 + b"\r\n\r\n", b"414"),
    (b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", b"400"),
    (b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n", b"431")])
def test_garbage_is_survived(k, raw, status):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(str(k.socket))
        try:
            s.sendall(raw)
            if status:
                assert s.recv(100).split()[1] == status
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert k.get("/health").status == 200


# ---- who may ask ----

@pytest.mark.parametrize("host, ok", [
    ("127.0.0.1", True), ("localhost", True), ("localhost:1234", True), ("LOCALHOST", True),
    ("evil.example", False), ("127.0.0.1.evil.example", False), ("10.1.2.3", False), ("", False),
    ("localhost:x", False), ("[::1", False)])
def test_host_header_on_tcp(k, host, ok):
    r = k.ask("GET", "/health", headers={"Host": host})
    assert r.status == (200 if ok else 403)
    assert ok or r.error[1:] == ("host_refused", "Host")


def test_missing_host_on_tcp(k):
    with socket.create_connection(("127.0.0.1", k.port)) as s:
        s.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert s.recv(100).split()[1] == b"403"


def test_allowed_hosts(own):
    lab = own("allowed_hosts=ci.example.org", tcp=True).start()
    assert lab.ask("GET", "/health", headers={"Host": "ci.example.org:80"}).status == 200
    assert lab.ask("GET", "/health", headers={"Host": "x.example.org"}).status == 403


@pytest.mark.parametrize("tcp", [True, False])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost.evil.example",
                                    "file://localhost"])
def test_foreign_origin_starts_no_build(k, origin, tcp):
    r = k.ask("POST", "/build", {"repo_url": "https://example.org/r"}, {"Origin": origin}, tcp=tcp)
    assert r.error == (403, "origin_refused", "Origin")


def test_own_origin(k):
    r = k.ask("GET", "/health", headers={"Origin": f"http://127.0.0.1:{k.port}"})
    assert r.status == 200


def test_token(own, tmp_path):
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef\n")
    token.chmod(0o600)
    lab = own(f"token_file={token}", tcp=True).start()
    good = "Bearer 0123456789abcdef0123456789abcdef"
    for value, status in ((None, 401), ("", 401), ("Bearer", 401), ("Bearer ", 401), (good, 200),
                          (good + "0", 401), (good[:-1], 401), ("Basic " + good[7:], 401),
                          ("bearer " + good[7:], 200)):
        r = lab.ask("GET", "/health", headers={"Authorization": value} if value is not None else {})
        assert r.status == status, value
        if status == 401:
            assert r.error[1] == "unauthorized"
            assert r.headers["WWW-Authenticate"] == "Bearer"
    r = lab.ask("POST", "/build", {"repo_url": "https://example.org/r"})
    assert r.status == 401
    assert lab.ask("GET", "/health", tcp=False).status == 200, "the Unix socket needs no token"


# ---- the log ----

def test_log_ranges(k):
    text = bytes(range(32, 127)) * 3
    build = k.submit(LOG=text.decode())
    k.wait(build)
    n = len(text)
    path = f"/build/{build}/log"
    for header, status, want in (
            (None, 200, text), ("bytes=0-0", 206, text[:1]), ("bytes=5-9", 206, text[5:10]),
            ("bytes=10-", 206, text[10:]), ("bytes=-7", 206, text[-7:]),
            (f"bytes=0-{n + 100}", 206, text), (f"bytes=-{n + 1}", 206, text),
            ("bytes=9-5", 200, text), ("bytes=a-b", 200, text), ("lines=1-2", 200, text),
            ("bytes=1-2,4-5", 200, text), ("bytes=", 200, text), ("bytes=-", 200, text)):
        r = k.get(path, **({"Range": header} if header else {}))
        assert (r.status, r.body) == (status, want), header
        assert r.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert r.headers["X-Content-Type-Options"] == "nosniff"
        if status == 206:
            at = text.index(want) if len(want) > 30 or header == "bytes=0-0" else None
            m = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", r.headers["Content-Range"])
            assert int(m[3]) == n and int(m[2]) - int(m[1]) + 1 == len(want)
            assert at is None or text[int(m[1]):int(m[2]) + 1] == want
    for header in (f"bytes={n}-", "bytes=-0", "bytes=100000000-200000000"):
        r = k.get(path, Range=header)
        assert r.error[:2] == (416, "range")
        assert r.headers["Content-Range"] == f"bytes */{n}"


def test_log_of_a_queued_build_is_empty(own):
    lab = own("capacity.max_running=1").start()
    lab.hold()
    queued = lab.submit()
    r = lab.get(f"/build/{queued}/log")
    assert (r.status, r.body) == (200, b"")


def test_head(k):
    build = k.submit(LOG="12345")
    k.wait(build)
    r = k.ask("HEAD", f"/build/{build}/log")
    assert (r.status, r.headers["Content-Length"], r.body) == (200, "5", b"")
    for path in ("/health", "/builds", f"/build/{build}", f"/build/{build}/log?follow=1"):
        assert k.ask("HEAD", path).status == 200


def test_followers_see_the_log_as_it_grows(k):
    build = k.hold()
    events = k.follow(build)
    stream = iter(events)
    k.order(build, cmd="log", hex=b"one\ntwo".hex())
    assert next(stream) == ("message", 7, "one\ntwo")
    k.order(build, cmd="log", hex=b"\nthree\n\n".hex())
    assert next(stream) == ("message", 15, "\nthree\n\n")
    k.order(build, cmd="finish", **{"class": "user", "message": "no", "exit_code": 2})
    name, ident, data = next(stream)
    assert (name, ident) == ("end", 15)
    assert json.loads(data) == {"build_id": build, "status": "failed", "class": "user", "message": "no",
                                "exit_code": 2}
    assert next(stream, None) is None, "the stream ends behind `end`"
    assert k.show(build)["status"] == "failed", "the verdict is recorded before `end`"


def test_follower_of_a_queued_build_waits_for_its_log(own):
    lab = own("capacity.max_running=1").start()
    first = lab.hold()
    second = lab.submit(LOG="late\n")
    stream = iter(lab.follow(second))
    lab.order(first, cmd="finish", **{"class": "ok"})
    assert [x[0:3:2] for x in stream][0] == ("message", "late\n")


def test_resuming_by_last_event_id(k):
    build = k.hold()
    first = k.follow(build)
    k.order(build, cmd="log", hex=b"abcdef".hex())
    assert next(iter(first)) == ("message", 6, "abcdef")
    first.close()
    k.order(build, cmd="log", hex=b"ghi".hex())
    second = iter(k.follow(build, last=6))
    assert next(second) == ("message", 9, "ghi")
    assert next(iter(k.follow(build, last=2))) == ("message", 9, "cdefghi")
    r = k.ask("GET", f"/build/{build}/log?follow=1", headers={"Last-Event-ID": "10"})
    assert r.error == (416, "range", "Last-Event-ID")
    k.order(build, cmd="finish", **{"class": "ok"})
    assert next(second)[0] == "end"
    assert [e[0] for e in k.follow(build, last=9)] == ["end"]


def test_characters_are_never_split(k):
    build = k.hold()
    stream = iter(k.follow(build))
    k.order(build, cmd="log", hex="78e282")        # x and two thirds of a euro sign
    assert next(stream) == ("message", 1, "x")
    k.order(build, cmd="log", hex="acf09f98")      # its rest, and three quarters of an emoji
    assert next(stream) == ("message", 4, "\u20ac")
    k.order(build, cmd="log", hex="8079")
    assert next(stream) == ("message", 9, "\U0001f600y")
    k.order(build, cmd="log", hex="0dff00")        # CR, what is not UTF-8, NUL
    assert next(stream) == ("message", 12, "\n\ufffd\0")
    k.order(build, cmd="log", hex="0d")
    k.order(build, cmd="log", hex="0ae2")          # CR LF in two writes; a character never finished
    assert next(stream) == ("message", 14, "\n")
    k.order(build, cmd="finish", **{"class": "ok"})
    assert next(stream) == ("message", 15, "\ufffd")
    assert next(stream)[0] == "end"


def test_base64_is_the_log_to_the_byte(k):
    data = bytes(range(256)) * 300
    build = k.hold()
    k.order(build, cmd="log", hex=data.hex())
    k.order(build, cmd="finish", **{"class": "ok"})
    got, at = b"", 0
    for name, ident, text in k.follow(build, query="&encoding=base64"):
        if name == "message":
            got += base64.b64decode(text, validate=True)
            assert ident == len(got)
            at += 1
    assert got == data
    assert at > 1, "meant to come in several events"


def test_large_log_follows_whole(k):
    text = "".join(f"line {n} \u20ac\n" for n in range(200000))
    build = k.hold()
    with open(k.build_dir(build) / "log", "w", encoding="utf-8") as f:
        f.write(text)
    k.order(build, cmd="finish", **{"class": "ok"})
    assert "".join(d for n, _, d in k.follow(build) if n == "message") == text


def test_comment_within_15_seconds_of_silence(k):
    build = k.hold()
    begin = time.monotonic()
    assert next(iter(k.follow(build)))[0] is None
    assert 14 < time.monotonic() - begin < 16
    k.order(build, cmd="finish", **{"class": "ok"})


def test_follower_that_goes_away_is_forgotten(k):
    build = k.hold()
    fds = lambda: len(os.listdir(f"/proc/{k.proc.pid}/fd"))  # noqa: E731
    before = fds()
    many = [k.follow(build) for _ in range(20)]
    assert fds() >= before + 20
    for f in many:
        f.close()
    k.order(build, cmd="log", hex=b"x\n".hex() * 2)
    k.order(build, cmd="finish", **{"class": "ok"})
    k.wait(build)
    until("descriptors are closed", lambda: fds() <= before)


# ---- slow clients ----

def test_slow_client_blocks_nobody(k):
    build = k.hold()
    with open(k.build_dir(build) / "log", "wb") as f:
        f.write(b"0123456789abcde\n" * (4 << 20))
    slow = []
    for request in (f"GET /build/{build}/log HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    f"GET /build/{build}/log?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    "GET /health HTTP/1.1\r\nHost: loc",
                    "POST /build HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    "Content-Length: 1000\r\n\r\n{"):
        for _ in range(10):
            s = socket.socket(socket.AF_UNIX)
            s.connect(str(k.socket))
            s.sendall(request.encode())
            slow.append(s)
    for s in slow[:20]:
        s.settimeout(10)
        assert s.recv(10) == b"HTTP/1.1 2"
    begin = time.monotonic()
    for _ in range(100):
        assert k.get("/health").status == 200
    took = time.monotonic() - begin
    assert took < 2, f"100 requests beside 40 slow clients took {took:.2f} s"
    cpu = lambda: sum(int(x) for x in pathlib.Path(  # noqa: E731
        f"/proc/{k.proc.pid}/stat").read_text().rpartition(")")[2].split()[11:13])
    used = cpu()
    time.sleep(0.5)
    assert cpu() - used <= 5, "kilnd is busy although all its clients are slow"
    for s in slow:
        s.close()
    k.order(build, cmd="finish", **{"class": "ok"})


# ---- artifacts ----

FILES = [
    {"path": "a.txt", "text": "alpha"},
    {"path": "dir", "type": "dir", "mode": "0755"},
    {"path": "dir/run me \u00fc.sh", "text": "#!/bin/sh\n", "mode": "0755"},
    {"path": "empty", "text": ""},
    {"path": "link", "type": "symlink", "target": "a.txt", "mode": "0777"},
    {"path": "hard", "type": "hardlink", "target": "a.txt"},
    {"path": "big", "text": "0123456789", "times": 50000},
    {"path": "/".join(["long"] * 60), "text": "deep"},
]


def content(f):
    return f["text"].encode() * f.get("times", 1)


@pytest.fixture(scope="module")
def collected(k):
    build = k.submit(ARTIFACTS=FILES)
    assert k.wait(build)["artifacts_count"] == len(FILES)
    return build


def test_manifest(k, collected):
    m = k.get(f"/build/{collected}/artifacts").json
    assert [f["path"] for f in m["files"]] == [f["path"] for f in FILES]
    assert m["files"][0]["size"] == 5 and m["files"][0]["mode"] == "0644"
    assert len(m["files"][0]["sha256"]) == 64
    queued = k.submit(HOLD="1")
    assert k.get(f"/build/{queued}/artifacts").json["files"] == []
    assert k.get(f"/build/{queued}/artifacts.tar").error[:2] == (404, "not_found")
    k.ask("POST", f"/build/{queued}/cancel")


def test_one_artifact(k, collected):
    base = f"/build/{collected}/artifacts/"
    for f in FILES:
        if f.get("type", "file") != "file":
            continue
        r = k.get(base + urllib.parse.quote(f["path"]))
        assert (r.status, r.body) == (200, content(f)), f["path"]
        assert r.headers["Content-Type"] == "application/octet-stream"
        assert r.headers["X-Content-Type-Options"] == "nosniff"
        assert r.headers["Content-Disposition"].startswith("attachment; filename=")
    assert k.get(base + "hard").body == b"alpha"
    assert k.get(base + "a.txt", Range="bytes=1-2").body == b"lp"
    assert k.get(base + "dir/run%20me%20%C3%BC.sh").headers["Content-Disposition"] == \
        "attachment; filename=\"run_me___.sh\"; filename*=UTF-8''run%20me%20%C3%BC.sh"


@pytest.mark.parametrize("path", [
    "link", "dir", "nothing", "../log", "..%2flog", "%2e%2e/result.json", "a.txt/", "./a.txt", "/etc/passwd",
    "../../../../../../etc/passwd", "artifacts/0", "0", "a.txt%20"])
def test_paths_that_are_no_artifact(k, collected, path):
    got = k.get(f"/build/{collected}/artifacts/{path}").error
    assert got[:2] == (404, "not_found")


def test_tar_equals_the_files(k, collected):
    r = k.get(f"/build/{collected}/artifacts.tar")
    assert (r.status, r.headers["Content-Type"]) == (200, "application/x-tar")
    with tarfile.open(fileobj=io.BytesIO(r.body)) as tar:
        members = {m.name: m for m in tar}
        assert list(members) == [f["path"] for f in FILES]
        for f in FILES:
            m = members[f["path"]]
            kind = f.get("type", "file")
            assert m.mode == int(f.get("mode", "0644"), 8)
            assert (m.isdir(), m.issym(), m.islnk()) == (kind == "dir", kind == "symlink", kind == "hardlink")
            if kind == "file":
                assert tar.extractfile(m).read() == content(f)
            if "target" in f:
                assert m.linkname == f["target"]


def test_gnu_tar_reads_it(k, collected, tmp_path):
    (tmp_path / "a.tar").write_bytes(k.get(f"/build/{collected}/artifacts.tar").body)
    subprocess.run(["tar", "-C", tmp_path, "-xf", tmp_path / "a.tar"], check=True)
    assert (tmp_path / "hard").read_text() == "alpha"
    assert (tmp_path / "big").stat().st_size == 500000


def test_a_long_manifest_takes_neither_memory_nor_time(own):
    """A build chooses the names and the number of its artifacts; nobody else must pay for them."""
    k = own().start()
    build = k.submit(ARTIFACTS=[{"path": "a", "text": "A"}])
    k.wait(build)
    path = k.build_dir(build) / "manifest.json"
    m = json.loads(path.read_text())
    names = [f"{i:06}/" + "x" * 600 for i in range(60000)]
    m["files"] = [dict(m["files"][0], path=name) for name in [*names, "a"]]
    path.unlink()
    path.write_text(json.dumps(m))
    begin = time.monotonic()
    assert k.get(f"/build/{build}/artifacts/a").body == b"A"
    assert time.monotonic() - begin < 0.5
    tars = [k.conn() for _ in range(8)]
    for c in tars:
        c.request("GET", f"/build/{build}/artifacts.tar")
        assert c.getresponse().read(1 << 16)
    peak = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{k.proc.pid}/status").read_text())
    assert int(peak[1]) < 32 << 10
    for c in tars:
        c.close()


@pytest.mark.parametrize("files", [
    [{"path": "/abs", "text": "x"}], [{"path": "a/../../b", "text": "x"}], [{"path": "a//b", "text": "x"}],
    [{"path": "d", "type": "symlink", "target": "/etc"}, {"path": "d/passwd", "text": "x"}]])
def test_unsafe_names_are_not_put_into_a_tar(k, files):
    build = k.submit(ARTIFACTS=files)
    k.wait(build)
    with pytest.raises(http.client.IncompleteRead):
        k.get(f"/build/{build}/artifacts.tar")


def test_links_in_a_build_directory_are_not_followed(k, collected):
    """A supervisor that was taken over must not be able to read the host's files through kilnd."""
    build = k.submit(ARTIFACTS=[{"path": "x", "text": "x"}])
    k.wait(build)
    d = k.build_dir(build)
    for name in ("log", "artifacts/0", "manifest.json"):
        (d / name).unlink()
        (d / name).symlink_to("/etc/passwd")
    for path in ("log", "artifacts/x", "artifacts"):
        assert b"root:" not in k.get(f"/build/{build}/{path}").body
    outside = k.tmp / "outside"
    outside.mkdir()
    (outside / "0").write_text("secret")
    build = k.submit(ARTIFACTS=[{"path": "x", "text": "xxxxxx"}])
    k.wait(build)
    d = k.build_dir(build) / "artifacts"
    d.rename(k.tmp / "moved")
    d.symlink_to(outside)
    assert b"secret" not in k.get(f"/build/{build}/artifacts/x").body


# ---- the list ----

def test_list_filters_and_paging(own):
    lab = own("capacity.max_running=1").start()
    done = [lab.submit(repo_url=f"https://e.org/{n % 2}", branch="b" + str(n % 3)) for n in range(6)]
    for b in done:
        lab.wait(b)
    failed = lab.submit(repo_url="https://e.org/0", CLASS="oom")
    lab.wait(failed)
    held = lab.hold()
    queued = lab.submit()
    all_ids = done + [failed, held, queued]

    def ids(query):
        r = lab.get("/builds" + query)
        assert r.status == 200
        return [b["id"] for b in r.json]
    newest = all_ids[::-1]
    assert ids("") == newest
    assert ids("?status=queued") == [queued]
    assert ids("?status=starting_vm") == [held]
    assert ids("?status=failed") == ids("?class=oom") == [failed]
    assert ids("?status=completed") == ids("?class=ok") == done[::-1]
    assert ids("?class=oom&status=completed") == []
    assert ids("?repo_url=https%3A%2F%2Fe.org%2F1") == [done[5], done[3], done[1]]
    assert ids("?repo_url=https://e.org/0&branch=b2&class=ok") == [done[2]]
    assert ids("?branch=b1") == [done[4], done[1]]
    assert ids("?repo_url=https://e.org/0&status=failed") == [failed]
    pages, path = [], "/builds?limit=4"
    while path:
        r = lab.get(path)
        pages.append([b["id"] for b in r.json])
        link = re.fullmatch(r'<(.*)>; rel="next"', r.headers.get("Link", ""))
        path = link and link[1]
    assert pages == [newest[0:4], newest[4:8], newest[8:]]
    r = lab.get("/builds?limit=1&repo_url=https://e.org/0&branch=b0")
    assert [b["id"] for b in r.json] == [done[0]]
    following = re.fullmatch(r'<(.*)>; rel="next"', r.headers["Link"])[1]
    assert lab.get(following).json == [], "the next page keeps the filters"


def insert_many(path, n):
    """Rows as kilnd would have left them; written while it does not run."""
    db = sqlite3.connect(path)
    db.executemany(
        "INSERT INTO builds (id, status, attempt, vcpus, memory_mib, disk_mib, queued_ms, ended_ms,"
        " updated_ms, repo_url, branch, commit_id, class, message, exit_code, job, result)"
        " VALUES (?, ?, 1, 2, 2048, 8192, ?, ?, ?, ?, ?, ?, ?, 'm', 0, '{}', '{}')",
        ((f"build_{i:08x}-0000-4000-8000-000000000000", "failed" if i == 7 else "completed", i, i, i,
          f"https://e.org/{i % 10}", "main", "c" * 40, "oom" if i == 7 else "ok") for i in range(1, n + 1)))
    db.commit()
    db.close()


def test_100000_builds_list_fast(own):
    lab = own().start()
    lab.stop()
    insert_many(lab.dir / "kiln.db", 100000)
    lab.start()
    c = lab.conn()
    for query in ("", "?status=failed", "?class=oom", "?class=user", "?status=completed",
                  "?repo_url=https://e.org/7&status=failed", "?repo_url=https://e.org/3&branch=main&class=oom",
                  "?branch=main&status=failed", "?branch=none", "?repo_url=https://nowhere/",
                  "?status=failed&class=ok", "?before=build_00000064-0000-4000-8000-000000000000&limit=99"):
        begin = time.monotonic()
        r = lab.ask("GET", "/builds" + query, conn=c)
        took = time.monotonic() - begin
        assert r.status == 200
        assert took < 0.1, f"/builds{query} took {took * 1000:.0f} ms"
    assert len(r.json) == 99
    begin = time.monotonic()
    for i in range(1, 1001):
        assert lab.ask("GET", f"/build/build_{i * 100:08x}-0000-4000-8000-000000000000", conn=c).status == 200
    assert time.monotonic() - begin < 2


# ---- cancel ----

def test_cancel_while_queued_is_immediate(own):
    lab = own("capacity.max_running=1").start()
    lab.hold()
    queued = lab.submit()
    r = lab.ask("POST", f"/build/{queued}/cancel")
    assert (r.status, r.json) == (200, {"build_id": queued, "status": "cancelled"})
    b = lab.show(queued)
    assert (b["status"], b["class"]) == ("cancelled", "cancelled")
    assert b["log"][-1].endswith("] Build cancelled")
    assert lab.ask("POST", f"/build/{queued}/cancel").error[:2] == (409, "final")
    assert not lab.build_dir(queued).exists()


def test_cancel_while_running_frees_the_slot(own):
    lab = own("capacity.max_running=1").start()
    first, second = lab.submit(HOLD="1"), lab.submit()
    lab.wait_status(first, "starting_vm")
    lab.order(first, cmd="state", state="running_build")
    lab.wait_status(first, "running_build")
    r = lab.ask("POST", f"/build/{first}/cancel")
    assert (r.status, r.json["cancelling"]) == (202, True)
    assert lab.wait(first)["class"] == "cancelled"
    assert lab.wait(second)["status"] == "completed"


def test_cancel_at_once_reaches_a_supervisor_that_is_starting(k):
    for _ in range(10):
        build = k.submit(HOLD="1")
        assert k.ask("POST", f"/build/{build}/cancel").status in (200, 202)
        assert k.ask("POST", f"/build/{build}/cancel").status in (200, 202, 409)
        assert k.wait(build)["status"] == "cancelled"


def test_cancel_reaches_a_supervisor_that_listens_late(k):
    build = k.submit(HOLD="1", LATE_CTL="1")
    until("it has begun", (k.build_dir(build) / "events.jsonl").exists)
    assert not (k.build_dir(build) / "ctl").exists()
    assert k.ask("POST", f"/build/{build}/cancel").status == 202
    (k.build_dir(build) / "go").touch()
    assert k.wait(build)["class"] == "cancelled"


def test_cancel_of_a_finished_build(k, collected):
    r = k.ask("POST", f"/build/{collected}/cancel", {})
    assert r.error[:2] == (409, "final")
    assert k.ask("POST", f"/build/{collected}/cancel", b"x", {"Content-Type": "text/plain"}).status == 415


# ---- supervisors that misbehave ----

@pytest.mark.parametrize("orders, words", [
    ({"ERROR": "there is no room for the scratch disk"}, "there is no room for the scratch disk"),
    ({"CRASH": "start"}, "did not begin"),
    ({"CRASH": "run"}, "ended without a verdict: signal 9"),
])
def test_supervisor_that_fails_is_class_host(k, orders, words):
    b = k.wait(k.submit(**orders))
    assert (b["status"], b["class"]) == ("failed", "host")
    assert words in b["message"]


def test_supervisor_that_cannot_be_started(own, tmp_path):
    bad = tmp_path / "bad"
    bad.write_text("#!/nowhere/interpreter\n")
    bad.chmod(0o755)
    lab = own(f"supervisor={bad}").start()
    b = lab.wait(lab.submit())
    assert b["class"] == "host" and str(bad) in b["message"]
    h = lab.get("/health").json
    assert h["ok"] is False and str(bad) in h["reason"]


def test_no_zombies_and_no_descriptors_left(own):
    k = own().start()
    fds = lambda: len(os.listdir(f"/proc/{k.proc.pid}/fd"))  # noqa: E731
    children = lambda: pathlib.Path(  # noqa: E731
        f"/proc/{k.proc.pid}/task/{k.proc.pid}/children").read_text().split()
    k.wait(k.submit())
    until("quiet", lambda: not children())
    before = fds()
    for b in [k.submit() for _ in range(20)]:
        k.wait(b)
    until("children are reaped", lambda: not children())
    until("descriptors are closed", lambda: fds() <= before)


def test_supervisors_inherit_nothing(k):
    build = k.hold()
    fds = {n: os.readlink(f"/proc/{k.pid(build)}/fd/{n}") for n in os.listdir(f"/proc/{k.pid(build)}/fd")}
    allowed = ("/dev/null", str(k.dir / "supervisors.log"), str(k.build_dir(build) / "lock"))
    others = [v for v in fds.values() if v not in allowed and not v.startswith("socket:")]
    assert others == []
    assert sum(v.startswith("socket:") for v in fds.values()) <= 2, "its own ctl only"
    assert os.getsid(k.pid(build)) != os.getsid(k.proc.pid)
    k.order(build, cmd="finish", **{"class": "ok"})


# ---- restarts ----

def test_term_leaves_running_builds_and_the_next_kilnd_adopts_them(own):
    lab = own("capacity.max_running=1").start()
    running, queued = lab.submit(HOLD="1"), lab.submit(LOG="second\n")
    lab.wait_status(running, "starting_vm")
    lab.order(running, cmd="state", state="running_build")
    lab.order(running, cmd="log", hex=b"before\n".hex())
    stream = iter(lab.follow(running))
    name, last, _ = next(stream)
    assert (name, last) == ("message", 7)
    assert lab.stop() < 2
    assert next(stream, None) is None, "a stream that is cut has no `end`"
    lab.order(running, cmd="log", hex=b"between\n".hex())
    lab.start()
    assert lab.show(running)["status"] == "running_build"
    assert lab.show(queued)["status"] == "queued"
    stream = iter(lab.follow(running, last=last))
    assert next(stream) == ("message", 15, "between\n")
    lab.order(running, cmd="log", hex=b"after\n".hex())
    assert next(stream) == ("message", 21, "after\n")
    lab.order(running, cmd="finish", **{"class": "ok"})
    assert next(stream)[0] == "end"
    assert lab.show(running)["exit_code"] == 0
    assert lab.wait(queued)["status"] == "completed"
    assert lab.get(f"/build/{running}/log").body == b"before\nbetween\nafter\n"


def test_kill_9_loses_nothing(own):
    lab = own("capacity.max_running=4").start()
    held = [lab.hold() for _ in range(4)]
    queued = [lab.submit(LOG=f"{n}\n") for n in range(3)]
    lab.kill9()
    finished, dead, cancelled, alive = held
    lab.order(finished, cmd="log", hex=b"while nobody looked\n".hex())
    lab.order(finished, cmd="finish", **{"class": "user", "message": "m", "exit_code": 9})
    until("result", (lab.build_dir(finished) / "result.json").exists)
    pid = lab.pid(dead)
    os.kill(pid, signal.SIGKILL)
    until("it is gone", lambda: not os.path.exists(f"/proc/{pid}"))
    lab.start()
    b = lab.wait(finished)
    assert (b["class"], b["exit_code"]) == ("user", 9)
    b = lab.wait(dead)
    assert (b["class"], b["status"]) == ("host", "failed")
    assert lab.ask("POST", f"/build/{cancelled}/cancel").status == 202
    assert lab.wait(cancelled)["class"] == "cancelled"
    lab.order(alive, cmd="finish", **{"class": "ok"})
    assert lab.wait(alive)["class"] == "ok"
    for n, b in enumerate(queued):
        assert lab.wait(b)["status"] == "completed"
        assert lab.get(f"/build/{b}/log").body == f"{n}\n".encode()


def set_status(lab, build_id, status):
    """As a kilnd left it that was killed right after this commit."""
    db = sqlite3.connect(lab.dir / "kiln.db")
    db.execute("UPDATE builds SET status = ?, starting_ms = queued_ms WHERE id = ?", (status, build_id))
    db.commit()
    db.close()


@pytest.mark.parametrize("leftovers", ["nothing", "directory", "lock"])
def test_killed_before_the_supervisor_began(own, leftovers):
    lab = own("capacity.max_running=1").start()
    held = lab.hold()
    build = lab.submit(LOG="once\n")
    lab.kill9()
    set_status(lab, build, "starting_vm")
    if leftovers != "nothing":
        lab.build_dir(build).mkdir()
    if leftovers == "lock":
        (lab.build_dir(build) / "lock").touch()
        (lab.build_dir(build) / "log").write_text("stale\n")
    lab.start()
    assert lab.show(build)["status"] == "queued"
    lab.order(held, cmd="finish", **{"class": "ok"})
    b = lab.wait(build)
    assert (b["status"], b["attempt"]) == ("completed", 1)
    assert lab.get(f"/build/{build}/log").body == b"once\n"
    assert [e.name for e in (lab.dir / "builds").iterdir() if e.name.startswith(".")] == []


@pytest.mark.parametrize("winner", ["first", "second"])
def test_killed_between_document_and_lock(own, tmp_path, winner):
    """Two supervisors of one build: the one that has the lock counts, the build runs once."""
    real = pathlib.Path(__file__).resolve().parent / "standin" / "kiln-supervisor-standin"
    for name in ("first", "second"):
        os.mkfifo(tmp_path / f"{name}.gate")
        slow = tmp_path / name
        slow.write_text(f"#!/bin/sh\ncase $1 in --dir) echo >{slow}.waits; read x <{slow}.gate;; esac\n"
                        f"exec {real} \"$@\"\n")
        slow.chmod(0o755)

    def release(name):
        with open(tmp_path / f"{name}.gate", "w") as f:
            f.write("go\n")
    lab = own(f"supervisor={tmp_path / 'first'}").start()
    build = lab.submit(HOLD="1")
    until("the first waits", (tmp_path / "first.waits").exists)
    lab.kill9()
    lab.settings[:] = [f"supervisor={tmp_path / 'second'}"]
    lab.start()
    until("the second waits", (tmp_path / "second.waits").exists)
    release(winner)
    lab.order(build, cmd="log", hex=b"one\n".hex())
    release("second" if winner == "first" else "first")
    if winner == "first":
        until("adopted", lambda: any("adopted" in line for line in lab.lines))
    lab.order(build, cmd="finish", **{"class": "ok"})
    assert lab.wait(build)["class"] == "ok"
    assert lab.get(f"/build/{build}/log").body == b"one\n"


class Locked:
    """Somebody who holds the lock of a build and has not written run.json yet."""

    def __init__(self, d):
        self.lock = open(d / "lock", "w")  # noqa: SIM115
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def release(self):
        self.lock.close()


@pytest.mark.parametrize("then", ["ends", "goes on"])
def test_adopting_a_supervisor_that_has_only_just_begun(own, then):
    lab = own("capacity.max_running=1").start()
    held = lab.hold()
    build = lab.submit(LOG="by the next one\n")
    lab.kill9()
    set_status(lab, build, "starting_vm")
    lab.order(held, cmd="finish", **{"class": "ok"})
    lab.build_dir(build).mkdir()
    locked = Locked(lab.build_dir(build))
    lab.start()
    assert lab.wait(held)["status"] == "completed"
    assert lab.show(build)["status"] == "starting_vm", "it may neither be queued nor lost"
    if then == "ends":
        locked.release()
        assert lab.wait(build)["status"] == "completed"
        assert lab.get(f"/build/{build}/log").body == b"by the next one\n"
        return
    with open("/proc/self/stat") as f:
        ticks = int(f.read().rpartition(")")[2].split()[19])
    for name, o in (("run.json", {"pid": os.getpid(), "start_ticks": ticks}),
                    ("result.json", {"class": "user", "message": "m", "exit_code": 7})):
        (lab.build_dir(build) / (name + ".new")).write_text(json.dumps(o))
        os.rename(lab.build_dir(build) / (name + ".new"), lab.build_dir(build) / name)
    assert lab.wait(build)["exit_code"] == 7
    locked.release()


def limit_file_size(lab, n):
    """What the database and its log may grow to: a full disk, for kilnd alone."""
    subprocess.run(["prlimit", f"--pid={lab.proc.pid}", f"--fsize={n}:"], check=True)


def test_full_disk(own):
    lab = own().start()
    build = lab.hold()
    before = lab.submit()
    lab.wait(before)
    limit_file_size(lab, 1)
    r = lab.ask("POST", "/build", {"repo_url": "https://example.org/r"})
    assert r.error[:2] == (503, "store")
    lab.order(build, cmd="finish", **{"class": "user", "message": "m", "exit_code": 5})
    until("it has tried", lambda: any("verdict is not stored" in line for line in lab.lines))
    assert lab.get("/health").status == 200
    assert lab.show(before)["status"] == "completed"
    assert lab.show(build)["status"] not in FINAL, "what is not stored is not shown as final"
    limit_file_size(lab, "unlimited")
    assert lab.wait(build)["exit_code"] == 5
    assert lab.wait(lab.submit())["status"] == "completed"


def test_pid_that_belongs_to_another_process(own):
    lab = own("capacity.max_running=1").start()
    held = lab.hold()
    build = lab.submit()
    lab.kill9()
    lab.order(held, cmd="finish", **{"class": "ok"})
    set_status(lab, build, "starting_vm")
    lab.build_dir(build).mkdir()
    locked = Locked(lab.build_dir(build))
    (lab.build_dir(build) / "run.json").write_text(json.dumps({"pid": os.getpid(), "start_ticks": 1}))
    lab.start()
    assert lab.wait(build)["class"] == "host"
    locked.release()


def test_newer_database_is_refused(own):
    lab = own().start()
    lab.stop()
    db = sqlite3.connect(lab.dir / "kiln.db")
    db.execute("PRAGMA user_version = 99")
    db.commit()
    db.close()
    status, text = lab.start_fails()
    assert status == 1 and "has format 99" in text


# ---- starting ----

def test_second_kilnd_is_refused(own):
    lab = own().start()
    status, text = lab.start_fails()
    assert status == 1 and f"already running on {lab.dir} (pid {lab.proc.pid})" in text
    assert lab.get("/health").status == 200


def test_second_kilnd_on_the_same_socket(own):
    lab = own().start()
    lab.settings.append(f"dir={lab.tmp / 'other'}")
    status, text = lab.start_fails()
    assert status == 1 and "already running: something answers on" in text


def test_stale_socket_file_is_replaced(own):
    lab = own().start()
    lab.kill9()
    assert lab.socket.exists()
    lab.start()
    assert lab.get("/health").status == 200
    assert oct(lab.socket.stat().st_mode & 0o777) == "0o660"


def test_occupied_port(own):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        lab = own(tcp=True)
        lab.port = s.getsockname()[1]
        status, text = lab.start_fails()
    assert status == 1
    assert f"port {lab.port}" in text and "in use" in text and "--port" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk_is_refused_at_start(own):
    lab = own()
    lab.dir.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", lab.dir], check=True)
    try:
        status, text = lab.start_fails()
    finally:
        subprocess.run(["umount", "-l", lab.dir], check=True)
    assert status == 1 and f"the disk of {lab.dir} is full: 8 MiB are free" in text and "`kiln clean`" in text


def test_without_a_token_no_port_is_open_to_others_even_for_a_moment(own):
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        s.listen()
        lab = own("host=0.0.0.0", tcp=True)
        lab.port = s.getsockname()[1]
        status, text = lab.start_fails()
    assert status == 1 and "kiln token create" in text  # judged before the port is tried
    assert "in use" not in text


def test_other_host_needs_a_token(own):
    lab = own("host=0.0.0.0", tcp=True)
    status, text = lab.start_fails()
    assert status == 1
    # The command that it names is run as it stands, and does it.
    command = re.search(r"run `kiln (token create .*?)` and set token_file to ", text)[1]
    token = command.split()[-1]
    subprocess.run([BIN / "kiln", *command.split()], check=True, env=lab.env)
    lab.settings.append(f"token_file={token}")
    lab.start()
    assert lab.get("/health").status == 401
    bearer = pathlib.Path(token).read_text().strip()
    assert lab.get("/health", Authorization=f"Bearer {bearer}").status == 200


@pytest.mark.parametrize("setting, words", [
    ("kernel=/nowhere/vmlinux", "kiln kernel install"), ("initramfs=/nowhere/x", "make agent"),
    ("vmm.qemu=/nowhere/qemu", "apt install"), ("supervisor=/nowhere/s", "make"),
    ("image=missing", "image"), ("socket=/" + "x" * 200, "longer than"), ("dir=/proc/x", "/proc/x")])
def test_what_is_missing_is_said_at_start(own, setting, words):
    status, text = own(setting).start_fails()
    assert status == 1
    assert words in text and len(text.splitlines()) == 1


# ---- many at once ----

def test_100_parallel_submissions(k):
    def one(n):
        return n, k.submit(LOG=f"{n}\n")
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        builds = dict(pool.map(one, range(100)))
    assert len(set(builds.values())) == 100
    for n, b in builds.items():
        assert k.wait(b)["status"] == "completed"
        assert k.get(f"/build/{b}/log").body == f"{n}\n".encode()


def test_capacity_is_kept(own):
    lab = own("capacity.vcpus=4", "capacity.memory_mib=4096").start()
    wide = lab.submit(vcpus=3, memory_mib=1024, HOLD="1")
    lab.wait_status(wide, "starting_vm")
    waits = lab.submit(vcpus=2, memory_mib=1024)
    fits = lab.submit(vcpus=1, memory_mib=1024)
    assert lab.wait(fits)["status"] == "completed", "a build that fits passes one that does not"
    assert lab.show(waits)["status"] == "queued"
    lab.order(wide, cmd="finish", **{"class": "ok"})
    assert lab.wait(waits)["status"] == "completed"
    large = lab.hold(vcpus=1, memory_mib=3072)
    waits = lab.submit(vcpus=1, memory_mib=2048)
    assert lab.wait(lab.submit(vcpus=1, memory_mib=1024))["status"] == "completed"
    assert lab.show(waits)["status"] == "queued"
    lab.order(large, cmd="finish", **{"class": "ok"})
    assert lab.wait(waits)["status"] == "completed"
    r = lab.ask("POST", "/build", {"repo_url": "https://e.org/x", "vcpus": 5})
    assert r.error == (403, "never_fits", "vcpus")
    r = lab.ask("POST", "/build", {"repo_url": "https://e.org/x", "memory_mib": 8192})
    assert r.error == (403, "never_fits", "memory_mib")


def test_full_queue(own):
    lab = own("capacity.max_running=1", "queue.max=2").start()
    lab.hold()
    lab.submit()
    lab.submit()
    r = lab.ask("POST", "/build", {"repo_url": "https://e.org/x"})
    assert r.error[:2] == (429, "queue_full")
    assert int(r.headers["Retry-After"]) > 0


def test_idle_memory(own):
    lab = own().start()
    lab.wait(lab.submit())
    pss = int(re.search(r"Pss:\s+(\d+)", pathlib.Path(f"/proc/{lab.proc.pid}/smaps_rollup").read_text())[1])
    threads = len(os.listdir(f"/proc/{lab.proc.pid}/task"))
    assert pss <= 16 * 1024, f"{pss} KiB"
    assert threads == 2
