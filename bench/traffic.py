"""A proxy that counts the bytes which go through it, in a process of its own: requests one way, answers the other.

What it counts is everything that a connection carries: bodies, and the heads of requests and answers.
"""

from __future__ import annotations

import mmap
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Traffic", "counted"]

_COUNTERS = struct.Struct("<QQ")
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes since the proxy began: `sent` by clients, `received` by them."""

    sent: int
    received: int

    def since(self, before: Traffic) -> Traffic:
        """What has come since `before`."""
        return Traffic(self.sent - before.sent, self.received - before.received)


@dataclass(frozen=True, slots=True)
class Counted:
    """A running proxy, at `host` (``127.0.0.1:PORT``)."""

    host: str
    file: Path

    def traffic(self) -> Traffic:
        """What has gone through by now."""
        return Traffic(*_COUNTERS.unpack(self.file.read_bytes()))


@contextmanager
def counted(target: str, file: Path) -> Iterator[Counted]:
    """A proxy in front of `target` (``HOST:PORT``) for as long as the context lasts; it counts in `file`."""
    file.write_bytes(_COUNTERS.pack(0, 0))
    argv = [sys.executable, "-m", "bench.traffic", target, str(file)]
    root = Path(__file__).resolve().parent.parent
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    try:
        yield Counted(process.stdout.readline().strip(), file)
    finally:
        process.terminate()
        process.communicate()


def _serve(target: tuple[str, int], counters: mmap.mmap) -> None:
    lock = threading.Lock()

    def pump(source: socket.socket, sink: socket.socket, place: int) -> None:
        buffer = memoryview(bytearray(_CHUNK))
        with suppress(OSError):
            while size := source.recv_into(buffer):
                with lock:  # before they are passed on: whoever has them may ask at once
                    values = list(_COUNTERS.unpack(counters[:]))
                    values[place] += size
                    counters[:] = _COUNTERS.pack(*values)
                sink.sendall(buffer[:size])
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RD if one is source else socket.SHUT_WR)

    def handle(client: socket.socket) -> None:
        with client, socket.create_connection(target) as server:
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=pump, args=(server, client, 1), daemon=True)
            back.start()
            pump(client, server, 0)
            back.join()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        host, port = listener.getsockname()
        sys.stdout.write(f"{host}:{port}\n")
        sys.stdout.flush()
        while True:
            client, _ = listener.accept()
            threading.Thread(target=handle, args=(client,), daemon=True).start()


def main(target: str, file: str) -> None:
    """Serve until terminated."""
    host, _, port = target.rpartition(":")
    with open(file, "r+b") as counters, mmap.mmap(counters.fileno(), _COUNTERS.size) as view:  # noqa: PTH123
        _serve((host, int(port)), view)


if __name__ == "__main__":
    main(*sys.argv[1:])
