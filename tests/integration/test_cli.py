# SPDX-License-Identifier: Apache-2.0
"""The kiln command: with the stand-in supervisor, with a kilnd, and with real VMs."""
import hashlib
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "standin"), str(HERE)]
import githttp  # noqa: E402
from lab import BIN, ROOT, STANDIN, Kilnd, until  # noqa: E402

KILN = BIN / "kiln"
DEADLINE_S = 30
VM_DEADLINE_S = 240


def clean_env(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("KILN_", "FIRECRACKER_", "ORCHESTRATOR_"))}
    for name in ("HOST", "PORT", "NO_COLOR"):
        env.pop(name, None)
    return env | {"KILN_CONFIG": "/dev/null/none"} | more


class Lab:
    """A kiln of a test's own: directory, image, and the stand-in supervisor."""

    def __init__(self, tmp, supervisor=STANDIN):
        self.tmp = tmp
        self.dir = tmp / "data"
        self.cwd = tmp / "cwd"
        self.cwd.mkdir()
        (tmp / "images").mkdir()
        image = bytearray(4096)
        image[1024:1028] = b"\xe2\xe1\xf5\xe0"
        for name in ("builder", "other"):
            (tmp / "images" / f"{name}.erofs").write_bytes(image)
        for name in ("kernel", "initramfs"):
            (tmp / name).write_bytes(b"not real")
        (tmp / "kiln.yaml").write_text(
            f"dir: {self.dir}\nimages_dir: {tmp}/images\nkernel: {tmp}/kernel\ninitramfs: {tmp}/initramfs\n"
            f"supervisor: {supervisor}\n")
        self.env = clean_env(KILN_CONFIG=str(tmp / "kiln.yaml"))

    def kiln(self, *words, check=None, text=True, cwd=None):
        p = subprocess.run([KILN, *map(str, words)], env=self.env, cwd=cwd or self.cwd, capture_output=True,
                           text=text, timeout=DEADLINE_S, check=False, stdin=subprocess.DEVNULL)
        if check is not None:
            assert p.returncode == check, (p.returncode, p.stdout, p.stderr)
        return p

    def start(self, *words):
        return subprocess.Popen([KILN, *map(str, words)], env=self.env, cwd=self.cwd, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def run(self, *words, **orders):
        """`kiln run` without a source; keyword arguments are the stand-in's orders."""
        return self.kiln("run", "--no-source", *self.orders(orders), *words, "--", "x")

    @staticmethod
    def orders(orders):
        words = []
        for key, value in orders.items():
            value = value if isinstance(value, str) else json.dumps(value)
            words += ["--env", f"KILN_STANDIN_{key}={value}"]
        return words

    def hold(self):
        """A build that runs until it is told otherwise."""
        before = set(self.builds())
        p = self.start("run", "--no-source", "-e", "KILN_STANDIN_HOLD=1", "--", "x")
        until("a running build", lambda: [b for b in set(self.builds()) - before
                                          if (b / "run.json").exists() and (b / "local.json").exists()])
        return p, (set(self.builds()) - before).pop()

    def builds(self):
        return list(self.dir.glob("builds/build_*"))

    def last_pid(self, build):
        return json.loads((build / "run.json").read_text())["pid"]


@pytest.fixture
def lab(tmp_path):
    the = Lab(tmp_path)
    yield the
    the.kiln("kill", "all")


def last_line(p):
    return p.stderr.rstrip("\n").split("\n")[-1]


def alive(pid):
    """A zombie has ended: who reaps it is another matter."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def order(build, **command):
    """One order to a stand-in that holds; returns when it has done it."""
    fd = os.open(build, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(DEADLINE_S)
        s.connect(f"/proc/self/fd/{fd}/ctl")
        os.close(fd)
        s.sendall(json.dumps(command).encode() + b"\n")
        s.shutdown(socket.SHUT_WR)
        assert s.makefile().readline() == "ok\n"


# ---- kiln run ----

def test_run_brings_log_artifacts_and_the_last_line(lab):
    p = lab.run(LOG="hello\nworld\n", ARTIFACTS=[{"path": "bin/a", "text": "A", "mode": "0755"},
                                                 {"path": "l", "type": "symlink", "target": "bin/a"}])
    assert p.returncode == 0, p.stderr
    assert p.stdout == "hello\nworld\n"
    assert re.fullmatch(r"kiln: ok in [0-9.]+ m?s, 2 artifacts in ./kiln-out", last_line(p))
    out = lab.cwd / "kiln-out"
    assert (out / "bin/a").read_text() == "A"
    assert os.stat(out / "bin/a").st_mode & 0o777 == 0o755
    assert os.readlink(out / "l") == "bin/a"


def test_run_says_at_once_what_goes_on(lab):
    p = lab.run()
    for words in ("starting the VM", "the VM is up", "running the build", "==> step 1: build",
                  "<== step 1: exit code 0"):
        assert words in p.stderr


def test_run_ends_with_the_steps_exit_code(lab):
    p = lab.run(EXIT_CODE="7", MESSAGE="step 1 (build) exited with 7")
    assert p.returncode == 7
    assert last_line(p) == "kiln: failed: user: step 1 (build) exited with 7"


@pytest.mark.parametrize("klass", ["timeout", "oom", "disk_full", "cancelled", "kernel_panic", "agent_lost", "vmm",
                                   "host"])
def test_run_ends_with_125_when_it_is_not_the_users_fault(lab, klass):
    p = lab.run(CLASS=klass, MESSAGE="why", EXIT_CODE="7")
    assert p.returncode == 125
    assert last_line(p) == f"kiln: failed: {klass}: why"
    assert re.match("kiln: try: `kiln ", p.stderr.splitlines()[-2])


def test_run_ends_with_1_when_there_is_no_exit_code(lab):
    p = lab.kiln("run", *lab.orders({"NO_CLONE": "cannot clone"}), "https://example.org/r.git", check=1)
    try_it = "try: `git ls-remote https://example.org/r.git` shows whether it can be had from here"
    assert p.stderr.splitlines()[-2:] == ["kiln: " + try_it, "kiln: failed: user: cannot clone"]
    assert try_it in lab.kiln("logs", "last", check=0).stderr


def test_run_with_a_supervisor_that_refuses(lab):
    p = lab.run(ERROR="no uid is left")
    assert p.returncode == 125
    assert last_line(p) == "kiln: failed: host: no uid is left"
    assert lab.builds() == []  # nothing half made stays


def test_run_ends_the_build_that_it_cannot_call_its_own(tmp_path):
    """A supervisor that nobody follows and no `kiln clean` removes must not run on."""
    wrapper = tmp_path / "supervisor"
    wrapper.write_text(f"""#!{sys.executable}
import os, sys
os.mkdir(os.path.join(sys.argv[sys.argv.index("--dir") + 1], "local.json"))
with open({str(tmp_path / "pid")!r}, "w") as f:
    f.write(str(os.getpid()))
os.execv({str(STANDIN)!r}, sys.argv)
""")
    wrapper.chmod(0o755)
    lab = Lab(tmp_path, wrapper)
    try:
        p = lab.run(HOLD="1")
        assert p.returncode == 125 and "local.json" in last_line(p)
        assert not alive(int((tmp_path / "pid").read_text()))
        assert lab.builds() == []
    finally:
        lab.kiln("kill", "all")


def test_run_with_a_supervisor_that_dies(lab):
    p = lab.run(CRASH="start")
    assert p.returncode == 125
    assert "kiln-supervisor ended without an answer" in last_line(p)
    p = lab.run(CRASH="run", LOG="so far\n")
    assert p.returncode == 125
    assert p.stdout == "so far\n"
    assert last_line(p).startswith("kiln: failed: host: kiln-supervisor ended without a verdict")


def test_run_without_what_it_needs_says_what_to_do(lab):
    (lab.tmp / "kernel").unlink()
    p = lab.run()
    assert p.returncode == 125
    assert "kiln kernel install" in last_line(p)
    p = lab.kiln("run", "--no-source", "--image", "nope", "--", "x", check=125)
    assert "there is: builder, other" in last_line(p)


def test_run_refuses_what_is_wrong_before_anything_starts(lab):
    # make ends with 2, too: what is not the step's own status is 125, and the last line says so.
    for words, text in ((["run"], "say what to build"), (["run", ".", "--vcups", "2"], "did you mean '--vcpus'"),
                        (["run", ".", "nowhere"], "one word too many"), (["run", ".", "--vcpus", "x"], "--vcpus must be"),
                        (["run", ".", "--port", "abc"], "port must be an integer"), (["run", ".", "--set"], "--set")):
        p = lab.kiln(*words, check=125)
        assert last_line(p).startswith("kiln: failed: host: ") and text in last_line(p)
    lab.kiln("ps", "--port", "abc", check=1)
    assert "neither a directory nor a URL" in lab.kiln("run", "nowhere", check=125).stderr
    assert "repo_url has the scheme 'ssh'" in lab.kiln("run", "ssh://git@h/x", check=125).stderr
    p = lab.kiln("run", "https://bob:hunter2@h/x", check=125)
    assert "credentials" in p.stderr and "hunter2" not in p.stderr
    assert "ceilings.vcpus" in lab.kiln("run", "https://h/x", "--vcpus", "99", check=125).stderr
    assert lab.builds() == []


def test_run_leaves_out_artifacts_that_lead_out(lab):
    (lab.cwd / "victim").mkdir()
    p = lab.run(ARTIFACTS=[{"path": "../evil", "text": "x"}, {"path": "/tmp/kiln-evil", "text": "x"},
                           {"path": "d", "type": "symlink", "target": "../victim"}, {"path": "d/x", "text": "x"},
                           {"path": "etc", "type": "symlink", "target": "/etc"}, {"path": "ok", "text": "x"}])
    assert p.returncode == 0
    assert sorted(x.name for x in lab.cwd.iterdir()) == ["kiln-out", "victim"]
    assert list((lab.cwd / "victim").iterdir()) == []
    assert not pathlib.Path("/tmp/kiln-evil").exists()
    assert sorted(x.name for x in (lab.cwd / "kiln-out").iterdir()) == ["d", "ok"]
    assert p.stderr.count("artifact left out") == 4


def test_run_replaces_its_own_directory_and_no_other(lab):
    lab.run(ARTIFACTS=[{"path": "a", "text": "1"}])
    lab.run(ARTIFACTS=[{"path": "b", "text": "2"}])
    assert [x.name for x in (lab.cwd / "kiln-out").iterdir()] == ["b"]
    (lab.cwd / "mine").mkdir()
    (lab.cwd / "mine" / "precious").write_text("x")
    p = lab.run("--output", "mine", ARTIFACTS=[{"path": "a"}])
    assert p.returncode == 125 and "--force" in p.stderr
    assert "starting the VM" not in p.stderr  # said before the work, not after it
    p = lab.run("--output", ".", "--force")
    assert p.returncode == 125
    assert (lab.cwd / "mine" / "precious").exists()
    p = lab.run("--output", "mine/", "--force", ARTIFACTS=[{"path": "a", "text": "1"}])
    assert p.returncode == 0
    assert [x.name for x in (lab.cwd / "mine").iterdir()] == ["a"]


def test_run_as_json(lab):
    p = lab.run("--json", LOG="one\ntwo", ARTIFACTS=[{"path": "a"}])
    lines = [json.loads(x) for x in p.stdout.splitlines()]
    assert [x["text"] for x in lines if x["type"] == "log"] == ["one\n", "two"]
    kinds = [x["type"] for x in lines]
    assert kinds.index("step_begin") < kinds.index("log") < kinds.index("step_end")
    assert lines[-1]["type"] == "result" and lines[-1]["class"] == "ok"


def read_pty(fd):
    data = b""
    while select.select([fd], [], [], DEADLINE_S)[0]:
        try:
            more = os.read(fd, 65536)
        except OSError:
            break
        if not more:
            break
        data += more
    return data


def run_on_terminal(lab, *words, env=None):
    main, side = pty.openpty()
    p = subprocess.Popen([KILN, *map(str, words)], env=lab.env | (env or {}), cwd=lab.cwd, stdin=side, stdout=side,
                         stderr=side, close_fds=True)
    os.close(side)
    data = read_pty(main)
    os.close(main)
    return p.wait(DEADLINE_S), data.replace(b"\r\n", b"\n")


def test_on_a_terminal_order_is_kept_and_the_build_commands_nothing(lab):
    log = "\x1b[31mred\x1b[0m\x1b]0;owned\x07 \x1b[2Jtext"
    words = ["run", "--no-source", *lab.orders({"LOG": log}), "--", "x"]
    code, seen = run_on_terminal(lab, *words)
    assert code == 0
    assert b"\x1b[31mred\x1b[0m text\n" in seen  # colour stays, title and clear screen are gone, and a line end
    assert b"owned" not in seen and b"\x1b[2J" not in seen
    begin, text, end = seen.index(b"==> step 1"), seen.index(b"red"), seen.index(b"<== step 1")
    assert begin < text < end
    assert b"\x1b[1;32mkiln: ok" in seen
    for env, more in (({"NO_COLOR": "1"}, []), ({}, ["--no-color"])):
        code, seen = run_on_terminal(lab, *words[:2], *more, *words[2:], env=env)
        assert code == 0 and b"\x1b" not in seen


def test_on_a_terminal_json_commands_nothing_either(lab):
    log = "caf\u00e9 \u009b2J"
    code, seen = run_on_terminal(lab, "run", "--no-source", "--json", *lab.orders({"LOG": log}), "--", "x")
    assert code == 0 and b"\xc2\x9b" not in seen and b"\\u009B2J" in seen
    code, seen = run_on_terminal(lab, "logs", "last", "--json")
    assert code == 0 and b"\xc2\x9b" not in seen and b"\\u009B2J" in seen
    assert log in lab.kiln("logs", "last", "--json", check=0).stdout


def test_without_a_terminal_the_output_is_the_build_s_bytes(lab):
    log = "\x1b[31mred\x1b[0m\x1b]0;title\x07 \x1b[2Jtext"
    p = lab.run(LOG=log)
    assert p.stdout == log
    assert "\x1b" not in p.stderr


def test_interrupt_cancels_and_the_second_one_kills(lab):
    p, build = lab.hold()
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=DEADLINE_S)
    assert p.returncode == 125, (out, err)
    assert "cancelling the build" in err and err.rstrip().endswith("kiln: failed: cancelled: cancelled by user")
    assert json.loads((build / "result.json").read_text())["class"] == "cancelled"

    p, build = lab.hold()
    pid = lab.last_pid(build)
    (build / "ctl").unlink()  # nobody to be polite to
    p.send_signal(signal.SIGINT)
    line = ""
    while "not running" not in line:
        line = p.stderr.readline()
        assert line
    assert alive(pid)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=DEADLINE_S)
    assert p.returncode == 125
    assert not alive(pid)


def test_run_outlives_a_closed_stdout(lab):
    """`kiln run | head -1`: the build goes on and its verdict is the exit status."""
    p = subprocess.run(["bash", "-c", 'set -o pipefail; "$@" | head -c 1', "-", KILN, "run", "--no-source", "-e",
                        "KILN_STANDIN_EXIT_CODE=3", "-e", "KILN_STANDIN_LOG=" + "x" * 30000, "--", "x"],
                       env=lab.env, cwd=lab.cwd, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert p.returncode == 3, p.stderr


# ---- a directory as source ----

@pytest.fixture
def tar_lab(tmp_path):
    """A supervisor that keeps document and source tar, then is the stand-in."""
    wrapper = tmp_path / "supervisor"
    wrapper.write_text(f"""#!{sys.executable}
import os, sys
if "--source-fd" in sys.argv:
    with open({str(tmp_path / "source.tar")!r}, "wb") as f, os.fdopen(4, "rb") as src:
        f.write(src.read())
    sys.argv[-2:] = []
os.execv({str(STANDIN)!r}, sys.argv)
""")
    wrapper.chmod(0o755)
    the = Lab(tmp_path, wrapper)
    yield the
    the.kiln("kill", "all")


def git(cwd, *words):
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words], cwd=cwd, check=True,
                   capture_output=True, env=clean_env(GIT_CONFIG_GLOBAL="/dev/null"))


def test_a_directory_goes_in_as_git_sees_it(tar_lab):
    src = tar_lab.tmp / "src"
    (src / "sub").mkdir(parents=True)
    (src / "a.c").write_text("committed")
    (src / ".gitignore").write_text("*.o\n")
    git(src, "init", "-q", "-b", "main", ".")
    git(src, "add", ".")
    git(src, "commit", "-q", "-m", "x")
    (src / "a.c").write_text("changed")
    (src / "sub" / "new.c").write_text("new")
    (src / "x.o").write_text("object")
    (src / "kiln-out").mkdir()
    (src / "kiln-out" / "old").write_text("old")
    p = tar_lab.kiln("run", src, check=0)
    with tarfile.open(tar_lab.tmp / "source.tar") as tar:
        names = set(tar.getnames())
        assert tar.extractfile("a.c").read() == b"changed"
    assert {"a.c", ".gitignore", "sub/new.c", ".git/HEAD"} <= names
    assert not {"x.o", "kiln-out", "kiln-out/old"} & names
    assert "packing" in p.stderr
    tar_lab.kiln("run", src, "--include-ignored", check=0)
    with tarfile.open(tar_lab.tmp / "source.tar") as tar:
        assert "x.o" in tar.getnames() and "kiln-out/old" not in tar.getnames()
    # The temporary tar has no name and is gone.
    assert [x.name for x in tar_lab.dir.iterdir()] == ["builds"]


def test_a_directory_above_2_gib_is_refused_in_words(lab):
    src = lab.tmp / "src"
    src.mkdir()
    with open(src / "big", "wb") as f:
        f.truncate((2 << 30) + 1)
    p = lab.kiln("run", src, check=125)
    assert "more than 2 GiB" in last_line(p)


# ---- looking at builds ----

def test_logs_of_a_build_on_disk(lab):
    lab.run(LOG="hello\n", EXIT_CODE="3", MESSAGE="step 1 (build) exited with 3")
    build = lab.builds()[0].name
    p = lab.kiln("logs", build, check=0)
    assert p.stdout == "hello\n"
    lines = p.stderr.splitlines()
    assert lines[0] == "==> step 1: build"
    assert lines[1].startswith("<== step 1: exit code 3 after 5 ms, peak memory 4.0 KiB")
    assert lines[-2] == "kiln: failed: user: step 1 (build) exited with 3"
    assert f"kiln logs {build} --step 1" in lines[-1]
    assert lab.kiln("logs", "last").stdout == "hello\n"
    assert lab.kiln("logs", build[6:12]).stdout == "hello\n"
    assert lab.kiln("logs", "-f", build).returncode == 3
    assert lab.kiln("logs", build, "--step", "2").stdout == ""
    stamped = lab.kiln("logs", build, "--timestamps").stdout
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z hello\n", stamped)
    assert json.loads(lab.kiln("logs", build, "--json").stdout.splitlines()[-1])["class"] == "user"
    p = lab.kiln("logs", "build_00000000-0000-0000-0000-000000000000", check=1)
    assert "kilnd does not answer" in p.stderr


def test_logs_follow_a_build_that_runs(lab):
    p, build = lab.hold()
    f = lab.start("logs", "-f", build.name)
    order(build, cmd="event", type="step_begin", members={"index": 0, "name": "one", "log_offset": 0})
    order(build, cmd="log", hex=b"live\n".hex())
    assert f.stdout.readline() == "live\n"
    order(build, cmd="finish", **{"class": "user", "message": "m", "exit_code": 9})
    _, err = f.communicate(timeout=DEADLINE_S)
    assert f.returncode == 9
    assert "==> step 1: one" in err
    _, err = p.communicate(timeout=DEADLINE_S)
    assert p.returncode == 9


def test_artifacts_of_a_build_on_disk(lab):
    lab.run(ARTIFACTS=[{"path": "a\x1b[2Jb", "text": "12"}])
    p = lab.kiln("artifacts", "last", check=0)
    assert p.stdout == "       2 B  a?[2Jb\n"
    lab.kiln("artifacts", "last", "--output", "got", check=0)
    assert (lab.cwd / "got" / "a\x1b[2Jb").read_text() == "12"
    build = lab.builds()[0]
    manifest = json.loads((build / "manifest.json").read_text())
    manifest["files"][0]["type"] = "\x1b[2J" + "x" * 9000  # no manifest of ours has it: it is shown in its column
    (build / "manifest.json").write_text(json.dumps(manifest))
    assert lab.kiln("artifacts", "last", check=0).stdout == "?[2Jxxxxxxxxxxx  a?[2Jb\n"
    manifest["files"][0]["type"] = "file"
    (build / "manifest.json").write_text(json.dumps(manifest))
    assert "--force" in lab.kiln("artifacts", "last", "--output", "got", check=1).stderr


def test_ps_and_kill(lab):
    assert "nothing is running" in lab.kiln("kill", "all", check=0).stderr
    p, build = lab.hold()
    row = json.loads(lab.kiln("ps", "--json", check=0).stdout)
    assert row["build"] == build.name and row["pid"] == lab.last_pid(build)
    assert row["state"] == "starting_vm" and row["vcpus"] == 2 and row["by"] == "kiln run"
    table = lab.kiln("ps", check=0).stdout.splitlines()
    assert len(table) == 2 and table[1].startswith(build.name)
    lab.kiln("kill", build.name[:14], check=0)
    assert not alive(row["pid"])
    assert p.wait(DEADLINE_S) == 125
    assert lab.kiln("ps", "--json", check=0).stdout == ""
    assert lab.kiln("kill", build.name, check=1)


def test_kill_does_not_take_another_process_for_the_supervisor(lab):
    p, build = lab.hold()
    pid = lab.last_pid(build)
    victim = subprocess.Popen(["sleep", "100"])
    try:
        run = json.loads((build / "run.json").read_text())
        (build / "run.json").write_text(json.dumps(run | {"pid": victim.pid}))
        (build / "ctl").rename(build / "ctl.away")
        lab.kiln("kill", build.name, check=1)
        assert victim.poll() is None
        (build / "run.json").write_text(json.dumps(run | {"boot_id": "another"}))
        lab.kiln("kill", "all", check=0)
        assert alive(pid)
        (build / "run.json").write_text(json.dumps(run))
        lab.kiln("kill", build.name, check=0)
        assert not alive(pid)
    finally:
        victim.kill()
        victim.wait()
    p.communicate(timeout=DEADLINE_S)


def test_clean_removes_only_what_is_done_and_ours(lab):
    lab.run()
    done = lab.builds()[0]
    other = lab.dir / "builds" / "build_11111111-1111-4111-8111-111111111111"
    other.mkdir()
    (other / "result.json").write_text("{}")  # kilnd's: no local.json
    empty = lab.dir / "builds" / "build_22222222-2222-4222-8222-222222222222"
    empty.mkdir()
    fresh = lab.dir / "builds" / "build_33333333-3333-4333-8333-333333333333"
    fresh.mkdir()
    os.utime(empty, (time.time() - 7200, time.time() - 7200))
    p, held = lab.hold()
    lab.kiln("clean", "--dry-run", check=0)
    assert done.exists()
    lab.kiln("clean", "--images", check=0)
    assert {b.name for b in lab.builds()} == {other.name, fresh.name, held.name}
    assert [x.name for x in (lab.tmp / "images").iterdir()] == ["builder.erofs"]
    lab.kiln("kill", "all", check=0)
    p.communicate(timeout=DEADLINE_S)


# ---- with a kilnd ----

@pytest.fixture
def served(lab, tmp_path):
    (tmp_path / "kilnd").mkdir()
    k = Kilnd(tmp_path / "kilnd").start()
    # Another dir: everything must come over the API.
    lab.env["KILN_SOCKET"] = str(k.socket)
    yield lab, k
    k.close()


def test_build_follow_logs_artifacts_by_the_api(served):
    lab, _ = served
    p = lab.kiln("build", "https://example.org/r.git", "-f",
                 *lab.orders({"LOG": "gr\u00fc\u00df\n", "ARTIFACTS": [{"path": "d\u00fc r/a%b", "text": "A"}]}), check=0)
    build, rest = p.stdout.split("\n", 1)
    assert rest == "gr\u00fc\u00df\n"
    assert "==> step 1: build" in p.stderr and "<== step 1: exit code 0" in p.stderr
    assert f"kiln artifacts {build}" in last_line(p)
    p = lab.kiln("logs", build, check=0)
    assert p.stdout == "gr\u00fc\u00df\n"
    assert p.stderr.splitlines()[0] == "==> step 1: build" and last_line(p) == "kiln: ok"
    assert lab.kiln("artifacts", build, check=0).stdout == "       1 B  d\u00fc r/a%b\n"
    lab.kiln("artifacts", build, "--output", "got", check=0)
    assert (lab.cwd / "got/d\u00fc r/a%b").read_text() == "A"


def test_build_ends_with_the_builds_status(served):
    lab, _ = served
    p = lab.kiln("build", "https://example.org/r.git", "-f", *lab.orders({"EXIT_CODE": "4", "MESSAGE": "four"}))
    assert p.returncode == 4
    assert last_line(p) == "kiln: failed: user: four"
    p = lab.kiln("build", "ftp://example.org/x", check=1)
    assert "scheme" in p.stderr
    p = lab.kiln("build", "https://example.org/x", "--vcpus", "200", check=1)
    assert "ceilings.vcpus" in p.stderr


def test_cancel_and_ps_by_the_api(served):
    lab, k = served
    build = lab.kiln("build", "https://example.org/r.git", "-e", "KILN_STANDIN_HOLD=1", check=0).stdout.strip()
    k.wait_status(build, "starting_vm")
    lab.kiln("cancel", build, check=0)
    k.wait_status(build, "cancelled")
    p = lab.kiln("logs", "-f", build)
    assert p.returncode == 125 and "failed: cancelled" in p.stderr
    unknown = "build_00000000-0000-4000-8000-000000000000"
    assert f"there is no build {unknown}" in lab.kiln("cancel", unknown, check=1).stderr


def test_ps_shows_what_waits(lab, tmp_path):
    (tmp_path / "kilnd").mkdir()
    k = Kilnd(tmp_path / "kilnd", "capacity.max_running=1").start()
    lab.env["KILN_SOCKET"] = str(k.socket)
    try:
        k.hold()
        waiting = k.submit(repo_url="https://example.org/waits.git")
        row = json.loads(lab.kiln("ps", "--json", check=0).stdout)
        assert (row["build"], row["state"], row["by"]) == (waiting, "queued", "kilnd")
        line = lab.kiln("ps", check=0).stdout.splitlines()[1]
        assert line.startswith(waiting) and line.endswith("https://example.org/waits.git")
    finally:
        k.close()


def test_ps_watch_shows_it_again(lab):
    p, build = lab.hold()
    w = lab.start("ps", "--watch", "--json")
    try:
        assert [json.loads(w.stdout.readline())["build"] for _ in range(2)] == [build.name] * 2
        assert w.poll() is None
    finally:
        w.terminate()
        w.communicate(timeout=DEADLINE_S)
    lab.kiln("kill", "all", check=0)
    p.communicate(timeout=DEADLINE_S)


def test_the_daemons_builds_can_be_killed_without_it(served):
    lab, k = served
    build = lab.kiln("build", "https://example.org/r.git", "-e", "KILN_STANDIN_HOLD=1", check=0).stdout.strip()
    k.wait_status(build, "starting_vm")
    until("run.json", (k.build_dir(build) / "run.json").exists)
    pid = k.pid(build)
    k.kill9()
    p = lab.kiln("--dir", k.dir, "cancel", build)
    assert p.returncode == 0, p.stderr  # kilnd is gone: over ctl
    until("its end", lambda: not alive(pid))


def test_over_tcp_with_a_token(lab, tmp_path):
    token = pathlib.Path(lab.kiln("token", "create", check=0).stdout.strip())
    assert os.stat(token).st_mode & 0o777 == 0o600
    assert re.fullmatch(r"[0-9a-f]{64}\n", token.read_text())
    lab.kiln("token", "create", check=1)
    (tmp_path / "kilnd").mkdir()
    k = Kilnd(tmp_path / "kilnd", f"token_file={token}", tcp=True).start()
    try:
        url = f"http://127.0.0.1:{k.port}"
        p = lab.kiln("build", "https://example.org/r.git", "--url", url, "--token-file", token, "-f", check=0)
        build = p.stdout.split("\n", 1)[0]
        assert lab.kiln("logs", build, "--url", url + "/", "--token-file", token, check=0).stdout == "hello\n"
        assert lab.kiln("logs", build, "--url", url, check=1).stdout == ""
        lab.kiln("build", "https://example.org/r.git", "--host", "127.0.0.1", "--port", k.port, "--token-file", token,
                 check=0)
    finally:
        k.close()


def test_without_a_daemon_that_is_said(lab):
    p = lab.kiln("build", "https://example.org/r.git", check=1)
    assert "kilnd does not answer on" in p.stderr and "kiln run" in p.stderr


# ---- settings, files ----

def test_config_show_says_where_a_value_came_from(lab):
    lab.env["KILN_KERNEL"] = "/k"
    got = json.loads(lab.kiln("config", "show", "--json", "--log", "debug", "--set", "queue.max=5", check=0).stdout)
    assert got["kernel"] == {"value": "/k", "origin": "environment KILN_KERNEL"}
    assert got["log"] == {"value": "debug", "origin": "flag --log"}
    assert got["queue.max"] == {"value": "5", "origin": "flag --set"}
    assert got["dir"]["origin"] == f"{lab.tmp}/kiln.yaml:1"
    assert got["port"] == {"value": "8080", "origin": "default"}
    rows = {r["name"]: r for r in json.loads(lab.kiln("paths", "--json", check=0).stdout)}
    assert rows["kernel"]["path"] == "/k" and not rows["kernel"]["exists"]
    assert rows["builds"]["path"] == f"{lab.dir}/builds"
    assert rows["image"]["path"] == f"{lab.tmp}/images/builder.erofs"


def test_config_check_names_file_line_and_nearest_key(lab):
    bad = lab.tmp / "bad.yaml"
    bad.write_text("vmm:\n  acel: tcg\n")
    p = lab.kiln("config", "check", "--config", bad, check=1)
    assert f"{bad}:2: unknown setting 'vmm.acel', did you mean 'vmm.accel'?" in p.stderr
    # Every command that reads settings stops there.
    assert lab.kiln("ps", "--config", bad, check=1).stderr


def test_kernel_install(lab):
    p = lab.kiln("kernel", "install", lab.tmp / "kernel", check=1)
    assert "vmlinux" in p.stderr
    elf = bytearray(64)
    elf[:6] = b"\x7fELF\x02\x01"
    elf[18] = 62
    good = lab.tmp / "vmlinux"
    good.write_bytes(elf)
    target = lab.dir / "kernel" / "vmlinux"
    digest = hashlib.sha256(elf).hexdigest()
    p = lab.kiln("kernel", "install", "--download", good.as_uri(), "--sha256", "0" * 64, check=1)
    assert digest in p.stderr
    assert list((lab.dir / "kernel").iterdir()) == []
    lab.kiln("kernel", "install", "--download", good.as_uri(), check=2)
    assert lab.kiln("kernel", "install", "--download", good.as_uri(), "--sha256", digest.upper(),
                    check=0).stdout.strip() == str(target)
    assert target.read_bytes() == elf
    target.unlink()
    lab.kiln("kernel", "install", good, check=0)
    assert target.read_bytes() == elf
    lab.kiln("kernel", "install", check=2)
    assert "note: the setting kernel names another file" in lab.kiln("kernel", "install", good).stderr


def test_image_install_and_list(lab):
    new = lab.tmp / "new.img"
    new.write_bytes(b"x" * 4096)
    assert "no erofs" in lab.kiln("image", "install", new, check=1).stderr
    shutil.copy(lab.tmp / "images/builder.erofs", new)
    (lab.tmp / "new.img.json").write_text('{"name": "new"}')
    lab.kiln("image", "install", new, "--name", "../x", check=2)
    assert lab.kiln("image", "install", new, check=0).stdout == f"{lab.tmp}/images/new.erofs\n"
    assert (lab.tmp / "images/new.json").read_text() == '{"name": "new"}'
    assert {r["name"] for r in json.loads(lab.kiln("image", "list", "--json", check=0).stdout)} == \
        {"builder", "new", "other"}
    assert "(default)" in lab.kiln("image", "list", check=0).stdout


# ---- help and documentation ----

def commands():
    out = subprocess.run([KILN, "--help"], capture_output=True, text=True, check=True, env=clean_env()).stdout
    return re.findall(r"^  ([a-z]+) +[A-Z]", out, re.M)


def test_every_command_has_help_and_mistakes_name_the_nearest(lab):
    assert len(commands()) == 14
    for name in commands():
        p = lab.kiln(name, "--help", check=0)
        assert p.stdout.startswith(f"usage: kiln {name}")
        p = lab.kiln(name, "--no-such-option", check=125 if name == "run" else 2)
        assert "unknown option '--no-such-option'" in p.stderr
    assert "did you mean 'logs'" in lab.kiln("lgos", check=2).stderr
    assert "did you mean 'check'" in lab.kiln("config", "chekc", check=2).stderr
    lab.kiln(check=2)
    assert re.fullmatch(r"kiln [0-9.]+\n", lab.kiln("version", check=0).stdout)


def test_the_man_page_has_every_command_and_no_other():
    page = (ROOT / "docs/man/kiln.1").read_text()
    section = page[page.index(".SH COMMANDS"):page.index(".SH JOB OPTIONS")]
    named = re.findall(r'^\.TP\n\.B[R]? "?([a-z]+)', section, re.M)
    assert sorted(named) == sorted(commands())


def options_of(text):
    """The long options in a help, or on a man page."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text.replace("\\-", "-")))


def test_the_man_pages_have_every_option_and_no_other():
    helps = {name: subprocess.run([KILN, name, "--help"], capture_output=True, text=True, check=True,
                                  env=clean_env()).stdout for name in commands()}
    page = (ROOT / "docs/man/kiln.1").read_text()
    every = page[page.index(".SH OPTIONS"):page.index(".SH EXIT STATUS")]
    everywhere = options_of(helps["version"].partition("Everywhere:")[2])
    assert options_of(every) == everywhere | {"--help"}
    jobs = page[page.index(".SH JOB OPTIONS"):page.index(".SH OPTIONS")]
    entries = page[page.index(".SH COMMANDS"):page.index(".SH JOB OPTIONS")]
    parts = re.split(r'^\.TP\n\.B[R]? "?([a-z]+).*\n', entries, flags=re.M)
    for name, text in zip(parts[1::2], parts[2::2]):
        wanted = options_of(helps[name].partition("Everywhere:")[0])
        if name in ("run", "build"):
            assert options_of(jobs) <= wanted
            wanted -= options_of(jobs)
        assert options_of(text) == wanted, name
    usage = subprocess.run([BIN / "kilnd", "--help"], capture_output=True, text=True, check=True).stdout
    assert options_of((ROOT / "docs/man/kilnd.8").read_text()) == options_of(usage)


def test_clean_says_what_images_takes_along(lab):
    assert "every image that no setting names" in lab.kiln("clean", "--help", check=0).stdout


def settings():
    out = subprocess.run([KILN, "config", "show", "--json"], capture_output=True, text=True, check=True,
                         env=clean_env(KILN_CONFIG="")).stdout
    return json.loads(out)


def test_the_configuration_page_has_every_setting_and_no_other():
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.*)$", (ROOT / "docs/configuration.md").read_text(), re.M)
    assert sorted(r[0] for r in rows) == sorted(settings())
    # The environment and flags of each, against the program's own table.
    table = (ROOT / "host/config/config_table.c").read_text()
    for env in set(re.findall(r'"([A-Z_]{4,})"', table)):
        assert f"`{env}`" in "".join(r[1] for r in rows), env
    for flag in set(re.findall(r'"(--[a-z-]+)"', table)):
        assert f"`{flag}`" in "".join(r[1] for r in rows), flag


