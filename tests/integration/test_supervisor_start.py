"""test_supervisor_start.py - what kiln-supervisor refuses before a VM comes up; the probe."""

import fcntl
import json
import os
import socket
import struct
import subprocess
import time

import pytest

from supervisor_lab import (SUPERVISOR, Build, assert_left_nothing, descendants, document, gone,
                            lab, parts, start)  # noqa: F401 (fixtures)


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
