"""Sending one blob, whole or in parts that outlast a broken line.

After the OCI distribution specification v1.1, "Pushing blobs".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from builder.content import Descriptor
from builder.errors import LockshipError, StoreError, VerificationError
from builder.parallel import StoppedError
from builder.registry.answers import Answer
from builder.registry.calls import COMMIT, Body, Call, PassingError
from builder.registry.feeds import WINDOW, Feed
from builder.registry.session import Session
from builder.registry.tokens import Scopes

__all__ = ["Upload", "cancel", "location_of"]

_ROUNDS: Final = 3  # how often a blob is begun anew because its upload got lost
_TOO_LARGE: Final = "what stands before the registry limits requests: nginx, for one, by client_max_body_size"
_OCTETS: Final = {"Content-Type": "application/octet-stream"}


class _LostError(Exception):
    """The registry doesn't go on with this upload: begin anew, and `whole` if it doesn't know parts."""

    def __init__(self, failure: LockshipError, *, whole: bool = False) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.whole = whole


class Upload:
    """One blob on its way into a repository.

    `there` asks whether the registry has it by now, `sent` is told of bytes as they go out, with whether they are the
    first of their kind.
    """

    def __init__(
        self,
        session: Session,
        uploads: str,
        scopes: Scopes,
        descriptor: Descriptor,
        feed: Feed,
        *,
        there: Callable[[], bool],
        sent: Callable[[int, int], None],
    ) -> None:
        self._session = session
        self._uploads = uploads
        self._scopes = scopes
        self._descriptor = descriptor
        self._feed = feed
        self._there = there
        self._sent = sent
        self._what = f"send {descriptor.digest}"
        self._farthest = 0
        self._lost_count = 0  # how often the registry said that it is somewhere else
        self._part = feed.part

    def run(self, location: str | None = None) -> None:
        """Send it, to the upload at `location` if a mount has opened one."""
        whole = self._descriptor.size <= WINDOW
        rounds = tries = 0
        while True:
            try:
                location = location or self._begin()
                self._send(location, whole=whole)
                return
            except PassingError as error:
                tries += 1
                self._cancel(location)
                self._session.pause(tries, error)
                if self._there():
                    return
            except _LostError as error:
                rounds += 1
                if rounds >= _ROUNDS:
                    raise error.failure from error
                self._cancel(location)
                whole = whole or error.whole or rounds == _ROUNDS - 1
            except BaseException:
                self._cancel(location)
                raise
            location = None

    def _begin(self) -> str:
        """Open an upload."""
        answer = self._session.ask(self._call("POST", self._uploads, body=b""))
        if answer.status not in (201, 202):
            raise self._session.failure(self._call("POST", self._uploads), answer)
        least = answer.headers.get("oci-chunk-min-length", "")
        if least.isdecimal() and len(least) < 12:
            self._part = max(self._part, int(least))
        return location_of(self._session, answer, self._what)

    def _send(self, location: str, *, whole: bool) -> None:
        if whole:
            self._commit(location, Body(self._descriptor.size, lambda: self._pieces(0, self._descriptor.size)))
        else:
            self._commit(self._send_parts(location), None)

    # parts

    def _send_parts(self, location: str) -> str:
        """Send everything in parts; where the upload is then."""
        offset = tries = 0
        while offset < self._descriptor.size:
            try:
                location, offset = self._send_part(location, offset)
                tries = 0
            except PassingError as error:
                tries += 1
                self._session.pause(tries, error)
                found = self._status(location)
                if found is None:
                    raise
                if found[1] > offset:
                    tries = 0  # slow, but it moves
                location, offset = found
        return location

    def _send_part(self, location: str, offset: int) -> tuple[str, int]:
        length = min(self._part, self._descriptor.size - offset)
        headers = _OCTETS | {"Content-Range": f"{offset}-{offset + length - 1}"}
        body = Body(length, lambda: self._pieces(offset, length))
        call = self._call("PATCH", location, headers=headers, body=body, patience=COMMIT)
        answer = self._session.once(call)
        if answer.status in (202, 201, 204):
            following = location_of(self._session, answer, self._what, before=location)
            return following, self._position(answer, offset, offset + length)
        failure = self._session.failure(call, answer)
        if answer.status == 416:
            self._lost_count += 1
            found = self._status(location) if self._lost_count <= _ROUNDS else None
            if found is not None and found[1] != offset:
                return found
        if answer.status in (401, 403):
            raise failure
        if answer.status == 413:
            self._go_smaller(call, answer)
        raise _LostError(failure, whole=answer.status not in (404, 413))

    def _go_smaller(self, call: Call, answer: Answer) -> None:
        """Send less at once from now on; raises StoreError when that isn't possible."""
        if self._part <= WINDOW:
            raise self._session.failure(call, answer, hint=_TOO_LARGE)
        self._part = WINDOW

    def _position(self, answer: Answer, offset: int, expected: int) -> int:
        """How far the registry got, as its answer says: somewhere behind `offset`, or this would have no end."""
        end = _range_end(answer)
        if end is None or end + 1 == expected:
            return expected
        if not offset <= end < expected:
            raise _LostError(StoreError(f"{self._session.endpoint.host}: cannot {self._what}: it lost count"))
        return end + 1

    def _status(self, location: str) -> tuple[str, int] | None:
        """Where an upload is, and how much of the blob it has, after a connection broke; None when it is lost.

        Distribution, for one, gives an upload up that has other bytes than its last answer says.
        """
        answer = self._session.ask(self._call("GET", location))
        end = _range_end(answer)
        if answer.status not in (200, 202, 204) or not end or end >= self._descriptor.size:
            return None  # "0-0" is said of one byte and of none: begin anew then, too
        return location_of(self._session, answer, self._what, before=location), end + 1

    # the end

    def _commit(self, location: str, body: Body | None) -> None:
        url = _with_digest(location, self._descriptor)
        call = self._call("PUT", url, headers=_OCTETS, body=b"" if body is None else body, patience=COMMIT)
        # a PUT with a body is not asked twice: part of it may have been taken
        answer = self._session.ask(call) if body is None else self._session.once(call)
        if answer.status in (201, 202, 204):
            return
        failure = self._session.failure(call, answer)
        if answer.status in (401, 403):
            raise failure
        if answer.status == 413:
            raise self._session.failure(call, answer, hint=_TOO_LARGE)
        if answer.status == 404 and self._there():
            return  # the answer to an earlier try got lost
        if "DIGEST_INVALID" in answer.codes or "SIZE_INVALID" in answer.codes:
            raise _LostError(VerificationError(failure.message, hint="the bytes changed on the way, or before it"))
        raise _LostError(failure)

    def _cancel(self, location: str | None) -> None:
        if location is not None:
            cancel(self._session, location, self._scopes)

    def _pieces(self, start: int, length: int) -> Iterator[bytes | memoryview]:
        for piece in self._feed.read(start, length):
            self._session.stop.check()
            yield piece
            start += len(piece)
            self._sent(len(piece), max(0, start - self._farthest))
            self._farthest = max(self._farthest, start)

    def _call(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | Body | None = None,
        patience: float | None = None,
    ) -> Call:
        return Call(method, path, self._what, self._scopes, headers or {}, body, patience=patience)


