"""The conduit against good and hostile guests, over a Unix socket, without a VM: the journal."""
import os
import random
import resource
import signal
import socket
import time

import kilnwire
import pytest
from conduitrun import Conduit
from kilnwire import Closed, Conn, encode, frame, wait_for


@pytest.fixture(name="c")
def fixture_c():
    with Conduit() as c:
        yield c


def pss_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))


def build(g, data=b"", **result):
    g.journal("STATE", state=1)
    g.journal("STATE", state=2)
    g.log(data) if data else None
    g.journal("STATE", state=3)
    g.result(**result)
    return g.expect("RESULT_ACK")


# --- good guests ---------------------------------------------------------------------------

def test_a_whole_build_is_written_down_before_it_is_acknowledged(c):
    g = c.guest().join()
    assert g.welcome["version"] == 1 and g.welcome["acked_seq"] == 0
    assert len(g.secret) == 32 and len(g.job["entropy"]) == 64 and '"build_test"' in g.job["spec"]
    g.journal("STATE", at_ms=1, state=1)
    g.journal("SOURCE", shallow=1, submodules=2, commit="ab" * 20, ref="main")
    g.journal("STATE", at_ms=2, state=2)
    g.journal("NOTE", key="build_system", value="make")
    g.journal("STEP_BEGIN", index=0, name="build", command="make -j2")
    g.log("one\ntwo\n")
    g.journal("STEP_END", index=0, exit_code=2, wall_ms=12, cpu_us=3500, peak_bytes=99)
    g.journal("STATE", at_ms=3, state=3)
    g.result(cls=1, step=0, exit_code=2, peak_bytes=7, cpu_us=8, message="make failed")
    assert g.expect("RESULT_ACK")["seq"] == g.seq
    r = c.wait("result")  # told before the acknowledgement, so it is there by now
    assert (r["class"], r["step"], r["exit_code"], r["text"]) == (1, 0, 2, "make failed")
    assert (r["commit"], r["step_name"], r["log_bytes"]) == ("ab" * 20, "build", 8)
    assert c.log() == b"one\ntwo\n"
    types = [e["type"] for e in c.events()]
    assert types == ["hello", "state", "source", "state", "note", "step_begin", "step_end", "state"]
    end = c.events("step_end")[0]
    assert (end["exit_code"], end["cpu_ms"], end["log_offset"]) == (2, 3, 8)
    assert c.manifest()["files"] == []
    assert [m["number"] for m in c.seen if m["kind"] == "state"] == [1, 2, 3]
    assert c.finish()["log_bytes"] == 8


@pytest.mark.parametrize("kernel, most", [
    ("6.1.192-kiln", 65536), ("6.16.9", 65536), ("5.10.1", 65536), ("6.17.0", 16384), ("6.18.1", 16384),
    ("7.0", 16384), ("", 16384), ("3.2", 16384), ("OpenBSD 7.8", 16384), ("99999999999.1", 16384)])
def test_large_sends_only_for_kernels_that_keep_them_in_one_descriptor(c, kernel, most):
    assert c.guest(kernel=kernel).join().welcome["send_max_bytes"] == most


def test_log_bytes_pass_as_they_are(c):
    data = bytes(range(256)) * 400 + b"\xff\xfe\x00\xc3 no newline"
    g = c.guest().join()
    build(g, data)
    assert c.log() == data


def test_acknowledges_within_200_ms_and_every_256_kib(c):
    g = c.guest().join()
    start = time.monotonic()
    g.log(b"x\n")
    ack = g.expect("ACK")
    assert (ack["seq"], ack["log_bytes"]) == (1, 2) and 0.1 < time.monotonic() - start < 1
    g.log(b"y" * (1 << 20), size=65536)
    acks = []
    while not acks or acks[-1] < 2 + (1 << 20):
        acks.append(g.expect("ACK")["log_bytes"])
    assert len(acks) >= 2


def test_reset_in_the_middle_of_the_log_loses_and_doubles_nothing(c):
    rnd = random.Random(7)
    g = c.guest().join()
    frames, offset, data = [], 0, b""
    for seq in range(1, 401):
        part = rnd.randbytes(rnd.randint(1, 9000))
        frames.append(encode("LOG", seq=seq, offset=offset, data=part))
        offset += len(part)
        data += part
    at = 0
    while at < len(frames):
        burst = b"".join(frames[at:at + rnd.randint(1, 60)])
        cut = rnd.randint(0, len(burst))  # the reset comes anywhere, also within a frame
        try:
            g.raw(burst[:cut])
        except OSError:
            pass
        at = g.again(next_seq=max(1, at - 5))
    g.seq, g.offset = len(frames), len(data)
    g.result()
    g.expect("RESULT_ACK")
    assert c.log() == data


