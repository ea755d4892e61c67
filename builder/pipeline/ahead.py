"""Layers fetched ahead of whoever reads them in order: the next ones arrive while this one is dealt with."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from builder.cache import storage_error
from builder.content import CHUNK, Digest
from builder.errors import VerificationError
from builder.parallel import Stop
from builder.registry.store import Store

__all__ = ["Ahead"]

_ROOM: Final = 256 << 20  # bytes on disk
_THREADS: Final = 4
_PATIENCE: Final = 3.0  # seconds that transfers get to end


class Ahead:
    """Reads blobs of `store`; while a layer is read, those behind it in `layers` are on their way.

    What came early waits in files without a name, at most `room` bytes in all; a layer that is larger is read when its
    turn comes. Use as a context manager: leaving it ends what is still on its way.
    """

    def __init__(
        self,
        store: Store,
        layers: Sequence[tuple[Digest, int]],
        stop: Stop,
        *,
        room: int = _ROOM,
        threads: int = _THREADS,
    ) -> None:
        self._store = store
        self._stop = stop
        self._room = room
        self._threads = threads
        self._layers = list(dict(layers).items())
        self._places = {digest: place for place, (digest, _) in enumerate(self._layers)}
        self._changed = threading.Condition()
        self._next = 0
        self._running = 0
        self._coming: dict[Digest, _Coming] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._running:
            self._stop.set()
        with self._changed:
            self._next = len(self._layers)
            self._changed.wait_for(lambda: not self._running, _PATIENCE)
            if not self._running:
                for one in self._coming.values():
                    one.close()
            self._coming.clear()

    def read_blob(self, digest: Digest, *, start: int = 0) -> Iterator[bytes]:
        """See `Store.read_blob`."""
        place = self._places.get(digest)
        if place is None or start:
            return self._store.read_blob(digest, start=start)
        with self._changed:
            self._next = max(self._next, place)
            self._fill()
            coming = self._coming.get(digest)
        return self._store.read_blob(digest) if coming is None else self._drain(coming)

    def _fill(self) -> None:
        """Start what there is room for, in order."""
        while self._next < len(self._layers) and self._running < self._threads:
            digest, size = self._layers[self._next]
            if size <= self._room:
                if sum(one.size for one in self._coming.values()) + size > self._room:
                    return
                coming = self._coming[digest] = _Coming(digest, size)
                self._running += 1
                threading.Thread(target=self._fetch, args=(coming,), name="lockship-ahead", daemon=True).start()
            self._next += 1

    def _fetch(self, coming: _Coming) -> None:
        try:
            for chunk in self._store.read_blob(coming.digest):
                self._stop.check()
                coming.write(chunk)
                with self._changed:
                    self._changed.notify_all()
        except BaseException as error:
            coming.error = error
        finally:
            with self._changed:
                coming.done = True
                self._running -= 1
                with suppress(Exception):  # whoever reads meets the failure itself
                    self._fill()
                self._changed.notify_all()

    def _drain(self, coming: _Coming) -> Iterator[bytes]:
        at = 0
        try:
            while True:
                with self._changed:
                    # in slices, so that a signal is seen at once
                    while coming.written == at and not coming.done:
                        self._changed.wait(0.2)
                    end, done = coming.written, coming.done
                if at == end and done:
                    break
                chunk = coming.read(at, end)
                at += len(chunk)
                yield chunk
            if coming.error is not None:
                raise coming.error
        finally:
            with self._changed:
                if coming.done and self._coming.pop(coming.digest, None) is not None:
                    coming.close()
                self._fill()


class _Coming:
    """A layer on its way, in a file that is deleted already."""

    def __init__(self, digest: Digest, size: int) -> None:
        self.digest = digest
        self.size = size
        self.written = 0
        self.done = False
        self.error: BaseException | None = None
        try:
            self._file = tempfile.TemporaryFile(prefix="lockship-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise storage_error(error, Path(tempfile.gettempdir()), "write") from error

    def write(self, chunk: bytes) -> None:
        if self.written + len(chunk) > self.size:
            raise VerificationError(f"{self.digest} has more than the {self.size:,} bytes that the manifest says")
        view = memoryview(chunk)
        try:
            while view:
                view = view[self._file.write(view) or 0 :]
        except OSError as error:
            raise storage_error(error, Path(tempfile.gettempdir()), "write") from error
        self.written += len(chunk)

    def read(self, at: int, end: int) -> bytes:
        return os.pread(self._file.fileno(), min(CHUNK, end - at), at)

    def close(self) -> None:
        self._file.close()
