"""Bulk streams of the conduit: artifacts, source, proxied TCP; good guests and hostile ones."""
import contextlib
import hashlib
import io
import os
import random
import resource
import socket
import struct
import tarfile
import threading
import time

import pytest
from conduitrun import Conduit
from kilnwire import Closed, frame, wait_for, xxh3

REG, DIR, SYM, LNK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def make_tar(entries, fmt=tarfile.PAX_FORMAT):
    """entries: (name, data or b"", type, link name)."""
    buf = io.BytesIO()
    with tarfile.open(fileobj=buf, mode="w", format=fmt) as t:
        for name, data, kind, link in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode, info.mtime = kind, link, 0o4755, 1700000000
            info.size = len(data) if kind == REG else 0
            t.addfile(info, io.BytesIO(data))
    return buf.getvalue()


def send_stream(s, data, size=50000, total=None, sum_=None):
    for i in range(0, len(data), size):
        s.send("DATA", data=data[i:i + size])
    s.send("END", total_bytes=len(data) if total is None else total,
           xxh3=xxh3(data) if sum_ is None else sum_)


def deliver(g, data, **how):
    s = g.stream(1)
    s.expect("OPENED")
    send_stream(s, data, **how)
    return s


@pytest.fixture(name="c")
def fixture_c():
    with Conduit() as c:
        yield c


# --- artifacts -----------------------------------------------------------------------------