def test_duplicates_are_ignored(c):
    g = c.guest().join()
    g.log("a\n")
    g.send("LOG", seq=1, offset=0, data=b"a\n")
    g.send("STATE", seq=1, state=3)
    g.log("b\n")
    g.result()
    g.expect("RESULT_ACK")
    assert c.log() == b"a\nb\n" and c.events("state") == []


def test_result_ack_comes_again_after_a_reset(c):
    g = c.guest().join()
    g.result()
    assert g.expect("RESULT_ACK")["seq"] == 1
    assert g.again(next_seq=2) == 1
    assert g.expect("RESULT_ACK")["seq"] == 1
    c.wait("result")
    c.finish()
    assert sum(m["kind"] == "result" for m in c.seen) == 1


def test_a_new_control_connection_replaces_the_old_one(c):
    g = c.guest().join()
    old = g.sock
    g.sock = socket.socket(socket.AF_UNIX)  # again() closes this one; the old one stays open
    assert g.again() == 0
    old.settimeout(5)
    assert old.recv(100) == b""
    g.log("still here\n")
    g.result()
    g.expect("RESULT_ACK")
    assert c.log() == b"still here\n"


def test_cancel_is_sent_at_once_and_again_after_a_reset(c):
    g = c.guest().join()
    c.command("cancel 1 2500 a person wants it")
    m = g.expect("CANCEL")
    assert (m["reason"], m["grace_ms"], m["message"]) == (1, 2500, "a person wants it")
    g.again()
    assert g.expect("CANCEL")["reason"] == 1
    assert [e["reason"] for e in c.events("cancel")] == ["user"]


def test_cancel_waits_for_the_agent(c):
    c.command("cancel 3 100 shutting down")
    wait_for(lambda: c.events("cancel"))
    assert c.guest().join().expect("CANCEL")["reason"] == 3


def test_host_lines_stand_at_line_ends(c):
    g = c.guest().join()
    c.command("line first")
    wait_for(lambda: c.log() == b"kiln: first\n")
    g.log("ab")
    wait_for(lambda: c.log().endswith(b"ab"))
    c.command("line second\tone")
    g.journal("NOTE", key="k", value="v")
    wait_for(lambda: c.events("note"))
    g.log("cd\nef")
    g.journal("STATE", state=2)
    wait_for(lambda: c.log() == b"kiln: first\nabcd\nkiln: second?one\nef")
    c.command("line third")
    c.command('event {"type":"vm","vmm":"test"}')  # in order: the line was taken before it
    wait_for(lambda: c.events("vm"))
    g.journal("STEP_BEGIN", index=0, name="s")
    g.log("x")
    c.finish()
    assert c.log() == b"kiln: first\nabcd\nkiln: second?one\nef\nkiln: third\nx"
    assert c.events("step_begin")[0]["log_offset"] == len(c.log()) - 1


def test_finish_takes_what_is_left_in_the_socket(c):
    g = c.guest().join()
    os.kill(c.conduit_pid, signal.SIGSTOP)
    g.log("last words\n")
    g.result(cls=3)
    g.sock.close()
    c.command("finish")
    os.kill(c.conduit_pid, signal.SIGCONT)
    assert c.wait("result")["class"] == 3
    assert c.wait("finished")["log_bytes"] == 11
    assert c.log() == b"last words\n" and c.proc.wait(10) == 0


def test_heartbeats_and_streams_keep_a_guest_alive_at_most_once_a_second(c):
    g = c.guest().join()
    for _ in range(30):
        g.send("HEARTBEAT", at_ms=1)
        time.sleep(0.05)
    c.drain()
    assert 2 <= sum(m["kind"] == "alive" for m in c.seen) <= 3


# --- limits --------------------------------------------------------------------------------

