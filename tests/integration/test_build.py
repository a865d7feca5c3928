# SPDX-License-Identifier: Apache-2.0
"""Builds end to end: kilnd, supervisor, VM, agent, and git repositories over smart HTTP."""
import base64
import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile

import pytest

from kilnd_lab import GuardedServer, certificate, gate, git, lab, until  # noqa: F401 (fixtures)

pytestmark = pytest.mark.vm
STATES = ["Build queued", "Starting VM", "Cloning repository", "Running build", "Collecting artifacts"]


@pytest.fixture(scope="module")
def k(lab):
    return lab.kilnd()


@pytest.fixture(scope="module")
def prog(lab):
    """Two commits on main, the first with the tag v1; a branch; submodules two levels deep."""
    r = lab.repos
    r.simple("deep", word="from the depth\n")
    r.init("lib")
    git(r.work / "lib", "submodule", "--quiet", "add", str(r.root / "deep.git"), "deep")
    git(r.work / "lib", "config", "-f", ".gitmodules", "submodule.deep.url", "../deep.git")
    r.commit("lib", word="from the lib\n")
    r.publish("lib")
    r.init("prog")
    r.first = r.commit("prog", "one", word="one\n")
    git(r.work / "prog", "tag", "-a", "-m", "v1", "v1")
    git(r.work / "prog", "checkout", "-q", "-b", "side/branch")
    r.side = r.commit("prog", "side", word="side\n")
    git(r.work / "prog", "checkout", "-q", "main")
    git(r.work / "prog", "submodule", "--quiet", "add", str(r.root / "lib.git"), "lib")
    git(r.work / "prog", "config", "-f", ".gitmodules", "submodule.lib.url", "../lib.git")
    r.hidden = r.commit("prog", "two", word="two\n")
    r.head = r.commit("prog", "three", word="three\n")
    r.publish("prog")
    return r


# ---- clone ----

SHOW = ('echo "head=$(git rev-parse HEAD)"; echo "word=$(cat word)"; echo "env=$KILN_COMMIT $KILN_BRANCH $KILN_REPO_URL";'
        'echo "count=$(git log --oneline | wc -l)"; echo "sub=$(cat lib/word lib/deep/word 2>&1 | tr "\\n" ,)";'
        'echo "status=$(git status --porcelain 2>&1)"; echo "branch=$(git branch --show-current)"')


def test_clone_of_default_branch_tag_and_commit(k, prog):
    url = prog.url("prog")
    default, branch, tag, commit = [k.build(SHOW, repo_url=url, **what) for what in (
        {}, {"branch": "side/branch"}, {"tag": "v1"}, {"commit": prog.hidden})]
    for b, at, word in ((default, prog.head, "three"), (branch, prog.side, "side"), (tag, prog.first, "one"),
                        (commit, prog.hidden, "two")):
        b.expect("ok")
        assert b.info["commit"] == at and b.after("head") == at and b.after("word") == word
        assert b.after("status") == ""
        assert b.status_lines == STATES + ["Build completed"]
    assert (default.info["ref"], branch.info["ref"], tag.info["ref"]) == ("main", "side/branch", "v1")
    assert default.after("env") == f"{prog.head} main {url}"
    assert branch.after("env") == f"{prog.side} side/branch {url}" and branch.after("branch") == "side/branch"
    assert [b.after("count") for b in (default, branch, tag)] == ["1"] * 3
    assert f"kiln: cloned {url} at {prog.head[:12]} (main), depth 1 in " in default.log
    # submodules of submodules, by relative addresses
    for b in (default, commit):
        assert b.after("sub") == "from the lib,from the depth,"
    source, = default.events("source")
    assert (source["submodules"], source["shallow"]) == (2, True)
    # no branch or tag is at that commit, and the server serves no single ones: everything is fetched, and it says so
    assert "kiln: the server does not serve single commits, fetching the whole history" in commit.log
    assert commit.events("source")[0]["shallow"] is False and commit.after("count") == "2"


def test_depth_and_submodules_as_the_job_says(k, prog):
    url = prog.url("prog")
    whole = k.build(SHOW, repo_url=url, depth=0, submodules="none")
    top = k.build(SHOW, repo_url=url, submodules="top")
    assert whole.expect("ok").after("count") == "3" and "No such file" in whole.after("sub")
    assert top.expect("ok").after("sub").startswith("from the lib,cat: lib/deep/word")


