"""test_supervisor.py - kiln-supervisor with real VMs: how builds end, and that nothing is left.

Every test boots its own VM with the real kernel, agent and image, unless its name says that no
VM comes up.
"""

import contextlib
import copy
import fcntl
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

from supervisor_lab import (SUPERVISOR, Build, Parts, descendants, document, gone, laboratory,
                            stat_of)

SLEEP = [{"name": "sleep", "run": "echo begun; sleep 1000"}]


@pytest.fixture(scope="module")
def parts():
    return Parts()


@pytest.fixture
def lab():
    with laboratory() as root:
        yield root


@pytest.fixture
def start(parts, lab):
    """Start a build; at the end of the test none of its processes may be left."""
    builds = []

    def begin(source_file=None, **changes):
        build = Build(document(parts, lab, **changes), lab, source=source_file)
        builds.append(build)
        return build

    yield begin
    for build in builds:
        left = build.processes()
        build.close()
        assert_gone(left)


def steps(*commands, user="build", **more):
    """A spec of the document's kind with these steps."""
    return {"spec.steps": [{"name": f"step {i}", "run": c} for i, c in enumerate(commands)],
            "spec.user": user, **more}


def process(build, name):
    """The pid of a process of the build by its name or by its program's name."""
    found = [pid for pid, comm in build.processes() if comm.startswith(name[:15])]
    assert len(found) == 1, f"{name}: {build.processes()}"
    return found[0]


def assert_gone(processes):
    """None of (pid, name) may be left; one that is fails the test and is ended."""
    pids = [pid for pid, _ in processes]
    if not gone(pids):
        left = [(pid, stat_of(pid)) for pid in pids if stat_of(pid)]
        for pid, _ in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        pytest.fail(f"left behind: {left}")


def lock_is_free(build):
    with open(build.dir / "lock", "rb") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def assert_left_nothing(build):
    assert not (build.dir / "vm").exists()
    assert not (build.dir / "ctl").exists()
    assert lock_is_free(build)


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
    assert "crashing\n" in build.log()
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
    build = start(**steps(SLEEP[0]["run"]), **{"deadlines_ms.heartbeat": 100})
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


# --- what no VM comes up for -----------------------------------------------------------------

@pytest.mark.parametrize("changes, class_, words", [
    ({"vmm.kernel": "/nowhere/vmlinux"}, "vmm",
     "vmm.kernel /nowhere/vmlinux cannot be read (No such file or directory): kiln kernel install"),
    ({"vmm.kernel": ""}, "vmm", "vmm.kernel is not set"),
    ({"vmm.initramfs": "/nowhere/agent.cpio"}, "vmm", "make agent builds it"),
    ({"vmm.initramfs": "/dev/null"}, "vmm", "is no file with content"),
    ({"machine.image": "/nowhere/c.erofs"}, "vmm", "image /nowhere/c.erofs cannot be read"),
    ({"vmm.qemu": "/nowhere/qemu"}, "vmm", "there is no QEMU at '/nowhere/qemu': install"),
    ({"vmm.qemu": "/bin/true"}, "vmm", "/bin/true --version exited with status 0"),
    ({"vmm.vsock": "user", "vmm.vhost_device_vsock": "/nowhere/vdv"}, "vmm",
     "scripts/vhost-device-vsock.sh"),
    ({"vmm.vsock": "user", "vmm.vhost_device_vsock": "/bin/false"}, "vmm",
     "vhost-device-vsock exited with status 1"),
    ({"vmm.cmdline_append": "x" * 1900}, "host", "cmdline_append has 1900 bytes"),
    ({"ca_file": "/nowhere/ca.pem"}, "host", "ca_file /nowhere/ca.pem: No such file"),
])
def test_no_vm_says_what_to_do(start, changes, class_, words):
    begun = time.monotonic()
    build = start(**changes)
    if build.answer != "ok":
        assert words in build.answer
        assert build.process.wait(10) == 1
        return
    result = build.wait()
    assert result["class"] == class_, result
    assert words in result["message"]
    assert result["state"] == "starting_vm"
    assert time.monotonic() - begun < 5, "nobody is there to wait for"
    assert_left_nothing(build)


def test_no_vm_when_the_uids_are_used_up(start, lab):
    if os.geteuid() != 0:
        pytest.skip("needs root for uids of their own")
    (lab / "uids").mkdir()
    with open(lab / "uids" / "623000.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = start(uid_range=[623000, 1]).wait()
    assert result["class"] == "host" and "make uid_range larger" in result["message"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_no_vm_when_the_disk_is_full(parts, lab):
    small = lab / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", small], check=True)
    try:
        os.chmod(small, 0o711)
        build = Build(document(parts, lab), small)
        result = build.wait()
        assert result["class"] == "host"
        assert "the disk of the host is full: 1" in result["message"]
        assert "kiln clean" in result["message"]
        build.close()
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_no_vm_for_a_bad_document(parts, lab):
    for changes, words in (({"format": 2}, "format must be 1"), ({"vmm.kernl": "x"}, "kernel"),
                           ({"machine.vcpus": 0}, "vcpus")):
        build = Build(document(parts, lab, **changes), lab)
        assert build.answer.startswith("error ") and words in build.answer
        assert build.process.wait(10) == 1
        build.close()


def test_no_vm_in_a_directory_that_is_in_use(start, parts, lab):
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


def probe(doc):
    ours, theirs = socket.socketpair()
    text = json.dumps(doc["vmm"]).encode()
    ours.sendall(struct.pack("<I", len(text)) + text)
    done = subprocess.run([SUPERVISOR, "--probe", "--config-fd", str(theirs.fileno())],
                          pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True, timeout=60)
    ours.close()
    theirs.close()
    return done.returncode, done.stdout.rstrip("\n")


def test_probe_is_cached(parts, lab):
    doc = document(parts, lab, **{"vmm.accel": "auto"})
    status, line = probe(doc)
    assert status == 0
    said = json.loads(line)
    assert set(said) == {"vmm", "version", "accel", "vsock", "emulated", "reason"}
    assert said["vmm"] == "qemu" and said["version"].startswith("7.")
    assert said["emulated"] == (said["accel"] == "tcg") and said["reason"].startswith("KVM: ")
    begun = time.monotonic()
    assert probe(doc) == (0, line)
    assert time.monotonic() - begun < 1
    if said["emulated"]:
        doc["vmm"]["accel"] = "kvm"
        status, line = probe(doc)
        assert status == 1 and line.startswith("error vmm.accel is kvm, but KVM does not work here")


def test_probe_without_parts(parts, lab):
    status, line = probe(document(parts, lab, **{"vmm.qemu": "/nowhere/qemu"}))
    assert status == 1 and line.startswith("error there is no QEMU at")
    status, line = probe(document(parts, lab, **{"vmm.vsock": "kernel"}))
    if not os.path.exists("/dev/vhost-vsock"):
        assert status == 1 and "modprobe vhost_vsock" in line


def test_descendants_sees_children():
    """The tests above stand on it: a process that is there is seen."""
    with subprocess.Popen(["sleep", "100"]) as child:
        assert (child.pid, "sleep") in descendants(os.getpid())
        assert not gone([child.pid], 0)
        child.kill()
        child.wait()
        assert gone([child.pid], 0)
