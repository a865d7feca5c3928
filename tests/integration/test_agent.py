"""The guest agent as PID 1 of a real VM, driven by a stand-in for the host (fakehost.py)."""

import io
import os
import subprocess
import tarfile
import time

import pytest

from fakehost import TOP, Guest
from githttp import GitServer

pytestmark = pytest.mark.vm

OK, USER, TIMEOUT, OOM, DISK_FULL, CANCELLED, AGENT = range(7)
NO_STEP = 0xFFFFFFFF


@pytest.fixture(scope="module", name="image")
def _image():
    path = os.environ.get("KILN_TEST_IMAGE") or os.path.join(
        TOP, os.environ.get("B", "build"), "share", "images", "c.erofs")
    assert os.path.exists(path), f"{path} is missing: run `make image-c`"
    return path


def run_steps(image, *steps, spec=None, **options):
    spec = dict(spec or {})
    deadline_s = options.pop("deadline_s", 120)
    with Guest(image, **options) as guest:
        guest.run(deadline_s=deadline_s,
                  steps=[{"name": f"s{i}", "run": s} if isinstance(s, str) else s
                         for i, s in enumerate(steps)], **spec)
        assert guest.result is not None
        return guest


def test_a_step_finds_the_world_that_builds_expect(image):
    guest = run_steps(
        image,
        # one line a fact, compared below
        'id -un; id -u; pwd; umask; echo "$CI $KILN_STEP $USER $HOME $LANG $GREETING";'
        'stat -c "%U %a" /workspace /tmp /dev/shm; tty || true;'
        'getent hosts localhost >/dev/null && echo hosts; hostname;'
        'git init -q . && git status --porcelain && echo git;'
        'echo to-stderr >/dev/stderr; date +%Y; printenv http_proxy; cat /proc/sys/kernel/random/poolsize',
        # whatever one step starts is there for the next, and holds nobody up
        '(while :; do sleep 0.1; done) & sleep 0.01; echo started',
        'pgrep -f "sleep 0.1" >/dev/null || ps ax >/dev/null; touch /tmp/x; echo second',
        spec={"env": {"GREETING": "hello there"}})
    lines = guest.text.splitlines()
    assert lines[:5] == ["build", "1000", "/workspace", "0022",
                         "true s0 build /home/build C.UTF-8 hello there"]
    assert lines[5:8] == ["build 755", "root 1777", "root 1777"]
    assert lines[8:11] == ["not a tty", "hosts", "kiln"]
    assert lines[11:13] == ["git", "to-stderr"]
    assert int(lines[13]) >= 2026
    assert lines[14] == "http://127.0.0.1:3128"
    assert lines[-2:] == ["started", "second"]
    assert guest.result["class"] == OK and guest.result["step"] == NO_STEP
    assert [m["state"] for m in guest.messages("STATE")] == [2, 3]
    ends = guest.messages("STEP_END")
    assert [e["exit_code"] for e in ends] == [0, 0, 0]
    assert ends[0]["cpu_us"] > 0 and ends[0]["peak_bytes"] > 0
    assert guest.result["log_bytes"] == len(guest.log)
    assert guest.ended_s is not None, "the guest rebooted by itself"


def test_root_steps_and_odd_bytes(image):
    guest = run_steps(
        image, r'id -u; printf "a\0b\377\n"; kill -9 1; kill -SEGV 1; kill -TERM $PPID; kill -ABRT 1; '
        'umount -l /proc; echo done', "echo still here",
        spec={"user": "root", "workspace": "/src/deep"})
    assert bytes(guest.log) == b"0\na\0b\xff\ndone\nstill here\n"
    assert guest.result["class"] == OK


def test_the_first_failing_step_is_the_last(image):
    guest = run_steps(image, "true", "echo out; (exit 7)", "echo never")
    assert guest.result["class"] == USER
    assert (guest.result["step"], guest.result["exit_code"]) == (1, 7)
    assert "exit code 7" in guest.result["message"]
    assert guest.text == "out\n"
    assert [m["index"] for m in guest.messages("STEP_BEGIN")] == [0, 1]