def test_the_example_is_valid_with_and_without_its_comments(tmp_path):
    example = ROOT / "docs/kiln.yaml.example"
    full = tmp_path / "full.yaml"
    full.write_text(re.sub(r"^( *)#([a-z_]+:)", r"\1\2", example.read_text(), flags=re.M))
    for path in (example, full):
        p = subprocess.run([KILN, "config", "check", "--config", path], capture_output=True, text=True, check=False,
                           env=clean_env(KILN_CONFIG=""))
        assert p.returncode == 0, p.stderr
    got = json.loads(subprocess.run([KILN, "config", "show", "--json", "--config", full], capture_output=True,
                                    text=True, check=True, env=clean_env(KILN_CONFIG="")).stdout)
    assert {k for k, v in got.items() if v["origin"] == "default"} == set()  # every setting stands in it
    defaults = settings()
    for key, v in got.items():
        if not v["value"].startswith("/") and not defaults[key]["value"].startswith("/"):
            assert v["value"] == defaults[key]["value"], key


def test_the_migration_page_names_what_the_predecessors_had():
    page = (ROOT / "docs/migrating.md").read_text()
    for word in ("Queued", "CloningRepo", "StartingVM", "RunningBuild", "CollectingArtifacts", "Completed", "Failed",
                 "HOST", "PORT", "ORCHESTRATOR_DIR", "FIRECRACKER_KERNEL", "FIRECRACKER_ROOTFS", "/webhook", "/ready",
                 "install.sh", "firecracker-{N}cpu-{M}gb", "EnablePrewarming"):
        assert f"`{word}`" in page or word in page, word
    for word in re.findall(r"^\| `[A-Za-z]+` \| `([a-z_]+)` \| ", page, re.M):
        assert re.search(rf'"{word}"', (ROOT / "host/daemon/state.c").read_text() +
                         (ROOT / "host/config/config_table.c").read_text() +
                         (ROOT / "host/job/job_request.c").read_text()), word


