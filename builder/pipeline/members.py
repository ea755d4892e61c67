"""Reading a tar with suspicion: plain files alone, exactly as `builder.layers.tar` writes them.

`tarfile` would take links, devices, sparse files, headers of any size and a dozen dialects; a bundle has none of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from builder.content import CHUNK
from builder.errors import LockshipError, StoreError, UsageError, VerificationError
from builder.layers import tar

__all__ = ["Member", "read_members"]

_MAX_PAX: Final = 64 << 10  # bytes
_MAX_MEMBERS: Final = 100_000
_NEW: Final = "make the bundle anew with `lockship export bundle`, or bring it over again"


@dataclass
class Member:
    """A plain file in the tar; `size` is in bytes. Its bytes can be read once, before the next member is asked for."""

    path: str
    size: int
    _reader: _Reader

    def chunks(self) -> Iterator[bytes]:
        """Its bytes; raises VerificationError when the tar ends before they do."""
        left = self._reader.left
        while left:
            chunk = self._reader.take(min(CHUNK, left), self.path)
            left -= len(chunk)
            self._reader.left = left
            yield chunk

    def read(self) -> bytes:
        """All of it at once."""
        return b"".join(self.chunks())


@contextmanager
def read_members(file: Path) -> Iterator[Iterator[Member]]:
    """The members of the tar at `file`, in order.

    Raises UsageError when there is no such file, StoreError when it can't be read, VerificationError, naming the
    member, for anything that our own encoder doesn't write.
    """
    try:
        opened = file.open("rb")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint="name a file") from error
    except OSError as error:
        raise StoreError(f"cannot read {file}: {error.strerror}", hint="check its permissions") from error
    with opened:
        yield _Reader(file, opened).members()


class _Reader:
    def __init__(self, file: Path, opened: BinaryIO) -> None:
        self._name = file
        self._file = opened
        self.left = 0  # bytes of the current member that nobody has read

    def take(self, size: int, what: str) -> bytes:
        """Exactly `size` bytes; `what` they belong to, for the message."""
        try:
            data = self._file.read(size)
        except OSError as error:
            raise StoreError(f"cannot read {self._name}: {error.strerror}") from error
        if len(data) != size:
            raise self._wrong(f"ends in the middle of {what}")
        return data

    def members(self) -> Iterator[Member]:
        for _ in range(_MAX_MEMBERS):
            block = self.take(tar.BLOCK, "the archive")
            if block == bytes(tar.BLOCK):
                self._end()
                return
            size = None
            if block[156:157] == b"x":
                size = self._pax(block)
                block = self.take(tar.BLOCK, "the archive")
            path = self._path(block)
            size = self._number(block) if size is None else size
            # ours, or nothing: links, folders, owners, times, dialects can't be said in another way
            if self._written(path, size) != block:
                raise self._wrong(f"{path[:200]!r} is not a plain file as lockship writes them")
            self.left = size
            yield Member(path, size, self)
            while self.left:  # whoever asked for it didn't want all of it
                self.left -= len(self.take(min(CHUNK, self.left), path))
            if any(self.take(len(tar.padding(size)), path)):
                raise self._wrong(f"{path[:200]!r} is followed by bytes that are nobody's")
        raise self._wrong(f"more than {_MAX_MEMBERS:,} members")

    def _end(self) -> None:
        if self.take(tar.BLOCK, "the archive") != bytes(tar.BLOCK):
            raise self._wrong("goes on behind its end")
        if self._file.read(1):
            raise self._wrong("goes on behind its end")

    def _written(self, path: str, size: int) -> bytes:
        """The last header block that our encoder writes for such a file."""
        return tar.header(tar.Entry(path, tar.Kind.FILE, 0o644, size=size))[-tar.BLOCK :]

    def _path(self, block: bytes) -> str:
        name = block[:100].rstrip(b"\0")
        prefix = block[345:500].rstrip(b"\0")
        try:
            path = (prefix + b"/" + name if prefix else name).decode("ascii")
            if not path.isprintable():
                raise ValueError(path)
            return tar.safe_path(path, what=str(self._name)) if path else self._unnamed()
        except (ValueError, LockshipError) as error:
            shown = (prefix + b"/" + name if prefix else name)[:200]
            raise self._wrong(f"{shown!r} is no path of a bundle") from error

    def _unnamed(self) -> str:
        raise ValueError("no name")

    def _number(self, block: bytes) -> int:
        digits = block[124:135]
        if block[135:136] != b"\0" or not digits.isdigit():
            raise self._wrong("a member's size is no number")
        try:
            return int(digits, 8)
        except ValueError as error:
            raise self._wrong("a member's size is no number") from error

    def _pax(self, block: bytes) -> int:
        """The size of 8 GiB and more that an extended header says: the only thing that one is needed for."""
        length = self._number(block)
        if length > _MAX_PAX:
            raise self._wrong("an extended header is too large")
        body = self.take(length, "the archive")
        self.take(len(tar.padding(length)), "the archive")
        head, equals, value = body.partition(b"=")
        if not equals or head.partition(b" ")[2] != b"size" or not value[:-1].isdigit() or len(value) > 20:
            raise self._wrong("an extended header says more than a size")
        size = int(value[:-1])
        wanted = tar.header(tar.Entry("blobs", tar.Kind.FILE, 0o644, size=size))[: -tar.BLOCK]
        if wanted != block + body + tar.padding(length):
            raise self._wrong("an extended header says more than a size")
        return size

    def _wrong(self, how: str) -> VerificationError:
        return VerificationError(f"{self._name}: {how}", hint=_NEW)