def test_clones_that_cannot_be_fail_in_words(k, prog):
    url = prog.url("prog")
    free = f"http://127.0.0.1:{prog.closed_port()}/x.git"
    prog.init("empty")
    prog.publish("empty")
    wanted = [({"branch": "gone"}, "there is no branch 'gone'"), ({"tag": "v9"}, "there is no tag 'v9'"),
              ({"commit": "0" * 39 + "1"}, "there is no commit " + "0" * 39 + "1"),
              ({"repo_url": prog.url("missing")}, "the repository was not found or needs credentials (HTTP 404)"),
              ({"repo_url": free}, "Connection refused"),
              ({"repo_url": "http://nowhere.invalid/x.git"}, "nowhere.invalid"),
              ({"repo_url": prog.url("empty")}, "the repository is empty")]
    builds = [(k.build("true", **{"repo_url": url, **job}), words) for job, words in wanted]
    for b, words in builds:
        b.expect("user", words)
        assert b.info["status"] == "failed" and b.info["state"] == "cloning_repo" and b.info["steps"] == []
        assert b.info["step"] is None and b.info["commit"] in (None, "0" * 39 + "1")
        assert b.status_lines == STATES[:3] + ["Build failed: " + b.info["message"]]
        assert f"kiln: failed: {b.info['message']}" in b.log or b.info["message"] in b.log, b.log


def test_https_with_a_private_authority(k, lab, tmp_path):
    ca, context = certificate(tmp_path)
    shown = tmp_path / "bundle.pem"
    shown.write_text(ca.read_text())
    server = GuardedServer(lab.repos.root, tls=context)
    commit = lab.repos.simple("secure", word="secure\n")
    ours = lab.kilnd(f"ca_file={shown}", f"egress.allow=localhost:{server.port}")
    try:
        # the steps' own tools trust the same bundle
        good = ours.build('cat word; no_proxy="" NO_PROXY="" git ls-remote -q "$KILN_REPO_URL" main',
                          repo_url=server.url("secure"))
        bad = k.build("true", repo_url=server.url("secure"))
        good.expect("ok")
        assert f"secure\n{commit}\trefs/heads/main\n" in good.log
        bad.expect("user", "no authority that kiln trusts has signed the server's certificate (ca_file ")
        assert bad.info["state"] == "cloning_repo"
        good.left_nothing()
    finally:
        server.close()


def everything_kept(b):
    """All bytes that a build left: over the API and on disk."""
    kept = [k_.body for k_ in (b.k.get(f"/build/{b.id}"), b.k.get("/builds"))]
    return b"".join(kept + [p.read_bytes() for p in b.dir.rglob("*") if p.is_file()]) + b.k.said().encode()


def test_credentials_for_the_repositorys_own_server_only(k, lab):
    r, password = lab.repos, "pass-" + os.urandom(8).hex()
    guarded = GuardedServer(r.root, credentials=f"me:{password}")
    stranger = GuardedServer(r.root, credentials="another:word")
    elsewhere = GuardedServer(r.root, redirect=stranger.origin)
    r.simple("sub", word="sub\n")
    for name, url in (("closed", "../sub.git"), ("mixed", stranger.url("sub"))):
        r.init(name)
        git(r.work / name, "submodule", "--quiet", "add", str(r.root / "sub.git"), "sub")
        git(r.work / name, "config", "-f", ".gitmodules", "submodule.sub.url", url)
        r.commit(name, word=f"{name}\n")
        r.publish(name)
    job = {"repo_url": guarded.url("closed"), "credentials": {"username": "me", "password": password},
           "egress": {"allow": [f"127.0.0.1:{stranger.port}"]}}
    good = k.build("cat word sub/word; env; cat .git/config /proc/cmdline", **job)
    wrong = k.build("true", **job | {"credentials": {"username": "me", "password": password + "x"}})
    none = k.build("true", repo_url=guarded.url("closed"))
    mixed = k.build("true", **job | {"repo_url": guarded.url("mixed")})
    away = k.build("true", **job | {"repo_url": elsewhere.url("sub")})
    try:
        good.expect("ok")
        assert "closed\nsub\n" in good.log
        wrong.expect("user", "the server refused the user name or password")
        none.expect("user", "the server demands credentials or forbids the access (HTTP 401)")
        mixed.expect("user", "submodule 'sub': ")
        away.expect("user", f"the server redirects to 127.0.0.1:{stranger.port}, and credentials are for")
        # said only when it was demanded, and to no other server though it demands them
        assert guarded.httpd.expected in guarded.authorizations and guarded.authorizations[0] is None
        assert set(stranger.authorizations) == {None} == set(elsewhere.authorizations)
        # and kept nowhere
        secrets = [password.encode(), base64.b64encode(f"me:{password}".encode())[:-4]]
        for b in (good, wrong, mixed, away):
            kept = everything_kept(b)
            assert b.info["job"]["credentials"] == {"username": "***", "password": "***"}
            assert not any(secret in kept for secret in secrets)
    finally:
        for server in (guarded, stranger, elsewhere):
            server.close()


