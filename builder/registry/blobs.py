"""The files of a layout: blobs below ``blobs/sha256``, what becomes one in ``.tmp``, and the lock among writers.

A blob appears whole or not at all: it is written in ``.tmp`` and renamed. What a killed writer leaves there goes away
with the next one, but for ``partial-…``: a blob that came from far is gone on with.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from builder.content import CHUNK, Descriptor, Digest
from builder.errors import StoreError, VerificationError
from builder.files import unused

__all__ = ["DAMAGED", "Blobs"]

DAMAGED: Final = "the store is damaged: delete that file below blobs/sha256 and build or pull again"
_PARTIAL: Final = "partial-"


class Blobs:
    """The blob files of the layout in `root`; nothing is made before `prepare`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._temporary = root / ".tmp"

    def path(self, digest: Digest) -> Path:
        """Where the blob is, if it is there."""
        return self._blobs / digest.hex

    def touch(self, digest: Digest) -> None:
        """Say that somebody counts on the blob from now on: `builder.registry.sweep` spares what is young."""
        with suppress(OSError):  # somebody else's store: then its owner sweeps it, or nobody
            os.utime(self.path(digest))

    def files(self) -> Iterator[tuple[Digest, os.stat_result]]:
        """All blobs, with the state of their files."""
        with self.errors("read"), suppress(FileNotFoundError), os.scandir(self._blobs) as entries:
            for entry in entries:
                with suppress(VerificationError, FileNotFoundError):  # no name of a blob; gone meanwhile
                    yield Digest.from_hex(entry.name), entry.stat(follow_symlinks=False)

    def prepare(self) -> None:
        """Make the folders, and throw away what killed writers left; call it inside `locked`."""
        with self.errors("write"):
            self._blobs.mkdir(parents=True, exist_ok=True)
            self._temporary.mkdir(exist_ok=True)
            for left in self._temporary.iterdir():
                head, mark, hex_digits = left.name.partition(_PARTIAL)
                if head or not mark or (self._blobs / hex_digits).exists():
                    _remove_abandoned(left)

    @contextmanager
    def new(self, digest: Digest) -> Iterator[BinaryIO]:
        """A file that becomes the blob when the context ends well, and is gone otherwise."""
        descriptor, path = self._open_new()
        with self._becoming(descriptor, path, digest) as file:
            try:
                yield file
            except BaseException:
                with suppress(OSError):
                    path.unlink()
                raise

    def receive(self, wanted: Descriptor, read: Callable[[int], Iterable[bytes]]) -> None:
        """Store a blob from `read`, which gives its bytes from an offset on.

        What an interrupted transfer left is kept and gone on with. Raises VerificationError for bytes that are not
        `wanted`; what came before this time is then dropped, and the blob read once more from its beginning.
        """
        descriptor, path = self._open_partial(wanted.digest)
        with self._becoming(descriptor, path, wanted.digest) as file:
            partial = _Partial(file, wanted, self)
            try:
                resumed = partial.recall()
                try:
                    partial.take(read)
                except VerificationError:
                    if not resumed:
                        raise
                    partial.restart()
                    partial.take(read)
            except BaseException as error:
                if isinstance(error, VerificationError) or not partial.size or not path.name.startswith(_PARTIAL):
                    with suppress(OSError):
                        path.unlink()
                raise

    @contextmanager
    def _becoming(self, descriptor: int, path: Path, digest: Digest) -> Iterator[BinaryIO]:
        """The open file at `path`, renamed to the blob when the context ends well."""
        file = os.fdopen(descriptor, "r+b")
        try:
            yield file
            try:
                with self.errors("write"):
                    file.flush()
                    os.fchmod(descriptor, 0o444)
                    path.replace(self.path(digest))
            except BaseException:
                with suppress(OSError):
                    path.unlink()
                raise
        finally:
            # closed behind the rename: until then its lock says that somebody writes it
            with suppress(OSError):
                file.close()

    def _open_new(self) -> tuple[int, Path]:
        with self.locked(), self.errors("write"):
            path = unused(self._temporary, "")
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                # held while we live: `prepare` of another process removes only files that nobody holds
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                with suppress(OSError):
                    path.unlink()
                raise
        return descriptor, path

    def _open_partial(self, digest: Digest) -> tuple[int, Path]:
        """The kept file of a blob, locked; one of our own when somebody else is writing it right now."""
        path = self._temporary / f"{_PARTIAL}{digest.hex}"
        while True:
            with self.locked(), self.errors("write"):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                    break
                # between our opening and locking it, its writer may have finished: then it is the blob itself
                with suppress(FileNotFoundError):
                    if os.path.samestat(path.stat(), os.fstat(descriptor)):
                        return descriptor, path
                os.close(descriptor)
        return self._open_new()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude other writers, in this process and others."""
        with self.errors("write"):
            # a descriptor of its own each time: flock(2) locks belong to open files, so threads exclude each other too
            descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """The system's errors as ours; `what` could not be done (``read``, ``write``)."""
        try:
            yield
        except OSError as error:
            raise self.failure(what, error) from error

    def failure(self, what: str, error: OSError) -> StoreError:
        """`error` in words for a person, with what to do next."""
        hints = {
            errno.ENOSPC: "the disk is full: free some space, then run the same command again",
            errno.EDQUOT: "the quota is used up: free some space, then run the same command again",
            errno.EROFS: "the store must be writable: name another folder, or change its permissions",
        }
        hints[errno.EACCES] = hints[errno.EPERM] = hints[errno.EROFS]
        return StoreError(f"cannot {what} in {self.root}: {error.strerror or error}", hint=hints.get(error.errno or 0))

    def damaged(self, digest: Digest, found: str) -> VerificationError:
        """The error for a blob's file with other bytes; `found` is their hash in hex."""
        return VerificationError(f"{self.root}: the file of {digest} holds sha256:{found}", hint=DAMAGED)


class _Partial:
    """A blob's file while it grows; `size` bytes of it are there, and hashed."""

    def __init__(self, file: BinaryIO, wanted: Descriptor, blobs: Blobs) -> None:
        self._file = file
        self._wanted = wanted
        self._blobs = blobs
        self._state = hashlib.sha256()
        self.size = 0

    def recall(self) -> int:
        """Hash what is there already; its size."""
        with self._blobs.errors("read"):
            while chunk := self._file.read(CHUNK):
                self._state.update(chunk)
                self.size += len(chunk)
        if self.size > self._wanted.size:
            self.restart()
        return self.size

    def restart(self) -> None:
        """Drop everything."""
        with self._blobs.errors("write"):
            self._file.seek(0)
            self._file.truncate()
        self._state = hashlib.sha256()
        self.size = 0

    def take(self, read: Callable[[int], Iterable[bytes]]) -> None:
        """Read the rest, and check the whole."""
        if self.size < self._wanted.size:
            for chunk in read(self.size):
                self._add(chunk)
        found = self._state.hexdigest()
        if self.size != self._wanted.size or found != self._wanted.digest.hex:
            raise self._wrong(f"got sha256:{found} ({self.size:,} bytes)")

    def _add(self, chunk: bytes) -> None:
        if self.size + len(chunk) > self._wanted.size:
            raise self._wrong("got more")
        self._state.update(chunk)
        self.size += len(chunk)
        with self._blobs.errors("write"):
            self._file.write(chunk)

    def _wrong(self, got: str) -> VerificationError:
        return VerificationError(f"expected {self._wanted.digest} ({self._wanted.size:,} bytes), {got}")


def _remove_abandoned(path: Path) -> None:
    """Delete a temporary file unless its writer is alive, that is, holds its lock."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)
