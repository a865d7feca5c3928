# SPDX-License-Identifier: Apache-2.0
"""What a build may reach: modes, rules, the operator's lists, with servers on loopback."""
import http.server
import threading

import pytest

from kilnd_lab import lab  # noqa: F401 (fixture)

pytestmark = [pytest.mark.vm, pytest.mark.timeout(90)]
BODY = b"z" * 100000

# get NAME HOST PORT: a plain request; tunnel NAME HOST PORT: CONNECT, then the same request. Prints NAME=status,bytes
TOOLS = r"""
ask() { exec 9<>/dev/tcp/127.0.0.1/3128; printf "$1" >&9; }
read_head() { head=; while IFS= read -r line <&9; do line=${line%$'\r'}; [ -n "$line" ] || break; head="$head$line;"; done; }
status() { set -- $head; echo "$2"; }
get() { ask "GET http://$2:$3/ HTTP/1.1\r\nHost: $2:$3\r\nConnection: close\r\n\r\n"; read_head
        echo "$1=$(status),$(wc -c <&9)"; exec 9>&-; }
tunnel() { ask "CONNECT $2:$3 HTTP/1.1\r\nHost: $2:$3\r\n\r\n"; read_head; first=$(status)
           if [ "$first" = 200 ]; then printf 'GET / HTTP/1.0\r\n\r\n' >&9; read_head; fi
           echo "$1=$first,$(wc -c <&9)"; exec 9>&-; }
"""


class Web:
    """Answers every GET with BODY."""

    def __init__(self):
        class Answer(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(BODY)))
                self.end_headers()
                self.wfile.write(BODY)
                self.server.served += 1
        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.httpd.served = 0
        self.port = self.httpd.server_address[1]
        self.name = f"127.0.0.1:{self.port}"
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()


@pytest.fixture(scope="module")
def web():
    """open, other, denied: the operator lets builds reach them (denied: and denies it); secret: not."""
    servers = {name: Web() for name in ("open", "other", "denied", "secret")}
    yield servers
    for s in servers.values():
        s.close()


@pytest.fixture(scope="module")
def k(lab, web):
    lab.repos.simple("r", word="w\n")
    private = [f"127.0.0.1:{lab.repos.port}"] + [web[n].name for n in ("open", "other", "denied")]
    return lab.kilnd("egress.deny=" + web["denied"].name, private=private)


def events(b, port):
    return [e for e in b.events("egress") if e["port"] == port]


def refusals(b, port):
    return [line for line in b.lines if line.startswith("kiln: egress refused: ") and f":{port} " in line + " "]


def test_modes(k, lab, web):
    """The same requests under every mode, after a clone that needed no rule."""
    o, other, repo = web["open"].port, web["other"].port, lab.repos.port
    steps = [TOOLS + f"get open 127.0.0.1 {o}; tunnel tunnel 127.0.0.1 {o}; get other 127.0.0.1 {other};"
             f"tunnel again 127.0.0.1 {other}; tunnel repo 127.0.0.1 {repo}; tunnel name www.example.invalid 443"]
    modes = {"none": "none", "allow": {"mode": "allow", "allow": [web["open"].name]},
             "audit": {"mode": "audit", "allow": [web["open"].name]}, "all": "all"}
    builds = {mode: k.build(*steps, repo_url=lab.repos.url("r"), egress=egress) for mode, egress in modes.items()}
    for mode, b in builds.items():
        b.expect("ok")
        ok, no = f"200,{len(BODY)}", "403"
        reached = {"none": (no, no, no), "allow": (ok, no, no), "audit": (ok, ok, "200"), "all": (ok, ok, "200")}[mode]
        got = [b.after(name) for name in ("open", "tunnel", "other", "again", "repo")]
        assert [g.startswith(w) for g, w in zip(got, [reached[0]] * 2 + [reached[1]] * 2 + [reached[2]])] == [True] * 5, \
            (mode, b.log)
        # the repository's own server: by itself during the clone, and only then
        clone = events(b, repo)[0]
        assert clone["allowed"] and clone["rule"].startswith("repository") and clone["bytes_down"] > 0, clone
        for port, allowed in ((o, reached[0] == ok), (other, reached[1] == ok)):
            seen = events(b, port)
            assert [e["allowed"] for e in seen] == [allowed, allowed]
            lines = refusals(b, port)
            assert len(lines) == (0 if allowed else 1), (mode, lines)
            if allowed:
                assert all(e["bytes_down"] > len(BODY) and e["bytes_up"] > 0 and e["address"] == "127.0.0.1" for e in seen)
            else:
                assert f"127.0.0.1:{port}" in lines[0] and "egress" in lines[0]
        sums = b.info["egress"]
        assert sums["allowed"] == sum(e["allowed"] for e in b.events("egress"))
        assert sums.get("refused", 0) == sum(not e["allowed"] for e in b.events("egress"))
    # a refusal says what would allow it
    assert "egress.allow" in refusals(builds["allow"], other)[0]
    assert builds["allow"].after("name").startswith("403") and refusals(builds["allow"], 443)
    assert "audit" in events(builds["audit"], other)[0]["rule"] and "audit" not in events(builds["audit"], o)[0]["rule"]
    assert builds["all"].after("name").startswith("50"), "allowed, but nobody knows the name"
    assert web["other"].httpd.served == 4


def test_the_operators_lists_beat_the_job(k, lab, web):
    secret, denied = web["secret"], web["denied"]
    steps = TOOLS + (f"get secret 127.0.0.1 {secret.port}; get byname localhost {secret.port};"
                     f"get mapped '[::ffff:127.0.0.1]' {secret.port}; get short 127.1 {secret.port};"
                     f"get denied 127.0.0.1 {denied.port}; get meta 169.254.169.254 80; get ten 10.0.0.1 80")
    allow = [secret.name, f"localhost:{secret.port}", denied.name, "169.254.169.254:80", "10.0.0.1:80",
             f"[::ffff:127.0.0.1]:{secret.port}"]
    listed = k.build(steps, egress={"mode": "allow", "allow": allow})
    everything = k.build(steps, egress="all")
    # a repository does not lift the address check either
    repo = k.build("true", repo_url=f"http://127.0.0.1:{secret.port}/r.git")
    for b in (listed, everything):
        b.expect("ok")
        for name in ("secret", "byname", "mapped", "denied", "meta", "ten"):
            assert b.after(name).startswith("403,"), (name, b.log)
        assert b.after("short").startswith("4")
        assert all("egress.private" in line for line in refusals(b, secret.port)) and refusals(b, secret.port)
        assert "egress.deny" in refusals(b, denied.port)[0]
        assert not any(e["allowed"] for e in b.events("egress"))
        assert b.info["egress"]["refused"] >= 6
    repo.expect("user", "egress.private")
    assert repo.info["state"] == "cloning_repo"
    assert secret.httpd.served == denied.httpd.served == 0