# ---- the build as the API shows it ----

def test_from_submission_to_artifacts(k, lab):
    """States, log, steps, artifacts; stdout and stderr in the order in which they were written."""
    commit = lab.repos.simple("app", **{"src/a": "A"})
    order = "for i in $(seq 200); do echo out$i; echo err$i >&2; done"
    b = k.build("mkdir -p out/d && printf hello >out/hello && chmod 755 out/hello && ln -s hello out/link &&"
                "cp src/a out/d && touch out/d/no.o", order, "head -c 20000000 /dev/zero | tail >/dev/null; exit 0",
                repo_url=lab.repos.url("app"), artifacts={"paths": ["out/**"], "exclude": ["**/*.o"]})
    seen = list(k.follow(b.id, query="&encoding=base64"))
    live = b"".join(base64.b64decode(data) for name, _, data in seen if name == "message")
    b.wait()
    assert live == b.raw and int(b.info["log_bytes"]) == len(b.raw)
    assert seen[-1][0] == "end" and json.loads(seen[-1][2])["class"] == "ok"
    assert b.info["status"] == "completed" and b.status_lines == STATES + ["Build completed"]
    assert b.info["commit"] == commit and b.info["artifacts_count"] == 3
    both = "".join(f"out{i}\nerr{i}\n" for i in range(1, 201))
    assert both in b.log
    begin, end = b.info["steps"][1]["log_offset"], b.info["steps"][1]["log_end_offset"]
    assert b.raw[begin:end].decode() == both
    assert [(s["index"], s["name"], s["exit_code"], s["signal"]) for s in b.info["steps"]] == [
        (0, "s0", 0, 0), (1, "s1", 0, 0), (2, "s2", 0, 0)]
    assert b.info["steps"][1]["command"] == order
    # a cgroup for each step: the third one's memory is its own
    assert b.info["steps"][2]["peak_bytes"] > 20_000_000 > b.info["steps"][0]["peak_bytes"] > 0
    assert all(s["wall_ms"] > 0 and s["cpu_ms"] > 0 for s in b.info["steps"])
    assert b.info["kernel"] != platform.release() and b.info["vmm"]["vmm"] == "qemu"

    files = b.files()
    assert sorted(files) == ["out/d/a", "out/hello", "out/link"]
    hello = files["out/hello"]
    assert (hello["size"], hello["mode"], hello["sha256"]) == (5, "0755", hashlib.sha256(b"hello").hexdigest())
    assert files["out/link"]["type"] == "symlink" and files["out/link"]["target"] == "hello"
    one = k.get(f"/build/{b.id}/artifacts/out/d/a")
    assert (one.status, one.body) == (200, b"A")
    with tarfile.open(fileobj=io.BytesIO(k.get(f"/build/{b.id}/artifacts.tar").body)) as tar:
        assert sorted(tar.getnames()) == sorted(files)
        assert tar.extractfile("out/hello").read() == b"hello" and tar.getmember("out/hello").mode == 0o755
        assert tar.getmember("out/link").linkname == "hello"
    b.left_nothing()


