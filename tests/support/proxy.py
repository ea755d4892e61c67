"""A reverse proxy in front of a registry that writes down every request, and breaks what it is told to break.

``with fault_proxy(registry.host, at(3, cut("sent"))) as proxy: …``, then `proxy.host` is the registry to use.
"""

from __future__ import annotations

import http.client
import itertools
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from tests.support.referrers import ReferrersApi

__all__ = [
    "Call",
    "Exchange",
    "Fault",
    "Faults",
    "Proxy",
    "always",
    "answer",
    "at",
    "changed",
    "content_type",
    "cut",
    "either",
    "fault_proxy",
    "garbage",
    "hung",
    "location",
    "matching",
    "no_mounts",
    "redirect_blobs",
    "relative",
    "slow",
    "stalled",
]

Cut = Literal["before", "up", "sent", "down"]

_PIECE = 16 << 10  # bytes
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect"})


@dataclass(frozen=True)
class Call:
    """A request as it came: `number` counts from 0 over all connections, `path` has the query; lower-case headers."""

    number: int
    connection: int
    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters, decoded; the first of each."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}


@dataclass
class Exchange:
    """One line of the log. `received` and `sent` are bytes of bodies; `status` is 0 where nothing was answered."""

    call: Call
    fault: Fault | None
    received: int = 0
    sent: int = 0
    status: int = 0
    answered: Mapping[str, str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return self.call.method

    @property
    def path(self) -> str:
        return self.call.path

    @property
    def headers(self) -> Mapping[str, str]:
        return self.call.headers


@dataclass(frozen=True)
class Fault:
    """What goes wrong in one exchange; made by the functions below.

    `cut` ends the connection: before anything is passed on, with half of the request's body passed on (``up``), when
    upstream has done its work but before the answer (``sent``), or in the middle of the answer's body (``down``).
    Before that the line may be silent for `hang` seconds.
    `status`, `headers` (None drops one), `body` and `change` alter the answer; without `forward` upstream is not asked.
    `raw` is sent in place of any answer. `path` is what upstream is asked instead; `location` rewrites that header;
    `stall` and `slow` are seconds, before the answer and between pieces of its body.
    """

    cut: Cut | None = None
    status: int = 0
    forward: bool = True
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    raw: bytes | None = None
    change: Callable[[bytes], bytes] | None = None
    path: Callable[[str], str] | None = None
    location: Callable[[str], str | None] | None = None
    stall: float = 0
    slow: float = 0
    hang: float = 0


Faults = Callable[[Call], Fault | None]


# Kinds of faults.


def cut(when: Cut) -> Fault:
    """The connection is closed at that moment."""
    return Fault(cut=when)


def hung(when: Cut, seconds: float) -> Fault:
    """From that moment nothing is taken and nothing comes; so much later the connection is closed."""
    return Fault(cut=when, hang=seconds)


def answer(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"", *, forward: bool = False) -> Fault:
    """Another answer than upstream's; with `forward` upstream does its work all the same."""
    return Fault(status=status, headers=dict(headers or {}), body=body, forward=forward)


def garbage(data: bytes = b"220 mail.example.com ESMTP\r\n") -> Fault:
    """Something that isn't HTTP at all."""
    return Fault(raw=data, forward=False)


def changed(change: Callable[[bytes], bytes]) -> Fault:
    """Other bytes than upstream's, well framed."""
    return Fault(change=change)


def content_type(value: str | None) -> Fault:
    """The answer's Content-Type is another, or missing."""
    return Fault(headers={"Content-Type": value})


def location(rewrite: Callable[[str], str | None]) -> Fault:
    """The answer's Location, if it has one, is rewritten; None drops it."""
    return Fault(location=rewrite)


def slow(seconds: float) -> Fault:
    """So long a pause between the pieces of the answer's body."""
    return Fault(slow=seconds)


def stalled(seconds: float) -> Fault:
    """So long a pause before the answer."""
    return Fault(stall=seconds)


# When they happen.


def always(fault: Fault) -> Faults:
    """At every request."""
    return lambda call: fault


def at(number: int, fault: Fault) -> Faults:
    """At one request, counted from 0."""
    return lambda call: fault if call.number == number else None


def matching(methods: str, pattern: str, fault: Fault, *, times: int | None = None, skip: int = 0) -> Faults:
    """At requests with one of `methods` (``"PUT PATCH"``) whose path the pattern is found in.

    The first `skip` of them pass, then `times` fail (None: all).
    """
    seen = itertools.count()

    def choose(call: Call) -> Fault | None:
        if call.method not in methods.split() or not re.search(pattern, call.path):
            return None
        number = next(seen)
        return fault if number >= skip and (times is None or number < skip + times) else None

    return choose


def either(*faults: Faults) -> Faults:
    """The first of them that happens."""
    return lambda call: next((found for one in faults if (found := one(call)) is not None), None)


# Registries that are different.


def no_mounts(status: int = 202) -> Faults:
    """Mounts are refused: with 202 an upload begins instead; any other status is an error."""

    def choose(call: Call) -> Fault | None:
        if call.method != "POST" or "mount" not in call.query:
            return None
        return Fault(path=lambda path: path.partition("?")[0]) if status == 202 else answer(status)

    return choose


def relative() -> Faults:
    """Every Location is relative to the host, as RFC 9110 allows."""

    def rewrite(value: str) -> str:
        parts = urlsplit(value)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    return always(location(rewrite))


def redirect_blobs(address: Callable[[str], str], status: int = 307) -> Faults:
    """Blobs are had elsewhere: `address` tells where from their digest."""

    def choose(call: Call) -> Fault | None:
        found = re.search(r"/blobs/(sha256:[0-9a-f]{64})$", urlsplit(call.path).path)
        if found is None or call.method != "GET":
            return None
        return answer(status, {"Location": address(found[1])})

    return choose


@dataclass
class Proxy:
    """A running proxy. `faults` may be exchanged while it runs; `log` holds every request so far, in order."""

    upstream: str
    faults: Faults | None = None
    host: str = ""
    referrers: ReferrersApi | None = None
    log: list[Exchange] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, connection: int, method: str, path: str, headers: Mapping[str, str]) -> Exchange:
        """Write a request down and decide what goes wrong with it."""
        with self._lock:
            call = Call(len(self.log), connection, method, path, headers)
            exchange = Exchange(call, self.faults(call) if self.faults is not None else None)
            self.log.append(exchange)
            return exchange

    def asked(self, methods: str, pattern: str = "") -> list[Exchange]:
        """The requests with one of `methods` (``"GET HEAD"``) whose path the pattern is found in."""
        return [one for one in list(self.log) if one.method in methods.split() and re.search(pattern, one.path)]

    @property
    def received(self) -> int:
        """Bytes of all bodies that clients sent."""
        return sum(one.received for one in self.log)

    @property
    def sent(self) -> int:
        """Bytes of all bodies that clients got."""
        return sum(one.sent for one in self.log)

    def clear(self) -> None:
        """Forget the log, and count from 0 again."""
        with self._lock:
            self.log.clear()


