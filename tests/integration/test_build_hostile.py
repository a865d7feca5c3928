# SPDX-License-Identifier: Apache-2.0
"""Builds that misbehave: each ends with the right class, leaves nothing, and the next one works."""
import base64
import hashlib
import re

import pytest

from kilnd_lab import assert_nothing_left, gate, lab, until  # noqa: F401 (fixtures)

pytestmark = [pytest.mark.vm, pytest.mark.timeout(90)]
MIB = 1 << 20
LOG_CAP = 4 * MIB


@pytest.fixture(scope="module")
def k(lab):
    """Deadlines as the job says them: the emulation factor is 1."""
    return lab.kilnd("emulation_factor=1", "deadlines.boot_s=120", "deadlines.heartbeat_s=60",
                     f"limits.log_bytes={LOG_CAP}")


@pytest.fixture(autouse=True)
def the_next_build_works(k):
    yield
    k.build("echo fine").expect("ok").left_nothing()
    until("nothing is left", lambda: not k.vm_processes())
    assert_nothing_left(k)


# ---- deadlines ----

def test_timeouts(k):
    whole = k.build("echo begun; echo kept >kept; sleep 1000", "echo not reached", timeout_s=1,
                    artifacts={"paths": ["kept"]})
    step = k.build(source="none", steps=[{"name": "quick", "run": "true"},
                                         {"name": "slow", "run": "trap '' TERM; echo begun; sleep 1000", "timeout_s": 1}])
    whole.expect("timeout", "1 s")
    assert whole.info["step_name"] == "s0" and "begun\n" in whole.log and "not reached" not in whole.log
    assert "kept" in whole.files() and whole.info["status"] == "failed"
    assert 900 <= whole.info["steps"][0]["wall_ms"] < 20000
    step.expect("timeout", "step 2 took longer than its 1000 ms")
    assert step.info["step_name"] == "slow" and "begun\n" in step.log
    whole.left_nothing()
    step.left_nothing()


# ---- what is used up ----

def test_memory_and_disk(k):
    eat = "perl -e '$x = \"a\" x (1 << 20), push @x, $x for 1..1000'"
    oom = k.build("echo kept >kept", f"echo begun; {eat}; echo survived", artifacts={"paths": ["kept"]})
    full = k.build("head -c 100000000 /dev/zero >big", disk_mib=64)
    oom.expect("oom", "used up the memory of the VM")
    assert oom.info["steps"][1]["oom"] is True and oom.info["step_name"] == "s1"
    assert oom.info["steps"][1]["peak_bytes"] > 100 * MIB and "survived" not in oom.log
    assert "kept" in oom.files(), "the agent survived"
    full.expect("disk_full", "filled the scratch disk")
    assert "No space left on device" in full.log
    for b in (oom, full):
        b.left_nothing()


def test_fork_bomb(k):
    b = k.build("perl -e 'while (1) { fork }'", timeout_s=2)
    b.expect("timeout")
    b.left_nothing()


# ---- output ----

def rss_kib(pid, field):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(rf"^{field}:\s+(\d+) kB", f.read(), re.M)[1])