def test_failed_builds_stop_there_and_deliver(k):
    code = k.build("echo one", "echo begun; echo kept >kept; sh -c 'exit 7'; echo not reached", "echo not reached",
                   artifacts={"paths": ["kept"]})
    sig = k.build("kill -SEGV $$", artifacts={"paths": ["kept"]})
    pipe = k.build("false | true; echo not reached")
    code.expect("user", "step 2 of 3 (s1) failed with exit code 7")
    assert (code.info["step"], code.info["step_name"], code.info["exit_code"]) == (1, "s1", 7)
    assert [s["exit_code"] for s in code.info["steps"]] == [0, 7]
    assert "begun\n" in code.log and "not reached" not in code.log
    assert code.status_lines == ["Build queued", "Starting VM", "Running build", "Collecting artifacts",
                                 "Build failed: " + code.info["message"]]
    assert k.get(f"/build/{code.id}/artifacts/kept").body == b"kept\n"
    sig.expect("user", "was ended by signal 11")
    assert sig.info["signal"] == 11 and sig.info["steps"][0]["signal"] == 11
    assert "kiln: no file matched the artifact pattern 'kept'" in sig.log
    pipe.expect("user", "exit code 1")
    assert "not reached" not in pipe.log


# ---- what is built when the job does not say ----

def test_default_detection(k, lab):
    r = lab.repos
    word = os.urandom(8).hex()
    r.simple("make", Makefile="CFLAGS = -O0\nhello: hello.c\n", **{
        "package.json": "{}", "hello.c": f'#include <stdio.h>\nint main(void) {{ puts("{word}"); return 0; }}\n'})
    r.simple("rust", **{"Cargo.toml": "[package]\n", "Makefile": "all:\n"})
    r.simple("nothing", README="x\n")
    make, rust, nothing = [k.build(repo_url=r.url(name)) for name in ("make", "rust", "nothing")]
    make.expect("ok")
    assert "kiln: found Makefile: running make\n" in make.log and make.info["notes"]["build_system"] == "make"
    assert list(make.files()) == ["hello"]
    program = lab.root / "hello"
    program.write_bytes(k.get(f"/build/{make.id}/artifacts/hello").body)
    program.chmod(0o755)
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == word + "\n"
    rust.expect("user", "this image (c) has no cargo; use image: builder")
    assert "kiln: found Cargo.toml: running cargo build --release" in rust.log and rust.info["steps"] == []
    nothing.expect("user", "the source has none of Cargo.toml, Makefile, CMakeLists.txt, meson.build, package.json, go.mod")


# ---- the step's world ----

WORLD = r"""
echo "id=$(id -un) $(id -u) $(id -g)"; echo "ci=$CI"; echo "build=$KILN_BUILD_ID"; echo "step=$KILN_STEP"
echo "home=$HOME $USER"; (cd "$HOME" && echo x >.writable && rm .writable && echo "homeok=1")
echo "lang=$LANG"; echo "umask=$(umask)"; echo "path=$PATH"; echo "passwd=$(getent passwd "$(id -u)" | cut -d: -f1,3,6)"
echo "hosts=$(getent hosts localhost | tr -s ' ')"; test -s /etc/resolv.conf && echo "resolv=1"
echo "tmp=$(stat -c '%a %U' /tmp)"; echo "shm=$(stat -c %a /dev/shm)"; echo x >/dev/shm/x && echo "shmok=1"
echo "pty=$(script -qec 'test -t 0 && tty' /dev/null </dev/null | tr -d '\r')"
exec 8<>/dev/tcp/127.0.0.1/3128 && echo "lo=1"; exec 8>&-
echo "ws=$(stat -c '%U %a' "$PWD") $PWD $(stat -c %U word)"; echo "git=$(git status 2>&1 | head -n1)"
echo "sudo=$(sudo -n id -u 2>&1)"; echo "stdin=$(wc -c)"; echo "mine=$MINE"; echo "null=$(stat -c %a /dev/null)"
echo "fds=$(ls /proc/self/fd | tr '\n' ' ')"; echo "pid1=$(cat /proc/1/environ 2>&1 | wc -c)"
echo "quoted=$QUOTED"
"""