class _CutError(Exception):
    """The connection ends here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy
    connections: Iterator[int]
    open: set[socket.socket]

    def setup(self) -> None:
        super().setup()
        self.number = next(self.connections)
        self.open.add(self.connection)

    def finish(self) -> None:
        self.open.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, *args: object) -> None:
        pass

    def _exchange(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        exchange = self.proxy.begin(self.number, self.command, self.path, headers)
        try:
            self._serve(exchange, exchange.fault or Fault())
        except (_CutError, OSError, http.client.HTTPException):
            if exchange.fault is not None:
                self.proxy.closing.wait(exchange.fault.hang)
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _exchange

    def _serve(self, exchange: Exchange, fault: Fault) -> None:
        if fault.cut == "before":
            raise _CutError
        if not fault.forward:
            for piece in self._body():
                exchange.received += len(piece)
            self.proxy.closing.wait(fault.stall)
            if fault.raw is not None:
                self.wfile.write(fault.raw)
                raise _CutError
            self._reply(exchange, fault, fault.status, {}, [fault.body or b""])
            return
        connection = http.client.HTTPConnection(self.proxy.upstream, timeout=60)
        try:
            self._pass_on(exchange, fault, connection)
        finally:
            connection.close()

    def _pass_on(self, exchange: Exchange, fault: Fault, connection: http.client.HTTPConnection) -> None:
        path = fault.path(self.path) if fault.path else self.path
        kept = self._send(exchange, fault, connection, path)
        if (own := self._referrers(exchange)) is not None:
            self._reply(exchange, fault, 200, *own)
            return
        upstream = connection.getresponse()
        headers = {name: value for name, value in upstream.getheaders() if name.lower() not in _HOP}
        length = upstream.getheader("Content-Length")
        if self.proxy.referrers is not None and upstream.status < 300:
            headers |= self.proxy.referrers.learn(self.command, path, exchange.headers, kept)
        if fault.cut == "sent":
            raise _CutError
        self.proxy.closing.wait(fault.stall)
        body: Iterator[bytes] | list[bytes] = iter(lambda: upstream.read(_PIECE), b"")
        if fault.body is not None:
            body, length = [fault.body], None
        elif self.command != "HEAD" and (fault.change is not None or length is None):
            whole = b"".join(body)
            body, length = [fault.change(whole) if fault.change is not None else whole], None
        self._reply(exchange, fault, fault.status or upstream.status, headers, body, length)

    def _send(self, exchange: Exchange, fault: Fault, connection: http.client.HTTPConnection, path: str) -> bytes:
        """Pass the request on; manifests are small, and kept."""
        connection.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP:
                connection.putheader(name, value)
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        length = int(self.headers.get("Content-Length", 0))
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        elif "Content-Length" in self.headers:
            connection.putheader("Content-Length", str(length))
        connection.endheaders()
        kept = bytearray()
        for piece in self._body():
            half = length // 2 - exchange.received
            if fault.cut == "up" and (chunked or len(piece) > half):
                connection.send(piece[: max(half, 0)] if not chunked else b"")
                exchange.received += max(half, 0)
                raise _CutError
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            exchange.received += len(piece)
            if "/manifests/" in path:
                kept += piece
        if fault.cut == "up":
            raise _CutError
        if chunked:
            connection.send(b"0\r\n\r\n")
        return bytes(kept)

    def _body(self) -> Iterator[bytes]:
        """The request's body in pieces."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left > 0:
            piece = self.rfile.read1(min(left, _PIECE))
            if not piece:
                raise _CutError
            left -= len(piece)
            yield piece

    def _referrers(self, exchange: Exchange) -> tuple[dict[str, str], list[bytes]] | None:
        if self.proxy.referrers is None or self.command != "GET":
            return None
        found = self.proxy.referrers.answer(self.path)
        return None if found is None else (found[0], [found[1]])

    def _reply(
        self,
        exchange: Exchange,
        fault: Fault,
        status: int,
        headers: Mapping[str, str],
        body: Iterator[bytes] | list[bytes],
        length: str | None = None,
    ) -> None:
        sent: dict[str, str | None] = {**headers}
        for name, value in fault.headers.items():
            sent = {other: old for other, old in sent.items() if other.lower() != name.lower()} | {name: value}
        if fault.location is not None:
            sent = {
                name: fault.location(value) if name.lower() == "location" and value is not None else value
                for name, value in sent.items()
            }
        if isinstance(body, list) and length is None:
            length = str(sum(map(len, body)))
        exchange.status = status
        self.send_response_only(status)
        final = {name: value for name, value in sent.items() if value is not None}
        dropped = self.command == "HEAD" and fault.headers.get("Content-Length", "") is None
        if length is not None and status != 204 and not dropped:
            final["Content-Length"] = length
        exchange.answered = {name.lower(): value for name, value in final.items()}
        for name, value in final.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self._write(exchange, fault, body, int(length or 0))

    def _write(self, exchange: Exchange, fault: Fault, body: Iterator[bytes] | list[bytes], length: int) -> None:
        for piece in body:
            part = piece
            if fault.cut == "down":
                part = piece[: max(0, length // 2 - exchange.sent)]
            if fault.slow:
                self.wfile.flush()
                self.proxy.closing.wait(fault.slow)
            self.wfile.write(part)
            exchange.sent += len(part)
            if len(part) < len(piece):
                self.wfile.flush()
                raise _CutError
        if fault.cut == "down":
            raise _CutError


@contextmanager
def fault_proxy(
    upstream: str,
    faults: Faults | None = None,
    *,
    referrers: bool = False,
    page: int = 0,
    address: str = "127.0.0.1",
) -> Iterator[Proxy]:
    """A proxy on a free port of this machine; `upstream` (``127.0.0.1:PORT``) is a registry without TLS.

    `address` is what it listens on. With `referrers` it answers the referrers API itself, `page` entries at a time
    (0: all at once).
    """
    proxy = Proxy(upstream, faults, referrers=ReferrersApi(page) if referrers else None)
    opened: set[socket.socket] = set()
    fields: dict[str, Any] = {"proxy": proxy, "connections": itertools.count(), "open": opened}
    server = ThreadingHTTPServer((address, 0), type("Handler", (_Handler,), fields))
    server.daemon_threads = True
    server.handle_error = lambda *args: None  # type: ignore[method-assign]  # connections end badly here, on purpose
    proxy.host = f"{address}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        server.shutdown()
        server.server_close()
        for one in list(opened):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        thread.join()
