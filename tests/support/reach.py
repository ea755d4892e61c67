"""A way from a Docker engine to a server on this machine's loopback, wherever the engine lives."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from tests.support.require import need

__all__ = ["reached_from"]

_CLONE_NEWNET = 0x40000000


@contextmanager
def reached_from(engine: str, host: str) -> Iterator[None]:
    """While this holds, the engine at `engine` finds the open registry that listens at `host` (``127.0.0.1:PORT``).

    An engine in this network namespace does so anyway: loopback addresses are registries without TLS to it. One in a
    namespace of its own gets a relay: a socket that listens there, at the same address, and is served from here. The
    test is skipped (or fails, see `need`) where neither helps: an engine on another machine, or in a virtual one.
    """
    with ExitStack() as stack:
        obstacle = _obstacle(engine, host)
        if obstacle and (pid := _elsewhere(engine)):
            stack.enter_context(_relay(pid, host))
            obstacle = _obstacle(engine, host)
        need("a Docker engine that reaches this machine's loopback", not obstacle, obstacle)
        yield


def _obstacle(engine: str, host: str) -> str:
    """Why the engine can't reach the registry, in its own words; nothing when it can."""
    import docker
    from docker.errors import APIError

    with closing(docker.APIClient(base_url=engine, timeout=60)) as client:
        try:
            client.inspect_distribution(f"{host}/nothing:none")  # type: ignore[no-untyped-call]
        except APIError as error:
            return str(error) if error.status_code is None or error.status_code >= 500 else ""
    return ""


def _elsewhere(engine: str) -> int:
    """The engine's process, if it lives in another network namespace of this machine and we may go there; else 0."""
    if not engine.startswith("unix://") or os.getuid() != 0:
        return 0
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(engine.removeprefix("unix://"))
        pid: int = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    with suppress(OSError):
        if Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink():
            return pid
    return 0


@contextmanager
def _relay(pid: int, host: str) -> Iterator[None]:
    """What connects to `host` in the namespace of `pid` is connected to `host` here."""
    address, _, port = host.rpartition(":")
    with closing(_listening_in(pid, (address, int(port)))) as listener:
        server = threading.Thread(target=_serve, args=(listener, (address, int(port))), daemon=True)
        server.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            server.join()


def _listening_in(pid: int, address: tuple[str, int]) -> socket.socket:
    """A socket keeps the namespace that it was made in: a thread goes there, makes it, and ends."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            with Path(f"/proc/{pid}/ns/net").open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_server(address))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def _serve(listener: socket.socket, address: tuple[str, int]) -> None:
    pairs = []
    with suppress(OSError):
        while True:
            pair = threading.Thread(target=_connect, args=(listener.accept()[0], address))
            pair.start()
            pairs.append(pair)
    for pair in pairs:
        pair.join()


def _connect(theirs: socket.socket, address: tuple[str, int]) -> None:
    """Both directions, until both end."""
    with theirs, socket.create_connection(address) as ours:
        back = threading.Thread(target=_pump, args=(ours, theirs))
        back.start()
        _pump(theirs, ours)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """All bytes of one direction, and its end."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