def location_of(session: Session, answer: Answer, what: str, *, before: str | None = None) -> str:
    """Where an upload goes on, as an answer's Location says: it may be relative, and carry a query."""
    location = answer.headers.get("location")
    if not location:
        if before is not None:
            return before
        raise StoreError(f"{session.endpoint.host}: cannot {what}: it did not say where to")
    try:
        target = urljoin(answer.url, location)
    except ValueError as error:
        raise StoreError(f"{session.endpoint.host}: cannot {what}: it gave an address that is none") from error
    session.endpoint.check(target, "it takes uploads at")
    return target


def cancel(session: Session, location: str, scopes: Scopes) -> bool:
    """Tell the registry that an upload is given up; nothing depends on it. Whether it listened."""
    with suppress(LockshipError, PassingError, StoppedError):
        session.once(Call("DELETE", location, "give up an upload", scopes, patience=5.0))
        return True
    return False


def _with_digest(location: str, descriptor: Descriptor) -> str:
    parts = urlsplit(location)
    added = urlencode({"digest": str(descriptor.digest)})
    return urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))


def _range_end(answer: Answer) -> int | None:
    """The last byte that the registry has, from ``Range: 0-1023`` (some write ``bytes=0-1023``)."""
    found = re.fullmatch(r"(?:bytes[= ])?0-(\d{1,18})", answer.headers.get("range", "").strip())
    return int(found[1]) if found else None