def flood(k, gate, mib):
    """A step prints so many MiB; returns the build and the peak memory in KiB of those that handle it."""
    block = f"(yes {'x' * 62} || true) | head -c {16 * MIB} >block"
    b = k.build(f"{block}; for i in $(seq {mib // 16}); do cat block; done; {gate.step}; echo the end",
                egress={"allow": [gate.rule]}, timeout_s=200)
    gate.arrived()
    ours = [k.proc.pid] + [pid for pid, name in k.vm_processes() if name.startswith("kiln-super")]
    assert len(ours) >= 4
    peaks = {pid: rss_kib(pid, "VmHWM") for pid in ours}
    gate.open()
    b.expect("ok")
    # what is kept is the beginning, to the cap, and it says so
    assert LOG_CAP - 65536 <= len(b.raw) <= LOG_CAP + 4096
    assert b.info["log_bytes"] == len(b.raw)
    body = ("x" * 62 + "\n").encode()
    begin = b.raw.index(body)
    kept = b.raw[begin:begin + LOG_CAP - 65536]
    assert kept == (body * (len(kept) // len(body) + 1))[:len(kept)]
    assert [e["kept_bytes"] for e in b.events("log_truncated")] == [LOG_CAP]
    b.left_nothing()
    return b, peaks


def test_much_output_is_cut_and_memory_stays_flat(k, gate):
    _, peaks = flood(k, gate, 48)
    assert max(peaks.values()) < 40 * 1024, peaks


@pytest.mark.full
@pytest.mark.timeout(250)
def test_1_gib_of_output(k, gate):
    _, peaks = flood(k, gate, 1024)
    assert max(peaks.values()) < 40 * 1024, peaks


def test_output_that_is_no_text(k):
    """NUL bytes and invalid UTF-8 come out of the log as they went in."""
    octets = bytes(range(256)) + b"\xf0\x9f\x98\x80\xc3\xff\xe2\x82\r\nend"
    b = k.build("printf '" + "".join(f"\\{c:03o}" for c in octets) + "'; printf '\\0\\0\\0' >&2",
                r"head -c 3000000 /dev/urandom | tee copy; sha256sum <copy >sum", artifacts={"paths": ["sum", "copy"]})
    b.expect("ok")
    one, two = b.info["steps"]
    assert b.raw[one["log_offset"]:one["log_end_offset"]] == octets + b"\0\0\0"
    noise = b.raw[two["log_offset"]:two["log_end_offset"]]
    digest = k.get(f"/build/{b.id}/artifacts/sum").body.decode().split()[0]
    assert len(noise) == 3000000 and hashlib.sha256(noise).hexdigest() == digest == b.files()["copy"]["sha256"]
    live = [(name, data) for name, _, data in k.follow(b.id, query="&encoding=base64")]
    assert b"".join(base64.b64decode(d) for name, d in live if name == "message") == b.raw
    text = [data for name, _, data in k.follow(b.id) if name == "message"]
    assert "\N{REPLACEMENT CHARACTER}" in text[0] + text[1] and "\N{GRINNING FACE}" in "".join(text)


# ---- processes ----

def test_killing_everything_in_reach(k):
    parent = k.build("kill -9 $PPID; kill -9 1; echo still here", user="root")
    # kill(-1) leaves out who calls it: the shell of the step goes on, its children are gone
    everything = k.build("echo kept >kept", "sleep 1000 & kill -9 -1; wait $! || echo gone=$?; exit 4",
                         artifacts={"paths": ["kept"]})
    as_root = k.build("kill -9 -1; echo on >kept", "cat kept", user="root", artifacts={"paths": ["kept"]})
    below = k.build("sh -c 'kill -9 $PPID; sleep 1000'; echo not reached")
    left = k.build("(trap '' TERM HUP; sleep 1000) & setsid sleep 1000 & echo on")
    parent.expect("ok")
    assert "still here" in parent.log
    everything.expect("user", "failed with exit code 4")
    assert everything.after("gone") == "137" and "kept" in everything.files()
    # root takes the agent's helper processes along, too; they come back
    as_root.expect("ok")
    assert "kiln: the proxy ended (signal 9); it is started again\n" in as_root.log and "\non\n" in as_root.log
    assert k.get(f"/build/{as_root.id}/artifacts/kept").body == b"on\n"
    below.expect("user", "was ended by signal 9")
    assert below.info["signal"] == 9 and below.info["exit_code"] is None and "not reached" not in below.log
    left.expect("ok")
    for b in (parent, everything, as_root, below, left):
        b.left_nothing()


def test_kernel_panic(k):
    b = k.build("echo crashing; sync; echo c > /proc/sysrq-trigger; sleep 1000", user="root")
    b.expect("kernel_panic")
    assert "crashing\n" in b.log and "sysrq triggered crash" in b.info["console_tail"]
    assert b.info["state"] == "running_build" and b.info["status"] == "failed"
    b.left_nothing()


# ---- vsock connections of the build's own ----

VSOCK = r"""
cat >v.pl <<'END'
use Socket; use strict;
sub open_ { socket(my $s, 40, SOCK_STREAM, 0) or die "socket: $!\n";
            return connect($s, pack("SSLLx4", 40, 0, $_[0], 2)) ? $s : undef }
my ($line) = do { open(my $f, "<", "/proc/cmdline"); <$f> };
my $port = $line =~ /kiln\.port=(\d+)/ ? $1 : 1024;
sub frame { my ($type, $p) = @_; pack("Vvv", length $p, $type, 0) . $p }
sub text { pack("V", length $_[0]) . $_[0] }
my $magic = 0x4e4c494b;
my $hello = sub { frame(1, pack("Vvv", $magic, 1, 1) . pack("Q<Q<", 0, $_[1]) . text($_[0]) . text("evil") . text("k") . text("a")) };
my $open = sub { frame(16, pack("Vv", $magic, 1) . pack("C", $_[0]) . pack("v", 80) . text("x" x 32) . text("h")) };
my %tries = (
    hello_first => $hello->("", 1), hello_wrong => $hello->("y" x 32, 7), artifacts => $open->(1), source => $open->(2),
    tcp => $open->(3), rubbish => join("", map { chr(int(rand(256))) } 1..5000), huge => pack("Vvv", 0xffffffff, 1, 0),
    result => frame(12, "x" x 50), data => frame(19, "x" x 70000), short => "\x01");
for my $name (sort keys %tries) {
    my $s = open_($port) or do { print "$name: not connected\n"; next };
    syswrite($s, $tries{$name});
    my ($answer, $r) = ("", "");
    if ($name ne "short") { local $SIG{ALRM} = sub { die "silent\n" }; alarm 20;
        eval { 1 while sysread($s, $answer, 65536, length $answer); }; alarm 0; }
    my $type = length($answer) >= 8 ? unpack("x4v", $answer) : 0;
    my $code = length($answer) >= 10 ? unpack("x8v", $answer) : 0;
    print "$name=$type/$code", ($answer =~ /secret123/ ? " LEAK" : ""), "\n";
    close($s) if $name ne "short";
}
my @many; for (1..300) { my $s = open_($port) or last; push @many, $s }
print "opened=", scalar(@many) > 0 ? "some" : "none", "\n";
print "other=", open_($port + 1) ? "reached" : "closed", "\n";
END
perl v.pl
"""


def test_vsock_connections_of_the_builds_own(k):
    user = k.build(VSOCK, "echo more; echo kept >kept", artifacts={"paths": ["kept"]}, secrets={"S": "secret123"})
    root = k.build(VSOCK, "echo more; echo kept >kept", artifacts={"paths": ["kept"]}, user="root")
    for b in (user, root):
        b.expect("ok")
        refused = {"18/3", "14/3"}  # REFUSED or ERROR, code 3: wrong secret
        assert {b.after(n) for n in ("hello_first", "hello_wrong", "artifacts", "source", "tcp")} <= refused, b.log
        for name in ("rubbish", "huge", "result", "data"):
            assert b.after(name) in ("14/2", "22/2", "18/2", "0/0"), b.log
        assert b.after("opened") == "some" and b.after("other") == "closed"
        assert "LEAK" not in b.log and "more\n" in b.log
        assert k.get(f"/build/{b.id}/artifacts/kept").body == b"kept\n"
        b.left_nothing()