@pytest.mark.parametrize("fmt", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("size", [65536, 511, 16383])
def test_artifacts_arrive_with_names_only_in_the_manifest(c, fmt, size):
    long = "d" * 90 + "/" + "n" * 200
    big = random.Random(3).randbytes(300001)
    data = make_tar([("out", b"", DIR, ""), ("out/a", b"hello", REG, ""), ("./out//\u00e4", big, REG, ""),
                     ("link", b"", SYM, "/etc/passwd"), ("hard", b"", LNK, "out/a"),
                     (long, b"x", REG, ""), ("empty", b"", REG, "")], fmt)
    g = c.guest().join()
    ack = deliver(g, data, size=size).expect("STREAM_ACK")
    sha = hashlib.sha256(data)
    assert (ack["total_bytes"], ack["entries"], ack["refused"]) == (len(data), 7, 0)
    assert ack["sha256"] == sha.digest()
    m = c.manifest()
    assert (m["sha256"], m["stream_bytes"], m["total_bytes"]) == (sha.hexdigest(), len(data), 300007)
    by = {f["path"]: f for f in m["files"]}
    assert [f["path"] for f in m["files"]] == ["out", "out/a", "out/\u00e4", "link", "hard", long, "empty"]
    assert by["out/a"]["mode"] == "0755" and by["out/a"]["mtime"] == 1700000000
    assert by["link"]["target"] == "/etc/passwd" and by["link"]["type"] == "symlink"
    assert by["hard"]["index"] == by["out/a"]["index"] and by["hard"]["target"] == "out/a"
    assert by["out/\u00e4"]["sha256"] == hashlib.sha256(big).hexdigest()
    assert c.artifact(by["out/\u00e4"]["index"]) == big and c.artifact(by["empty"]["index"]) == b""
    kept = os.listdir(c.dir + "/artifacts")
    assert sorted(kept, key=int) == ["1", "2", "5", "6"]
    for name in kept:
        st = os.lstat(f"{c.dir}/artifacts/{name}")
        assert st.st_mode == 0o100600
    g.result()
    g.expect("RESULT_ACK")
    r = c.wait("result")
    assert (r["artifacts"], r["artifact_bytes"], r["refused"]) == (6, 300007, 0)
    e = c.events("artifacts")[0]
    assert (e["files"], e["bytes"], e["refused"], e["sha256"]) == (6, 300007, 0, sha.hexdigest())


def test_what_has_no_place_in_a_tar_is_refused_one_by_one(c):
    bad = [("../evil", b"x", REG, "", "'..'"), ("a/../../evil", b"x", REG, "", "'..'"),
           ("/abs", b"x", REG, "", "absolute"), ("dev", b"", tarfile.CHRTYPE, "", "a device"),
           ("blk", b"", tarfile.BLKTYPE, "", "a device"), ("fifo", b"", tarfile.FIFOTYPE, "", "a FIFO"),
           ("hard", b"", LNK, "absent", "did not come before"),
           ("hard2", b"", LNK, "../../etc/passwd", "'..'"),
           ("hard3", b"", LNK, "link", "did not come before"),
           ("link/through", b"x", REG, "", "no directory"), ("good/below", b"x", REG, "", "no directory"),
           ("good", b"twice", REG, "", "came before"), ("implied", b"", SYM, "/", "came before"),
           ("p/" * 200 + "f", b"x", REG, "", "128 parts"), ("n" * 5000, b"x", REG, "", "4096 bytes")]
    data = make_tar([("good", b"x", REG, ""), ("link", b"", SYM, "/"), ("implied/f", b"y", REG, "")]
                    + [b[:4] for b in bad] + [("last", b"z", REG, "")])
    before = set(os.listdir(c.tmp.name))
    ack = deliver(c.guest().join(), data).expect("STREAM_ACK")
    assert (ack["entries"], ack["refused"]) == (4, len(bad))
    assert [f["path"] for f in c.manifest()["files"]] == ["good", "link", "implied/f", "last"]
    wait_for(lambda: c.events("artifacts"))
    events = c.events("artifact_refused")
    assert len(events) == len(bad)
    for (name, _, _, _, why), e in zip(bad, events):
        assert e["path"] == name[:4096] and why in e["reason"], e
    assert set(os.listdir(c.tmp.name)) == before and not os.path.exists(c.dir + "/evil")
    c.finish()
    assert b"kiln: 15 artifacts were refused" in c.log()


def test_sparse_files_keep_their_size_and_sum(c):
    # GNU old sparse header: one map entry of 4 bytes at 1 MiB, real size 2 MiB
    info = tarfile.TarInfo("sparse")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[386:398], head[398:410] = b"%011o\0" % (1 << 20), b"%011o\0" % 512
    head[483:495] = b"%011o\0" % (2 << 20)
    head[148:156] = b"        "
    head[148:156] = b"%06o\0 " % sum(head)
    block = b"A" * 512
    data = bytes(head) + block + bytes(1024)
    ack = deliver(c.guest().join(), data).expect("STREAM_ACK")
    want = bytes(1 << 20) + block + bytes((1 << 20) - 512)
    assert ack["entries"] == 1
    f = c.manifest()["files"][0]
    assert f["size"] == 2 << 20 and f["sha256"] == hashlib.sha256(want).hexdigest()
    assert c.artifact(0) == want


def test_an_end_that_does_not_agree_is_refused_and_may_come_again(c):
    first = make_tar([("a", b"1" * 9000, REG, ""), ("b", b"", DIR, ""), ("c", b"3", REG, "")])
    second = make_tar([("a", b"second", REG, "")])
    g = c.guest().join()
    s = deliver(g, first, sum_=1)
    m = s.expect("RESET")
    assert m["code"] == 2 and "does not agree" in m["message"]
    assert deliver(g, second).expect("STREAM_ACK")["entries"] == 1
    assert c.artifact(0) == b"second" and os.listdir(c.dir + "/artifacts") == ["0"]
    assert g.stream(1).expect("REFUSED")["code"] in (2, 4)
    assert wait_for(lambda: c.events("artifacts"))[0]["files"] == 1


@pytest.mark.parametrize("how", ["total", "early close", "rubbish", "no tar", "wrong frame", "cut tar"])
def test_a_stream_that_breaks_leaves_nothing(c, how):
    data = make_tar([("a", b"1" * 200000, REG, "")])
    g = c.guest().join()
    s = g.stream(1)
    s.expect("OPENED")
    if how == "total":
        send_stream(s, data, total=5)
    elif how == "early close":
        s.send("DATA", data=data[:50000])
        s.close()
    elif how == "rubbish":
        s.send("DATA", data=data[:50000])
        s.raw(b"\xff" * 100)
    elif how == "no tar":
        with contextlib.suppress(OSError):  # the RESET may come before all is sent
            send_stream(s, b"this is not a tar archive" * 1000)
    elif how == "wrong frame":
        s.send("STREAM_ACK", total_bytes=1)
    else:
        send_stream(s, data[:100000])
    if how != "early close":
        assert s.expect("RESET")["code"] == 2 and s.closed()
    g.journal("STATE", state=3)
    g.result()
    g.expect("RESULT_ACK")
    assert os.listdir(c.dir + "/artifacts") == [] and c.manifest()["files"] == []
    assert b"kiln: the artifacts did not arrive: " in c.log()


@pytest.mark.parametrize("limits, entries", [
    ({"artifact_bytes": 100000}, [("a", b"x" * 60000, REG, ""), ("b", b"x" * 60000, REG, "")]),
    ({"artifact_files": 5}, [(f"f{i}", b"", REG, "") for i in range(6)]),
])
def test_limits_of_artifacts_are_held_by_the_host(limits, entries):
    with Conduit(limits=limits) as c:
        g = c.guest().join()
        s = g.stream(1)
        s.expect("OPENED")
        with contextlib.suppress(OSError):  # the RESET may come before all is sent
            send_stream(s, make_tar(entries))
        m = s.expect("RESET")
        assert m["code"] == 4 and str(list(limits.values())[0]) in m["message"]
        assert g.stream(1).expect("REFUSED")["code"] == 4
        g.journal("STATE", state=3)
        g.result()
        g.expect("RESULT_ACK")
        assert os.listdir(c.dir + "/artifacts") == [] and c.manifest()["files"] == []
        assert b"kiln: the artifacts are more than" in c.log()


def test_a_sparse_bomb_meets_the_limit(c):
    info = tarfile.TarInfo("bomb")
    info.size = 1 << 50
    s = c.guest().join().stream(1)
    s.expect("OPENED")
    s.send("DATA", data=info.tobuf(tarfile.GNU_FORMAT))
    assert s.expect("RESET")["code"] == 4


def test_a_second_artifacts_stream_replaces_the_first_and_result_ends_it(c):
    g = c.guest().join()
    first = g.stream(1)
    first.expect("OPENED")
    second = g.stream(1)
    assert first.expect("RESET")["code"] == 8
    second.expect("OPENED")
    assert g.stream(1).expect("REFUSED")["code"] == 4
    g.result()  # with the stream still open: it is dropped
    g.expect("RESULT_ACK")
    assert second.expect("RESET")["code"] == 8
    assert g.stream(1).expect("REFUSED")["code"] == 5
    assert c.log().count(b"kiln: the artifacts did not arrive: ") == 2


def test_artifacts_are_a_sign_of_life(c):
    s = c.guest().join().stream(1)
    s.expect("OPENED")
    data = make_tar([("a", b"x" * 30000, REG, "")])
    for i in range(15):
        s.send("DATA", data=data[i * 1000:i * 1000 + 1000])
        time.sleep(0.1)
    wait_for(lambda: sum(m["kind"] == "alive" for m in c.drain()) >= 2, 2)


def test_a_hundred_thousand_refusals_are_counted_and_memory_stays_flat():
    with Conduit(limits={"artifact_files": 200000, "events": 500}) as c:
        g = c.guest().join()
        data = make_tar([("../x", b"", REG, "")] * 20000)
        data = data[:-10240] * 5 + bytes(10240)
        ack = deliver(g, data, size=65536).expect("STREAM_ACK")
        assert (ack["entries"], ack["refused"]) == (0, 100000)
        assert len(c.events("artifact_refused")) <= 500


def test_a_full_disk_during_artifacts_is_the_hosts_failure(c):
    g = c.guest().join()
    resource.prlimit(c.children()[1], resource.RLIMIT_FSIZE, (50000, 50000))
    s = g.stream(1)
    s.expect("OPENED")
    s.send("DATA", data=make_tar([("a", b"1" * 60000, REG, "")])[:60000])
    assert s.expect("RESET")["code"] == 9
    assert "cannot write an artifact" in c.wait("host")["text"]


# --- source --------------------------------------------------------------------------------

def test_the_source_is_sent_once(tmp_path):
    path = tmp_path / "source.tar"
    data = random.Random(5).randbytes(3_000_001)
    path.write_bytes(data)
    with Conduit(source=str(path)) as c:
        g = c.guest().join()
        for _ in range(2):  # a stream that is reset may be opened again
            s = g.stream(2)
            assert s.expect("OPENED")["total_bytes"] == len(data)
            s.recv()
            s.close()
        s = g.stream(2)
        s.expect("OPENED")
        assert g.stream(2).expect("REFUSED")["code"] == 2
        got = b""
        while True:
            name, m = s.recv()
            if name == "END":
                break
            got += m["data"]
        assert got == data and m["total_bytes"] == len(data) and m["xxh3"] == xxh3(data)
        s.send("STREAM_ACK", total_bytes=len(data))
        assert s.closed()
        assert g.stream(2).expect("REFUSED")["code"] == 2


def test_a_wrong_answer_to_the_source_is_a_reset(tmp_path):
    path = tmp_path / "source.tar"
    path.write_bytes(b"x" * 1000)
    with Conduit(source=str(path)) as c:
        s = c.guest().join().stream(2)
        s.expect("OPENED")
        s.expect("END", skip=("DATA",))
        s.send("STREAM_ACK", total_bytes=999)
        assert s.expect("RESET")["code"] == 2 and s.closed()


def test_no_source_without_one(c):
    assert c.guest().join().stream(2).expect("REFUSED")["code"] == 5


# --- proxied TCP ---------------------------------------------------------------------------

class Server:
    """A TCP server on loopback; each connection runs `play(sock)` in a thread."""

    def __init__(self, play):
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=300)
        self.port = self.sock.getsockname()[1]
        self.play = play
        threading.Thread(target=self.loop, daemon=True).start()

    def loop(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(conn,), daemon=True).start()

    def one(self, conn):
        try:
            self.play(conn)
        except OSError:
            pass  # the guest's side of it is what the tests look at

    def rules(self, **more):
        return {"mode": "allow", "allow": [f"127.0.0.1:{self.port}"], "deny": [],
                "private": [f"127.0.0.1:{self.port}"], **more}


