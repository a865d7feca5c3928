"""fakehost.py - boots a guest under QEMU and plays the host of PROTOCOL.md, for tests of the agent.

A stand-in for kiln-supervisor that does what it is told: it may keep silent, reset the control
connection, cancel, refuse artifacts. Layouts of messages are read from PROTOCOL.md itself.
"""

import collections
import ctypes
import functools
import json
import os
import re
import secrets
import selectors
import socket
import struct
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PORT = 1024
MAGIC = 0x4E4C494B
IN_CREATE = 0x100
CMDLINE = ("console=ttyS0 quiet 8250.nr_uarts=1 reboot=t panic=-1 pci=off acpi=off "
           "random.trust_cpu=on no_timer_check tsc=reliable rcupdate.rcu_expedited=1 "
           "cryptomgr.notests")
INTS = {"u8": ("<B", 1), "u16": ("<H", 2), "u32": ("<I", 4), "u64": ("<Q", 8), "i32": ("<i", 4)}
DEADLINE_S = 120
ACK_BYTES = 262144
ACK_S = 0.2


def read_layouts():
    """{number: (name, [(field, type)])} and {name: number} from section 9."""
    with open(os.path.join(TOP, "protocol", "PROTOCOL.md"), encoding="utf-8") as f:
        text = f.read()
    layouts = {}
    for part in re.split(r"^### ", text, flags=re.M)[1:]:
        head = re.match(r"(\d+) ([A-Z_]+)$", part.splitlines()[0])
        if head:
            rows = re.findall(r"^\| (\w+) \| (u8|u16|u32|u64|i32|text|bytes) \|", part, re.M)
            layouts[int(head[1])] = (head[2], rows)
    return layouts, {name: number for number, (name, _) in layouts.items()}


LAYOUTS, NUMBERS = read_layouts()
Frame = collections.namedtuple("Frame", "name fields")


class Rubbish(Exception):
    pass


def encode(name, **fields):
    body = b""
    for field, kind in LAYOUTS[NUMBERS[name]][1]:
        value = fields.pop(field)
        if kind in INTS:
            body += struct.pack(INTS[kind][0], value)
        else:
            value = value.encode() if isinstance(value, str) else value
            body += struct.pack("<I", len(value)) + value
    assert not fields, fields
    return struct.pack("<IHH", len(body), NUMBERS[name], 0) + body


def decode(buffer):
    """(Frame, bytes used), or None while the frame is not whole."""
    if len(buffer) < 8:
        return None
    length, number, reserved = struct.unpack_from("<IHH", buffer)
    if reserved or number not in LAYOUTS:
        raise Rubbish(f"type {number}, reserved {reserved}")
    if len(buffer) < 8 + length:
        return None
    name, rows = LAYOUTS[number]
    at, fields = 8, {}
    for field, kind in rows:
        if kind in INTS:
            fields[field] = struct.unpack_from(INTS[kind][0], buffer, at)[0]
            at += INTS[kind][1]
        else:
            n = struct.unpack_from("<I", buffer, at)[0]
            value = bytes(buffer[at + 4:at + 4 + n])
            fields[field] = value.decode() if kind == "text" else value
            at += 4 + n
    assert at == 8 + length, f"{name}: {at} of {8 + length} bytes used"
    return Frame(name, fields), at


class Stream:
    """A connection that the guest opened, with what was read of it and not yet decoded."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = bytearray()
        self.control = False
        self.kind = None
        self.upstream = None    # of a tcp stream
        self.ends = 0           # of a tcp stream: directions that are over
        self.up_bytes = self.down_bytes = 0
        self.data = bytearray()

    def frames(self):
        while True:
            got = decode(self.buffer)
            if not got:
                return
            del self.buffer[:got[1]]
            yield got[0]


def wait_for_name(watch, name, deadline):
    selector = selectors.DefaultSelector()
    selector.register(watch, selectors.EVENT_READ)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not selector.select(left):
            raise TimeoutError(f"{name} did not appear")
        data, at = os.read(watch, 4096), 0
        while at < len(data):
            length = struct.unpack_from("iIII", data, at)[3]
            if data[at + 16:at + 16 + length].rstrip(b"\0").decode() == name:
                return
            at += 16 + length


@functools.lru_cache(maxsize=None)
def tsc_khz():
    """An emulated guest must be told the frequency of this machine's counter (see tsc_khz.c)."""
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "tsc_khz")
        subprocess.run(["gcc", "-O2", "-o", program,
                        os.path.join(TOP, "kernel-config", "probe", "tsc_khz.c")], check=True)
        return int(subprocess.run([program], check=True, capture_output=True).stdout)