def test_log_limit_is_held_and_said_while_a_gibibyte_floods_by():
    with Conduit(limits={"log_bytes": 4 << 20}) as c:
        g = c.guest().join()
        line = b"y" * 79 + b"\n"
        part = line * 819
        most = 0
        for i in range((1 << 30) // len(part)):
            g.log(part, size=65536)
            if i % 2048 == 0:
                most = max(most, sum(pss_kib(p) for p in c.children()))
                while g.waiting():
                    g.recv()
        g.result()
        g.expect("RESULT_ACK")
        kept = (4 << 20) // 80 * 80 + (4 << 20) % 80
        tail = b"kiln: the log limit of 4 MiB is reached; what follows is not kept\n"
        assert c.log().endswith(tail) and len(c.log()) <= kept + len(tail) + 1
        assert c.events("log_truncated")[0]["kept_bytes"] == 4 << 20
        assert most < 8192, f"conduit and artifact process hold {most} KiB"


def test_events_are_capped_but_states_and_steps_stay():
    with Conduit(limits={"events": 100}) as c:
        g = c.guest().join()
        for i in range(5000):
            g.journal("NOTE", key="k", value="\x01" * 1000)
        build_end = build(g)
        assert build_end["seq"] == g.seq
        assert len(c.events("state")) == 3
        notes = c.events("note")
        assert len(notes) == 101 and notes[-1]["key"] == "events_dropped"
        assert notes[-1]["value"] == "4900"


def test_a_full_disk_is_the_hosts_failure(c):
    g = c.guest().join()
    resource.prlimit(c.conduit_pid, resource.RLIMIT_FSIZE, (100000, 100000))
    try:
        g.log(b"z" * 400000)
        g.sock.sendall(b"\0")  # a frame that has only begun must not be blamed
        assert g.expect("ERROR")["code"] == 9
    except (OSError, Closed):
        pass
    assert "cannot write the log" in c.wait("host")["text"]


# --- hostile guests ------------------------------------------------------------------------

def broken(c, g, code=2):
    """The host says ERROR, closes, and control hears that the agent broke the rules."""
    assert g.expect("ERROR")["code"] == code
    assert g.closed()
    return c.wait("broken")["text"]


@pytest.mark.parametrize("play, words", [
    (lambda g: g.send("LOG", seq=2, offset=0, data=b"x"), "journal message 2 came after 0"),
    (lambda g: g.send("LOG", seq=1, offset=5, data=b"x"), "offset 5, expected 0"),
    (lambda g: [g.journal("STATE", state=2), g.journal("STATE", state=1)], "state 1 came after"),
    (lambda g: g.journal("STEP_END", index=0), "which was not open"),
    (lambda g: [g.journal("STEP_BEGIN", index=0, name="a"),
                g.journal("STEP_BEGIN", index=1, name="b")], "step 1 began before step 0 ended"),
    (lambda g: g.result(log_bytes=1), "RESULT counts 1 log bytes"),
    (lambda g: [g.result(), g.journal("NOTE", key="k")], "after RESULT"),
    (lambda g: g.send("HELLO", version_min=1, version_max=1, next_seq=1, agent="x"), "HELLO has no"),
    (lambda g: g.send("DATA", data=b"x"), "DATA has no place"),
    (lambda g: g.raw(frame(8, b"", length=0xffffffff)), "above its cap"),
    (lambda g: g.raw(frame(8, b"\0" * 24, length=70000)), "above its cap"),
    (lambda g: g.raw(frame(999, b"abc")), "does not expect"),
    (lambda g: g.raw(frame(3, b"abc")), "does not expect"),
    (lambda g: g.raw(frame(10, b"\0" * 24, reserved=1)), "not allowed"),
    (lambda g: g.raw(frame(10, b"\0" * 25)), "above its cap"),
    (lambda g: g.raw(frame(10, b"\0" * 23)), "ends inside a field"),
    (lambda g: g.raw(encode("NOTE", seq=1, key="k", value="v").replace(b"v", b"\xff")), "UTF-8"),
    (lambda g: g.send("STATE", seq=1, state=7), "not allowed"),
])
def test_a_broken_rule_ends_the_build_with_words(c, play, words):
    g = c.guest().join()
    play(g)
    if "after RESULT" in words:
        g.expect("ERROR", skip=("ACK", "RESULT_ACK"))
        assert g.closed()
        return
    assert words in broken(c, g)


def test_a_lost_journal_is_said(c):
    g = c.guest().join()
    g.sock.close()
    k = Conn(c.sock)
    k.send("HELLO", version_min=1, version_max=1, next_seq=5, agent="x", secret=g.secret)
    assert k.expect("ERROR")["code"] == 2
    assert "messages 1 to 4 are lost" in c.wait("broken")["text"]


def test_no_common_version_is_said(c):
    g = c.guest(version_min=2, version_max=9)
    assert "versions 2 to 9" in broken(c, g, code=1)


def test_an_agent_that_gives_up_is_heard(c):
    g = c.guest().join()
    g.send("ERROR", code=6, message="no scratch disk")
    assert "no scratch disk" in c.wait("broken")["text"]


def test_wrong_secrets_are_refused_and_change_nothing(c):
    assert c.guest(secret=b"x" * 32).expect("ERROR")["code"] == 3
    assert c.guest(next_seq=2).expect("ERROR")["code"] == 3
    g = c.guest().join()
    bad = bytes([g.secret[0] ^ 1]) + g.secret[1:]
    for secret in (b"", b"x" * 32, bad, g.secret[:31]):
        assert c.guest(secret=secret).expect("ERROR")["code"] == 3
    for kind in (1, 2, 3):
        assert g.stream(kind, "example.org", 80, secret=bad).expect("REFUSED")["code"] == 3
    build(g, b"fine\n")
    assert c.log() == b"fine\n"
    assert not [m for m in c.drain() if m["kind"] in ("broken", "host")]


def test_streams_before_hello_are_refused(c):
    k = Conn(c.sock)
    k.send("OPEN", version=1, kind=1, secret=b"\0" * 32)
    assert k.expect("REFUSED")["code"] == 3 and k.closed()


def test_rubbish_on_other_connections_does_not_touch_the_build(c):
    rnd = random.Random(1)
    g = c.guest().join()
    for i in range(300):
        k = Conn(c.sock)
        try:
            k.raw(rnd.randbytes(rnd.randint(1, 3000)) if i % 3 else
                  frame(rnd.randint(0, 30), rnd.randbytes(rnd.randint(0, 80))))
        except OSError:
            pass
        k.close()
    build(g, b"fine\n")
    assert c.log() == b"fine\n"
    assert not [m for m in c.drain() if m["kind"] in ("broken", "host")]


def test_hundreds_of_silent_connections_do_not_keep_the_agent_out(c):
    g = c.guest().join()
    before = sum(pss_kib(p) for p in c.children())
    crowd = [Conn(c.sock) for _ in range(700)]
    g.again()
    assert sum(pss_kib(p) for p in c.children()) - before < 2048
    build(g, b"fine\n")
    assert c.log() == b"fine\n" and len(crowd) == 700


def test_a_connection_that_says_nothing_is_closed(c):
    k = Conn(c.sock)
    k.raw(b"\x10")
    start = time.monotonic()
    assert k.closed(within=13) and time.monotonic() - start > 9


def test_a_guest_that_does_not_read_does_not_grow_the_conduit(c):
    g = c.guest().join()
    g.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(3000):
        g.log(b"x" * 16000)  # each 256 KiB is acknowledged; nobody reads that
    wait_for(lambda: len(c.log()) == 3000 * 16000, 20)
    assert pss_kib(c.conduit_pid) < 4096
    while g.expect("ACK")["seq"] < 3000:  # what was kept for it is whole
        pass


def test_what_a_slow_reader_is_owed_is_kept_whole(c):
    g = c.guest().join()
    for i in range(1500):
        c.command(f"cancel 1 {i} " + "x" * 900)
    c.command('event {"type":"vm","vmm":"test"}')  # in order: the cancels were taken before it
    wait_for(lambda: c.events("vm"))
    assert [g.expect("CANCEL")["grace_ms"] for _ in range(1500)] == list(range(1500))


def test_the_end_of_control_ends_all(c):
    pids = c.children() + [c.dialer_pid]
    c.proc.kill()
    wait_for(lambda: not any(os.path.exists(f"/proc/{p}/cmdline") and
                             open(f"/proc/{p}/cmdline", encoding="ascii").read() for p in pids))


def test_a_dead_artifact_process_is_the_hosts_failure(c):
    c.guest().join()
    os.kill(c.children()[1], signal.SIGKILL)
    assert "unpacks artifacts" in c.wait("host")["text"]


def test_a_dead_dialer_is_the_hosts_failure(c):
    c.guest().join()
    os.kill(c.dialer_pid, signal.SIGKILL)
    assert "dialer ended" in c.wait("host")["text"]


def test_the_tables_of_the_contract_are_read(c):
    assert kilnwire.MESSAGES["LOG"] == (8, [("seq", "u64", 1, 2 ** 64 - 1),
                                            ("offset", "u64", 0, 2 ** 64 - 1),
                                            ("data", "bytes", 1, 65536)])
    assert c.dir