def read_all(conn):
    out = b""
    while True:
        part = conn.recv(1 << 16)
        if not part:
            return out
        out += part


def pull(s):
    """DATA until END."""
    out = b""
    while True:
        name, m = s.recv()
        if name == "END":
            assert m["total_bytes"] == len(out)
            return out
        assert name == "DATA", (name, m)
        out += m["data"]


def test_tcp_goes_both_ways_with_half_close():
    def play(conn):
        got = read_all(conn)  # until the guest's END
        conn.sendall(got[::-1])
        conn.close()
    srv = Server(play)
    with Conduit(egress=srv.rules()) as c:
        g = c.guest().join()
        s = g.stream(3, "127.0.0.1", srv.port)
        s.expect("OPENED")
        data = random.Random(2).randbytes(3_000_000)
        send_stream(s, data, size=60000)
        assert pull(s) == data[::-1]
        assert s.expect("STREAM_ACK")["total_bytes"] == len(data)
        e = wait_for(lambda: c.events("egress"))[0]
        assert (e["allowed"], e["bytes_up"], e["bytes_down"]) == (True, len(data), len(data))
        assert e["address"] == "127.0.0.1" and "error" not in e
        assert e["rule"] == f"allow 127.0.0.1:{srv.port}, private 127.0.0.1:{srv.port}"


