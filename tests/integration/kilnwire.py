"""The vsock protocol for tests: encoder and decoder of every message, driven by the tables of
PROTOCOL.md itself, so that a test guest knows what the contract says and not what the C code does.
"""
import os
import re
import select
import socket
import struct
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WIDTH = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i32": 4}


def load_messages(path=os.path.join(TOP, "protocol", "PROTOCOL.md")):
    """{name: (number, [(field, type, low, high)])} from section 9."""
    text = open(path, encoding="utf-8").read().split("## 9. Messages")[1]
    out = {}
    for number, name, body in re.findall(r"^### (\d+) (\w+)\n(.*?)(?=^### |\Z)", text, re.M | re.S):
        fields = []
        for field, kind, limits in re.findall(r"^\| (\w+) \| (\w+) \| (.+?) \|$", body, re.M):
            if field == "field":
                continue
            m = re.match(r"(\d+)\.\.(\d+)", limits)
            if m:
                low, high = int(m[1]), int(m[2])
            elif limits == "any":
                low, high = 0, 2 ** (8 * WIDTH[kind]) - 1
            else:
                low = high = int(limits, 0)
            fields.append((field, kind, low, high))
        out[name] = (int(number), fields)
    return out


MESSAGES = load_messages()
NAMES = {number: name for name, (number, _) in MESSAGES.items()}
MAGIC = MESSAGES["HELLO"][1][0][2]


def frame(number, payload, reserved=0, length=None):
    return struct.pack("<IHH", len(payload) if length is None else length, number, reserved) + payload


def encode(name, /, **values):
    """One frame. Missing fields are 0 or empty; limits are not checked (tests break them)."""
    number, fields = MESSAGES[name]
    out = b""
    values.setdefault("magic", MAGIC)
    for field, kind, _, _ in fields:
        v = values.get(field, b"" if kind in ("text", "bytes") else 0)
        if kind in ("text", "bytes"):
            v = v.encode() if isinstance(v, str) else v
            out += struct.pack("<I", len(v)) + v
        else:
            out += int(v).to_bytes(WIDTH[kind], "little", signed=kind == "i32" and v < 0)
    unknown = set(values) - {f[0] for f in fields} - {"magic"}
    if unknown:
        raise ValueError(f"{name} has no {unknown}")
    return frame(number, out)


def decode(number, payload):
    """(name, {field: value}); ValueError when the payload is not as the table says."""
    name = NAMES[number]
    at, out = 0, {}
    for field, kind, low, high in MESSAGES[name][1]:
        if kind in ("text", "bytes"):
            n = struct.unpack_from("<I", payload, at)[0]
            v = payload[at + 4:at + 4 + n]
            if len(v) != n or not low <= n <= high:
                raise ValueError(f"{name}.{field}: {n} bytes")
            at += 4 + n
            if kind == "text":
                v = v.decode()
        else:
            v = int.from_bytes(payload[at:at + WIDTH[kind]], "little", signed=kind == "i32")
            at += WIDTH[kind]
            if kind != "i32" and not low <= v <= high:
                raise ValueError(f"{name}.{field}: {v}")
        out[field] = v
    if at != len(payload):
        raise ValueError(f"{name}: {len(payload) - at} bytes left over")
    return name, out


def xxh3(data, prime=None):
    """XXH3-64, seed 0, by the library that the host links too."""
    import ctypes
    lib = ctypes.CDLL("libxxhash.so.0")
    lib.XXH3_64bits.restype = ctypes.c_uint64
    lib.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return lib.XXH3_64bits(bytes(data), len(data))


class Closed(Exception):
    """The host closed the connection."""


class Conn:
    """One connection to the host."""

    def __init__(self, path, timeout=20):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.buf = b""

    def send(self, name, /, **values):
        self.sock.sendall(encode(name, **values))

    def raw(self, data):
        self.sock.sendall(data)

    def _need(self, n):
        while len(self.buf) < n:
            try:
                got = self.sock.recv(1 << 20)
            except ConnectionError:
                got = b""
            if not got:
                raise Closed
            self.buf += got

    def recv(self):
        """The next message: (name, fields). Closed when there is none to come."""
        self._need(8)
        length, number, reserved = struct.unpack_from("<IHH", self.buf)
        assert reserved == 0
        self._need(8 + length)
        payload, self.buf = self.buf[8:8 + length], self.buf[8 + length:]
        return decode(number, payload)

    def expect(self, name, skip=("ACK",)):
        while True:
            got, fields = self.recv()
            if got == name:
                return fields
            assert got in skip, f"expected {name}, got {got} {fields}"

    def waiting(self):
        """Whether something can be read at once."""
        return bool(self.buf) or bool(select.select([self.sock], [], [], 0)[0])

    def closed(self, within=5):
        """Read until the host closes; False when it does not within so many seconds."""
        self.sock.settimeout(within)
        try:
            while True:
                self.recv()
        except Closed:
            return True
        except (socket.timeout, TimeoutError):
            return False

    def close(self):
        self.sock.close()


class Guest(Conn):
    """A well-behaved agent's control connection; keeps the journal's numbers."""

    def __init__(self, path, **hello):
        super().__init__(path)
        self.path, self.seq, self.offset, self.secret = path, 0, 0, b""
        self.send("HELLO", **{"version_min": 1, "version_max": 1, "next_seq": 1,
                              "agent": "test/1", "kernel": "6.1", "arch": "x86_64", **hello})

    def join(self):
        self.welcome = self.expect("WELCOME")
        self.job = self.expect("JOB")
        self.secret = self.job["secret"]
        return self

    def journal(self, name, /, **values):
        self.seq += 1
        self.send(name, seq=self.seq, **values)

    def log(self, data, size=16000):
        data = data.encode() if isinstance(data, str) else data
        for i in range(0, len(data), size):
            part = data[i:i + size]
            self.journal("LOG", offset=self.offset, data=part)
            self.offset += len(part)

    def result(self, cls=0, **values):
        self.journal("RESULT", **{"class": cls, "log_bytes": self.offset,
                                  "step": 0xffffffff, **values})

    def again(self, next_seq=1, secret=None):
        """Dial again after a reset; acked_seq is the answer."""
        self.sock.close()
        Conn.__init__(self, self.path)
        self.send("HELLO", version_min=1, version_max=1, next_seq=next_seq, agent="test/1",
                  secret=self.secret if secret is None else secret)
        return self.expect("WELCOME")["acked_seq"]

    def stream(self, kind, host="", port=0, secret=None):
        c = Conn(self.path)
        c.send("OPEN", version=1, kind=kind, port=port, host=host,
               secret=self.secret if secret is None else secret)
        return c


def wait_for(what, seconds=10):
    """Poll a condition of the world outside (files, processes) with a deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got = what()
        if got:
            return got
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {what}")
