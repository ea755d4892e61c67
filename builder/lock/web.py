"""Getting bytes from indexes: redirects, retries, credentials for the right host only, and a prompt end."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self, TypeVar
from urllib.parse import urljoin, urlsplit

from builder.errors import LockshipError, StoreError
from builder.http import RETRIED, hopeless, open_client, retry_after
from builder.network import Network, host_of, origin, redacted, without_login
from builder.parallel import Stop

if TYPE_CHECKING:
    import httpx

__all__ = ["GoneError", "Web"]

PAGE_LIMIT: Final = 128 << 20  # bytes of one index page held in memory
MAX_REDIRECTS: Final = 10

T = TypeVar("T")


class GoneError(Exception):
    """The server says that there is nothing at this address (404, 410)."""


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
                self._client = open_client(self.network)
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
                if hopeless(error):
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
            raise _PassingError(f"answered {status}", retry_after(response))
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