def test_tcp_the_servers_end_comes_first():
    def play(conn):
        conn.sendall(b"banner")
        conn.shutdown(socket.SHUT_WR)
        play.got = read_all(conn)
    srv = Server(play)
    with Conduit(egress=srv.rules()) as c:
        s = c.guest().join().stream(3, "127.0.0.1", srv.port)
        s.expect("OPENED")
        assert pull(s) == b"banner"
        s.send("DATA", data=b"late words")
        s.send("END", total_bytes=10)
        s.expect("STREAM_ACK")
        assert wait_for(lambda: getattr(play, "got", None)) == b"late words"


def test_tcp_back_pressure_is_bounded_and_loses_nothing():
    gate, got = threading.Event(), []

    def play(conn):
        gate.wait(20)
        got.append(read_all(conn))
        conn.close()
    srv = Server(play)
    with Conduit(egress=srv.rules()) as c:
        g = c.guest().join()
        s = g.stream(3, "127.0.0.1", srv.port)
        s.expect("OPENED")
        data = random.Random(4).randbytes(24 << 20)
        wire = b"".join(frame(19, struct.pack("<I", len(part)) + part) for part in
                        (data[i:i + 60000] for i in range(0, len(data), 60000)))
        at = 0
        s.sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError, socket.timeout):
            while at < len(wire):
                at += s.sock.send(wire[at:at + 65536])
        assert at < 16 << 20  # the rest waits in the guest
        with open(f"/proc/{c.conduit_pid}/smaps_rollup", encoding="ascii") as f:
            assert next(int(x.split()[1]) for x in f if x.startswith("Pss:")) < 4096
        other = g.stream(3, "127.0.0.1", srv.port)
        other.expect("OPENED")  # and holds up nobody else
        other.close()
        gate.set()
        s.sock.settimeout(20)
        s.raw(wire[at:])
        s.send("END", total_bytes=len(data), xxh3=xxh3(data))
        assert pull(s) == b""
        s.expect("STREAM_ACK")
        assert data in got


