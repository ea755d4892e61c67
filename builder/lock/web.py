"""Getting bytes from indexes: redirects, retries, credentials for the right host only, and a prompt end."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urljoin, urlsplit

from builder.errors import LockshipError, StoreError, UsageError
from builder.lock.network import Network, host_of, is_loopback, origin, redacted, without_login

if TYPE_CHECKING:
    import ssl

    import httpx

__all__ = ["GoneError", "Stop", "StoppedError", "Web"]

PAGE_LIMIT: Final = 128 << 20  # bytes of one index page held in memory
RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT: Final = 60.0  # seconds that a server's Retry-After may ask for
MAX_REDIRECTS: Final = 10

T = TypeVar("T")


class GoneError(Exception):
    """The server says that there is nothing at this address (404, 410)."""


class StoppedError(Exception):
    """Somebody else failed or pressed Ctrl-C: this work is no longer wanted."""


class Stop:
    """Tells threads that their work is no longer wanted, and wakes those that wait for a server."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[Any] = set()

    def set(self) -> None:
        """From now on every wait ends and every check raises StoppedError."""
        import socket

        self._event.set()
        with self._lock:
            for one in self._sockets:
                with suppress(OSError, AttributeError, ValueError):
                    one.shutdown(socket.SHUT_RDWR)

    def check(self) -> None:
        """Raise StoppedError when `set` was called."""
        if self._event.is_set():
            raise StoppedError

    def wait(self, seconds: float) -> None:
        """Sleep, unless told to stop."""
        self._event.wait(seconds)
        self.check()

    @contextmanager
    def watching(self, response: httpx.Response) -> Iterator[None]:
        """While the context lasts, `set` cuts the connection that `response` comes through."""
        stream = response.extensions.get("network_stream")
        one = stream.get_extra_info("socket") if stream is not None else None
        with self._lock:
            self._sockets.add(one)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._sockets.discard(one)


class Web:
    """An HTTP client for one run; use as a context manager. Safe to use from several threads."""

    def __init__(self, network: Network, *, jitter: Callable[[], float] = random.random) -> None:
        self.network = network
        self.stop = Stop()
        self._jitter = jitter
        self._client: httpx.Client | None = None
        self._opening = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._client is not None:
            self._client.close()

    @property
    def client(self) -> httpx.Client:
        """The httpx client, opened when first needed: work that the cache satisfies needs none."""
        with self._opening:
            if self._client is None:
                self._client = _open(self.network)
            return self._client

    def page(self, url: str, accept: str) -> tuple[bytes, str, str]:
        """``(body, content type, final address)`` of a small document.

        Raises GoneError for 404 and 410, StoreError for everything else that fails, and for bodies over 128 MiB.
        """

        def fetch() -> tuple[bytes, str, str]:
            with self.get(url, {"Accept": accept}) as response:
                parts: list[bytes] = []
                size = 0
                for chunk in response.iter_bytes():
                    self.stop.check()
                    parts.append(chunk)
                    if (size := size + len(chunk)) > PAGE_LIMIT:
                        raise StoreError(f"{redacted(url)} is larger than {PAGE_LIMIT >> 20} MiB: not an index page")
                return b"".join(parts), response.headers.get("content-type", ""), str(response.url)

        return self.retrying(url, fetch)

    def size(self, url: str) -> int:
        """How many bytes a file has, by its answer's header; 0 when the server doesn't tell."""

        def ask() -> int:
            with self.get(url, {"Accept-Encoding": "identity"}) as response:
                length = response.headers.get("content-length", "")
                return int(length) if length.isdigit() else 0

        try:
            return self.retrying(url, ask)
        except GoneError:
            return 0

    def retrying(self, url: str, attempt: Callable[[], T], *, what: str = "") -> T:
        """`attempt`, again after a pause while it fails as networks do; then StoreError naming `what` and the host."""
        import httpx

        for number in range(self.network.retries + 1):
            try:
                return attempt()
            except httpx.TransportError as error:
                self.stop.check()
                failure, pause = self._explain(url, error, what), None
                cause: Exception = error
                if _hopeless(error):
                    break
            except _PassingError as error:
                failure, pause, cause = error.failure(url, what), error.after, error
            if number < self.network.retries:
                self.stop.wait(pause if pause is not None else min(8.0, 0.25 * 2**number) * (0.5 + self._jitter()))
        raise failure from cause

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """One GET, streaming, redirects followed, credentials sent only to the origins they belong to.

        Raises GoneError, StoreError (credentials, other refusals), or what `retrying` understands.
        """
        address = without_login(url)
        for _ in range(MAX_REDIRECTS):
            self.stop.check()
            self.network.check(address)
            sent = {"Accept-Encoding": "gzip", **(headers or {})}
            if (authorization := self.network.authorization(address)) is not None:
                sent["Authorization"] = authorization
            with self.client.stream("GET", address, headers=sent) as response:
                if not response.has_redirect_location:
                    with self.stop.watching(response):
                        self._check_status(address, response)
                        yield response
                    return
                target = without_login(urljoin(address, response.headers["location"]))
            if urlsplit(target).scheme not in ("http", "https") or (
                origin(address)[0] == "https" and origin(target)[0] == "http"
            ):
                raise StoreError(f"{redacted(address)} redirects to {redacted(target)}: refused, it is not https")
            address = target
        raise StoreError(f"{redacted(url)} redirects without end")

    def _check_status(self, url: str, response: httpx.Response) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        if status in (404, 410):
            raise GoneError
        if status in RETRIED:
            raise _PassingError(f"answered {status}", _retry_after(response))
        hint = None
        if status in (401, 403):
            hint = (
                "credentials belong into pip's configuration (index-url = https://USER:TOKEN@HOST/…), "
                f"PIP_INDEX_URL, or ~/.netrc: machine {origin(url)[1]}"
            )
        raise StoreError(f"{redacted(url)} answered {status} {response.reason_phrase}", hint=hint)

    def _explain(self, url: str, error: Exception, what: str) -> LockshipError:
        host = host_of(url)
        subject = f"{what} cannot be had from {host}" if what else f"{redacted(url)} cannot be had"
        reason = self.network.redact(str(error)) or type(error).__name__
        return StoreError(
            f"{subject}: {reason}", hint="check the network, the proxy and the index, then run again: what came is kept"
        )


