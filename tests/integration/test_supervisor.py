"""test_supervisor.py - kiln-supervisor with real VMs: how builds end, and that nothing is left.

Every test boots its own VM with the real kernel, agent and image.
"""

import contextlib
import copy
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tarfile
import time

import pytest

from supervisor_lab import (SUPERVISOR, Build, assert_gone, assert_left_nothing, document, lab,
                            lock_is_free, parts, start, stat_of, steps)  # noqa: F401 (fixtures)

pytestmark = pytest.mark.vm
SLEEP = [{"name": "sleep", "run": "echo begun; sleep 1000"}]


def process(build, name):
    """The pid of a process of the build by its name or by its program's name."""
    found = [pid for pid, comm in build.processes() if comm.startswith(name[:15])]
    assert len(found) == 1, f"{name}: {build.processes()}"
    return found[0]


# --- builds that end by themselves -----------------------------------------------------------

def test_good_build(start):
    build = start(**steps("echo hello; uname -s", "echo world"))
    assert build.answer == "ok"
    result = build.wait()
    assert result["class"] == "ok", build.said()
    assert result["build_id"] == build.doc["build_id"] and result["attempt"] == 1
    assert result["state"] == "collecting_artifacts" and result["step"] is None
    assert "console_tail" not in result
    assert result["state_ms"]["starting_vm"] > 0 and result["state_ms"]["running_build"] > 0
    assert result["used"]["peak_bytes"] > 0
    log = build.log()
    assert "hello\nLinux\nworld\n" in log
    assert log.startswith("kiln: VM: qemu 7.") and "no security boundary" in log
    assert "deadlines x10" in log
    assert result["log_bytes"] == (build.dir / "log").stat().st_size
    events = build.events()
    assert events[0]["type"] == "vm" and events[0]["emulated"] is True
    assert events[0]["vmm"] == "qemu" and events[0]["emulation_factor"] == 10
    assert result["vmm"] == {k: v for k, v in events[0].items()
                             if k not in ("type", "seq", "at_ms")}
    states = [e["state"] for e in events if e["type"] == "state"]
    assert states[0] == "starting_vm" and states[-1] == "collecting_artifacts"
    assert_left_nothing(build)