def test_the_steps_world(k, prog):
    url = prog.url("prog")
    job = {"repo_url": url, "submodules": "none", "env": {"MINE": "a=b c", "QUOTED": "'\"$HOME\n;`id`"}}
    user, root = k.build(WORLD, **job), k.build(WORLD, user="root", **job)
    user.expect("ok")
    root.expect("ok")
    for b in (user, root):
        assert b.after("ci") == "true" and b.after("build") == b.id and b.after("step") == "s0"
        assert b.after("lang") == "C.UTF-8" and b.after("umask") == "0022"
        assert "/usr/bin" in b.after("path").split(":") and "localhost" in b.after("hosts").split()
        assert b.after("resolv") == b.after("shmok") == b.after("lo") == b.after("homeok") == "1"
        assert b.after("tmp") == "1777 root" and b.after("shm") == "1777" and b.after("null") == "666"
        assert b.after("pty").startswith("/dev/pts/")
        assert b.after("git") == "On branch main", "or it is dubious ownership"
        assert b.after("sudo") == "0" and b.after("stdin") == "0" and b.after("mine") == "a=b c"
        assert b.after("fds") == "0 1 2 3 "
        assert "quoted='\"$HOME\n;`id`\n" in b.log
    assert user.after("id") == "build 1000 1000" and user.after("home") == "/home/build build"
    assert user.after("passwd") == "build:1000:/home/build" and user.after("ws") == "build 755 /workspace build"
    assert user.after("pid1") != "0" and "Permission denied" not in user.after("home")
    assert root.after("id") == "root 0 0" and root.after("home") == "/root root"
    assert root.after("ws") == "root 755 /workspace root"


# ---- several at once, cancel, restarts ----

def test_two_at_once_cancel_and_the_queue(lab, gate):
    k = lab.kilnd("capacity.max_running=2")
    one, two, three = [k.build(f"trap 'echo got TERM; exit 9' TERM; echo kept >kept; echo begun; {gate.step}",
                               egress={"allow": [gate.rule]}, artifacts={"paths": ["kept"]}) for _ in range(3)]
    gate.arrived()
    gate.arrived()
    health = k.get("/health").json
    assert (health["running"], health["queued"]) == (2, 1)
    assert [k.show(b.id)["status"] for b in (one, two, three)] == ["running_build", "running_build", "queued"]
    r = k.ask("POST", f"/build/{three.id}/cancel")
    assert (r.status, k.show(three.id)["status"]) == (200, "cancelled") and not three.dir.exists()
    four = k.build("echo the slot is free")
    assert k.ask("POST", f"/build/{one.id}/cancel").status == 202
    one.expect("cancelled")
    assert one.info["status"] == "cancelled" and one.status_lines[-1].startswith("Build cancelled")
    assert "kept" in one.files(), "what was there is delivered"
    four.expect("ok")
    assert k.show(two.id)["status"] == "running_build"
    gate.open()
    two.expect("ok")
    uids = {json.loads((b.dir / "run.json").read_text())["uid"] for b in (one, two)}
    assert len(uids) == 2 and uids <= set(k.uids)
    for b in (one, two, four):
        b.left_nothing()


def test_restarted_kilnd_adopts_running_builds(lab, gate):
    k = lab.kilnd()
    b, c = [k.build(f"echo before; {gate.step}; echo after; exit {code}", egress={"allow": [gate.rule]})
            for code in (0, 5)]
    gate.arrived()
    gate.arrived()
    k.stop()
    k.start()
    assert k.show(b.id)["status"] == "running_build"
    k.kill9()
    k.start()
    assert [k.show(x.id)["status"] for x in (b, c)] == ["running_build"] * 2
    k.kill9()
    gate.open()  # both end while no kilnd looks
    until("verdicts on disk", lambda: all((x.dir / "result.json").exists() for x in (b, c)))
    k.start()
    b.expect("ok")
    c.expect("user", "exit code 5")
    for x in (b, c):
        assert "before\nafter\n" in x.log and x.info["attempt"] == 1 and len(x.info["steps"]) == 1
        x.left_nothing()


# ---- the command ----

def test_the_command_with_a_real_build(k, lab, prog, tmp_path):
    url = prog.url("prog")
    p = k.kiln("build", url, "-f", "--branch", "side/branch", "--artifacts", "word", "--image", "c", "--vcpus", "1",
               "--memory", "512", "--", "cat word; exit 3")
    assert p.returncode == 3, p.stdout + p.stderr
    build_id, rest = p.stdout.split("\n", 1)
    assert f"at {prog.side[:12]} (side/branch)" in rest and "\nside\n" in rest
    p = k.kiln("logs", build_id)
    assert p.stdout == rest and "<== step 1: exit code 3 after " in p.stderr
    assert k.kiln("logs", build_id, "--step", "1").stdout == "side\n"
    assert k.kiln("artifacts", build_id).stdout.split() == ["5", "B", "word"]
    assert k.kiln("artifacts", build_id, "--output", tmp_path / "got").returncode == 0
    assert (tmp_path / "got" / "word").read_text() == "side\n"
