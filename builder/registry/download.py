"""Reading one blob: streamed, gone on with where a connection broke, verified at its end."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from builder.content import Digest
from builder.errors import StoreError, VerificationError
from builder.http import retry_after
from builder.registry.answers import Answer
from builder.registry.calls import Call, PassingError
from builder.registry.session import Session
from builder.registry.tokens import Scopes

if TYPE_CHECKING:
    import httpx

__all__ = ["measure", "read_blob"]

_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_DAMAGED: Final = "the registry's copy is damaged, or something on the way changes it: delete it there, then push again"


def read_blob(session: Session, path: str, scopes: Scopes, digest: Digest, start: int = 0) -> Iterator[bytes]:
    """The blob at `path` from the byte at `start` on.

    Read from its beginning, it is verified at its end; otherwise whoever has the beginning must do that.
    """
    reading = _Reading(session, path, scopes, digest, start)
    tries = 0
    while not reading.done:
        before = reading.position
        try:
            yield from reading.go_on()
        except PassingError as error:
            tries = 1 if reading.position > before else tries + 1
            session.pause(tries, error)
    reading.verify()


def measure(session: Session, path: str, scopes: Scopes, digest: Digest) -> int | None:
    """How many bytes the blob at `path` has, where HEAD doesn't tell; None when GET doesn't either.

    Raises StoreError when it isn't served.
    """
    call = Call("GET", path, f"read {digest}", scopes, {"Range": "bytes=0-0"})
    tries = 0
    while True:
        try:
            with session.open(call) as response:
                if response.status_code not in (200, 206):
                    answer = Answer(response.status_code, response.headers, b"", str(response.url))
                    session.check_passing(call, answer, retry_after(response))
                    raise session.failure(call, answer)
                if found := _RANGE.fullmatch(response.headers.get("content-range", "")):
                    return None if found[3] == "*" else int(found[3])
                length = response.headers.get("content-length", "")
                return int(length) if length.isdigit() and response.status_code == 200 else None
        except PassingError as error:
            tries += 1
            session.pause(tries, error)


class _Reading:
    """How far a blob has been read."""

    def __init__(self, session: Session, path: str, scopes: Scopes, digest: Digest, start: int) -> None:
        self._session = session
        self._path = path
        self._scopes = scopes
        self._digest = digest
        self._start = self.position = start
        self._state = hashlib.sha256()
        self._total: int | None = None
        self.done = False

    def go_on(self) -> Iterator[bytes]:
        """What comes through one connection."""
        headers = {"Range": f"bytes={self.position}-"} if self.position else {}
        call = Call("GET", self._path, f"read {self._digest}", self._scopes, headers)
        with self._session.open(call) as response:
            if response.status_code not in (200, 206):
                self._refused(call, response)
                return
            skip = self._begin(response)
            for chunk in response.iter_raw():
                self._session.stop.check()
                if skip:
                    dropped = min(skip, len(chunk))
                    skip -= dropped
                    chunk = chunk[dropped:]
                if chunk:
                    self._state.update(chunk)
                    self.position += len(chunk)
                    yield chunk
            self.done = True

    def _begin(self, response: httpx.Response) -> int:
        """Learn the size; how many bytes come that are here already, from a server that sends everything anew."""
        if response.status_code == 206:
            found = _RANGE.fullmatch(response.headers.get("content-range", ""))
            if found is None or int(found[1]) != self.position:
                raise StoreError(
                    f"{self._session.endpoint.host}: cannot read {self._digest}: it sends another part than asked for"
                )
            self._learn(int(found[3]) if found[3] != "*" else None)
            return 0
        length = response.headers.get("content-length", "")
        self._learn(int(length) if length.isdigit() and len(length) < 19 else None)
        return self.position

    def _learn(self, total: int | None) -> None:
        if total is None:
            return
        if self._total is not None and self._total != total:
            raise self._wrong(f"has {self._total:,} bytes, and then {total:,}")
        self._total = total

    def _refused(self, call: Call, response: httpx.Response) -> None:
        if response.status_code == 416 and self.position:
            self.done = True  # nothing more: `verify` tells whether that is right
            return
        data = self._session.read(call, response)
        answer = Answer(response.status_code, response.headers, data, str(response.url))
        self._session.check_passing(call, answer, retry_after(response))
        raise self._session.failure(call, answer)

    def verify(self) -> None:
        """Raise VerificationError unless what was read is the blob."""
        if self._total is not None and self.position != self._total:
            raise self._wrong(f"has {self._total:,} bytes, {self.position:,} came")
        if not self._start and (found := self._state.hexdigest()) != self._digest.hex:
            raise self._wrong(f"came as sha256:{found}")

    def _wrong(self, how: str) -> VerificationError:
        return VerificationError(f"{self._session.endpoint.host}: {self._digest} {how}", hint=_DAMAGED)
