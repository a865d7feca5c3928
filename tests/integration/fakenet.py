"""fakenet.py - a fakehost.Guest whose host also has a network: it serves proxied TCP and source.

Bulk streams of kinds 2 and 3 leave the event loop of Guest and get a thread each.
"""

import ctypes
import ctypes.util
import io
import socket
import tarfile
import threading

from fakehost import Guest, decode, encode


def xxh3(data):
    lib = ctypes.CDLL(ctypes.util.find_library("xxhash"))
    lib.XXH3_64bits.restype = ctypes.c_uint64
    lib.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return lib.XXH3_64bits(data, len(data))


class Frames:
    """Frames from a blocking socket."""

    def __init__(self, sock, buffer):
        self.sock, self.buffer = sock, buffer

    def get(self):
        while True:
            got = decode(self.buffer)
            if got:
                del self.buffer[:got[1]]
                return got[0]
            data = self.sock.recv(1 << 18)
            if not data:
                raise EOFError
            self.buffer += data


class NetGuest(Guest):
    def __init__(self, image, refuse=None, names=None, source=b"", **options):
        super().__init__(image, **options)
        self.refuse = refuse or {}  # {host: (code, sentence)}
        self.names = names or {}    # {host: address}; no other name resolves
        self.source = source        # the tar of kind 2
        self.opened = []            # (host, port) of every tcp stream asked for
        self.finished = []          # (host, port, up bytes, down bytes) that ended in order
        self.tar_acked = None       # STREAM_ACK of the source
        self.ends = []              # END of artifacts
        self.kind1 = []

    def on_bulk(self, stream, frame):
        name, fields = frame
        if name == "OPEN" and fields["kind"] != 1:
            assert fields["secret"] == self.secret
            self.selector.unregister(stream.sock)
            sock = stream.sock.dup()  # Guest sees a closed stream and forgets it
            stream.sock.close()
            sock.setblocking(True)
            serve = self.serve_source if fields["kind"] == 2 else self.serve_tcp
            threading.Thread(target=serve, args=(sock, stream.buffer, fields), daemon=True).start()
            return
        if name == "END":
            self.ends.append((fields["total_bytes"], fields["xxh3"], xxh3(bytes(stream.data))))
        if name == "RESET":
            self.kind1.append(fields)
        super().on_bulk(stream, frame)

    def serve_source(self, sock, buffer, _fields):
        data = self.source
        sock.sendall(encode("OPENED", total_bytes=len(data)))
        for at in range(0, len(data), 65536):
            sock.sendall(encode("DATA", data=data[at:at + 65536]))
        sock.sendall(encode("END", total_bytes=len(data), xxh3=xxh3(data)))
        self.tar_acked = Frames(sock, buffer).get()
        sock.close()

    def serve_tcp(self, sock, buffer, fields):
        host, port = fields["host"], fields["port"]
        self.opened.append((host, port))
        if host in self.refuse:
            code, sentence = self.refuse[host]
            sock.sendall(encode("REFUSED", code=code, message=sentence))
            sock.close()
            return
        if host not in self.names:
            sock.sendall(encode("REFUSED", code=6, message=f"{host} does not resolve"))
            sock.close()
            return
        server = socket.create_connection((self.names[host], port), 10)
        sock.sendall(encode("OPENED", total_bytes=0))
        down_bytes, done = [0], threading.Event()

        def down():
            while data := server.recv(65536):
                down_bytes[0] += len(data)
                sock.sendall(encode("DATA", data=data))
            sock.sendall(encode("END", total_bytes=down_bytes[0], xxh3=0))
            done.set()

        threading.Thread(target=down, daemon=True).start()
        up_bytes, frames = 0, Frames(sock, buffer)
        try:
            while (frame := frames.get()).name == "DATA":
                up_bytes += len(frame.fields["data"])
                server.sendall(frame.fields["data"])
            assert frame.name in ("END", "RESET"), frame
            if frame.name == "END":
                assert frame.fields["total_bytes"] == up_bytes
                server.shutdown(socket.SHUT_WR)
                done.wait()
                sock.sendall(encode("STREAM_ACK", total_bytes=up_bytes, entries=0, refused=0,
                                    sha256=b""))
                self.finished.append((host, port, up_bytes, down_bytes[0]))
        finally:
            server.close()
            sock.close()

    def tar(self):
        """{path: (TarInfo, content)} of the artifacts that came."""
        assert self.artifacts is not None, "no artifacts came"
        out = {}
        with tarfile.open(fileobj=io.BytesIO(self.artifacts)) as t:
            for m in t:
                out[m.name] = (m, t.extractfile(m).read() if m.isfile() else b"")
        return out
