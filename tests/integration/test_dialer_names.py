"""The dialer with a real resolver: names of a name server in a network namespace of its own."""
import os
import sys
import time

import pytest
from conduitrun import Conduit
from dnsworld import PORT
from kilnwire import TOP

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
EGRESS = {"mode": "allow", "allow": [f"*.test:{PORT}"], "deny": [], "private": ["127.0.0.0/8", "::1"]}


@pytest.fixture(name="world")
def fixture_world(tmp_path):
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.53\nsearch test\n")
    return ["unshare", "-n", "-m", sys.executable,
            os.path.join(TOP, "tests", "integration", "dnsworld.py"), str(conf)]


def ask(c, g, name, port=PORT):
    s = g.stream(3, name, port)
    return s, *s.recv()


def test_a_name_is_resolved_judged_and_connected(world):
    with Conduit(world=world, egress=EGRESS) as c:
        g = c.guest().join()
        for name in ("good.test", "GOOD.test.", "second.test", "mixed.test"):
            s, got, m = ask(c, g, name)
            assert got == "OPENED", (name, m)
            assert s.recv()[1]["data"] == b"hello"
        s, got, m = ask(c, g, "nowhere.test")
        assert got == "REFUSED" and m["code"] == 6 and "nowhere.test" in m["message"]
        s, got, m = ask(c, g, "empty.test")
        assert got == "REFUSED" and m["code"] == 6
        s, got, m = ask(c, g, "good")  # the search list of the host is not the guest's
        assert got == "REFUSED" and m["code"] == 5
        c.finish()
        addresses = {e["host"]: e["address"] for e in c.events("egress")}
        assert addresses["second.test"] == addresses["mixed.test"] == "127.0.0.1"


def test_a_public_name_with_a_private_address_is_refused(world):
    with Conduit(world=world, egress={**EGRESS, "private": []}) as c:
        g = c.guest().join()
        for name, address in (("private.test", "10.0.0.1"), ("good.test", "127.0.0.1")):
            _, got, m = ask(c, g, name)
            assert got == "REFUSED" and m["code"] == 5 and "egress.private" in m["message"]
            assert address in m["message"] or "::1" in m["message"]


def test_a_silent_name_server_holds_up_nobody_else(world):
    with Conduit(world=world, egress=EGRESS) as c:
        g = c.guest().join()
        start = time.monotonic()
        silent = [g.stream(3, "silent.test", PORT) for _ in range(40)]
        for _ in range(20):
            _, got, m = ask(c, g, "good.test")
            assert got == "OPENED", m
        assert time.monotonic() - start < 3
        for s in silent:
            m = s.expect("REFUSED")
            assert m["code"] == 6
        assert time.monotonic() - start < 12


def test_a_name_with_many_addresses_is_bounded(world):
    with Conduit(world=world, egress=EGRESS) as c:
        _, got, m = ask(c, c.guest().join(), "many.test")
        assert got == "REFUSED" and m["code"] == 7 and "Connection refused" in m["message"]