def test_artifacts_of_a_failed_build_and_a_refused_connection(image):
    guest = run_steps(
        image, 'mkdir -p out/deep; echo one >out/deep/1.txt; echo no >out/2.log; ln -s deep out/link;'
        'exec 3<>/dev/tcp/127.0.0.1/3128; printf "CONNECT h.example:443 HTTP/1.1\\r\\n\\r\\n" >&3;'
        'read -r line <&3; echo "${line%%[[:space:]]}"; exit 4',
        spec={"artifacts": {"paths": ["out/**"], "exclude": ["**/*.log"]}})
    assert guest.result["class"] == USER and guest.result["exit_code"] == 4
    assert guest.text.splitlines()[0].startswith("HTTP/1.1 403")
    with tarfile.open(fileobj=io.BytesIO(guest.artifacts)) as tar:
        files = {m.name: m for m in tar}
        assert tar.extractfile("out/deep/1.txt").read() == b"one\n"
        assert files["out/link"].linkname == "deep"
        assert "out/2.log" not in files


def test_a_build_without_steps_and_without_a_build_system(image):
    guest = run_steps(image)
    assert guest.result["class"] == USER and guest.result["step"] == NO_STEP
    assert "Makefile" in guest.result["message"] and "Cargo.toml" in guest.text


def test_a_step_that_a_signal_ends(image):
    guest = run_steps(image, "kill -9 $$")
    assert guest.result["class"] == USER
    assert (guest.result["exit_code"], guest.result["signal"]) == (-1, 9)
    end = guest.messages("STEP_END")[0]
    assert (end["exit_code"], end["signal"], end["oom"]) == (-1, 9, 0)


def test_memory_that_runs_out_is_oom(image):
    guest = run_steps(image, "echo before; tail /dev/zero; echo after")
    assert guest.result["class"] == OOM, guest.result
    assert guest.messages("STEP_END")[0]["oom"] == 1
    assert guest.messages("STEP_END")[0]["peak_bytes"] > 64 << 20
    assert guest.text == "before\n"


def test_a_full_scratch_disk(image):
    guest = run_steps(image, "dd if=/dev/zero of=/workspace/big bs=1M", disk_mib=64)
    assert guest.result["class"] == DISK_FULL, guest.result
    assert guest.result["exit_code"] == 1


def test_forks_without_end(image):
    """dash gives up where bash tries again and again: here the limit of processes ends the step."""
    guest = run_steps(image, "mkfifo f; sh -c 'exec 3<>f; while :; do read x <&3 & done'", "echo never",
                      memory_mib=384)
    assert guest.result["class"] == USER, guest.result
    assert guest.result["step"] == 0 and guest.result["exit_code"] == 2
    assert "fork" in guest.text and "never" not in guest.text


def test_forks_that_do_not_give_up_are_killed_in_time(image):
    guest = run_steps(image, {"name": "bomb", "run": "bomb() { bomb | bomb & }; bomb; wait; sleep 999",
                              "timeout_s": 2}, memory_mib=512, spec={"grace_ms": 500})
    assert guest.result["class"] == TIMEOUT, guest.result
    assert 2000 <= guest.messages("STEP_END")[0]["wall_ms"] < 5000, "the agent is not held up"


def test_log_is_whole_and_in_order_over_resets(image):
    """Resets of the control connection, and a host that acknowledges nothing for a while."""
    count = 400000
    marks = [100_000, 700_000, 1_500_000]
    at_end = []

    def disturb(guest, frame):
        if frame.name == "STEP_END":
            at_end.append(guest.log_bytes)
        if frame.name == "LOG" and marks and guest.log_bytes > marks[0] and guest.control:
            marks.pop(0)
            guest.reset()
        if guest.log_bytes > 800_000 and not guest.acking_from:
            guest.acking_from = time.monotonic() + 0.6

    with Guest(image, tap=disturb) as guest:
        guest.run(steps=[{"name": "s", "run": f"seq 1 {count}"}])
        assert guest.result["class"] == OK
        assert bytes(guest.log) == b"".join(b"%d\n" % i for i in range(1, count + 1))
        assert at_end[-1] == len(guest.log), "all that a step printed comes before its end"
        assert not marks
        assert len(guest.hellos) >= 4 and all(h["next_seq"] > 1 for h in guest.hellos[1:])


def test_a_connection_that_dies_unnoticed_is_dialled_again(image):
    forgotten = []

    def disturb(guest, frame):
        if frame.name == "LOG" and guest.log_bytes > 500_000 and not forgotten:
            forgotten.append(frame)
            guest.forget()

    with Guest(image, tap=disturb, heartbeat_ms=500) as guest:
        guest.run(deadline_s=40, steps=[{"name": "s", "run": "seq 1 300000"}])
        assert guest.result["class"] == OK
        assert bytes(guest.log) == b"".join(b"%d\n" % i for i in range(1, 300001))
        assert len(guest.hellos) >= 2