def env_path(name, *fallback):
    path = os.environ.get(name) or os.path.join(TOP, os.environ.get("B", "build"), *fallback)
    assert os.path.exists(path), f"{path} is missing: `make check` makes it, or set {name}"
    return path


class Guest:
    """One VM and the host's side of its connections. Use as a context manager."""

    def __init__(self, image, memory_mib=256, disk_mib=256, cpus=1, send_max=16384,
                 heartbeat_ms=2000, tap=None, network=None):
        self.image, self.memory_mib, self.disk_mib, self.cpus = image, memory_mib, disk_mib, cpus
        self.send_max, self.heartbeat_ms = send_max, heartbeat_ms
        self.secret = secrets.token_bytes(32)
        self.log = bytearray()
        self.log_bytes = 0      # also counts what keep_log=False throws away
        self.keep_log = True
        self.journal = []       # every journal message once, LOG without its data
        self.hellos = []
        self.beats = []
        self.strangers = 0      # connections that spoke no protocol
        self.artifacts = None
        self.acked_seq = self.seq = 0
        self.unacked = 0
        self.ack_at = 0.0
        self.acking_from = 0.0  # monotonic: no ACK before
        self.control = None
        self.job_sent = False
        self.hello_s = None
        self.ended_s = None
        self.network = network or {}  # {(host, port): address}: what tcp streams may reach
        self.tap = tap          # called with (guest, frame) before anything else

    # --- the machine ---

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="kiln-guest-")
        self.dir = self.folder.name
        self.children = []
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for child in self.children:
            child.kill()
            child.wait()
        self.folder.cleanup()

    def console(self):
        with open(f"{self.dir}/serial.log", errors="replace", encoding="utf-8") as f:
            return f.read()

    def start(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{self.dir}/v.sock_{PORT}")
        self.listener.listen(128)
        self.listener.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        scratch = f"{self.dir}/scratch.img"
        with open(scratch, "wb") as f:
            f.truncate(self.disk_mib << 20)
        subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", "-m", "0", "-L", "kiln-scratch", scratch],
                       check=True)
        self.start_vsock()
        self.started = time.monotonic()
        with open(f"{self.dir}/qemu.err", "wb") as err:
            self.qemu = subprocess.Popen(self.qemu_command(scratch), stdin=subprocess.DEVNULL,
                                         stderr=err)
        self.children.append(self.qemu)

    def start_vsock(self):
        libc = ctypes.CDLL(None, use_errno=True)
        watch = libc.inotify_init1(os.O_CLOEXEC)
        assert libc.inotify_add_watch(watch, self.dir.encode(), IN_CREATE) >= 0
        with open(f"{self.dir}/vsock.log", "wb") as log:
            self.children.append(subprocess.Popen(
                [env_path("KILN_VHOST_DEVICE_VSOCK", "bin", "vhost-device-vsock"), "--guest-cid", "3",
                 "--socket", f"{self.dir}/vhost.sock", "--uds-path", f"{self.dir}/v.sock"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        wait_for_name(watch, "vhost.sock", time.monotonic() + DEADLINE_S)
        os.close(watch)

    def qemu_command(self, scratch):
        command = [
            "qemu-system-x86_64", "-M",
            "microvm,accel=tcg,acpi=off,pit=on,pic=on,rtc=on,memory-backend=m0", "-cpu", "max",
            "-smp", str(self.cpus), "-m", f"{self.memory_mib}M", "-object",
            f"memory-backend-memfd,id=m0,size={self.memory_mib}M,share=on", "-nodefaults",
            "-no-user-config", "-display", "none", "-no-reboot",
            "-global", "virtio-mmio.force-legacy=false",
            "-kernel", env_path("KILN_KERNEL", "share", "vmlinux"),
            "-initrd", env_path("KILN_INITRAMFS", "share", "agent.cpio"), "-append",
            f"{CMDLINE} tsc_early_khz={tsc_khz()}",
            "-chardev", f"file,id=s0,path={self.dir}/serial.log", "-serial", "chardev:s0",
            "-device", "virtio-rng-device",
            # the scratch disk first: the guest must not go by the order
            "-drive", f"if=none,id=d1,file={scratch},format=raw,cache=unsafe,discard=unmap",
            "-device", "virtio-blk-device,drive=d1",
        ]
        if self.image:
            command += ["-drive", f"if=none,id=d0,file={self.image},format=raw,readonly=on",
                        "-device", "virtio-blk-device,drive=d0"]
        return command + ["-chardev", f"socket,id=v0,path={self.dir}/vhost.sock",
                          "-device", "vhost-user-vsock-device,chardev=v0"]

    # --- the host's side of the protocol ---

    def send(self, name, **fields):
        self.control.sock.setblocking(True)
        self.control.sock.sendall(encode(name, **fields))
        self.control.sock.setblocking(False)

    def forget(self):
        """Neither read nor close the control connection any more: as if it died unnoticed."""
        self.selector.unregister(self.control.sock)

    def reset(self):
        """Drop the control connection, as a transport may at any moment."""
        self.drop(self.control)

    def drop(self, stream):
        for sock in (stream.sock, stream.upstream):
            if sock:
                if sock.fileno() in self.selector.get_map():
                    self.selector.unregister(sock)
                sock.close()
        if stream is self.control:
            self.control = None

    def send_job(self, **spec):
        spec = {"build_id": "build_00000000-0000-4000-8000-000000000000", "source": "none",
                "grace_ms": 1000, "timeout_ms": 0, **spec}
        self.send("JOB", time_ns=time.time_ns(), entropy=secrets.token_bytes(64),
                  secret=self.secret, spec=json.dumps(spec), ca_bundle=b"")
        self.job_sent = True

    def cancel(self, reason=1, grace_ms=500, message=""):
        self.send("CANCEL", reason=reason, grace_ms=grace_ms, message=message)

    def run(self, until=None, deadline_s=DEADLINE_S, **spec):
        """Boot, send the job, serve until RESULT was acknowledged and QEMU ended, or `until`."""
        self.spec = spec
        end = time.monotonic() + deadline_s
        while not (until and until(self)):
            if self.qemu.poll() is not None and not self.pending():
                self.ended_s = time.monotonic() - self.started
                break
            if time.monotonic() > end:
                raise TimeoutError(f"no end within {deadline_s} s; console:\n{self.console()}\n"
                                   f"log:\n{bytes(self.log[-2000:])}\njournal: {self.journal[-5:]}")
            self.turn(0.05)
        return self

    def pending(self):
        return len(self.selector.get_map()) > 1 and bool(self.selector.select(0))

    def turn(self, timeout):
        for key, _ in self.selector.select(timeout):
            if key.data is None:
                self.accept()
            elif key.fileobj is key.data.upstream:
                self.from_upstream(key.data)
            else:
                self.readable(key.data)
        if time.monotonic() >= self.acking_from and self.control and self.seq > self.acked_seq and (
                self.unacked >= ACK_BYTES or time.monotonic() >= self.ack_at):
            self.acknowledge()

    def acknowledge(self):
        self.acked_seq, self.unacked = self.seq, 0
        self.ack_at = time.monotonic() + ACK_S
        try:
            self.send("ACK", seq=self.seq, log_bytes=self.log_bytes)
        except OSError:
            pass

    def accept(self):
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        self.selector.register(sock, selectors.EVENT_READ, Stream(sock))

    def readable(self, stream):
        try:
            data = stream.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop(stream)
            return
        stream.buffer += data
        try:
            for frame in stream.frames():
                self.take(stream, frame)
                if stream.sock.fileno() < 0:
                    return
        except Rubbish:
            assert not stream.control, "the agent broke the protocol"
            self.strangers += 1
            self.drop(stream)

    def take(self, stream, frame):
        if self.tap:
            self.tap(self, frame)
            if stream.sock.fileno() < 0:  # reset: then this frame never arrived
                return
        if frame.name == "HELLO":
            self.on_hello(stream, frame)
        elif stream.control:
            self.on_control(frame)
        else:
            self.on_bulk(stream, frame)

    def on_hello(self, stream, frame):
        assert frame.fields["magic"] == MAGIC
        expected = b"" if not self.job_sent else self.secret
        assert frame.fields["secret"] == expected, "HELLO with a wrong secret"
        if self.hello_s is None:
            self.hello_s = time.monotonic() - self.started
        self.hellos.append(frame.fields)
        stream.control = True
        if self.control:
            self.drop(self.control)
        self.control = stream
        self.send("WELCOME", version=1, send_max_bytes=self.send_max,
                  heartbeat_ms=self.heartbeat_ms, acked_seq=self.seq)
        self.acked_seq = self.seq
        if not self.job_sent:
            self.send_job(**self.spec)

    def on_control(self, frame):
        if frame.name == "HEARTBEAT":
            self.beats.append(frame.fields)
            return
        seq = frame.fields["seq"]
        if seq <= self.seq:
            return
        assert seq == self.seq + 1, f"{frame.name} {seq} came after {self.seq}"
        self.seq = seq
        if frame.name == "LOG":
            data = frame.fields["data"]
            assert frame.fields["offset"] == self.log_bytes, "log bytes are missing"
            self.log_bytes += len(data)
            self.unacked += len(data)
            if self.keep_log:
                self.log += data
            return
        self.journal.append(frame)
        if frame.name == "RESULT":
            self.send("RESULT_ACK", seq=seq)

    def on_bulk(self, stream, frame):
        name, fields = frame
        if name == "OPEN":
            stream.kind = fields["kind"]
            assert fields["secret"] == self.secret
            if stream.kind == 3 and (fields["host"], fields["port"]) in self.network:
                self.open_upstream(stream, self.network[fields["host"], fields["port"]])
                return
            if stream.kind != 1:
                stream.sock.sendall(encode("REFUSED", code=5, message="this host has no network"))
                self.drop(stream)
                return
            stream.sock.sendall(encode("OPENED", total_bytes=0))
        elif name == "DATA" and stream.upstream:
            stream.up_bytes += len(fields["data"])
            stream.upstream.sendall(fields["data"])
        elif name == "END" and stream.upstream:
            stream.upstream.shutdown(socket.SHUT_WR)
            self.end_of_direction(stream)
        elif name == "RESET" and stream.upstream:
            self.drop(stream)
        elif name == "DATA":
            stream.data += fields["data"]
        elif name == "END":
            assert fields["total_bytes"] == len(stream.data)
            self.artifacts = bytes(stream.data)
            stream.sock.sendall(encode("STREAM_ACK", total_bytes=len(stream.data), entries=0,
                                       refused=0, sha256=b"\0" * 32))

    def open_upstream(self, stream, address):
        stream.upstream = socket.create_connection(address)
        self.selector.register(stream.upstream, selectors.EVENT_READ, stream)
        stream.sock.setblocking(True)
        stream.sock.sendall(encode("OPENED", total_bytes=0))

    def from_upstream(self, stream):
        data = stream.upstream.recv(16384)
        if data:
            stream.down_bytes += len(data)
            stream.sock.sendall(encode("DATA", data=data))
            return
        self.selector.unregister(stream.upstream)
        stream.sock.sendall(encode("END", total_bytes=stream.down_bytes, xxh3=0))
        self.end_of_direction(stream)

    def end_of_direction(self, stream):
        stream.ends += 1
        if stream.ends == 2:
            stream.sock.sendall(encode("STREAM_ACK", total_bytes=stream.up_bytes, entries=0,
                                       refused=0, sha256=b""))

    # --- what tests ask ---

    def messages(self, name):
        return [f.fields for f in self.journal if f.name == name]

    @property
    def result(self):
        results = self.messages("RESULT")
        assert len(results) == 1, (f"{len(results)} results; console:\n{self.console()}\n"
                                   f"log:\n{bytes(self.log[-2000:])}")
        return results[0]

    @property
    def text(self):
        return self.log.decode(errors="replace")