# ---- a real VM ----

@pytest.fixture
def vm(tmp_path):
    """`kiln run` with the real supervisor, kernel, agent and the image `c`."""
    os.chmod(tmp_path, 0o755)
    data = pathlib.Path(subprocess.run(["mktemp", "-d", "/tmp/kiln-cli-vm.XXXXXX"], check=True, capture_output=True,
                                       text=True).stdout.strip())
    os.chmod(data, 0o755)
    build = pathlib.Path(os.environ.get("KILN_BUILD_DIR", ROOT / "build"))
    env = {k: v for k, v in os.environ.items() if k in ("KILN_KERNEL", "KILN_INITRAMFS", "KILN_VHOST_DEVICE_VSOCK")}
    env = clean_env(KILN_CONFIG="", KILN_DIR=str(data), KILN_IMAGE="c", **env)
    image = pathlib.Path(os.environ.get("KILN_TEST_IMAGE", build / "share/images/c.erofs"))
    assert image.exists(), f"{image} is missing: make setup-check, or set KILN_TEST_IMAGE"
    env["KILN_IMAGE"] = str(image.resolve())

    def run(*words):
        return subprocess.run([KILN, *map(str, words)], env=env, cwd=tmp_path, capture_output=True, text=True,
                              timeout=VM_DEADLINE_S, check=False)
    yield run
    run("kill", "all")
    shutil.rmtree(data)