def test_tcp_a_guest_that_reads_slowly_loses_nothing():
    data = random.Random(6).randbytes(8 << 20)

    def play(conn):
        conn.sendall(data)
        conn.close()
    srv = Server(play)
    with Conduit(egress=srv.rules()) as c:
        s = c.guest().join().stream(3, "127.0.0.1", srv.port)
        s.expect("OPENED")
        time.sleep(0.5)  # all buffers on the way are full by then
        assert pull(s) == data


def test_tcp_a_broken_connection_is_a_reset():
    def play(conn):
        conn.recv(1)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conn.close()
    srv = Server(play)
    with Conduit(egress=srv.rules()) as c:
        s = c.guest().join().stream(3, "127.0.0.1", srv.port)
        s.expect("OPENED")
        s.send("DATA", data=b"x")
        assert s.expect("RESET")["code"] == 8 and s.closed()
        assert "reset" in wait_for(lambda: c.events("egress"))[0]["error"]


@pytest.mark.parametrize("how", ["close", "reset", "wrong total", "wrong sum", "data after end"])
def test_tcp_a_guest_that_breaks_off_is_not_a_whole_upload(how):
    seen = []

    def play(conn):
        try:
            seen.append(read_all(conn))
        except ConnectionResetError:
            seen.append("reset")
    srv = Server(play)
    with Conduit(egress=srv.rules()) as c:
        s = c.guest().join().stream(3, "127.0.0.1", srv.port)
        s.expect("OPENED")
        s.send("DATA", data=b"half of it")
        if how == "close":
            s.close()
        elif how == "reset":
            s.send("RESET", code=8)
        elif how == "wrong total":
            s.send("END", total_bytes=11)
        elif how == "wrong sum":
            s.send("END", total_bytes=10, xxh3=1)
        else:
            s.send("END", total_bytes=10)
            s.send("DATA", data=b"more")
        if how in ("wrong total", "wrong sum", "data after end"):
            assert s.expect("RESET")["code"] == 2
        if how == "data after end":  # the end was passed on before the rule was broken
            wait_for(lambda: seen)
        else:
            assert wait_for(lambda: seen) == ["reset"]
        e = wait_for(lambda: c.events("egress"))[0]
        assert e["allowed"] and e["error"] and e["bytes_up"] == 10


def test_tcp_refusals_are_said_once_with_what_would_allow_them(c):
    g = c.guest().join()
    for _ in range(3):
        m = g.stream(3, "Pypi.org", 443).expect("REFUSED")
        assert m["code"] == 5
    for host, port, why in [("127.0.0.1", 80, "not in the allow list"), ("bad host", 80, "neither"),
                            ("a\x1b[31mb", 80, "neither"), ("0x7f.1", 80, "neither"),
                            ("[::1]", 80, "neither")]:
        m = g.stream(3, host, port).expect("REFUSED")
        assert m["code"] == 5 and why in m["message"]
    for host, port in [("", 80), ("example.org", 0)]:
        assert g.stream(3, host, port).expect("REFUSED")["code"] == 2
    line = b'kiln: egress refused: pypi.org:443 (not in the allow list); allow it with ' \
           b'egress.allow: ["pypi.org:443"]\n'
    c.finish()
    assert c.log().count(line) == 1 and b"\x1b" not in c.log()
    events = c.events("egress")
    assert len(events) == 8 and not any(e["allowed"] for e in events)


