"""The bytes of a blob that is sent: from any place on, again after a connection broke, and no others than announced."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from builder.content import CHUNK, Descriptor
from builder.errors import StoreError, VerificationError

__all__ = ["WINDOW", "BytesFeed", "ChunkFeed", "Feed", "FileFeed", "feed_of"]

WINDOW: Final = 8 << 20  # bytes: what is sent in one piece, and what is kept of a stream
_FILE_PART: Final = 64 << 20  # bytes; how much of a file goes into one request


class Feed(Protocol):
    """A blob's bytes. `part` is how many go into one request at most."""

    part: int

    def read(self, start: int, length: int) -> Iterator[bytes | memoryview]:
        """`length` bytes from `start` on, in pieces; raises VerificationError where they are not the blob's."""


class BytesFeed:
    """A blob in memory."""

    part = WINDOW

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def read(self, start: int, length: int) -> Iterator[bytes | memoryview]:
        """See `Feed.read`."""
        for at in range(start, start + length, CHUNK):
            yield self._data[at : min(at + CHUNK, start + length)]


class FileFeed:
    """A file whose digest is known."""

    part = _FILE_PART

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file

    def read(self, start: int, length: int) -> Iterator[bytes | memoryview]:
        """See `Feed.read`."""
        try:
            self._file.seek(start)
            while length:
                piece = self._file.read(min(CHUNK, length))
                if not piece:
                    raise VerificationError(f"{self._path.name} became shorter while it was sent", file=self._path)
                length -= len(piece)
                yield piece
        except OSError as error:
            raise StoreError(f"cannot read {self._path}: {error.strerror}") from error


class ChunkFeed:
    """A stream of chunks, hashed while it goes by. The last `WINDOW` bytes of it are kept, as they came.

    An iterable is iterated anew to go further back, an iterator can't be. Its last bytes are given only when all of
    them are what `descriptor` says.
    """

    part = _FILE_PART

    def __init__(self, descriptor: Descriptor, chunks: Iterable[bytes]) -> None:
        self._descriptor = descriptor
        self._chunks = chunks
        self._again = not isinstance(chunks, Iterator)
        if not self._again:
            self.part = min(self.part, WINDOW)  # all of a part must be there to be sent again
        self._begin()

    def _begin(self) -> None:
        self._iterator = iter(self._chunks)
        self._kept: deque[bytes] = deque()
        self._at = self._end = 0  # where the kept chunks begin and end
        self._state = hashlib.sha256()

    def read(self, start: int, length: int) -> Iterator[bytes | memoryview]:
        """See `Feed.read`; raises StoreError for what went by and can't be had again."""
        end = start + length
        while start < end:
            chunk, offset = self._reach(start)
            piece = memoryview(chunk)[offset : offset + min(CHUNK, end - start)]
            yield piece
            start += len(piece)

    def _reach(self, start: int) -> tuple[bytes, int]:
        """The chunk that holds the byte at `start`, and where in it."""
        if start < self._at:
            if not self._again:
                raise StoreError(
                    f"sending {self._descriptor.digest} broke off, and its bytes can't be had again",
                    hint="run the same command again",
                )
            self._begin()
        while start >= self._end:
            self._advance()
        at = self._end
        for chunk in reversed(self._kept):
            at -= len(chunk)
            if start >= at:
                return chunk, start - at
        raise AssertionError("kept chunks are without gaps")

    def _advance(self) -> None:
        """Take one more chunk; those before it stay, for they may have to be sent again."""
        chunk = next(self._iterator, None)
        if chunk is None:
            check(self._descriptor, self._end, self._state.hexdigest())
            raise VerificationError(f"{self._descriptor.digest} has no more than {self._end:,} bytes")
        self._state.update(chunk)
        # of the new chunk not a byte may be needed yet
        while self._kept and self._end - self._at - len(self._kept[0]) >= WINDOW:
            self._at += len(self._kept.popleft())
        self._kept.append(chunk)
        self._end += len(chunk)
        if self._end >= self._descriptor.size:
            more = next(filter(None, self._iterator), b"")  # one that has no end is not read to it
            check(self._descriptor, self._end + len(more), self._state.hexdigest())


def check(wanted: Descriptor, size: int, found: str) -> None:
    """Raise VerificationError unless `size` bytes with the hash `found` (in hex) are the blob."""
    if size != wanted.size:
        raise VerificationError(f"expected {wanted.digest} ({wanted.size:,} bytes), got {size:,} bytes or more")
    if found != wanted.digest.hex:
        raise VerificationError(
            f"expected {wanted.digest} ({wanted.size:,} bytes), got sha256:{found} ({size:,} bytes)"
        )


def feed_of(descriptor: Descriptor, chunks: Iterable[bytes]) -> Feed:
    """The feed of a stream; a small one is read, and found to be right, before anything is sent."""
    feed = ChunkFeed(descriptor, chunks)
    if descriptor.size > WINDOW:
        return feed
    if descriptor.size == 0:
        check(descriptor, len(next(filter(None, chunks), b"")), hashlib.sha256().hexdigest())
    return BytesFeed(b"".join(feed.read(0, descriptor.size)))