@pytest.mark.vm
def test_kernel_install_builds_the_one_that_the_tests_boot(lab):
    """`make check` has built it: this is a look into the cache."""
    built = pathlib.Path(os.environ.get("KILN_BUILD_DIR", ROOT / "build")) / "share/vmlinux"
    if "KILN_CACHE" in os.environ:
        lab.env["KILN_CACHE"] = os.environ["KILN_CACHE"]
    target = lab.dir / "kernel" / "vmlinux"
    assert lab.kiln("kernel", "install", "--build", check=0).stdout.strip() == str(target)
    assert target.read_bytes() == built.read_bytes()


@pytest.mark.vm
def test_vm_builds_a_directory_with_its_uncommitted_changes(vm, tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    (src / "Makefile").write_text("hello: hello.c\n\tcc -o hello hello.c\n")
    (src / "hello.c").write_text("#error not changed\n")
    git(src, "init", "-q", "-b", "main", ".")
    git(src, "add", ".")
    git(src, "commit", "-q", "-m", "x")
    word = os.urandom(8).hex()
    (src / "hello.c").write_text(f'#include <stdio.h>\nint main(void) {{ puts("{word}"); return 0; }}\n')
    p = vm("run", src)
    assert p.returncode == 0, p.stdout + p.stderr
    assert "1 uncommitted change is in the build" in p.stdout
    assert re.fullmatch(r"kiln: ok in [0-9.]+ m?s, 1 artifact in ./kiln-out", last_line(p))
    out = subprocess.run([tmp_path / "kiln-out" / "hello"], capture_output=True, text=True, check=True).stdout
    assert out == word + "\n"


@pytest.mark.vm
def test_vm_exit_code_and_signal_are_the_builds(vm):
    p = vm("run", "--no-source", "--", "echo out; echo err >&2; exit 41")
    assert p.returncode == 41, p.stdout + p.stderr
    assert "out\nerr\n" in p.stdout
    assert last_line(p).startswith("kiln: failed: user: ")
    p = vm("run", "--no-source", "--", "kill -TERM $$")
    assert p.returncode == 128 + signal.SIGTERM, p.stdout + p.stderr


@pytest.mark.vm
def test_vm_clones_a_branch_of_a_repository(vm, tmp_path):
    work, root = tmp_path / "work", tmp_path / "repos"
    work.mkdir()
    root.mkdir()
    word = os.urandom(8).hex()
    git(work, "init", "-q", "-b", "main", ".")
    git(work, "commit", "-q", "--allow-empty", "-m", "x")
    git(work, "checkout", "-q", "-b", "side")
    (work / "word").write_text(word + "\n")
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "y")
    git(root, "clone", "-q", "--bare", work, "r.git")
    server = githttp.GitServer(str(root))
    try:
        words = ["run", server.url("r"), "--branch", "side", "--artifacts", "word", "--", "cat word"]
        p = vm(*words)
        assert p.returncode == 1 and "egress.private" in last_line(p), p.stdout + p.stderr
        private = f"egress.private=127.0.0.1:{server.port}"
        p = vm("--set", private, *words)
        assert p.returncode == 0, p.stdout + p.stderr
        assert word in p.stdout
        assert (tmp_path / "kiln-out" / "word").read_text() == word + "\n"
        p = vm("--set", private, "run", server.url("r"), "--branch", "nope", "--", "true")
        assert p.returncode == 1, p.stdout + p.stderr
        assert "nope" in last_line(p)
    finally:
        server.close()


@pytest.mark.vm
def test_vm_several_words_reach_the_step_as_they_are(vm):
    p = vm("run", "--no-source", "--env", "A=b c", "--", "printf", "[%s]\\n", "it's", "a  b", "$A", "*")
    assert p.returncode == 0, p.stdout + p.stderr
    assert "[it's]\n[a  b]\n[$A]\n[*]\n" in p.stdout