def test_tcp_refused_and_failed_connections_have_their_codes():
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    with Conduit(egress={"mode": "all", "private": ["127.0.0.1"]}) as c:
        m = c.guest().join().stream(3, "localhost", port).expect("REFUSED")
        assert m["code"] == 7 and "Connection refused" in m["message"]
        e = c.events("egress")[0]
        assert e["allowed"] and e["rule"] == "mode all, private 127.0.0.1" and "refused" in e["error"]


def test_tcp_loopback_is_private_under_every_name():
    with Conduit(egress={"mode": "all"}) as c:
        g = c.guest().join()
        for host in ("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1",
                     "::ffff:127.0.0.1", "169.254.169.254", "10.1.2.3", "0.0.0.0", "64:ff9b::7f00:1"):
            m = g.stream(3, host, 80).expect("REFUSED")
            assert m["code"] == 5 and "egress.private" in m["message"], host


def test_tcp_the_repository_is_allowed_by_itself_while_cloning_only():
    srv = Server(read_all)
    repo = {"scheme": "http", "host": "127.0.0.1", "port": srv.port}
    for mode in ("allow", "none"):
        with Conduit(repo=repo, egress={"mode": mode, "private": ["127.0.0.0/8"]}) as c:
            g = c.guest().join()
            g.journal("STATE", state=1)
            g.stream(3, "127.0.0.1", srv.port).expect("OPENED")
            assert g.stream(3, "127.0.0.1", srv.port + 1).expect("REFUSED")["code"] == 5
            g.journal("STATE", state=2)
            g.expect("ACK")
            assert g.stream(3, "127.0.0.1", srv.port).expect("REFUSED")["code"] == 5
    with Conduit(repo=repo) as c:  # and the address check stands
        assert c.guest().join().stream(3, "127.0.0.1", srv.port).expect("REFUSED")["code"] == 5


def test_tcp_256_streams_and_no_more():
    def play(conn):
        conn.sendall(conn.recv(100))
        conn.close()
    srv = Server(play)
    with Conduit(egress=srv.rules()) as c:
        g = c.guest().join()
        streams = [g.stream(3, "127.0.0.1", srv.port) for _ in range(256)]
        for s in streams:
            s.expect("OPENED")
        m = g.stream(3, "127.0.0.1", srv.port).expect("REFUSED")
        assert m["code"] == 4
        for i, s in enumerate(streams):
            s.send("DATA", data=b"%d" % i)
            s.send("END", total_bytes=len(b"%d" % i))
        for i, s in enumerate(streams):
            assert pull(s) == b"%d" % i
            s.expect("STREAM_ACK")
            s.close()
        wait_for(lambda: len(c.events("egress")) == 256)
        g.log("and the log goes on\n")
        g.expect("ACK")


def test_tcp_256_hostile_streams_stay_within_memory():
    def play(conn):
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            while True:
                conn.sendall(b"y" * 65536)
        except OSError:
            pass
    srv = Server(play)
    with Conduit(egress=srv.rules()) as c:
        g = c.guest().join()
        streams = [g.stream(3, "127.0.0.1", srv.port) for _ in range(256)]
        for s in streams:
            s.expect("OPENED")
            s.sock.setblocking(False)
        for s in streams:  # nobody reads, everybody sends
            try:
                for _ in range(40):
                    s.sock.send(frame(19, struct.pack("<I", 60000) + b"x" * 60000))
            except OSError:
                pass
        time.sleep(1)
        with open(f"/proc/{c.conduit_pid}/smaps_rollup", encoding="ascii") as f:
            pss = next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        assert pss < 12 << 10, f"{pss} KiB"
        g.log("the log goes on\n")
        g.expect("ACK")


def test_tcp_streams_end_with_the_build():
    seen = []

    def play(conn):
        try:
            seen.append(read_all(conn))
        except ConnectionResetError:
            seen.append("reset")
    srv = Server(play)
    with Conduit(egress=srv.rules()) as c:
        s = c.guest().join().stream(3, "127.0.0.1", srv.port)
        s.expect("OPENED")
        c.finish()
        with pytest.raises(Closed):
            s.recv()
        assert wait_for(lambda: seen) == ["reset"]
        assert c.events("egress")[0]["error"] == "the build is over"