class _PassingError(Exception):
    """A failure that may pass; `after` is what the server asked to wait, in seconds."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after

    def failure(self, url: str, what: str) -> LockshipError:
        subject = f"{what} cannot be had: {host_of(url)}" if what else redacted(url)
        return StoreError(f"{subject} {self.reason}", hint="the index has a problem of its own: run again later")


def _hopeless(error: Exception) -> bool:
    """A certificate stays wrong however often one asks."""
    text = str(error)
    return "CERTIFICATE_VERIFY_FAILED" in text or "WRONG_VERSION_NUMBER" in text


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return min(float(value), LONGEST_WAIT) if value.isdigit() else None


def _open(network: Network) -> httpx.Client:
    import httpx

    def transport(proxy: str | None = None, *, verify: bool = True) -> httpx.HTTPTransport:
        context = network.context if verify else _unverified()
        return httpx.HTTPTransport(verify=context, proxy=proxy, limits=httpx.Limits(max_connections=16))

    mounts: dict[str, httpx.HTTPTransport | None] = {}
    try:
        for scheme, proxy in network.proxies.items():
            mounts[f"{scheme}://"] = transport(proxy if "://" in proxy else f"http://{proxy}")
    except (ValueError, ImportError) as error:
        raise UsageError(
            f"the proxy cannot be used: {network.redact(str(error))}", hint="see `pip config list`"
        ) from error
    for host in network.no_proxy:
        for pattern in _patterns(host):
            mounts[pattern] = transport()
    for trusted in network.trusted_hosts:
        direct = any(_matches(trusted, exempt) for exempt in network.no_proxy)
        through = None if direct else network.proxies.get("https") or network.proxies.get("all")
        mounts[f"https://{trusted}"] = transport(through, verify=False)
    return httpx.Client(
        transport=transport(),
        mounts=mounts,
        timeout=network.timeout,
        trust_env=False,
        headers={"User-Agent": "lockship"},
    )


def _unverified() -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _patterns(host: str) -> tuple[str, ...]:
    """One NO_PROXY entry as httpx's mount patterns."""
    if host == "*":
        return ("all://",)
    host = host.lstrip(".*")
    if is_loopback(host) or re.fullmatch(r"[0-9.]+(:\d+)?|\[.*\](:\d+)?", host):
        return (f"all://{host}",)
    return (f"all://{host}", f"all://*.{host}")


def _matches(host: str, exempt: str) -> bool:
    exempt = exempt.lstrip(".*")
    return exempt == "" or host == exempt or host.endswith("." + exempt)