def test_source_and_artifacts(start, tmp_path):
    """A source tar goes in through --source-fd, a file comes out; the CA bundle goes along."""
    ca = tmp_path / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    nonce = os.urandom(16).hex()
    (tmp_path / "in.txt").write_text(nonce)
    with tarfile.open(tmp_path / "source.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(tmp_path / "in.txt", "in.txt")
    with open(tmp_path / "source.tar", "rb") as source:
        build = start(source_file=source, ca_file=str(ca), **{
            **steps("rev in.txt > out.txt"), "spec.source": "tar",
            "spec.artifacts": {"paths": ["out.txt"], "exclude": []}})
    result = build.wait()
    assert result["class"] == "ok", (result, build.log())
    assert result["artifacts_count"] == 1 and result["artifacts_bytes"] == 32
    entry, = build.json("manifest.json")["files"]
    assert (entry["path"], entry["size"]) == ("out.txt", 32)
    assert (build.dir / "artifacts" / str(entry["index"])).read_text() == nonce[::-1]
    assert result["state_ms"]["cloning_repo"] > 0


def test_failed_step_is_to_blame(start):
    build = start(**steps("true", "exit 7"))
    result = build.wait()
    assert result["class"] == "user"
    assert (result["step"], result["step_name"], result["exit_code"]) == (1, "step 1", 7)
    assert result["signal"] == 0


def test_run_json_names_the_processes(start):
    build = start(**steps(SLEEP[0]["run"]))
    pid = build.vm_started()
    run = build.json("run.json")
    assert run["pid"] == build.process.pid and run["format"] == 1
    assert run["vcpus"] == 1 and run["memory_mib"] == 512
    ticks = open(f"/proc/{run['pid']}/stat").read().rsplit(")", 1)[1].split()[19]
    assert run["start_ticks"] == int(ticks)
    assert run["boot_id"] == open("/proc/sys/kernel/random/boot_id").read().strip()
    assert stat_of(pid)[0] == "qemu-system-x86"
    assert build.ctl({"cmd": "kill"}) == "ok"
    assert build.wait()["class"] == "cancelled"


def test_kernel_panic(start):
    build = start(**steps("echo crashing; echo c > /proc/sysrq-trigger; sleep 100", user="root"))
    result = build.wait()
    assert result["class"] == "kernel_panic", result
    assert "Kernel panic" in result["console_tail"]
    assert result["state"] == "running_build"
    assert_left_nothing(build)


def test_panic_before_the_agent(start):
    result = start(**{"vmm.cmdline_append": "rdinit=/no-such-init"}).wait()
    assert result["class"] == "kernel_panic"
    assert "before the agent said HELLO" in result["message"]
    assert result["state"] == "starting_vm"


# --- deadlines -------------------------------------------------------------------------------

def test_boot_deadline(start):
    build = start(**{"deadlines_ms.boot": 30})
    result = build.wait()
    assert result["class"] == "vmm"
    assert result["message"] == ("the VM did not say HELLO within 0.300 s (deadlines.boot_s: "
                                 "0.030 s, times 10 because the VM is emulated)")
    assert "kiln: vmm: the VM did not say HELLO" in build.log()


def test_steps_deadline_lets_the_agent_deliver(start):
    build = start(**steps("echo begun; sleep 1000"), **{"deadlines_ms.steps": 200})
    result = build.wait()
    assert result["class"] == "timeout"
    assert result["message"].startswith("the steps did not end within 2 s (timeout_s: 0.200 s")
    assert "begun\n" in build.log()
    assert {"type": "cancel", "reason": "deadline"}.items() <= [
        e for e in build.events() if e["type"] == "cancel"][0].items()
    assert [e for e in build.events() if e["type"] == "step_end"], "the agent did not report"


def test_job_deadline(start):
    build = start(**steps("sleep 1000"), **{"deadlines_ms.job": 700})
    result = build.wait()
    assert result["class"] == "timeout" and "deadlines.job_s" in result["message"]


def test_silent_vm_is_agent_lost(start):
    build = start(**steps(SLEEP[0]["run"]), **{"deadlines_ms.heartbeat": 400})
    build.logged("begun")
    os.kill(process(build, "qemu-system-x86"), signal.SIGSTOP)
    result = build.wait()
    assert result["class"] == "agent_lost"
    assert "no sign of life" in result["message"] and "deadlines.heartbeat_s" in result["message"]


def test_agent_that_hangs_after_cancel_is_killed(start):
    build = start(**steps(SLEEP[0]["run"]), **{"deadlines_ms.heartbeat": 60000,
                                               "deadlines_ms.grace": 100, "emulation_factor": 1,
                                               "deadlines_ms.boot": 60000})
    build.logged("begun")
    os.kill(process(build, "qemu-system-x86"), signal.SIGSTOP)
    begun = time.monotonic()
    assert build.ctl({"cmd": "cancel", "reason": "user"}) == "ok"
    assert build.wait()["class"] == "cancelled"
    assert 9 < time.monotonic() - begun < 14, "grace and 10 s"


# --- killed processes ------------------------------------------------------------------------

def test_vmm_killed(start):
    build = start(**steps(SLEEP[0]["run"]))
    build.logged("begun")
    os.kill(process(build, "qemu-system-x86"), signal.SIGKILL)
    result = build.wait()
    assert result["class"] == "vmm"
    assert "killed by signal 9" in result["message"] and "console_tail" in result
    assert "begun\n" in build.log()
    assert_left_nothing(build)


def test_vsock_device_killed(start):
    build = start(**steps(SLEEP[0]["run"]))
    build.logged("begun")
    os.kill(process(build, "vhost-device-vsock"), signal.SIGKILL)
    result = build.wait()
    assert result["class"] == "vmm" and "vhost-device-vsock was killed" in result["message"]


def forked(build):
    """The processes of the supervisor's own binary: init, console, dialer, conduit, …"""
    name = stat_of(build.process.pid)[0]
    return [pid for pid, comm in build.processes() if comm == name]


def test_any_own_process_killed_is_host(start):
    builds = [start(**steps(SLEEP[0]["run"])) for _ in range(2)]
    for build in builds:
        build.logged("begun")
    for build, which in zip(builds, (2, 3)):
        os.kill(sorted(forked(build))[which], signal.SIGKILL)
    for build, word in zip(builds, ("dialer", "conduit")):
        result = build.wait()
        assert result["class"] == "host", result
        # the conduit may notice the dialer's end before control does
        assert word in result["message"]
        assert_left_nothing(build)


def assert_all_die(build):
    build.logged("begun")
    others = build.processes()
    names = {name for _, name in others}
    assert {"qemu-system-x86", "vhost-device-vs"} <= names and len(others) >= 5
    build.process.kill()
    build.process.wait()
    assert_gone(others)
    assert lock_is_free(build)
    assert not (build.dir / "result.json").exists()


def test_all_die_with_the_supervisor(start):
    assert_all_die(start(**steps(SLEEP[0]["run"])))


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run without root then")
def test_without_root(parts, lab):
    """As a plain user: one good build, and the processes die with the supervisor all the same."""
    uid = 612345
    parts = copy.copy(parts)
    os.chmod(lab, 0o755)
    mine = lab / "mine"
    mine.mkdir()
    for name in ("kernel", "initramfs", "image", "vdv", "probe"):
        path = getattr(parts, name)
        try:
            os.link(path, mine / path.name)
        except OSError:
            shutil.copy(path, mine / path.name)
        setattr(parts, name, mine / path.name)
    program = mine / "kiln-supervisor"
    shutil.copy(SUPERVISOR, program)
    os.chown(mine, uid, uid)
    (mine / "builds").mkdir()
    os.chown(mine / "builds", uid, uid)
    pid = os.fork()
    if pid == 0:  # everything below runs as that user
        status = 1
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            build = Build(document(parts, mine, **steps("id -u")), mine / "builds", program=program)
            result = build.wait()
            assert result["class"] == "ok", (result, build.said())
            assert build.json("run.json")["uid"] == uid
            build = Build(document(parts, mine, **steps(SLEEP[0]["run"])), mine / "builds",
                          program=program)
            assert_all_die(build)
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


# --- cancel and kill -------------------------------------------------------------------------

def test_cancel(start):
    build = start(**steps("trap 'echo got TERM; exit 3' TERM; echo begun; sleep 1000 & wait"))
    build.logged("begun")
    assert build.ctl({"cmd": "cancel", "reason": "user"}) == "ok"
    result = build.wait()
    assert result["class"] == "cancelled"
    assert "got TERM" in build.log()
    assert [e["reason"] for e in build.events() if e["type"] == "cancel"] == ["user"]


def test_cancel_while_booting(start):
    build = start()
    build.vm_started()
    begun = time.monotonic()
    assert build.ctl({"cmd": "cancel", "reason": "user"}) == "ok"
    assert build.wait()["class"] == "cancelled"
    assert time.monotonic() - begun < 5, "there is no agent yet to be patient with"


def test_kill_is_immediate(start):
    build = start(**steps("trap '' TERM; echo begun; sleep 1000"))
    build.logged("begun")
    begun = time.monotonic()
    assert build.ctl({"cmd": "kill"}) == "ok"
    result = build.wait()
    assert result["class"] == "cancelled" and result["message"] == "killed"
    assert time.monotonic() - begun < 3


def test_sigterm_is_a_shutdown(start):
    build = start(**steps(SLEEP[0]["run"]))
    build.logged("begun")
    build.process.terminate()
    result = build.wait()
    assert result["class"] == "cancelled" and "shuts down" in result["message"]


def test_ctl_refuses_rubbish(start):
    build = start(**steps(SLEEP[0]["run"]))
    build.vm_started()
    assert build.ctl({"cmd": "dance"}) == "error cmd must be cancel or kill"
    assert build.ctl({"cmd": "kill", "now": 1}).startswith("error unknown field 'now'")
    with socket.socket(socket.AF_UNIX) as s:
        fd = os.open(build.dir, os.O_RDONLY)
        s.connect(f"/proc/self/fd/{fd}/ctl")
        os.close(fd)
        s.sendall(b"x" * 100000)
        with contextlib.suppress(ConnectionResetError):
            assert s.recv(100) == b"", "a line without end is dropped"
    assert build.ctl({"cmd": "kill"}) == "ok"
    build.wait()


# --- isolation and size ----------------------------------------------------------------------

def status_of(pid):
    lines = open(f"/proc/{pid}/status").read().splitlines()
    return {k: v.split() for k, v in (line.split(":", 1) for line in lines)}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for uids of their own")
def test_two_at_once_each_with_its_uid(start):
    builds = [start(**steps(SLEEP[0]["run"])) for _ in range(2)]
    for build in builds:
        build.logged("begun")
    uids = [build.json("run.json")["uid"] for build in builds]
    assert len(set(uids)) == 2 and all(623000 <= uid < 623016 for uid in uids)
    for build, uid in zip(builds, uids):
        for pid, name in build.processes():
            status = status_of(pid)
            assert status["Uid"] == [str(uid)] * 4, name
            assert status["Groups"] == [] and int(status["CapEff"][0], 16) == 0, name
            # only the conduit and its artifact process have the group that may write there
            if name in ("qemu-system-x86", "vhost-device-vs"):
                assert status["Gid"][0] == "65534" and status["NoNewPrivs"] == ["1"], name
        mode = build.dir.stat()
        assert (mode.st_uid, mode.st_gid, mode.st_mode & 0o7777) == (0, uid, 0o1770)
        qemu = process(build, "qemu-system-x86")
        assert status_of(qemu)["Seccomp"] == ["2"]
        ours = os.readlink("/proc/self/ns/net")
        outside = {name for pid, name in build.processes()
                   if os.readlink(f"/proc/{pid}/ns/net") == ours}
        assert not outside & {"qemu-system-x86", "vhost-device-vs"}
        environment = open(f"/proc/{qemu}/environ").read()
        assert "KILN" not in environment and "HOME" not in environment
        for build_ in builds:
            command = open(f"/proc/{process(build_, 'qemu-system-x86')}/cmdline").read()
            assert "/root/" not in command and "secret" not in command
    for build in builds:
        build.ctl({"cmd": "kill"})
    assert {build.wait()["class"] for build in builds} == {"cancelled"}


def test_memory_of_a_build(start):
    """PSS of all the supervisor's own processes; QEMU and the vsock device are not ours."""
    build = start(**steps(SLEEP[0]["run"]))
    build.logged("begun")
    pids = [build.process.pid] + forked(build)
    kib = {}
    for pid in pids:
        text = open(f"/proc/{pid}/smaps_rollup").read()
        kib[pid] = next(int(line.split()[1]) for line in text.splitlines()
                        if line.startswith("Pss:"))
    build.ctl({"cmd": "kill"})
    build.wait()
    print(f"PSS in KiB: {kib}, together {sum(kib.values())}")
    assert sum(kib.values()) <= 12 * 1024


def test_a_directory_that_is_in_use(start, parts, lab):
    first = start(**steps(SLEEP[0]["run"]))
    first.vm_started()
    for words in ("holds the lock", "was used by a build before"):
        ours, theirs = socket.socketpair()
        with ours, subprocess.Popen([SUPERVISOR, "--dir", first.dir, "--job-fd",
                                     str(theirs.fileno())], pass_fds=[theirs.fileno()],
                                    stderr=subprocess.DEVNULL) as second:
            theirs.close()
            text = json.dumps(first.doc).encode()
            ours.sendall(struct.pack("<I", len(text)) + text)
            answer = ours.makefile().readline()
        assert answer.startswith("error ") and words in answer
        assert second.returncode == 1
        first.ctl({"cmd": "kill"}) if first.process.poll() is None else None
        first.wait()