def test_result_survives_a_reset(image):
    """The connection goes when RESULT arrives: the agent waits for its RESULT_ACK and dials again."""
    lost = []

    def disturb(guest, frame):
        if frame.name == "RESULT" and not lost:
            lost.append(frame)
            guest.reset()

    with Guest(image, tap=disturb) as guest:
        guest.run(steps=[{"name": "s", "run": "exit 5"}])
        assert lost and len(guest.hellos) == 2
        assert guest.result["exit_code"] == 5


def test_cancel(image):
    def ready(guest):
        return b"ready" in guest.log

    with Guest(image) as guest:
        guest.run(until=ready, steps=[
            {"name": "s", "run": "trap 'echo got-term; exit 0' TERM; echo ready; "
                                 "while :; do sleep 0.1; done"}, {"name": "t", "run": "echo never"}])
        guest.cancel(reason=1, grace_ms=20000, message="by somebody")
        guest.run(steps=[])
        assert guest.result["class"] == CANCELLED
        assert guest.result["message"] == "by somebody"
        assert "got-term" in guest.text and "never" not in guest.text


def test_a_step_timeout_kills_what_ignores_term(image):
    guest = run_steps(image, {"name": "s", "run": "trap '' TERM; echo on; (setsid sleep 1000) & "
                                                  "while :; do sleep 0.2; done", "timeout_s": 1},
                      "echo never", spec={"grace_ms": 300})
    assert guest.result["class"] == TIMEOUT and guest.result["step"] == 0
    assert guest.messages("STEP_END")[0]["signal"] == 9
    assert "never" not in guest.text and "took longer" in guest.text


def test_a_guest_without_an_image_says_so():
    guest = run_steps(None, "true")
    assert guest.result["class"] == AGENT
    assert "no image" in guest.result["message"]


STRANGER = r"""
cat >v.c <<'END'
#include <linux/vm_sockets.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void)
{
	struct sockaddr_vm to = { .svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = 1024 };
	for (int i = 0; i < 20; i++) {
		int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
		if (connect(fd, (void *)&to, sizeof(to)) == 0 && write(fd, "rubbish, twice", 14) < 0)
			return 1;
	}
	return 0;
}
END
gcc -o v v.c && ./v && echo said
"""


def test_a_step_with_vsock_connections_of_its_own(image):
    guest = run_steps(image, STRANGER, "echo unharmed", memory_mib=512)
    assert guest.result["class"] == OK
    assert guest.text == "said\nunharmed\n"
    assert guest.strangers > 0


def git(folder, *args):
    return subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.invalid", *args],
                          cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(name="repository")
def _repository(tmp_path):
    """(server, commit) of a repository with a Makefile on its branch trunk."""
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "-q", "-b", "trunk")
    (work / "Makefile").write_text("all:\n\t@git status --porcelain && git rev-parse HEAD\n"
                                   "\t@printenv KILN_BRANCH KILN_COMMIT; stat -c %U Makefile\n")
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "first")
    git(tmp_path, "clone", "-q", "--bare", "work", "r.git")
    server = GitServer(str(tmp_path))
    yield server, git(work, "rev-parse", "HEAD")
    server.close()


def test_clone_detect_and_make(image, repository):
    server, commit = repository
    with Guest(image, network={("git.example", 80): ("127.0.0.1", server.port)}) as guest:
        guest.run(source="git", repo_url="http://git.example/r.git")
        assert guest.result["class"] == OK, (guest.result, guest.text)
        assert guest.messages("SOURCE")[0]["commit"] == commit
        assert guest.messages("SOURCE")[0]["shallow"] == 1
        assert [m["state"] for m in guest.messages("STATE")] == [1, 2, 3]
        assert {"key": "build_system", "value": "make"}.items() <= guest.messages("NOTE")[0].items()
        lines = guest.text.splitlines()
        at = lines.index("kiln: found Makefile: running make")
        assert lines[at + 1:at + 5] == [commit, "trunk", commit, "build"]


def test_a_branch_that_does_not_exist(image, repository):
    server, _ = repository
    with Guest(image, network={("git.example", 80): ("127.0.0.1", server.port)}) as guest:
        guest.run(source="git", repo_url="http://git.example/r.git", branch="no-such")
        assert guest.result["class"] == USER and guest.result["step"] == NO_STEP
        assert "no-such" in guest.result["message"] and "no-such" in guest.text
        assert [m["state"] for m in guest.messages("STATE")] == [1]
